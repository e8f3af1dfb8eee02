"""A supervisor actor: the thin shell round `restarts`. Children of any kind, other supervisors among them.

Tests: tests/actors/test_runtime.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, Literal, Never, TypeAlias, TypeVar, assert_never, cast

import msgspec

from crewd.actors.actor import Actor
from crewd.actors.exits import NORMAL, SHUTDOWN, ExitKind, ExitReason, StartFailed
from crewd.actors.ref import AnyRef
from crewd.actors.restarts import (
    Added,
    Child,
    ChildDown,
    ChildUp,
    EndAsked,
    EndChild,
    FamilyEffect,
    FamilyEvent,
    FinishFamily,
    Proceed,
    RestartChild,
    StartChild,
    StopChild,
    WakeAt,
    decide,
    family,
)
from crewd.actors.signals import ActorStarted, Down, StopActor
from crewd.actors.spec import AnySpec, AutoShutdown, Backoff, Intensity, Strategy
from crewd.actors.timers import Timer

KILL_SECONDS = 1.0
"""After a kill, until an actor in the middle of a turn is given up as stuck."""
SHARE = 0.9
"""Of the time that a supervisor has for its end, what it gives its children: the rest is its own."""


class StartDynamic(msgspec.Struct, frozen=True):
    """Ask a supervisor for one more child; a name that it has already changes nothing."""

    spec: AnySpec


class StopDynamic(msgspec.Struct, frozen=True):
    """Ask a supervisor to end one child; it is forgotten (a child of the supervisor's own spec stays, parked)."""

    name: str


class StartParked(msgspec.Struct, frozen=True):
    """Ask a supervisor to start a parked child again."""

    name: str


class _Overdue(msgspec.Struct, frozen=True):
    """A child has not started, stopped or died in time."""

    ref: AnyRef
    what: Literal["start", "stop", "kill"]


ToSupervisor: TypeAlias = StartDynamic | StopDynamic | StartParked | ActorStarted | Down | _Overdue | Proceed
"""What every supervisor takes."""
M = TypeVar("M")


class Supervisor(Actor["ToSupervisor | M"], Generic[M]):
    """Starts, watches, restarts and stops its children. A subclass may take messages of a type `M` of its own."""

    data_max = 100_000

    def __init__(
        self,
        specs: Sequence[AnySpec] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: Intensity | None = None,
        backoff: Backoff | None = None,
        auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
    ) -> None:
        super().__init__()
        self._specs = {spec.name: spec for spec in specs}
        children = tuple(Child(spec.name, spec.restart, spec.significant) for spec in specs)
        self._family = family(children, strategy, intensity, backoff, auto_shutdown)
        self._refs: dict[str, AnyRef] = {}
        self._incarnations: dict[str, int] = {}
        self._asked_to_stop: set[AnyRef] = set()
        self._not_up: set[AnyRef] = set()
        self._wake: Timer | None = None
        self._until: float | None = None
        self._todo: deque[FamilyEffect] = deque()
        self._busy = False

    def on_start(self) -> None:
        """Start the children in order."""
        self._feed_family(Proceed(self.context.now()))

    def receive(self, message: ToSupervisor | M) -> None:
        """See the module's text."""
        now = self.context.now()
        match message:
            case StartDynamic(spec):
                self.start_dynamic(spec)
            case StopDynamic(name):
                self._feed_family(EndChild(name, now))
            case StartParked(name):
                self._feed_family(RestartChild(name, now))
            case ActorStarted(ref):
                if self._refs.get(ref.name) is ref:
                    self._not_up.discard(ref)
                    self.child_started(ref)
                    self._feed_family(ChildUp(ref.name, now))
            case Down(ref, reason, _):
                if self._refs.get(ref.name) is ref:
                    self._child_down(ref, reason)
            case _Overdue(ref, what):
                if self._refs.get(ref.name) is ref:
                    self._overdue(ref, what)
            case Proceed():
                self._wake = None
                self._feed_family(Proceed(now))
            case _:
                self.receive_other(message)

    def _child_down(self, ref: AnyRef, reason: ExitReason) -> None:
        del self._refs[ref.name]
        self._asked_to_stop.discard(ref)
        self._not_up.discard(ref)
        self.child_ended(ref, reason)
        self._feed_family(ChildDown(ref.name, reason, self.context.now(), self._roll()))
        self._forget(ref.name)

    def _forget(self, name: str) -> None:
        if self._family.child(name) is None:
            self._specs.pop(name, None)
            self._incarnations.pop(name, None)

    def _roll(self) -> float:
        """A number in [0, 1)."""
        return int.from_bytes(self.context.system.chance.bytes(4), "big") / 2**32

    def _overdue(self, ref: AnyRef, what: str) -> None:
        if what == "start" and ref not in self._not_up:
            return
        if what == "kill":
            self.context.system.abandon(ref)
            return
        left = KILL_SECONDS if self._until is None else max(0.0, self._until - self.context.now())
        self.context.after(min(KILL_SECONDS, left), _Overdue(ref, "kill"))
        self.context.system.kill(ref)

    def start_dynamic(self, spec: AnySpec) -> None:
        """One more child; a name that is there already changes nothing."""
        if spec.name not in self._specs:
            self._specs[spec.name] = spec
            self._feed_family(Added(Child(spec.name, spec.restart, spec.significant), self.context.now()))
            self._forget(spec.name)

    def leave(self) -> None:
        """End the children and then this actor, normally."""
        self._feed_family(EndAsked(NORMAL, self.context.now()))

    def on_stop(self) -> None:
        """However this actor ended, its children do not outlive it: nobody else would hear of them."""
        for ref in reversed(list(self._refs.values())):
            self.context.system.kill(ref)

    def child_started(self, ref: AnyRef) -> None:
        """A child's `on_start` has finished."""

    def receive_other(self, message: M) -> None:
        """A message that is not about supervision; subclasses that own more than children take it."""
        self.unexpected(cast("Never", message))

    def child_ended(self, ref: AnyRef, reason: ExitReason) -> None:
        """A child has ended; called before its restart is decided. The default records an abnormal end."""
        if reason.abnormal:
            self.context.system.report(ref.name, ref.incarnation, reason)

    def child(self, name: str) -> AnyRef | None:
        """The living incarnation of a child."""
        return self._refs.get(name)

    def stopping(self, stop: StopActor) -> None:
        """End the children, last one first, and then this actor."""
        if stop.until is not None:
            self._until = min(stop.until, self._until or stop.until)
        self._feed_family(EndAsked(stop.reason, self.context.now()))

    def _feed_family(self, event: FamilyEvent) -> None:
        self._family, effects = decide(self._family, event)
        self._todo += effects
        if self._busy:  # one effect can lead to the next event (a child that cannot be made): first come, first done
            return
        self._busy = True
        while self._todo:
            match effect := self._todo.popleft():
                case StartChild(name):
                    self._start_child(name)
                case StopChild(name):
                    self._stop_child(name)
                case WakeAt(at):
                    self._wake_at(at)
                case FinishFamily(reason):
                    self.exit(reason)
                case _:
                    assert_never(effect)
        self._busy = False

    def _wake_at(self, at: float) -> None:
        if self._wake is not None:
            if self._wake.due <= at:
                return
            self._wake.cancel()
        self._wake = self.context.after(max(0.0, at - self.context.now()), Proceed(at))

    def _start_child(self, name: str) -> None:
        spec = self._specs[name]
        incarnation = self._incarnations.get(name, 0) + 1
        self._incarnations[name] = incarnation
        try:
            ref = self.context.system.spawn(spec, self.ref, incarnation)
        except Exception as error:  # noqa: BLE001 (a factory that raises is a start that failed)
            failure = StartFailed(f"{name} could not be made: {error!r}")
            failure.__cause__ = error
            reason = ExitReason(ExitKind.CRASHED, failure)
            self.context.system.report(name, incarnation, reason)
            self._feed_family(ChildDown(name, reason, self.context.now(), self._roll()))
            self._forget(name)
            return
        self._refs[name] = ref
        self._not_up.add(ref)
        if spec.pinned:  # an actor of the brain cannot be slow to start without everybody's knowing
            self.context.after(spec.start_seconds, _Overdue(ref, "start"))

    def _stop_child(self, name: str) -> None:
        ref = self._refs.get(name)
        if ref is None:
            self._feed_family(ChildDown(name, SHUTDOWN, self.context.now()))
        elif ref not in self._asked_to_stop:
            self._asked_to_stop.add(ref)
            self._ask_to_stop(ref, self._specs[name].shutdown_seconds)

    def _ask_to_stop(self, ref: AnyRef, seconds: float) -> None:
        until = None
        if self._until is not None:
            left = max(0.0, self._until - self.context.now()) * SHARE
            seconds, until = min(seconds, left), self.context.now() + min(seconds, left)
        if seconds <= 0:
            self._overdue(ref, "stop")
            return
        ref.signal(StopActor(SHUTDOWN, until))
        if seconds < float("inf"):
            self.context.after(seconds, _Overdue(ref, "stop"))
