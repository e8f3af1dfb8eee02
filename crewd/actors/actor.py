"""The base of every actor of crewd: a Pykka actor whose turns are given out by a dispatcher.

A turn handles up to `BATCH_MAX` messages, for `TURN_SECONDS` at most if they take long, then calls `on_turn_end`: the place
to do once what many messages asked for.

Tests: tests/actors/test_runtime.py, tests/actors/test_pykka_pitfalls.py.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Never, Protocol, TypeAlias, TypeVar, cast

import pykka

from crewd.actors.exits import NORMAL, ActorDead, ExitKind, ExitReason, StartFailed
from crewd.actors.inbox import Envelope, TwoLaneInbox
from crewd.actors.ref import TURN, AnyRef, Ref
from crewd.actors.signals import Begin, LinkBroken, StopActor

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from crewd.actors.dispatch import Dispatcher
    from crewd.actors.metrics import ClassMetrics, Crash, LongTurn, Metrics, Tally
    from crewd.actors.timers import Timer, Timers
    from crewd.clock import Chance, Clock

BATCH_MAX = 64
"""Messages per turn: enough to amortise a turn, few enough that 100 busy actors each wait some milliseconds at most."""
TURN_SECONDS = 0.002
"""After this a turn takes no more messages: others wait for the same thread. One with a thread of its own may take longer."""


M_contra = TypeVar("M_contra", contravariant=True)


_OF_ENDED = frozenset(
    {"_actor_ref", "_envelope", "_exit_reason", "_in_turn", "actor_inbox", "actor_stopped", "actor_urn", "context"}
)
"""What is left of an actor that has ended: a dispatcher may still have it in its queue, and another thread may kill it."""


class Makes(Protocol[M_contra]):
    """How a child is made; see `ChildSpec`."""

    @property
    def name(self) -> str:
        """The child's name."""
        ...

    @property
    def pinned(self) -> bool:
        """Whether it has a thread of its own."""
        ...

    @property
    def factory(self) -> Callable[[], Actor[M_contra]]:
        """Makes it."""
        ...


class System(Protocol):
    """What an actor, or a supervisor, needs of its system; see `ActorSystem`."""

    clock: Clock
    chance: Chance
    timers: Timers
    metrics: Metrics
    stuck: list[AnyRef]
    long_turns: deque[LongTurn]
    crashes: deque[Crash]

    def spawn(self, spec: Makes[M_contra], supervisor: AnyRef | None, incarnation: int = 1) -> Ref[M_contra]:
        """Make the child and give it its first turn."""
        ...

    def watch(self, watcher: AnyRef, target: AnyRef) -> None:
        """See `ActorContext.watch`."""
        ...

    def unwatch(self, watcher: AnyRef, target: AnyRef) -> None:
        """See `ActorContext.unwatch`."""
        ...

    def link(self, one: AnyRef, other: AnyRef) -> None:
        """See `ActorContext.link`."""
        ...

    def unlink(self, one: AnyRef, other: AnyRef) -> bool:
        """Undo a link, from either end; False if there was none."""
        ...

    def on_actor_thread(self) -> bool:
        """Whether the calling thread is one on which actors run."""
        ...

    def started(self, ref: AnyRef) -> None:
        """An actor's `on_start` has finished."""
        ...

    def ended(self, ref: AnyRef, reason: ExitReason) -> None:
        """An actor has closed its inbox."""
        ...

    def kill(self, ref: AnyRef) -> None:
        """End an actor without another message."""
        ...

    def abandon(self, ref: AnyRef) -> None:
        """Give up on an actor whose thread is stuck."""
        ...

    def report(self, name: str, incarnation: int, reason: ExitReason) -> None:
        """Let the log know of an abnormal end."""
        ...

    def unexpected(self, ref: AnyRef, envelope: Envelope, state: str) -> None:
        """Let the log know of a message that an actor does not take."""
        ...

    def alive(self) -> tuple[AnyRef, ...]:
        """Everybody alive now."""
        ...

    def dispatchers(self) -> tuple[Dispatcher, ...]:
        """The brain's and those of the pinned actors."""
        ...

    def measure(self) -> tuple[ClassMetrics, ...]:
        """What the actors of each class do and have done."""
        ...


