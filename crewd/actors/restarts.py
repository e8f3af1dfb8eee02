"""A supervisor's decisions: which child to start, stop or restart next, and when to give up.

Rule 1: this module decides; it never waits, reads a clock or makes an actor. Time and chance arrive inside the event.
Rule 2: children start in order and stop in reverse, one at a time; a failed restart is one more restart (never a loop here).
    Dynamic children depend on nobody: they start and stop side by side.
Rule 3: every restart and every abnormal end counts against the intensity; past it the supervisor ends its children and then
    itself.

Tests: tests/actors/test_otp_conformance.py.
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

import msgspec
from msgspec.structs import replace

from crewd.actors.exits import SHUTDOWN, ExitKind, ExitReason
from crewd.actors.spec import AutoShutdown, Backoff, Intensity, Restart, Strategy


class ChildState(StrEnum):
    """Where a child is. `due` is down and to be started at `start_at`; `parked` is down until somebody asks."""

    DUE = "due"
    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"
    PARKED = "parked"


RUNNING = frozenset({ChildState.STARTING, ChildState.UP, ChildState.STOPPING})


class Child(msgspec.Struct, frozen=True):
    """A child as the decisions see it. `row` counts its restarts in a row; `after` is what it comes to when it has stopped."""

    name: str
    restart: Restart = Restart.PERMANENT
    significant: bool = False
    dynamic: bool = False
    state: ChildState = ChildState.DUE
    start_at: float = 0.0
    up_at: float | None = None
    row: int = 0
    after: ChildState | None = None


class Family(msgspec.Struct, frozen=True):
    """A supervisor's state. `children` stand in start order; the mapping is never changed in place."""

    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: Intensity = msgspec.field(default_factory=Intensity)
    backoff: Backoff = msgspec.field(default_factory=Backoff)
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    children: dict[str, Child] = msgspec.field(default_factory=dict)
    due: frozenset[str] = frozenset()
    running: frozenset[str] = frozenset()
    restarts: tuple[float, ...] = ()
    ending: ExitReason | None = None

    def child(self, name: str) -> Child | None:
        """The child of this name."""
        return self.children.get(name)

    def with_child(self, changed: Child) -> Family:
        """The family with this child in its new state."""
        name, state = {changed.name}, changed.state
        return replace(
            self,
            children={**self.children, changed.name: changed},
            due=self.due | name if state is ChildState.DUE else self.due - name,
            running=self.running | name if state in RUNNING else self.running - name,
        )

    def without(self, name: str) -> Family:
        """The family without this child."""
        children = self.children.copy()
        del children[name]
        return replace(self, children=children, due=self.due - {name}, running=self.running - {name})


def family(
    children: tuple[Child, ...],
    strategy: Strategy = Strategy.ONE_FOR_ONE,
    intensity: Intensity | None = None,
    backoff: Backoff | None = None,
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
) -> Family:
    """The state of a supervisor that has not started a child. Raises ValueError for a set of children that cannot be."""
    by_name = {child.name: child for child in children}
    if len(by_name) < len(children):
        raise ValueError("two children of a supervisor have the same name")
    if auto_shutdown is AutoShutdown.NEVER and any(child.significant for child in children):
        raise ValueError("a significant child needs an auto_shutdown")
    return Family(strategy, intensity or Intensity(), backoff or Backoff(), auto_shutdown, by_name, due=frozenset(by_name))


class Proceed(msgspec.Struct, frozen=True):
    """Go on with whatever is next (also: a back-off is over)."""

    at: float


class Added(msgspec.Struct, frozen=True):
    """A dynamic child was asked for."""

    child: Child
    at: float


class EndChild(msgspec.Struct, frozen=True):
    """One child is to end and to stay down; a temporary or dynamic one is forgotten."""

    name: str
    at: float


class RestartChild(msgspec.Struct, frozen=True):
    """A parked child is to start again."""

    name: str
    at: float


class ChildUp(msgspec.Struct, frozen=True):
    """A child's `on_start` has finished."""

    name: str
    at: float


class ChildDown(msgspec.Struct, frozen=True):
    """A child has ended, or did not start. `roll` in [0, 1) is the chance for a back-off's jitter."""

    name: str
    reason: ExitReason
    at: float
    roll: float = 0.5


class EndAsked(msgspec.Struct, frozen=True):
    """The supervisor is to end its children, last one first, and then itself."""

    reason: ExitReason
    at: float


FamilyEvent = Proceed | Added | EndChild | RestartChild | ChildUp | ChildDown | EndAsked


class StartChild(msgspec.Struct, frozen=True):
    """Make the child."""

    name: str


class StopChild(msgspec.Struct, frozen=True):
    """Ask the child to end."""

    name: str


class WakeAt(msgspec.Struct, frozen=True):
    """Say `Proceed` at this time."""

    at: float


class FinishFamily(msgspec.Struct, frozen=True):
    """All children are down: end with this reason."""

    reason: ExitReason


FamilyEffect = StartChild | StopChild | WakeAt | FinishFamily
Next = tuple[Family, list[FamilyEffect]]


def allow_restart(restarts: tuple[float, ...], at: float, limit: Intensity) -> tuple[tuple[float, ...], bool]:
    """Forget restarts older than the period, add this one, say whether that is still within the limit."""
    recent = (*(t for t in restarts if t > at - limit.period_seconds), at)
    return recent, len(recent) <= limit.restarts_max


