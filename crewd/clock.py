"""The one place for time and chance.

Rule: nothing else in the tree names `time.`, `datetime.now`, `random.`, `secrets`, `uuid4` or `sleep`; a test reads the
tree and checks it. A program makes these objects in its `main` and hands them down; the simulated world hands down others.
Elapsed time is always monotonic; wall time is for people.

Tests: tests/test_house.py.
"""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, datetime
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

    def between(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
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

    def between(self, low: float, high: float) -> float:
        """See `Chance`."""
        return random.uniform(low, high)  # noqa: S311 (for waits, not for secrets)


class SeededChance:
    """Randomness that a seed determines: for simulated worlds. Never for secrets."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 (the point is that it can be repeated)

    def bytes(self, count: int) -> bytes:
        """See `Chance`."""
        return self._random.randbytes(count)

    def below(self, bound: int) -> int:
        """A number from 0 to `bound` - 1."""
        return self._random.randrange(bound)

    def happens(self, rate: float) -> bool:
        """True with this probability."""
        return rate > 0 and self._random.random() < rate

    def between(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return self._random.uniform(low, high)


def _local(wall: float) -> datetime:
    """In the zone of this machine; in UTC where the offset is one that Python does not know (POSIX TZ allows 24:59)."""
    try:
        return datetime.fromtimestamp(wall).astimezone()
    except ValueError:  # the offset is a day or more
        return datetime.fromtimestamp(wall, UTC)


def minute_of_day(wall: float) -> int:
    """The local minute of the day, 0 to 1439, at a wall-clock time: for people's hours of quiet."""
    local = _local(wall)
    return local.hour * 60 + local.minute


def in_words(wall: float) -> str:
    """A wall-clock time as people and programs read it: ISO 8601, in UTC, to the second."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds")


def with_zone(wall: float) -> str:
    """A wall-clock time as people here read it, and programs anywhere: ISO 8601, local with its zone, to the second."""
    return _local(wall).isoformat(timespec="seconds")


def local_time(wall: float) -> str:
    """A wall-clock time for people who look now: local, to the millisecond, with its date if it is not of today."""
    then = _local(wall)
    form = "%H:%M:%S" if then.date() == _local(datetime.now(UTC).timestamp()).date() else "%Y-%m-%d %H:%M:%S"
    return f"{then.strftime(form)}.{then.microsecond // 1000:03d}"


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_time(text: str, now: float) -> float:
    """The wall-clock time that `text` means: ISO 8601 (local, if it names no zone), or so long ago: 90s, 15m, 2h, 3d.

    Raises ValueError for anything else.
    """
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS and number.replace(".", "", 1).isdecimal():
        return now - float(number) * _UNITS[unit]
    return datetime.fromisoformat(text).timestamp()
