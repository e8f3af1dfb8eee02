"""The actor system: makes actors, knows who is alive, delivers `Down`, and ends everything under one deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from crewd.actors.actor import Actor, Context, Stop
from crewd.actors.dispatch import Dispatcher, PinnedDispatcher
from crewd.actors.exits import NORMAL, Down, ExitKind, ExitReason
from crewd.actors.inbox import Lane
from crewd.actors.supervisor import Started
from crewd.actors.timers import Timers

if TYPE_CHECKING:
    from crewd.actors.ref import Ref
    from crewd.actors.spec import ChildSpec
    from crewd.clock import Clock

ENDED_KEPT = 4_096
"""Refs of ended actors whose reason is remembered for late watchers; older ones are answered with `normal`."""


class Reporter(Protocol):
    """Hears of every abnormal end; the daemon writes it to its log."""

    def __call__(self, name: str, incarnation: int, reason: ExitReason) -> None:
        """Take note. Called on the thread of a supervisor; must not block."""
        ...


class ActorSystem:
    """All actors of a process (or of a simulated one)."""

    def __init__(
        self,
        clock: Clock,
        brain: Dispatcher,
        *,
        wake: Callable[[], None],
        reporter: Reporter,
        pin: Callable[[str], Dispatcher] = PinnedDispatcher,
    ) -> None:
        self.clock = clock
        self.brain = brain
        self.timers = Timers(wake)
        self._pin = pin
        self._reporter = reporter
        self._lock = threading.RLock()
        self._alive: dict[Ref[Any], Actor] = {}
        self._watchers: dict[Ref[Any], list[Ref[Any]]] = {}
        self._reasons: dict[Ref[Any], ExitReason] = {}
        self._dispatchers: list[Dispatcher] = [brain]
        self._on_end: dict[Ref[Any], Callable[[ExitReason], None]] = {}

    def spawn(self, spec: ChildSpec, supervisor: Ref[Any] | None, incarnation: int = 1) -> Ref[Any]:
        """Make the child and give it its first turn. `supervisor` hears `Started` or `Down`, exactly one of them first."""
        actor = spec.factory()
        ref = actor.ref
        ref.name, ref.incarnation = spec.name, incarnation
        dispatcher = self._pin(spec.name) if spec.pinned else self.brain
        actor.context = Context(self, dispatcher, actor, ref, supervisor)
        with self._lock:
            self._alive[ref] = actor
            if spec.pinned:
                self._dispatchers.append(dispatcher)
        if supervisor is not None:
            self.watch(supervisor, ref)
        actor._start_actor_loop()  # noqa: SLF001 (Pykka's seam)
        return ref

    def watch(self, watcher: Ref[Any], target: Ref[Any]) -> None:
        """See `Context.watch`."""
        with self._lock:
            if target in self._alive:
                self._watchers.setdefault(target, []).append(watcher)
                return
            reason = self._reasons.get(target, NORMAL)
        watcher.offer(Down(target, reason, target.incarnation), lane=Lane.CONTROL)

    def on_end(self, ref: Ref[Any], callback: Callable[[ExitReason], None]) -> None:
        """Call `callback` when the actor has ended: how the world outside hears of the root's end."""
        self._on_end[ref] = callback

    def started(self, ref: Ref[Any]) -> None:
        """An actor's `on_start` has finished: tell its supervisor."""
        with self._lock:
            actor = self._alive.get(ref)
        if actor is not None and actor.context.supervisor is not None:
            actor.context.supervisor.offer(Started(ref), lane=Lane.CONTROL)

    def ended(self, ref: Ref[Any], reason: ExitReason) -> None:
        """An actor has closed its inbox: tell all watchers, once."""
        with self._lock:
            actor = self._alive.pop(ref, None)
            if actor is None:
                return
            if actor.context.dispatcher is not self.brain and actor.context.dispatcher in self._dispatchers:
                self._dispatchers.remove(actor.context.dispatcher)
            self._reasons[ref] = reason
            while len(self._reasons) > ENDED_KEPT:
                del self._reasons[next(iter(self._reasons))]
            watchers = self._watchers.pop(ref, [])
        callback = self._on_end.pop(ref, None)
        if callback is not None:
            callback(reason)
        for watcher in watchers:
            watcher.offer(Down(ref, reason, ref.incarnation), lane=Lane.CONTROL)

    def abandon(self, ref: Ref[Any]) -> None:
        """Give up on an actor that did not stop in time: a thread cannot be killed, so it is reported and left behind."""
        reason = ExitReason(ExitKind.STUCK)
        self.report(ref, reason)
        self.ended(ref, reason)

    def report(self, ref: Ref[Any], reason: ExitReason) -> None:
        """Let the reporter know of an abnormal end."""
        self._reporter(ref.name, ref.incarnation, reason)

    def on_actor_thread(self) -> bool:
        """Whether the calling thread is one on which actors run."""
        with self._lock:
            return any(dispatcher.owns_thread() for dispatcher in self._dispatchers)

    def stop(self, ref: Ref[Any], reason: ExitReason) -> None:
        """Ask an actor to end; a supervisor ends its children first."""
        ref.offer(Stop(reason), lane=Lane.CONTROL)

    def alive(self) -> tuple[Ref[Any], ...]:
        """Everybody alive now."""
        with self._lock:
            return tuple(self._alive)
