"""When a person is told: failures at once, successes together, the same thing once, and at night only what cannot wait. Pure.

Times are wall-clock seconds; the hours of quiet are those of the place where the client runs (`minute_of_day`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from crewd.model.errors import UsageError
from crewd.model.news import NewsItem, Severity
from crewd.model.reasons import NoticeKind

DEDUP_SECONDS = 30.0
"""The same thing is told once within this."""
_REPEATED = {*NoticeKind, "message"}
"""Kinds of which the same words may come again and mean the same; a question or an end is another one each time."""
BATCH_SECONDS = 5.0
"""Successes wait so long for others."""
_HOURS = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)-([01]?\d|2[0-3]):([0-5]\d)\Z")


def parse_hours(text: str) -> tuple[int, int] | None:
    """Minutes of the day from `22:00-07:00`; None of nothing. UsageError for what is not that."""
    if not text:
        return None
    match = _HOURS.match(text)
    if match is None:
        raise UsageError(f"{text!r} are no hours", hint="HH:MM-HH:MM, for example 22:00-07:00")
    h1, m1, h2, m2 = map(int, match.groups())
    return h1 * 60 + m1, h2 * 60 + m2


def is_quiet(hours: tuple[int, int] | None, minute: int) -> bool:
    """Whether this minute of the day is within the hours, which may go over midnight."""
    if hours is None or hours[0] == hours[1]:
        return False
    begin, end = hours
    return begin <= minute < end if begin < end else minute >= begin or minute < end


@dataclass(slots=True)
class Teller:
    """Takes news in and says what to tell now. `minute_of_day` gives the local minute of a time."""

    minute_of_day: Callable[[float], int]
    quiet: tuple[int, int] | None = None
    least: Severity = Severity.INFO
    batch_seconds: float = BATCH_SECONDS
    _held: list[NewsItem] = field(default_factory=list)
    _since: float | None = None
    _told: dict[tuple[str, str, str, str], float] = field(default_factory=dict)

    def take(self, items: Sequence[NewsItem], now: float) -> list[list[NewsItem]]:
        """Take these in; what to tell now, each list together."""
        for item in items:
            same = (item.run, item.task, item.kind, item.text)
            again = item.kind in _REPEATED and item.at - self._told.get(same, -DEDUP_SECONDS) < DEDUP_SECONDS
            if item.severity < self.least or again:
                continue
            self._told[same] = item.at
            self._held.append(item)
        self._told = {same: at for same, at in self._told.items() if now - at < DEDUP_SECONDS}
        quiet = is_quiet(self.quiet, self.minute_of_day(now))
        ready = [item for item in self._held if item.severity >= (Severity.CRITICAL if quiet else Severity.WARNING)]
        rest = [item for item in self._held if item not in ready]
        self._held, told = rest, [[item] for item in ready]
        successes = [item for item in rest if item.severity is Severity.INFO]
        self._since = None if not successes else now if self._since is None else self._since
        if self._since is not None and not quiet and now - self._since >= self.batch_seconds:
            self._held, self._since = [item for item in rest if item not in successes], None
            told += [[item for item in successes if item.kind == kind] for kind in dict.fromkeys(i.kind for i in successes)]
        return told

    def upto(self, seen: int) -> int:
        """How far the news can be called seen: up to here nothing is held back. `seen` is how far they were read."""
        return min((item.seq - 1 for item in self._held), default=seen)


def in_words(items: Sequence[NewsItem]) -> str:
    """One line for what is told together."""
    first = items[0]
    if len(items) == 1:
        what = f"{first.name}{first.task.partition('/')[1]}{first.task.partition('/')[2]}"
        return f"{first.severity.name.lower():<8} {first.kind:<14} {what}  {first.text}".replace("\n", "; ").rstrip()
    names = ", ".join(item.name for item in items[:8]) + (", …" if len(items) > 8 else "")
    return f"{'info':<8} {len(items)} {first.kind}: {names}"
