"""What each class of actors does and has done: counted where it happens, put together when somebody looks.

Counters of one class are written by the threads of its actors without a lock; each class lives on one thread, and a count
that is wrong by one misleads nobody.

Tests: tests/actors/test_monitors_and_metrics.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from crewd.actors.inbox import TwoLaneInbox

if TYPE_CHECKING:
    from crewd.actors.ref import AnyRef

LONG_TURNS_KEPT = 32
"""Long turns remembered."""
CRASHES_KEPT = 256
"""Crashes remembered: one of an actor that goes on crashing every 5 s is among them for minutes, also beside twenty others."""


class LongTurn(msgspec.Struct, frozen=True):
    """A turn that took, or has been taking, `seconds`; `stack` is where it was when the watchdog saw it."""

    ref: AnyRef
    seconds: float
    stack: str


class Crash(msgspec.Struct, frozen=True):
    """An actor ended by an error, at `at` on the monotonic clock. In words: an error itself would keep what it was about."""

    name: str
    at: float
    reason: str


@dataclass(slots=True)
class Tally:
    """What has happened to the actors of one class."""

    made: int = 0
    restarts: int = 0
    crashes: int = 0
    turns: int = 0
    messages: int = 0
    busy_seconds: float = 0.0
    longest_turn_seconds: float = 0.0
    refused: int = 0
    peak: int = 0

    def turn(self, seconds: float) -> None:
        """A turn is over."""
        self.turns += 1
        self.busy_seconds += seconds
        self.longest_turn_seconds = max(self.longest_turn_seconds, seconds)

    def spawned(self, *, again: bool) -> None:
        """An incarnation was made."""
        self.made += 1
        self.restarts += again

    def ended(self, inbox: TwoLaneInbox, *, abnormal: bool) -> None:
        """An incarnation has ended; what its inbox counted is kept."""
        self.crashes += abnormal
        self.refused += inbox.refused
        self.peak = max(self.peak, inbox.peak)


class ClassMetrics(msgspec.Struct, frozen=True):
    """One class now and so far. Depths and ages are (control, data): messages waiting, seconds of the oldest one."""

    name: str
    alive: int
    made: int
    restarts: int
    crashes: int
    depth: tuple[int, int]
    age_seconds: tuple[float, float]
    peak: int
    refused: int
    turns: int
    messages: int
    busy_seconds: float
    longest_turn_seconds: float


class Metrics:
    """The tallies of a system."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}

    def of(self, name: str) -> Tally:
        """The tally of a class."""
        return self._tallies.setdefault(name, Tally())

    def measure(self, alive: Sequence[tuple[str, TwoLaneInbox]], now: float) -> tuple[ClassMetrics, ...]:
        """All classes, by name."""
        inboxes: dict[str, list[TwoLaneInbox]] = {}
        for name, inbox in alive:
            inboxes.setdefault(name, []).append(inbox)
        return tuple(_class(name, tally, inboxes.get(name, []), now) for name, tally in sorted(self._tallies.items()))


def _class(name: str, tally: Tally, inboxes: list[TwoLaneInbox], now: float) -> ClassMetrics:
    depths = [inbox.depth() for inbox in inboxes]
    ages = [inbox.ages(now) for inbox in inboxes]
    return ClassMetrics(
        name=name,
        alive=len(inboxes),
        made=tally.made,
        restarts=tally.restarts,
        crashes=tally.crashes,
        depth=(sum(control for control, _ in depths), sum(data for _, data in depths)),
        age_seconds=(max((control for control, _ in ages), default=0.0), max((data for _, data in ages), default=0.0)),
        peak=max([tally.peak, *(inbox.peak for inbox in inboxes)]),
        refused=tally.refused + sum(inbox.refused for inbox in inboxes),
        turns=tally.turns,
        messages=tally.messages,
        busy_seconds=tally.busy_seconds,
        longest_turn_seconds=tally.longest_turn_seconds,
    )
