"""An address of one incarnation of one actor, typed by what may be told to it.

`Ref[M]` takes an `M`. One that takes more than is needed will do where less is asked for, so `AnyRef` stands for every ref:
nothing can be told to it, but it can be watched, linked, stopped and compared.

Tests: tests/actors/test_runtime.py, tests/actors/test_pykka_pitfalls.py.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, Never, Protocol, TypeAlias, TypeVar

import pykka

from crewd.actors.exits import ActorDead, BlockingAsk, InboxFull
from crewd.actors.inbox import Envelope, Lane

if TYPE_CHECKING:
    from crewd.actors.exits import ExitReason
    from crewd.actors.inbox import TwoLaneInbox
    from crewd.clock import Clock

M_contra = TypeVar("M_contra", contravariant=True)


class _Turn(threading.local):
    """The name of the actor whose turn it is on this thread, and when it took the present message (monotonic)."""

    name = ""
    now = 0.0


TURN = _Turn()


class _System(Protocol):
    clock: Clock

    def on_actor_thread(self) -> bool: ...


class _Context(Protocol):
    @property
    def system(self) -> _System: ...

    def schedule(self) -> None: ...


class Addressed(Protocol):
    """The actor behind a ref, as far as the ref needs it."""

    actor_inbox: TwoLaneInbox

    @property
    def context(self) -> _Context:
        """Where it is scheduled."""
        ...


class _Ended:
    """What a ref keeps of an actor that has ended: its inbox, which is closed and refuses each message."""

    def __init__(self, inbox: TwoLaneInbox, system: _System) -> None:
        self.actor_inbox = inbox
        self.system = system

    @property
    def context(self) -> _Context:
        """See `Addressed`."""
        return self

    def schedule(self) -> None:
        """An actor that has ended gets no turn."""


class Ref(pykka.ActorRef[Any], Generic[M_contra]):
    """What others hold. A ref of an incarnation that has ended refuses; it never reaches the next incarnation."""

    name: str = ""
    incarnation: int = 0
    reason: ExitReason | None = None
    """Why the actor ended; None while it lives."""

    def __init__(self, actor: Addressed) -> None:
        super().__init__(actor)
        self._cell: Addressed = actor

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<Ref {self.name}#{self.incarnation}>"

    def let_go(self, system: _System) -> None:
        """Drop the reference to the actor, which has ended. To tell it something still raises ActorDead."""
        self._cell = _Ended(self._cell.actor_inbox, system)

    def tell(
        self,
        message: M_contra,
        *,
        lane: Lane = Lane.DATA,
        deadline: float | None = None,
    ) -> None:
        """Put `message` into the inbox. Raises ActorDead or InboxFull; then it was not taken."""
        self._put(message, lane, deadline)

    def _put(self, message: object, lane: Lane, deadline: float | None = None) -> None:
        context = self._cell.context
        sender = TURN.name
        envelope = Envelope(message, None, deadline, TURN.now if sender else context.system.clock.monotonic(), sender)
        if self._cell.actor_inbox.offer(envelope, lane):
            context.schedule()

    def signal(self, message: object) -> bool:
        """Tell it what any actor hears of its system: an order to stop, an end that it watches, a timer.

        False if it has ended. Through the control lane.
        """
        try:
            self._put(message, Lane.CONTROL)
        except (ActorDead, InboxFull):
            return False
        return True

    def offer(self, message: M_contra, *, lane: Lane = Lane.DATA) -> bool:
        """As `tell`, answering False where `tell` raises: for news that may come too late."""
        try:
            self.tell(message, lane=lane)
        except (ActorDead, InboxFull):
            return False
        return True

    def ask(  # type: ignore[override]  # Pykka's overloads allow an ask without a deadline; this one does not
        self,
        message: M_contra,
        *,
        timeout: float,
        lane: Lane = Lane.DATA,
    ) -> object:
        """Wait for the handler's answer, from outside the actor world only.

        Raises BlockingAsk on an actor's thread, ActorDead, InboxFull, pykka.Timeout after `timeout` seconds (the message is
        then never handled later), or what the handler raised.
        """
        context = self._cell.context
        if context.system.on_actor_thread():
            raise BlockingAsk(f"{self} was asked from inside an actor; tell it and let it tell you")
        future: pykka.ThreadingFuture[object] = pykka.ThreadingFuture()
        now = context.system.clock.monotonic()
        envelope = Envelope(message, future, now + timeout, now, TURN.name)
        if self._cell.actor_inbox.offer(envelope, lane):
            context.schedule()
        return future.get(timeout=timeout)


AnyRef: TypeAlias = Ref[Never]
"""A ref of any actor."""
