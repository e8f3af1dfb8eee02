"""A supervisor actor: the thin shell round `restarts`. Children of any kind, other supervisors among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from crewd.actors.actor import Actor, Stop
from crewd.actors.exits import NORMAL, Down, ExitKind, ExitReason, StartFailed
from crewd.actors.inbox import Lane
from crewd.actors.ref import Ref
from crewd.actors.restarts import (
    Added,
    Child,
    ChildDown,
    ChildUp,
    EndAsked,
    Family,
    FamilyEvent,
    Finish,
    Proceed,
    StartChild,
    StopChild,
    WakeAt,
    decide,
)
from crewd.actors.spec import Backoff, ChildSpec, Intensity, Strategy


@dataclass(frozen=True, slots=True)
class StartDynamic:
    """Ask a supervisor for one more child; a name that it has already changes nothing."""

    spec: ChildSpec


@dataclass(frozen=True, slots=True)
class Started:
    """The system's word that a child's `on_start` has finished."""

    ref: Ref[Any]


@dataclass(frozen=True, slots=True)
class ChildEnded:
    """What a supervisor tells its listener: a child ended, and why."""

    name: str
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class _Overdue:
    name: str
    incarnation: int


class Supervisor(Actor):
    """Starts, watches, restarts and stops its children."""

    data_max = 100_000

    def __init__(
        self,
        specs: Sequence[ChildSpec] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: Intensity | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        super().__init__()
        self._specs = {spec.name: spec for spec in specs}
        self._family = Family(
            strategy=strategy,
            intensity=intensity or Intensity(),
            backoff=backoff or Backoff(),
            children=tuple(Child(spec.name, spec.restart) for spec in specs),
        )
        self._refs: dict[str, Ref[Any]] = {}
        self._incarnations: dict[str, int] = {}
        self._asked_to_stop: set[Ref[Any]] = set()

    def on_start(self) -> None:
        """Start the children in order."""
        self._feed_family(Proceed(self.context.now()))

    def receive(self, message: Any) -> Any:
        """See the module's text."""
        now = self.context.now()
        match message:
            case StartDynamic(spec):
                self.start_dynamic(spec)
            case Started(ref):
                if self._refs.get(ref.name) is ref:
                    self.child_started(ref)
                    self._feed_family(ChildUp(ref.name, now))
            case Down(ref, reason, _):
                if self._refs.get(ref.name) is ref:
                    del self._refs[ref.name]
                    self._asked_to_stop.discard(ref)
                    self.child_ended(ref, reason)
                    self._feed_family(ChildDown(ref.name, reason, now))
                    if self._family.child(ref.name) is None:
                        self._specs.pop(ref.name, None)
                        self._incarnations.pop(ref.name, None)
            case _Overdue(name, incarnation):
                ref_now = self._refs.get(name)
                if ref_now is not None and ref_now.incarnation == incarnation:
                    self.context.system.abandon(ref_now)
            case Proceed():
                self._feed_family(Proceed(now))
            case _:
                self.receive_other(message)

    def start_dynamic(self, spec: ChildSpec) -> None:
        """One more child; a name that is there already changes nothing."""
        if spec.name not in self._specs:
            self._specs[spec.name] = spec
            self._feed_family(Added(Child(spec.name, spec.restart), self.context.now()))

    def leave(self) -> None:
        """End the children and then this actor, normally."""
        self._feed_family(EndAsked(NORMAL, self.context.now()))

    def on_stop(self) -> None:
        """However this actor ended, its children do not outlive it."""
        for ref in reversed(self._refs.values()):
            ref.offer(Stop(), lane=Lane.CONTROL)

    def child_started(self, ref: Ref[Any]) -> None:
        """A child's `on_start` has finished."""

    def receive_other(self, message: Any) -> None:
        """A message that is not about supervision; subclasses that own more than children take it."""
        raise TypeError(f"{self.ref} does not know {message!r}")

    def child_ended(self, ref: Ref[Any], reason: ExitReason) -> None:
        """A child has ended; called before its restart is decided. The default records an abnormal end."""
        if reason.abnormal:
            self.context.system.report(ref, reason)

    def child(self, name: str) -> Ref[Any] | None:
        """The living incarnation of a child."""
        return self._refs.get(name)

    def stopping(self, reason: ExitReason) -> None:
        """End the children, last one first, and then this actor."""
        self._feed_family(EndAsked(reason, self.context.now()))

    def _feed_family(self, event: FamilyEvent) -> None:
        self._family, effects = decide(self._family, event)
        for effect in effects:
            match effect:
                case StartChild(name):
                    self._start_child(name)
                case StopChild(name):
                    self._stop_child(name)
                case WakeAt(at):
                    self.context.after(max(0.0, at - self.context.now()), Proceed(at))
                case Finish(reason):
                    self.exit(reason)
                case _:
                    assert_never(effect)

    def _start_child(self, name: str) -> None:
        spec = self._specs[name]
        incarnation = self._incarnations.get(name, 0) + 1
        self._incarnations[name] = incarnation
        try:
            self._refs[name] = self.context.system.spawn(spec, self.ref, incarnation)
        except Exception as error:  # noqa: BLE001 (a factory that raises is a start that failed: K2)
            failure = StartFailed(f"{name} could not be made")
            failure.__cause__ = error
            reason = ExitReason(ExitKind.CRASHED, failure)
            self._feed_family(ChildDown(name, reason, self.context.now()))

    def _stop_child(self, name: str) -> None:
        ref = self._refs.get(name)
        if ref is None:
            self._feed_family(ChildDown(name, ExitReason(ExitKind.SHUTDOWN), self.context.now()))
        elif ref not in self._asked_to_stop:
            self._asked_to_stop.add(ref)
            ref.offer(Stop(), lane=Lane.CONTROL)
            self.context.after(self._specs[name].shutdown_seconds, _Overdue(name, ref.incarnation))
