"""An address of one incarnation of one actor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pykka

from crewd.actors.exits import ActorDead, BlockingAsk, InboxFull
from crewd.actors.inbox import Lane, Letter

if TYPE_CHECKING:
    from crewd.actors.actor import Actor
    from crewd.actors.exits import ExitReason

A = TypeVar("A", bound="Actor")


class Ref(pykka.ActorRef[A]):
    """What others hold. A ref of an incarnation that has ended refuses; it never reaches the next incarnation."""

    name: str = ""
    incarnation: int = 0
    reason: ExitReason | None = None
    """Why the actor ended; None while it lives."""

    def __init__(self, actor: A) -> None:
        super().__init__(actor)
        self._cell = actor

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<Ref {self.name}#{self.incarnation}>"

    def tell(
        self,
        message: Any,
        *,
        lane: Lane = Lane.DATA,
        deadline: float | None = None,
    ) -> None:
        """Put `message` into the inbox. Raises ActorDead or InboxFull; then it was not taken."""
        context = self._cell.context
        if self._cell.actor_inbox.offer(Letter(message, None, deadline, context.system.clock.monotonic()), lane):
            context.schedule()

    def offer(self, message: Any, *, lane: Lane = Lane.DATA) -> bool:
        """As `tell`, answering False where `tell` raises: for news that may come too late."""
        try:
            self.tell(message, lane=lane)
        except (ActorDead, InboxFull):
            return False
        return True

    def ask(  # type: ignore[override]  # Pykka's overloads allow an ask without a deadline; this one does not
        self,
        message: Any,
        *,
        timeout: float,
        lane: Lane = Lane.DATA,
    ) -> Any:
        """Wait for the handler's answer, from outside the actor world only.

        Raises BlockingAsk on an actor's thread, ActorDead, InboxFull, pykka.Timeout after `timeout` seconds (the message is
        then never handled later), or what the handler raised.
        """
        context = self._cell.context
        if context.system.on_actor_thread():
            raise BlockingAsk(f"{self} was asked from inside an actor; tell it and let it tell you")
        future: pykka.ThreadingFuture[Any] = pykka.ThreadingFuture()
        now = context.system.clock.monotonic()
        letter = Letter(message, future, now + timeout, now)
        if self._cell.actor_inbox.offer(letter, lane):
            context.schedule()
        return future.get(timeout=timeout)
