"""The base of every actor of crewd: a Pykka actor whose turns are given out by a dispatcher.

A turn handles up to `BATCH_MAX` letters, for `TURN_SECONDS` at most if they take long, then calls `on_turn_end`: the place
to do once what many messages asked for.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pykka

from crewd.actors.exits import NORMAL, SHUTDOWN, ActorDead, ExitKind, ExitReason, LinkBroken, StartFailed
from crewd.actors.inbox import Lane, Letter, TwoLaneInbox
from crewd.actors.ref import Ref

if TYPE_CHECKING:
    from crewd.actors.dispatch import Dispatcher
    from crewd.actors.metrics import Tally
    from crewd.actors.system import ActorSystem
    from crewd.actors.timers import Timer

BATCH_MAX = 64
"""Letters per turn: enough to amortise a turn, few enough that 100 busy actors each wait some milliseconds at most."""
TURN_SECONDS = 0.002
"""After this a turn takes no more letters: others wait for the same thread. One with a thread of its own may take longer."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Ends an actor; sent in the control lane by its supervisor. `until` (monotonic) is when all of it must be over."""

    reason: ExitReason = SHUTDOWN
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Begin:
    """The first letter of every actor: run `on_start`."""


class Context:
    """What an actor may use of its system: timers, watching, its own ref, children."""

    __slots__ = ("_actor", "dispatcher", "ref", "supervisor", "system", "tally", "timers")

    def __init__(
        self,
        system: ActorSystem,
        dispatcher: Dispatcher,
        actor: Actor,
        ref: Ref[Any],
        supervisor: Ref[Any] | None,
    ) -> None:
        self.system = system
        self.dispatcher = dispatcher
        self.ref = ref
        self.supervisor = supervisor
        self.timers: set[Timer] = set()
        self.tally: Tally = system.metrics.of(type(actor).__name__)
        self._actor = actor

    def schedule(self) -> None:
        """Give the actor a turn soon."""
        self.dispatcher.schedule(self._actor)

    def after(self, seconds: float, message: Any) -> Timer:
        """Tell this actor `message` in `seconds`, through the control lane. The timer dies with the actor."""
        return self.system.timers.set(self.system.clock.monotonic() + seconds, self.ref, message, self.timers)

    def now(self) -> float:
        """Monotonic seconds."""
        return self.system.clock.monotonic()

    def watch(self, ref: Ref[Any]) -> None:
        """Hear exactly one `Down` of `ref`, also if it is dead already. To watch twice is to watch once."""
        self.system.watch(self.ref, ref)

    def unwatch(self, ref: Ref[Any]) -> None:
        """Hear no `Down` of `ref`, unless it is in the inbox already."""
        self.system.unwatch(self.ref, ref)

    def link(self, ref: Ref[Any]) -> None:
        """End abnormally if `ref` does, and the other way round (`Actor.link_broken`); also if it has done so already."""
        self.system.link(self.ref, ref)

    def unlink(self, ref: Ref[Any]) -> None:
        """Undo `link`."""
        self.system.unlink(self.ref, ref)


