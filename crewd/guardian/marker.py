"""The marker in the environment of every process of a worker, also of one that was forked and never executed anything.

`/proc/PID/environ` shows the memory that the kernel filled at exec. A worker forked from the warm zygote would show the
zygote's environment there, so the zygote starts with a placeholder of the full length, and each child writes its own
marker over it before anything else. What the worker executes later inherits the marker in the ordinary way.

Tests: tests/hostile/test_forged_marks.py, tests/guardian/test_matrix.py.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from crewd.model import variables
from crewd.model.ids import split_marker

VARIABLE = variables.MARKER
WIDTH = 220
"""Characters kept free: home key (16) + run (28) + step (64) + epoch and separators, with room to spare."""
BLOCK_BYTES_MAX = 6 << 20
"""Of an environment that is read: no program is started with more (execve(2)), but a process may say that it has any."""
PIECE_BYTES = 1 << 16
_PREFIX = VARIABLE.encode() + b"="


def placeholder(home_key: str) -> str:
    """What the guardian's environment must hold when it starts."""
    return f"{home_key}:-".ljust(WIDTH, "-")


def find_slot() -> int | None:
    """The address of the placeholder in this process's memory; None where there is none (not Linux, not prepared)."""
    if sys.platform != "linux":
        return None
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])  # env_start and env_end (proc(5), fields 50 and 51)
    if end <= start:
        return None
    block = b"\0" + ctypes.string_at(start, end - start)
    at = block.find(b"\0" + _PREFIX)  # where an entry begins, not where another one mentions it
    value = block[at + 1 + len(_PREFIX) :].split(b"\0", 1)[0]
    return start + at + len(_PREFIX) if at >= 0 and len(value) == WIDTH else None


def write(slot: int | None, marker: str) -> None:
    """Mark this process and all that it will start."""
    padded = marker.ljust(WIDTH)
    if slot is not None and len(padded) == WIDTH:
        ctypes.memmove(slot, padded.encode("ascii"), WIDTH)
    os.environ[VARIABLE] = marker


def read(pid: int) -> str | None:
    """The marker of a process; None if it has none, is gone, or belongs to somebody else."""
    try:
        block = _head(f"/proc/{pid}/environ") or _of_threads(pid)
    except OSError:
        return None
    block = b"\0" + block
    at = block.find(b"\0" + _PREFIX)
    if at < 0:
        return None
    return block[at + 1 + len(_PREFIX) :].split(b"\0", 1)[0].decode("ascii", "replace").strip()


def owner(text: str, home_key: str) -> tuple[str, int] | None:
    """Task and epoch that a marker of this home says; ("", 0) for one that says nothing possible, which somebody has forged.

    None for one of another home, and for the placeholder, which the guardian and the processes of the pool carry.
    """
    if not text.startswith(f"{home_key}:") or text.startswith(f"{home_key}:-"):
        return None
    parts = split_marker(text)
    return ("", 0) if parts is None else (parts[1], parts[2])


def _head(path: str) -> bytes:
    block = b""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while len(block) < BLOCK_BYTES_MAX and (piece := os.read(opened, PIECE_BYTES)):
            block += piece
    finally:
        os.close(opened)
    return block


def _of_threads(pid: int) -> bytes:
    """The environment of a process whose first thread has ended: another one still shows it."""
    for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 (each process of the machine is looked at)
        if task == str(pid):
            continue  # it is the first thread
        try:
            block = _head(f"/proc/{pid}/task/{task}/environ")
        except OSError:
            continue
        if block:
            return block
    return b""
