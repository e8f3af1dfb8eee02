"""The same context for `async def` workers: what waits is awaited; a cancel arrives as `asyncio.CancelledError`.

Tests: tests/worker/test_host.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from crewd.model.arguments import check_arguments
from crewd.model.errors import UsageError
from crewd.model.ids import ASK
from crewd.model.message_kinds import MessageKind
from crewd.model.questions import QuestionKind
from crewd.model.receipts import Receipt
from crewd.model.terms import USUAL, Terms
from crewd.protocol.replies import EndReply
from crewd.worker.context import Context, to_wait
from crewd.worker.message import Message
from crewd.worker.others import WaitLevel

T = TypeVar("T")
_END = object()


class AsyncContext(Context):
    """As `Context`; what waits for somebody is awaited, the rest answers at once."""

    def safe_point(self, *, wait: float = 0.0) -> Message | None:
        """See `Context.safe_point`. Raises UsageError for a `wait`: it would hold up the loop."""
        if wait != 0.0:
            raise UsageError("to wait here holds up the loop", hint="await ctx.sleep(0.1), and look again: ctx.safe_point()")
        return super().safe_point()

    async def sleep(self, seconds: float) -> None:  # type: ignore[override]  # the awaited twin
        """Wait without holding up the loop."""
        self._alive()
        await self.token.wait_async(to_wait("seconds", seconds))

    async def ask(  # type: ignore[override]
        self,
        question: str,
        *,
        kind: QuestionKind = "text",
        choices: Sequence[str] = (),
        schema: dict[str, Any] | None = None,
        default: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (the question's own deadline, reported to crewd)
    ) -> str | None:
        """See `Context.ask`. Given up (a timeout of asyncio's, a cancelled task), the question is closed at once."""
        given = {"kind": kind, "choices": choices, "schema": schema, "default": default, "timeout": timeout}
        check_arguments(Context.ask, (self, question), given)
        ask, wanted = self._ids.next(ASK), [True]

        def close() -> None:
            wanted.clear()
            self._desk.close_ask(ask)

        def work() -> str | None:
            return self._ask(ask, question, kind, choices, schema, default, timeout, lambda: bool(wanted))

        return await _in_thread(work, close)

    async def confirm(  # type: ignore[override]
        self, question: str, *, default: bool = False, timeout: float | None = None  # noqa: ASYNC109
    ) -> bool:  # fmt: skip
        """See `Context.confirm`."""
        check_arguments(Context.confirm, (self, question), {"default": default, "timeout": timeout})
        return await self.ask(question, kind="confirm", default="yes" if default else "no", timeout=timeout) == "yes"

    async def permission(self, question: str, *, timeout: float | None = None) -> bool:  # type: ignore[override] # noqa: ASYNC109
        """See `Context.permission`."""
        check_arguments(Context.permission, (self, question), {"timeout": timeout})
        return await self.ask(question, kind="permission", default="deny", timeout=timeout) == "allow"

    async def send(  # type: ignore[override]
        self, to: str, text: str, *, kind: MessageKind = "message", ask: str = "", wait: WaitLevel = "accepted",
        timeout: float = 30.0, terms: Terms = USUAL,  # noqa: ASYNC109 (crewd's, for the message)
    ) -> Receipt:  # fmt: skip
        """See `Context.send`. Given up, the wait is over at once; the message may have been accepted."""
        given = {"kind": kind, "ask": ask, "wait": wait, "timeout": timeout, "terms": terms}
        check_arguments(Context.send, (self, to, text), given)
        key = self._others.new_message()
        return await _in_thread(
            lambda: self._send(key, to, text, kind, ask, wait, timeout, terms), lambda: self._desk.give_up(key)
        )

    async def contact_supervisor(self, text: str, *, timeout: float = 30.0) -> str:  # type: ignore[override] # noqa: ASYNC109
        """See `Context.contact_supervisor`."""
        check_arguments(Context.contact_supervisor, (self, text), {"timeout": timeout})
        key = self._others.new_message()
        return await _in_thread(lambda: self._contact_supervisor(key, text, timeout), lambda: self._desk.give_up(key))

    async def wait_for(self, target: str, *, timeout: float = 3600.0) -> EndReply:  # type: ignore[override] # noqa: ASYNC109
        """See `Context.wait_for`. Given up (a timeout of asyncio's, a cancelled task), it is over at once."""
        check_arguments(Context.wait_for, (self, target), {"timeout": timeout})
        key = self._others.new_wait()
        return await _in_thread(lambda: self._wait_for(target, timeout, key), lambda: self._desk.give_up(key))

    async def natural_stop(self) -> AsyncIterator[Message]:  # type: ignore[override]
        """See `Context.natural_stop`."""
        stops = super().natural_stop()
        while (message := await asyncio.to_thread(next, stops, _END)) is not _END:
            if isinstance(message, Message):
                yield message


async def _in_thread(work: Callable[[], T], give_up: Callable[[], None]) -> T:
    """Run `work` on a thread, and wait for its result. If that wait is cancelled, call `give_up`, and wait for its end."""
    waiting = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        give_up()
        await asyncio.wait([waiting])
        waiting.exception()  # looked at: nobody else will
        raise