class ActorContext(Generic[M_contra]):
    """What an actor may use of its system: timers, watching, its own ref, children."""

    __slots__ = ("_actor", "dispatcher", "ref", "supervisor", "system", "tally", "timers")

    def __init__(
        self,
        system: System,
        dispatcher: Dispatcher,
        actor: Actor[M_contra],
        ref: Ref[M_contra],
        supervisor: AnyRef | None,
    ) -> None:
        self.system = system
        self.dispatcher = dispatcher
        self.ref = ref
        self.supervisor = supervisor
        self.timers: set[Timer] = set()
        self.tally: Tally = system.metrics.of(type(actor).__name__)
        self._actor: Actor[M_contra] | None = actor

    def schedule(self) -> None:
        """Give the actor a turn soon."""
        actor = self._actor
        if actor is not None:
            self.dispatcher.schedule(actor)

    def let_go(self) -> None:
        """Drop the reference to the actor, which has ended."""
        self._actor = None

    def after(self, seconds: float, message: M_contra) -> Timer:
        """Tell this actor `message` in `seconds`, through the control lane. The timer dies with the actor."""
        return self.system.timers.set(self.system.clock.monotonic() + seconds, self.ref, message, self.timers)

    def now(self) -> float:
        """When the present message was taken, in monotonic seconds; outside of a turn, the time."""
        return TURN.now if TURN.name else self.system.clock.monotonic()

    def watch(self, ref: AnyRef) -> None:
        """Hear exactly one `Down` of `ref`, also if it is dead already. To watch twice is to watch once."""
        self.system.watch(self.ref, ref)

    def unwatch(self, ref: AnyRef) -> None:
        """Hear no `Down` of `ref`, unless it is in the inbox already."""
        self.system.unwatch(self.ref, ref)

    def link(self, ref: AnyRef) -> None:
        """End abnormally if `ref` does, and the other way round (`Actor.link_broken`); also if it has done so already."""
        self.system.link(self.ref, ref)

    def unlink(self, ref: AnyRef) -> None:
        """Undo `link`."""
        self.system.unlink(self.ref, ref)


