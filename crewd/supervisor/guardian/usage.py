"""What a worker uses, what it may use, and how much of its output is kept."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from crewd import worker_files
from crewd.protocol import hands
from crewd.protocol.policy import Limits
from crewd.store.output import MARK, TIMES_FILE
from crewd.supervisor.guardian import processes
from crewd.supervisor.guardian.charge import Charge

OUTPUT_SLACK = 0.25
"""How much more than is kept a worker's output file may hold until it is cut; cutting costs a system call."""
MARKS = 500
"""Marks of time within a worker's life, from its first output on, before they stand farther apart."""
OUTPUT_BYTES_LEAST = 4096


def exceeded(limits: Limits, memory: int, cpu: float, count: int) -> tuple[str, str] | None:
    """The limit that is exceeded, and by what; None if none is."""
    for name, value, allowed in (
        ("memory_bytes", memory, limits.memory_bytes), ("cpu_seconds", cpu, limits.cpu_seconds),
        ("processes", count, limits.processes),
    ):  # fmt: skip
        if allowed and value > allowed:
            return name, f"{value:g}, {allowed:g} are allowed"
    return None


def cap_output(charges: Collection[Charge], run_bytes: int) -> None:
    """Give the oldest bytes of files that are too long back to the file system. The workers of a run have equal shares."""
    living = Counter(charge.key[0].partition("/")[0] for charge in charges)
    for charge in charges:
        share = run_bytes // (2 * living[charge.key[0].partition("/")[0]])
        kept = max(OUTPUT_BYTES_LEAST, min(charge.papers.limits.output_bytes, share))
        for name in ("stdout", "stderr"):
            _, held = worker_files.size(charge.directory, name)
            if held > kept * (1 + OUTPUT_SLACK) + 2 * OUTPUT_BYTES_LEAST:
                with contextlib.suppress(OSError), worker_files.opened(charge.directory, name, os.O_WRONLY) as descriptor:
                    processes.punch(descriptor, kept)


def written(directory: Path) -> tuple[int, int]:
    """Bytes that the worker has ever written to its two files."""
    return worker_files.size(directory, "stdout")[0], worker_files.size(directory, "stderr")[0]


def mark_time(charge: Charge, wall: float, *, last: bool = False) -> None:
    """Note how much the worker had written by now, if that is more than before, for who wants to know when a line was written.

    The marks of a long life stand farther apart: at most some thousands are ever made.
    """
    sizes = written(charge.directory)
    pause = (charge.marked_at - charge.first_mark_at) / MARKS
    if sizes == charge.marked or (wall - charge.marked_at < pause and not last):
        return
    with contextlib.suppress(OSError):
        worker_files.append(charge.directory, TIMES_FILE, MARK.pack(*sizes, wall))
    charge.first_mark_at = charge.first_mark_at or wall
    charge.marked, charge.marked_at = sizes, wall


def differs(before: hands.Used, now: hands.Used) -> bool:
    """Whether people would want to know."""
    return (
        before.output_bytes != now.output_bytes
        or before.processes != now.processes
        or abs(before.memory_bytes - now.memory_bytes) > 1 << 20
        or now.cpu_seconds - before.cpu_seconds > 0.1
    )
