"""What a worker may use, and which changes of what it uses are worth reporting. Pure.

Tests: tests/guardian/test_care.py, tests/test_lifecycle.py.
"""

from __future__ import annotations

from crewd.model.policy import Limits
from crewd.protocol import guardian as gd

ORPHANS_PER_SECOND_MAX = 1_000
"""A worker that leaves more processes than this to the guardian is ended."""
MEMORY_STEP_BYTES = 1 << 20
CPU_STEP_SECONDS = 0.1


def exceeded(limits: Limits, memory: int, cpu: float, count: int) -> tuple[str, str] | None:
    """The name of the limit that is exceeded, and a text with both numbers; None if none is."""
    for name, value, allowed, said in (
        ("memory_bytes", memory, limits.memory_bytes, _bytes), ("cpu_seconds", cpu, limits.cpu_seconds, _seconds),
        ("processes", count, limits.processes, str),
    ):  # fmt: skip
        if allowed and value > allowed:
            return name, f"{said(value)}, {said(allowed)} are allowed"
    return None


def _bytes(number: float) -> str:
    return f"{number / MEMORY_STEP_BYTES:,.1f} MiB" if number >= MEMORY_STEP_BYTES else f"{number:,.0f} bytes"


def _seconds(number: float) -> str:
    return f"{number:,g} s"


def differs(before: gd.Used, now: gd.Used) -> bool:
    """Whether the change is worth a report."""
    return (
        before.output_bytes != now.output_bytes
        or before.processes != now.processes
        or abs(before.memory_bytes - now.memory_bytes) > MEMORY_STEP_BYTES
        or now.cpu_seconds - before.cpu_seconds > CPU_STEP_SECONDS
    )