class Actor(pykka.Actor, Generic[M_contra]):
    """An actor of crewd that takes messages of the type `M`.

    Subclasses override `receive` and, if they like, `on_start`, `on_turn_end` and `on_stop`.
    """

    data_max: ClassVar[int] = 10_000
    works_long: ClassVar[bool] = False
    """Whether its turns may take as long as they like, on a thread of its own: then a long one is no sign of a fault."""
    batch_max: ClassVar[int] = BATCH_MAX
    turn_seconds: ClassVar[float] = TURN_SECONDS
    context: ActorContext[M_contra]
    actor_inbox: TwoLaneInbox

    def __init__(self) -> None:
        super().__init__()
        self.actor_inbox = TwoLaneInbox(data_max=self.data_max)  # pyright: ignore[reportIncompatibleVariableOverride]
        self._actor_ref: Ref[M_contra] = Ref(self)  # pyright: ignore[reportIncompatibleVariableOverride]
        self._exit_reason: ExitReason | None = None
        self._in_turn = False
        self._envelope: Envelope | None = None

    @staticmethod
    def _create_actor_inbox() -> TwoLaneInbox:
        return TwoLaneInbox()

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return pykka.ThreadingFuture()

    def _start_actor_loop(self) -> None:
        """Pykka's seam for new actor types: no thread of its own, but a first turn."""
        self._actor_ref.signal(Begin())

    @property
    def ref(self) -> Ref[M_contra]:
        """This incarnation's address."""
        return self._actor_ref

    def receive(self, message: M_contra) -> object:
        """Handle one message. What it returns answers an ask; what it raises ends the actor (let it crash)."""
        raise NotImplementedError

    def unexpected(self, message: Never) -> None:  # noqa: ARG002 (its type says that there is none)
        """Log a message that this actor does not take, with its sender and `state_in_words`. It ends nobody.

        A `receive` that matches every type of message ends with it: a type checker sees that none is missing.
        """
        if self._envelope is not None:
            self.context.system.unexpected(self.ref, self._envelope, self.state_in_words())

    def state_in_words(self) -> str:
        """What this actor is doing, for the log."""
        return ""

    def returned(self, message: M_contra) -> None:
        """A message that this actor will not handle, because it has ended: the last chance to send it on."""

    def on_turn_end(self) -> None:
        """Called after each batch of messages."""

    def exit(self, reason: ExitReason = NORMAL) -> None:
        """End this actor after the present message."""
        self._exit_reason = reason

    def turn(self) -> None:
        """Handle a batch. Called by the dispatcher only; never raises, so one actor's failure is its own."""
        if self.actor_stopped.is_set():
            return
        context = self.context
        clock = context.system.clock
        self._in_turn = True
        TURN.name, TURN.now = self._actor_ref.name, clock.monotonic()
        begun_at = TURN.now
        try:
            if self._exit_reason is None:
                self._take_batch(begun_at + self.turn_seconds)
            if self._exit_reason is None:
                self.on_turn_end()
        except BaseException as error:  # noqa: BLE001 (the outermost loop of an actor)
            self._exit_reason = ExitReason(ExitKind.CRASHED, error)
        self._in_turn = False
        TURN.name = ""
        context.tally.turn(clock.monotonic() - begun_at)
        if self.actor_stopped.is_set():
            self._wind_up([])  # it was given up as stuck, and has come to itself
        elif self._exit_reason is not None:
            self._shut(self._exit_reason)
        elif not self.actor_inbox.empty():
            context.schedule()

    def _take_batch(self, until: float) -> None:
        context, inbox = self.context, self.actor_inbox
        for _ in range(self.batch_max):
            envelope = inbox.take()
            if envelope is None:
                return
            context.tally.messages += 1
            TURN.now = now = context.system.clock.monotonic()
            if envelope.deadline is None or now < envelope.deadline:
                self._take(envelope)
            if self._exit_reason is not None or now >= until:
                return

    def _take(self, envelope: Envelope) -> None:
        match envelope.message:
            case StopActor() as stop:
                self.stopping(stop)
            case LinkBroken() as broken:
                if self.context.system.unlink(self.ref, broken.ref):
                    self.link_broken(broken)
            case Begin():
                try:
                    self.on_start()
                except Exception as error:
                    raise StartFailed(f"{self.ref.name} did not start: {error!r}") from error
                self.context.system.started(self.ref)
            case message:
                self._envelope = envelope
                try:
                    answer = self.receive(cast("M_contra", message))
                except BaseException:
                    if envelope.reply_to is not None:
                        envelope.reply_to.set_exception(sys.exc_info())
                    raise
                if envelope.reply_to is not None:
                    envelope.reply_to.set(answer)

    def stopping(self, stop: StopActor) -> None:
        """A stop was asked for. The default ends at once; a supervisor ends its children first."""
        self._exit_reason = stop.reason

    def link_broken(self, broken: LinkBroken) -> None:
        """The other end of a link ended abnormally. The default ends this actor too; one that overrides this may live on."""
        self._exit_reason = ExitReason(ExitKind.LINKED, broken.reason.error)

    def kill(self, reason: ExitReason) -> None:
        """End without another message: at once if the actor is not in a turn, else when its turn is over.

        Called by the system, from any thread.
        """
        if self._exit_reason is None:
            self._exit_reason = reason
        if self.context.dispatcher.owns_thread() and not self._in_turn:
            self._shut(self._exit_reason)
        else:
            self.context.schedule()

    def give_up(self) -> list[Envelope]:
        """Close a stuck actor from outside: nothing reaches it any more. What it had not handled."""
        self.actor_stopped.set()
        return self.actor_inbox.close()

    def _shut(self, reason: ExitReason) -> None:
        if self.actor_stopped.is_set():
            return
        self.actor_stopped.set()
        error = self._wind_up(self.actor_inbox.close())
        self.context.system.ended(self.ref, reason if error is None else ExitReason(ExitKind.CRASHED, error))
        self._let_go()

    def _let_go(self) -> None:
        """Drop the state of an actor that has ended.

        It refers back to the actor (a ref, a bound method), so it would stay in memory until a garbage collection.
        """
        self._envelope = None
        self.context.let_go()
        self._actor_ref.let_go(self.context.system)
        for name in [name for name in vars(self) if name not in _OF_ENDED]:
            delattr(self, name)

    def _wind_up(self, left: list[Envelope]) -> Exception | None:
        refuse(self.ref, left)
        for timer in tuple(self.context.timers):
            timer.cancel()
        try:
            for envelope in left:
                self.returned(cast("M_contra", envelope.message))
            self.on_stop()
        except Exception as error:  # noqa: BLE001 (the outermost loop of an actor)
            return error
        return None


AnyActor: TypeAlias = Actor[Never]
"""Any actor, as its system sees it."""


def refuse(ref: AnyRef, envelopes: list[Envelope]) -> None:
    """Tell the callers of `ask` that there will be no answer."""
    for envelope in envelopes:
        if envelope.reply_to is not None:
            error = ActorDead(f"{ref} stopped before it handled the message")
            envelope.reply_to.set_exception((ActorDead, error, None))
