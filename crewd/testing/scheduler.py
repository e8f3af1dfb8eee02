"""The real actors, run by hand: a dispatcher with the interface of the brain's, single-threaded, that lets a test choose.

Tests: tests/client/test_conversation.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from crewd.actors import ActorSystem, ExitReason, Turn
from crewd.clock import SeededChance

if TYPE_CHECKING:
    from crewd.actors import AnyActor, HasTurns
    from crewd.clock import Chance


class VirtualClock:
    """Time that moves when it is told to."""

    def __init__(self, start: float = 1_000.0) -> None:
        self.now = start
        self.shift = 0.0

    def monotonic(self) -> float:
        """See `crewd.clock.Clock`."""
        return self.now

    def wall(self) -> float:
        """Seconds since 1970, moving with `monotonic`; a change of `shift` is a jump of the wall clock."""
        return 1_700_000_000.0 + self.now + self.shift


class Scheduler:
    """A system whose every actor, pinned or not, takes its turns from `step`."""

    def __init__(self, chance: Chance | None = None, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self.ready: list[AnyActor] = []
        self.ends: list[tuple[str, int, ExitReason]] = []
        self.inside = False
        self.turns = 0
        self.busy = Turn()
        self.system = ActorSystem(
            self.clock,
            chance or SeededChance(0),
            self,
            wake=lambda: None,
            reporter=lambda name, incarnation, reason: self.ends.append((name, incarnation, reason)),
            pin=lambda _name, _clock: self,
        )

    def schedule(self, actor: HasTurns) -> None:
        """See `actors.Dispatcher`."""
        mine = cast("AnyActor", actor)  # whoever chooses the next one looks into their inboxes
        if mine not in self.ready:
            self.ready.append(mine)

    def owns_thread(self) -> bool:
        """Whether an actor is in its turn."""
        return self.inside

    def step(self, choose: Callable[[int], int] = lambda _: 0) -> bool:
        """One turn of the actor that `choose` picks among the ready ones; False if none is ready."""
        if not self.ready:
            return False
        actor = self.ready.pop(choose(len(self.ready)))
        self.inside = True
        self.turns += 1
        try:
            actor.turn()
        finally:
            self.inside = False
        return True

    def settle(self, *, turns: int = 10_000, choose: Callable[[int], int] = lambda _: 0) -> None:
        """Turns until nobody is ready. Raises AssertionError if that takes more than `turns`."""
        for _ in range(turns):
            if not self.step(choose):
                return
        raise AssertionError(f"not settled after {turns} turns")

    def advance(self, seconds: float) -> None:
        """Let time pass: timers fire in order, and actors settle after each."""
        end = self.clock.now + seconds
        while True:
            self.settle()
            due = self.system.timers.next_due()
            if due is None or due > end:
                break
            self.clock.now = max(self.clock.now, due)
            self.system.timers.fire(self.clock.now)
        self.clock.now = end
        self.settle()
