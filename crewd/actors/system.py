"""The actor system: makes actors, knows who is alive, delivers `Down`, breaks links, and counts.

Tests: tests/actors/test_runtime.py, tests/actors/test_monitors_and_metrics.py.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from loguru import logger

from crewd.actors.actor import ActorContext, AnyActor, Makes, refuse
from crewd.actors.dispatch import Dispatcher, PinnedDispatcher
from crewd.actors.exits import KILLED, STUCK, ExitKind, ExitReason
from crewd.actors.metrics import CRASHES_KEPT, LONG_TURNS_KEPT, ClassMetrics, Crash, LongTurn, Metrics
from crewd.actors.signals import ActorStarted, Down, LinkBroken, StopActor
from crewd.actors.timers import Timers

if TYPE_CHECKING:
    from crewd.actors.inbox import Envelope
    from crewd.actors.ref import AnyRef, Ref
    from crewd.clock import Chance, Clock


M = TypeVar("M")


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
        chance: Chance,
        brain: Dispatcher,
        *,
        wake: Callable[[], None],
        reporter: Reporter,
        pin: Callable[[str, Clock], Dispatcher] = PinnedDispatcher,
    ) -> None:
        self.clock = clock
        self.chance = chance
        self.brain = brain
        self.timers = Timers(wake)
        self.metrics = Metrics()
        self.stuck: list[AnyRef] = []
        self.long_turns: deque[LongTurn] = deque(maxlen=LONG_TURNS_KEPT)
        self.crashes: deque[Crash] = deque(maxlen=CRASHES_KEPT)
        self._pin = pin
        self._reporter = reporter
        self._lock = threading.RLock()
        self._alive: dict[AnyRef, AnyActor] = {}
        self._watchers: dict[AnyRef, dict[AnyRef, None]] = {}
        self._watched: dict[AnyRef, set[AnyRef]] = {}
        self._links: dict[AnyRef, set[AnyRef]] = {}
        self._dispatchers: list[Dispatcher] = [brain]
        self._on_end: dict[AnyRef, Callable[[ExitReason], None]] = {}

    def spawn(self, spec: Makes[M], supervisor: AnyRef | None, incarnation: int = 1) -> Ref[M]:
        """Make the child and give it its first turn. `supervisor` hears `ActorStarted` or `Down`, exactly one of them first.

        Whatever the factory, or the start of the child's thread, raises is raised, and then nobody hears anything.
        """
        actor = spec.factory()
        ref = actor.ref
        ref.name, ref.incarnation = spec.name, incarnation
        dispatcher = self._pin(spec.name, self.clock) if spec.pinned else self.brain
        actor.context = ActorContext(self, dispatcher, actor, ref, supervisor)
        actor.context.tally.spawned(again=incarnation > 1)
        with self._lock:
            self._alive[ref] = actor
            if spec.pinned:
                self._dispatchers.append(dispatcher)
        if supervisor is not None:
            self.watch(supervisor, ref)
        try:
            actor._start_actor_loop()  # noqa: SLF001 (Pykka's seam)
        except BaseException as error:  # its thread cannot be started: it is nobody's any more
            if supervisor is not None:
                self.unwatch(supervisor, ref)
            self.ended(ref, ExitReason(ExitKind.CRASHED, error))
            raise
        return ref

    # -- monitors and links -------------------------------------------------------------------------------------

    def watch(self, watcher: AnyRef, target: AnyRef) -> None:
        """See `ActorContext.watch`."""
        with self._lock:
            if target in self._alive:
                self._watchers.setdefault(target, {})[watcher] = None
                self._watched.setdefault(watcher, set()).add(target)
                return
        if target.reason is not None:
            watcher.signal(Down(target, target.reason, target.incarnation))

    def unwatch(self, watcher: AnyRef, target: AnyRef) -> None:
        """See `ActorContext.unwatch`."""
        with self._lock:
            self._watchers.get(target, {}).pop(watcher, None)
            self._watched.get(watcher, set()).discard(target)

    def link(self, one: AnyRef, other: AnyRef) -> None:
        """See `ActorContext.link`."""
        dead = other.reason
        if dead is not None and not dead.abnormal:
            return
        with self._lock:
            self._links.setdefault(one, set()).add(other)
            self._links.setdefault(other, set()).add(one)
        if dead is not None:
            one.signal(LinkBroken(other, dead))

    def unlink(self, one: AnyRef, other: AnyRef) -> bool:
        """Undo a link, from either end; False if there was none."""
        with self._lock:
            there = other in self._links.get(one, ())
            self._links.get(one, set()).discard(other)
            self._links.get(other, set()).discard(one)
        return there

    # -- ends ---------------------------------------------------------------------------------------------------

    def on_end(self, ref: AnyRef, callback: Callable[[ExitReason], None]) -> None:
        """Call `callback` when the actor has ended: how the world outside hears of the root's end."""
        self._on_end[ref] = callback

    def started(self, ref: AnyRef) -> None:
        """An actor's `on_start` has finished: tell its supervisor."""
        with self._lock:
            actor = self._alive.get(ref)
        if actor is not None and actor.context.supervisor is not None:
            actor.context.supervisor.signal(ActorStarted(ref))

    def ended(self, ref: AnyRef, reason: ExitReason) -> None:
        """An actor has closed its inbox: tell all watchers, once."""
        with self._lock:
            actor = self._alive.pop(ref, None)
            if actor is None:
                return
            ref.reason = reason
            if actor.context.dispatcher is not self.brain and actor.context.dispatcher in self._dispatchers:
                self._dispatchers.remove(actor.context.dispatcher)
            watchers = self._watchers.pop(ref, {})
            for target in self._watched.pop(ref, set()):
                self._watchers.get(target, {}).pop(ref, None)
            for watcher in watchers:
                self._watched.get(watcher, set()).discard(ref)
            linked = self._links.pop(ref, set())
            if not reason.abnormal:
                for other in linked:
                    self._links.get(other, set()).discard(ref)
        actor.context.tally.ended(actor.actor_inbox, abnormal=reason.abnormal)
        if reason.kind is ExitKind.CRASHED:
            self.crashes.append(Crash(ref.name, self.clock.monotonic(), str(reason)))
        callback = self._on_end.pop(ref, None)
        if callback is not None:
            callback(reason)
        if reason.abnormal:
            for other in linked:
                other.signal(LinkBroken(ref, reason))
        for watcher in watchers:
            watcher.signal(Down(ref, reason, ref.incarnation))

    def stop(self, ref: AnyRef, reason: ExitReason, seconds: float | None = None) -> None:
        """Ask an actor to end, a supervisor after its children: all of it within `seconds`, if given."""
        until = None if seconds is None else self.clock.monotonic() + seconds
        ref.signal(StopActor(reason, until))

    def kill(self, ref: AnyRef) -> None:
        """End an actor without another message. One that is in the middle of a turn ends after it, if ever."""
        with self._lock:
            actor = self._alive.get(ref)
        if actor is not None:
            actor.kill(KILLED)

    def abandon(self, ref: AnyRef) -> None:
        """Give up on an actor whose thread is stuck: a thread cannot be killed, so it is reported and left behind."""
        with self._lock:
            actor = self._alive.get(ref)
        if actor is None:
            return
        self.stuck.append(ref)
        self.report(ref.name, ref.incarnation, STUCK)
        left = actor.give_up()
        refuse(ref, left)
        self.ended(ref, STUCK)

    def report(self, name: str, incarnation: int, reason: ExitReason) -> None:
        """Let the reporter know of an abnormal end, also of an actor that could not be made."""
        self._reporter(name, incarnation, reason)

    def unexpected(self, ref: AnyRef, envelope: Envelope, state: str) -> None:
        """An actor was told what it does not take: that is a mistake of the sender's, and ends nobody."""
        sender = envelope.sender or "nobody"
        doing = f" ({state})" if state else ""
        logger.warning("{}{} was told by {} what it does not take: {!r}", ref.name, doing, sender, envelope.message)

    # -- looking ------------------------------------------------------------------------------------------------

    def on_actor_thread(self) -> bool:
        """Whether the calling thread is one on which actors run."""
        with self._lock:
            return any(dispatcher.owns_thread() for dispatcher in self._dispatchers)

    def alive(self) -> tuple[AnyRef, ...]:
        """Everybody alive now."""
        with self._lock:
            return tuple(self._alive)

    def dispatchers(self) -> tuple[Dispatcher, ...]:
        """The brain's and those of the pinned actors."""
        with self._lock:
            return tuple(self._dispatchers)

    def measure(self) -> tuple[ClassMetrics, ...]:
        """What the actors of each class do and have done, in the order of their names."""
        with self._lock:
            alive = list(self._alive.values())
        return self.metrics.measure([(type(actor).__name__, actor.actor_inbox) for actor in alive], self.clock.monotonic())
