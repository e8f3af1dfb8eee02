"""A number that every process of a worker bears in a resource limit: what it starts inherits it, and everybody may read it.

The environment of a process that may not be dumped (ssh-agent, what has changed its user) is hidden from its own user; its
limits are not. The soft limit of the time that a real-time process may run at once (RLIMIT_RTTIME, in microseconds) is
unlimited everywhere; with the number it is a hundred thousand years. The number names the home and the worker.
"""

from __future__ import annotations

import contextlib
import hashlib
import resource
from pathlib import Path

_LIMIT: int | None = getattr(resource, "RLIMIT_RTTIME", None)
_ROW = "Max realtime timeout"
_BASE = 1 << 62
_WORKER_BITS = 38


def number_of(home_key: str, task: str, epoch: int) -> int:
    """The number of a worker."""
    worker = int.from_bytes(hashlib.sha256(f"{task}#{epoch}".encode()).digest()[:8], "big") % (1 << _WORKER_BITS)
    return home_number(home_key) + worker


def home_number(home_key: str) -> int:
    """The part of it that all workers of a home share."""
    home = int.from_bytes(hashlib.sha256(home_key.encode()).digest()[:8], "big") % (1 << 62 - _WORKER_BITS)
    return _BASE + (home << _WORKER_BITS)


def home_part(number: int) -> int:
    """The same, of a number that was read."""
    return number >> _WORKER_BITS << _WORKER_BITS


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
    return number if number >= _BASE else None


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
    return int(soft) if soft.isdigit() and int(soft) >= _BASE else None
