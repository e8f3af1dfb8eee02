"""Whether a process that is asked once a second answers. Pure: it is told the time.

Only time counts in which the asking process was awake: a machine that was suspended, or
an owner that was stopped, proves nothing.
"""

from __future__ import annotations

ASK_SECONDS = 1.0
SILENT_SECONDS = 3.0
"""A process that has not answered for this long is reported."""
STARTING_SECONDS = 15.0
"""One that has never answered is reported after this: it may have much to load first. So is one that is at work."""
GIVE_UP_SECONDS = 20.0
"""One that has not answered for so long is killed, and another one takes its place."""
START_SECONDS = 120.0
"""The same for one that has never answered, and for one that is at work: on a machine that is full it is only slow."""
AWAKE_SECONDS = 5.0
"""More than this between two questions, and the asking process was not awake."""


class Pulse:
    """Of one process, from `now` on. Times are monotonic."""

    def __init__(self, now: float) -> None:
        self._heard_at = self._asked_at = now
        self._answered = False

    def heard(self, now: float) -> None:
        """It has said something."""
        self._heard_at, self._answered = now, True

    def ask(self, now: float) -> None:
        """It is asked now. To be called every `ASK_SECONDS`, after everything that it has said was read."""
        away = now - self._asked_at
        if away > AWAKE_SECONDS:
            self._heard_at += away - ASK_SECONDS
        self._asked_at = now

    def silent(self, now: float, *, at_work: bool = False) -> float:
        """For how many seconds it has not answered; 0 if that is not long. `at_work`: it only waits for a processor."""
        seconds = now - self._heard_at
        return seconds if seconds > (SILENT_SECONDS if self._answered and not at_work else STARTING_SECONDS) else 0.0

    def is_given_up(self, now: float, *, at_work: bool = False) -> bool:
        """Whether another one is to take its place."""
        return now - self._heard_at > (GIVE_UP_SECONDS if self._answered and not at_work else START_SECONDS)
