"""What a worker says to other workers through crewd: its parent, its children, the other steps of its run.

Tests: tests/test_others.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from crewd.model.errors import DeadlineExceeded, PeerError, UsageError, from_info
from crewd.model.ids import MESSAGE
from crewd.model.message_kinds import MessageKind
from crewd.model.receipts import Level, Receipt
from crewd.model.terms import Terms
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.protocol.doors import check_seconds, check_send

if TYPE_CHECKING:
    from crewd.model.ids import IdSource
    from crewd.worker.desk import Asking, Desk

ANSWER_SECONDS = 30.0
"""Beyond the time of the request itself: crewd may be restarting meanwhile, and the worker asks it again then."""
R = TypeVar("R", rl.ReceiptReply, rl.EndReply)
WaitLevel = Literal["accepted", "delivered", "applied", "settled"]


class Others:
    """Requests on the worker's own connection. Each is made once: its id is the message's, whatever breaks in between."""

    def __init__(self, desk: Desk, ids: IdSource) -> None:
        self._desk = desk
        self._ids = ids

    def new_message(self) -> str:
        """The id of a message, by which the wait for its receipt can be given up."""
        return self._ids.next(MESSAGE)

    def send(
        self, key: str, to: str, text: str, kind: MessageKind, ask: str, wait: WaitLevel, timeout: float, terms: Terms
    ) -> Receipt:  # fmt: skip
        """See `Context.send`. `key` is a new id."""
        if kind not in get_args(MessageKind) or wait not in set(Level):
            kinds, levels = ", ".join(get_args(MessageKind)), ", ".join(Level)
            raise UsageError(f"a {kind} until {wait} is not possible", hint=f"kinds: {kinds}; levels: {levels}")
        request = rq.Send(
            id=key, kind=kind, target=to, text=text, ask=ask, wait=Level(wait), timeout_seconds=timeout,
            terms=terms,
        )  # fmt: skip
        return self._ask(request.id, check_send(request), timeout, rl.ReceiptReply).receipt

    def new_wait(self) -> str:
        """The id of a wait, by which it can be given up."""
        return self._ids.next("x")

    def wait_for(self, target: str, timeout: float, key: str) -> rl.EndReply:
        """See `Context.wait_for`."""
        check_seconds(timeout)
        request = rq.AwaitEnd(target=target, or_waiting=True, timeout_seconds=timeout)
        return self._ask(key, request, timeout, rl.EndReply)

    def contact(self, key: str, text: str, timeout: float) -> Receipt:
        """An urgent message for the parent. `key` is a new id."""
        return self.send(key, "parent", text, "message", "", "accepted", timeout, Terms(priority="urgent"))

    def _ask(self, key: str, request: Asking, timeout: float, kind: type[R]) -> R:
        self._desk.ask(key, request)
        reply = self._desk.wait_reply(key, timeout + ANSWER_SECONDS)
        self._desk.token.check()
        if reply is None:
            raise DeadlineExceeded(f"crewd has not answered for {timeout + ANSWER_SECONDS:g} s", hint="it may be stopped")
        if isinstance(reply, rl.ErrorReply):
            raise from_info(reply.error)
        if not isinstance(reply, kind):
            raise PeerError(f"crewd answered {type(reply).__name__} instead of {kind.__name__}")
        return reply
