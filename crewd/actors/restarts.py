"""A supervisor's decisions: which child to start, stop or restart next, and when to give up.

Rule 1: this module decides; it never waits, reads a clock or makes an actor. Time arrives inside the event.
Rule 2: children start in order and stop in reverse, one at a time; a failed restart is one more restart (never a loop here).
Rule 3: every abnormal end counts against the intensity; past it the supervisor ends its children and then itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import assert_never

from crewd.actors.exits import ExitKind, ExitReason
from crewd.actors.spec import Backoff, Intensity, Restart, Strategy


class ChildState(StrEnum):
    """Where a child is."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Child:
    """A child as the decisions see it."""

    name: str
    restart: Restart = Restart.PERMANENT
    state: ChildState = ChildState.DOWN
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class Family:
    """A supervisor's state. `children` stand in start order."""

    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: Intensity = field(default_factory=Intensity)
    backoff: Backoff = field(default_factory=Backoff)
    children: tuple[Child, ...] = ()
    restarts: tuple[float, ...] = ()
    resume_at: float | None = None
    ending: ExitReason | None = None

    def child(self, name: str) -> Child | None:
        """The child of this name."""
        return next((child for child in self.children if child.name == name), None)

    def with_child(self, changed: Child) -> Family:
        """The family with this child in its new state."""
        return replace(self, children=tuple(changed if c.name == changed.name else c for c in self.children))


@dataclass(frozen=True, slots=True)
class Proceed:
    """Go on with whatever is next (also: a back-off is over)."""

    at: float


@dataclass(frozen=True, slots=True)
class Added:
    """A dynamic child was asked for."""

    child: Child
    at: float


@dataclass(frozen=True, slots=True)
class ChildUp:
    """A child's `on_start` has finished."""

    name: str
    at: float


@dataclass(frozen=True, slots=True)
class ChildDown:
    """A child has ended, or did not start."""

    name: str
    reason: ExitReason
    at: float


@dataclass(frozen=True, slots=True)
class EndAsked:
    """The supervisor is to end its children, last one first, and then itself."""

    reason: ExitReason
    at: float


FamilyEvent = Proceed | Added | ChildUp | ChildDown | EndAsked


@dataclass(frozen=True, slots=True)
class StartChild:
    """Make the child."""

    name: str


@dataclass(frozen=True, slots=True)
class StopChild:
    """Ask the child to end."""

    name: str


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Say `Proceed` at this time."""

    at: float


@dataclass(frozen=True, slots=True)
class Finish:
    """All children are down: end with this reason."""

    reason: ExitReason


FamilyEffect = StartChild | StopChild | WakeAt | Finish


def allow_restart(restarts: tuple[float, ...], at: float, limit: Intensity) -> tuple[tuple[float, ...], bool]:
    """Forget restarts older than the period, add this one, say whether that is still within the limit."""
    recent = (*(t for t in restarts if t > at - limit.period_seconds), at)
    return recent, len(recent) <= limit.restarts_max


def decide(family: Family, event: FamilyEvent) -> tuple[Family, list[FamilyEffect]]:
    """The family after `event`, and what must be done now."""
    match event:
        case Proceed(at):
            return _next(family, at)
        case Added(child, at):
            if family.ending is not None or family.child(child.name) is not None:
                return family, []
            return _next(replace(family, children=(*family.children, child)), at)
        case ChildUp(name, at):
            up = family.child(name)
            if up is None or up.state is not ChildState.STARTING:
                return family, []
            return _next(family.with_child(replace(up, state=ChildState.UP)), at)
        case ChildDown(name, reason, at):
            return _child_down(family, name, reason, at)
        case EndAsked(reason, at):
            if family.ending is None:
                family = replace(family, ending=reason, resume_at=None)
            return _next(family, at)
        case _:
            assert_never(event)


def _child_down(family: Family, name: str, reason: ExitReason, at: float) -> tuple[Family, list[FamilyEffect]]:
    child = family.child(name)
    if child is None or child.state is ChildState.DOWN:
        return family, []
    asked = child.state is ChildState.STOPPING
    family = family.with_child(replace(child, state=ChildState.DOWN))
    if asked or family.ending is not None:
        return _next(_forget(family, name) if not child.wanted else family, at)
    again = child.restart is Restart.PERMANENT or (child.restart is Restart.TRANSIENT and reason.abnormal)
    if not again:
        return _next(_forget(family, name), at)
    restarts, allowed = allow_restart(family.restarts, at, family.intensity)
    family = replace(family, restarts=restarts)
    if not allowed:
        return _next(replace(family, ending=ExitReason(ExitKind.INTENSITY, reason.error)), at)
    family = _take_down(family, name)
    return _next(replace(family, resume_at=at + family.backoff.seconds(len(restarts))), at)


def _forget(family: Family, name: str) -> Family:
    return replace(family, children=tuple(child for child in family.children if child.name != name))


def _take_down(family: Family, name: str) -> Family:
    """Mark who goes down with a child that ended: they are stopped first and start again after it."""
    names = [child.name for child in family.children]
    match family.strategy:
        case Strategy.ONE_FOR_ONE:
            return family
        case Strategy.ONE_FOR_ALL:
            doomed = names
        case Strategy.REST_FOR_ONE:
            doomed = names[names.index(name) + 1 :]
        case _:
            assert_never(family.strategy)
    return replace(
        family,
        children=tuple(
            replace(child, state=ChildState.STOPPING)
            if child.name in doomed and child.state in {ChildState.UP, ChildState.STARTING}
            else child
            for child in family.children
        ),
    )


def _next(family: Family, at: float) -> tuple[Family, list[FamilyEffect]]:
    """Stop what must stop (last first), then start what must start (first first, one at a time)."""
    if family.ending is not None:
        alive = [child for child in family.children if child.state is not ChildState.DOWN]
        if not alive:
            return family, [Finish(family.ending)]
        last = alive[-1]
        return family.with_child(replace(last, state=ChildState.STOPPING)), [StopChild(last.name)]
    stopping = [child for child in family.children if child.state is ChildState.STOPPING]
    if stopping:
        return family, [StopChild(stopping[-1].name)]
    if family.resume_at is not None:
        if at < family.resume_at:
            return family, [WakeAt(family.resume_at)]
        family = replace(family, resume_at=None)
    dynamic = family.strategy is Strategy.ONE_FOR_ONE
    effects: list[FamilyEffect] = []
    for each in family.children:
        if each.state is ChildState.STARTING and not dynamic:
            break  # ordered strategies start one child at a time
        if each.state is ChildState.DOWN:
            family = family.with_child(replace(each, state=ChildState.STARTING))
            effects.append(StartChild(each.name))
            if not dynamic:
                break
    return family, effects
