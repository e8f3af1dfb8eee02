"""The elapsed time since a wall-clock time, also if the wall clock was set since then. Pure.

Rows hold wall-clock times, and a limit must not be reached because somebody has set the clock while crewd was away. Within one
boot of the machine the monotonic clock goes on from process to process, so it is enough to know by how much the wall clock was
ahead of it, and from when on.
"""

from __future__ import annotations

import msgspec

ERAS_MAX = 32
SET_SECONDS = 1.0
"""A wall clock that differs by more from what it was expected to show was set; by less it was slewed."""


class WallTimes(msgspec.Struct, frozen=True):
    """By how many seconds the wall clock was ahead of the monotonic one, with the monotonic time from which on, in this boot.

    The first era reaches back to the start of the machine.
    """

    boot: str = ""
    eras: tuple[tuple[float, float], ...] = ()

    def noted(self, boot: str, wall: float, now: float) -> WallTimes:
        """The same with what the clocks show now; itself if nothing was set."""
        ahead = wall - now
        if boot != self.boot:
            return WallTimes(boot, ((0.0, ahead),))
        if self.eras and abs(self.eras[-1][1] - ahead) <= SET_SECONDS:
            return self
        return WallTimes(boot, (*self.eras, (now, ahead))[-ERAS_MAX:])

    def ago(self, at: float, wall: float, now: float) -> float:
        """How many seconds before now the wall clock showed `at`. What is older than this boot is told by the wall clock."""
        until = now
        for number in reversed(range(len(self.eras))):
            begin, ahead = self.eras[number]
            then = at - ahead
            if (begin if number else 0.0) - SET_SECONDS <= then <= until + SET_SECONDS:
                return max(0.0, now - then)
            until = begin
        return max(0.0, wall - at)