def decide(state: Family, event: FamilyEvent) -> Next:
    """The family after `event`, and what must be done now."""
    match event:
        case Proceed(at):
            return _next(state, at)
        case Added(child, at):
            if state.ending is not None or state.child(child.name) is not None:
                return state, []
            return _next(state.with_child(replace(child, dynamic=True)), at)
        case EndChild(name, at):
            return _end_child(state, name, at)
        case RestartChild(name, at):
            parked = state.child(name)
            if parked is None or parked.state is not ChildState.PARKED or state.ending is not None:
                return state, []
            return _next(state.with_child(replace(parked, state=ChildState.DUE, start_at=at, row=0)), at)
        case ChildUp(name, at):
            up = state.child(name)
            if up is None or up.state is not ChildState.STARTING:
                return state, []
            return _next(state.with_child(replace(up, state=ChildState.UP, up_at=at)), at)
        case ChildDown():
            return _child_down(state, event)
        case EndAsked(reason, at):
            return _next(state if state.ending is not None else replace(state, ending=reason), at)
        case _:
            assert_never(event)


def _end_child(state: Family, name: str, at: float) -> Next:
    child = state.child(name)
    if child is None or child.state is ChildState.PARKED or state.ending is not None:
        return state, []
    if child.state is ChildState.DUE:
        return _next(_came_to(state, child, ChildState.PARKED), at)
    state = state.with_child(replace(child, state=ChildState.STOPPING, after=ChildState.PARKED))
    return state, [StopChild(name)]


def _came_to(state: Family, child: Child, after: ChildState) -> Family:
    """A child has stopped because it was asked to; one that nobody could start again is forgotten."""
    if child.restart is Restart.TEMPORARY or (child.dynamic and after is ChildState.PARKED):
        return state.without(child.name)
    return state.with_child(replace(child, state=after, after=None, up_at=None))


def _child_down(state: Family, event: ChildDown) -> Next:
    child, at, reason = state.child(event.name), event.at, event.reason
    if child is None or child.state not in RUNNING:
        return state, []
    ending = state.ending
    if ending is not None:
        state = state.with_child(replace(child, state=ChildState.PARKED))
        side_by_side = child.dynamic and any(state.children[name].dynamic for name in state.running)
        return (state, []) if side_by_side else _end(state, ending)
    if child.state is ChildState.STOPPING:
        return _next(_came_to(state, child, child.after or ChildState.DUE), at)
    again = child.restart is Restart.PERMANENT or (child.restart is Restart.TRANSIENT and reason.abnormal)
    if again or reason.abnormal:
        restarts, allowed = allow_restart(state.restarts, at, state.intensity)
        state = replace(state, restarts=restarts)
        if not allowed:
            state = state.with_child(replace(child, state=ChildState.PARKED))
            return _next(replace(state, ending=ExitReason(ExitKind.INTENSITY, reason.error)), at)
    if not again:
        return _gone_for_good(state.without(child.name), child, at)
    healthy = child.up_at is not None and at - child.up_at >= state.backoff.healthy_seconds
    row = 1 if healthy else child.row + 1
    start_at = at + state.backoff.seconds(row, event.roll)
    state = state.with_child(replace(child, state=ChildState.DUE, start_at=start_at, up_at=None, row=row))
    return _next(_take_down(state, child.name), at)


def _gone_for_good(state: Family, child: Child, at: float) -> Next:
    if child.significant:
        left = any(each.significant for each in state.children.values())
        if state.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT or (
            state.auto_shutdown is AutoShutdown.ALL_SIGNIFICANT and not left
        ):
            state = replace(state, ending=SHUTDOWN)
    return _next(state, at)


def _take_down(state: Family, name: str) -> Family:
    """Mark who goes down with a child that ended: they are stopped first and start again after it (temporary ones do not)."""
    names = list(state.children)
    match state.strategy:
        case Strategy.ONE_FOR_ONE:
            return state
        case Strategy.ONE_FOR_ALL:
            doomed = names
        case Strategy.REST_FOR_ONE:
            doomed = names[names.index(name) + 1 :]
        case _:
            assert_never(state.strategy)
    for each in doomed:
        child = state.children[each]
        if child.state in {ChildState.UP, ChildState.STARTING}:
            state = state.with_child(replace(child, state=ChildState.STOPPING, after=ChildState.DUE, start_at=0.0))
    return state


def _next(state: Family, at: float) -> Next:
    """Stop what must stop (last first), then start what must start (first first)."""
    if state.ending is not None:
        return _end(state, state.ending)
    if state.strategy is not Strategy.ONE_FOR_ONE:
        stopping = [child.name for child in state.children.values() if child.state is ChildState.STOPPING]
        return (state, [StopChild(stopping[-1])]) if stopping else _start_in_order(state, at)
    effects: list[FamilyEffect] = []
    for name in [name for name in state.children if name in state.due] if len(state.due) > 1 else state.due:
        child = state.children[name]
        if child.start_at <= at:
            state = state.with_child(replace(child, state=ChildState.STARTING))
            effects.append(StartChild(name))
    if state.due:
        effects.append(WakeAt(min(state.children[name].start_at for name in state.due)))
    return state, effects


def _start_in_order(state: Family, at: float) -> Next:
    """Ordered strategies start one child at a time, each when the one before it is up."""
    for child in state.children.values():
        if child.state is ChildState.STARTING:
            break
        if child.state is ChildState.DUE:
            if child.start_at > at:
                return state, [WakeAt(child.start_at)]
            return state.with_child(replace(child, state=ChildState.STARTING)), [StartChild(child.name)]
    return state, []


def _end(state: Family, reason: ExitReason) -> Next:
    """Dynamic children stop side by side, then the others, last one first."""
    if not state.running:
        return state, [FinishFamily(reason)]
    running = [child for child in state.children.values() if child.name in state.running]
    now = [child for child in running if child.dynamic] or running[-1:]
    for child in now:
        state = state.with_child(replace(child, state=ChildState.STOPPING, after=None))
    return state, [StopChild(child.name) for child in reversed(now)]
