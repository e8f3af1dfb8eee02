"""A number that every process of a worker bears in a resource limit: what it starts inherits it, and everybody may read it.

The environment of a process that may not be dumped (ssh-agent, what has changed its user) is hidden from its own user; its
limits are not. The soft limit of the time that a real-time process may run at once (RLIMIT_RTTIME, in microseconds) is
unlimited everywhere; with the number it is a hundred thousand years. The number names the home and the worker.

Tests: tests/hostile/test_forged_marks.py.
"""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

from crewd.model.worker_number import BASE

_LIMIT: int | None = getattr(resource, "RLIMIT_RTTIME", None)
_ROW = "Max realtime timeout"


def write(number: int) -> None:
    """Mark this process and all that it will start, where the platform has the limit and nobody has lowered it."""
    if _LIMIT is None:
        return
    with contextlib.suppress(OSError, ValueError):
        hard = resource.getrlimit(_LIMIT)[1]
        if hard == resource.RLIM_INFINITY or hard >= number:
            resource.setrlimit(_LIMIT, (number, hard))


def own() -> int | None:
    """The number that this process bears."""
    if _LIMIT is None:
        return None
    number = resource.getrlimit(_LIMIT)[0]
    return number if number >= BASE else None


def read(pid: int) -> int | None:
    """The number that a process bears; None if it bears none, or is gone."""
    try:
        text = Path(f"/proc/{pid}/limits").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    at = text.find(_ROW)
    if at < 0:
        return None
    soft = text[at + len(_ROW) :].split(maxsplit=1)[0]
    return int(soft) if soft.isdigit() and int(soft) >= BASE else None
