"""How many files crewd may have open, and what they are for. What would be one too many is refused, or waits.

ZeroMQ ends the whole process when it cannot accept a connection for want of a descriptor, so there is a bound well below.

Tests: tests/hostile/test_descriptors.py.
"""

from __future__ import annotations

import contextlib
import resource
from typing import NamedTuple

WANTED = 65_536
"""As many as crewd asks for, if the hard limit allows it."""
RESERVE = 48
"""For crewd itself: the database, logs, sockets, bundles that are read."""
CONNECTIONS_LEAST = 4


class FileShares(NamedTuple):
    """What the files are for: workers that live at once, and connections of clients."""

    files: int
    workers: int
    connections: int


def raise_limit() -> tuple[int, int]:
    """Raise the soft limit as far as it helps; the soft limit from before, which workers get, and the one from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft, soft
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return soft, resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def budget(files: int, workers_max: int) -> FileShares:
    """How so many files are shared out. A worker takes one here; connections may come faster than they are counted."""
    if files == resource.RLIM_INFINITY:
        files = 1 << 20
    free = max(0, files - RESERVE)
    workers = max(1, min(workers_max, free // 2))
    return FileShares(files, workers, max(CONNECTIONS_LEAST, (free - workers) // 2))