class Actor(pykka.Actor):
    """An actor of crewd. Subclasses override `receive` and, if they like, `on_start`, `on_turn_end` and `on_stop`."""

    data_max: ClassVar[int] = 10_000
    works_long: ClassVar[bool] = False
    """Whether its turns may take as long as they like, on a thread of its own: then a long one is no sign of a fault."""
    batch_max: ClassVar[int] = BATCH_MAX
    turn_seconds: ClassVar[float] = TURN_SECONDS
    context: Context
    actor_inbox: TwoLaneInbox

    def __init__(self) -> None:
        super().__init__()
        self.actor_inbox = TwoLaneInbox(data_max=self.data_max)  # pyright: ignore[reportIncompatibleVariableOverride]
        self._actor_ref: Ref[Any] = Ref(self)  # pyright: ignore[reportIncompatibleVariableOverride]
        self._exit_reason: ExitReason | None = None
        self._in_turn = False

    @staticmethod
    def _create_actor_inbox() -> TwoLaneInbox:
        return TwoLaneInbox()

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return pykka.ThreadingFuture()

    def _start_actor_loop(self) -> None:
        """Pykka's seam for new actor types: no thread of its own, but a first turn."""
        self._actor_ref.tell(Begin(), lane=Lane.CONTROL)

    @property
    def ref(self) -> Ref[Any]:
        """This incarnation's address."""
        return self._actor_ref

    def receive(self, message: Any) -> Any:
        """Handle one message. What it returns answers an ask; what it raises ends the actor (let it crash)."""
        raise NotImplementedError

    def returned(self, message: Any) -> None:
        """A message that this actor will not handle, because it has ended: the last chance to send it on (K4)."""

    def on_turn_end(self) -> None:
        """Called after each batch of messages."""

    def exit(self, reason: ExitReason = NORMAL) -> None:
        """End this actor after the present message."""
        self._exit_reason = reason

    def turn(self) -> None:
        """Handle a batch. Called by the dispatcher only; never raises, so one actor's failure is its own (K1, K3)."""
        if self.actor_stopped.is_set():
            return
        context = self.context
        self._in_turn = True
        begun_at = context.now()
        try:
            if self._exit_reason is None:
                self._take_batch(begun_at + self.turn_seconds)
            if self._exit_reason is None:
                self.on_turn_end()
        except BaseException as error:  # noqa: BLE001 (the outermost loop of an actor: K3)
            self._exit_reason = ExitReason(ExitKind.CRASHED, error)
        self._in_turn = False
        context.tally.turn(context.now() - begun_at)
        if self.actor_stopped.is_set():
            self._wind_up([])  # it was given up as stuck, and has come to itself
        elif self._exit_reason is not None:
            self._shut(self._exit_reason)
        elif not self.actor_inbox.empty():
            context.schedule()

    def _take_batch(self, until: float) -> None:
        context, inbox = self.context, self.actor_inbox
        for _ in range(self.batch_max):
            letter = inbox.take()
            if letter is None:
                return
            context.tally.letters += 1
            now = context.now()
            if letter.deadline is None or now < letter.deadline:
                self._take(letter)
            if self._exit_reason is not None or now >= until:
                return

    def _take(self, letter: Letter) -> None:
        match letter.message:
            case Stop() as stop:
                self.stopping(stop)
            case LinkBroken() as broken:
                if self.context.system.unlink(self.ref, broken.ref):
                    self.link_broken(broken)
            case Begin():
                try:
                    self.on_start()
                except Exception as error:
                    raise StartFailed(f"{self.ref} did not start") from error
                self.context.system.started(self.ref)
            case message:
                try:
                    answer = self.receive(message)
                except BaseException:
                    if letter.reply_to is not None:
                        letter.reply_to.set_exception(sys.exc_info())
                    raise
                if letter.reply_to is not None:
                    letter.reply_to.set(answer)

    def stopping(self, stop: Stop) -> None:
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

    def give_up(self) -> list[Letter]:
        """Close a stuck actor from outside: nothing reaches it any more. What it had not handled."""
        self.actor_stopped.set()
        return self.actor_inbox.close()

    def _shut(self, reason: ExitReason) -> None:
        if self.actor_stopped.is_set():
            return
        self.actor_stopped.set()
        error = self._wind_up(self.actor_inbox.close())
        self.context.system.ended(self.ref, reason if error is None else ExitReason(ExitKind.CRASHED, error))

    def _wind_up(self, left: list[Letter]) -> Exception | None:
        refuse(self.ref, left)
        for timer in tuple(self.context.timers):
            timer.cancel()
        try:
            for letter in left:
                self.returned(letter.message)
            self.on_stop()
        except Exception as error:  # noqa: BLE001 (the outermost loop of an actor)
            return error
        return None


def refuse(ref: Ref[Any], letters: list[Letter]) -> None:
    """Tell whoever asked that there will be no answer."""
    for letter in letters:
        if letter.reply_to is not None:
            error = ActorDead(f"{ref} stopped before it handled the message")
            letter.reply_to.set_exception((ActorDead, error, None))
