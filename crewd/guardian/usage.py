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
    for name, value, allowed in (
        ("memory_bytes", memory, limits.memory_bytes), ("cpu_seconds", cpu, limits.cpu_seconds),
        ("processes", count, limits.processes),
    ):  # fmt: skip
        if allowed and value > allowed:
            return name, f"{value:g}, {allowed:g} are allowed"
    return None


def differs(before: gd.Used, now: gd.Used) -> bool:
    """Whether the change is worth a report."""
    return (
        before.output_bytes != now.output_bytes
        or before.processes != now.processes
        or abs(before.memory_bytes - now.memory_bytes) > MEMORY_STEP_BYTES
        or now.cpu_seconds - before.cpu_seconds > CPU_STEP_SECONDS
    )
