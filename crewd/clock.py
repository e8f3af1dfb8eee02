"""The one place for time and chance.

Rule: nothing else in the tree names `time.`, `datetime.now`, `random.`, `secrets`, `uuid4` or `sleep`; a test reads the
tree and checks it. A program makes these objects in its `main` and hands them down; the simulated world hands down others.
Elapsed time is always monotonic (R22); wall time is for people.
"""

from __future__ import annotations

import os
import time
from typing import Protocol


class Clock(Protocol):
    """What time it is. Seconds as floats."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; every decision uses this one."""
        ...

    def wall(self) -> float:
        """Seconds since 1970 in UTC; shown to people, never subtracted."""
        ...


class Chance(Protocol):
    """Where randomness comes from."""

    def bytes(self, count: int) -> bytes:
        """`count` bytes that nobody can guess."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def wall(self) -> float:
        """See `Clock`."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread; for programs' outermost waiting loops only, never for an actor."""
        time.sleep(seconds)


class SystemChance:
    """The operating system's randomness."""

    def bytes(self, count: int) -> bytes:
        """See `Chance`."""
        return os.urandom(count)
