"""The same context for `async def` workers: what waits is awaited; a cancel arrives as `asyncio.CancelledError`.

Tests: tests/worker/test_host.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from crewd.model.message_kinds import MessageKind
from crewd.model.questions import QuestionKind
from crewd.model.receipts import Receipt
from crewd.model.terms import USUAL, Terms
from crewd.protocol.requests import EndReply
from crewd.worker.context import Context, to_wait
from crewd.worker.message import Message
from crewd.worker.others import WaitLevel

_END = object()


class AsyncContext(Context):
    """As `Context`; what waits for somebody is awaited, the rest answers at once."""

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
        """See `Context.ask`."""
        return await asyncio.to_thread(
            super().ask, question, kind=kind, choices=choices, schema=schema, default=default, timeout=timeout
        )

    async def confirm(  # type: ignore[override]
        self, question: str, *, default: bool = False, timeout: float | None = None  # noqa: ASYNC109
    ) -> bool:  # fmt: skip
        """See `Context.confirm`."""
        return await asyncio.to_thread(Context.confirm, _Blocking(self), question, default=default, timeout=timeout)

    async def permission(self, question: str, *, timeout: float | None = None) -> bool:  # type: ignore[override] # noqa: ASYNC109
        """See `Context.permission`."""
        return await asyncio.to_thread(Context.permission, _Blocking(self), question, timeout=timeout)

    async def send(  # type: ignore[override]
        self, to: str, text: str, *, kind: MessageKind = "message", ask: str = "", wait: WaitLevel = "accepted",
        timeout: float = 30.0, terms: Terms = USUAL,  # noqa: ASYNC109 (crewd's, for the message)
    ) -> Receipt:  # fmt: skip
        """See `Context.send`."""
        return await asyncio.to_thread(super().send, to, text, kind=kind, ask=ask, wait=wait, timeout=timeout, terms=terms)

    async def contact_supervisor(self, text: str, *, timeout: float = 30.0) -> str:  # type: ignore[override] # noqa: ASYNC109
        """See `Context.contact_supervisor`."""
        return await asyncio.to_thread(super().contact_supervisor, text, timeout=timeout)

    async def wait_for(self, target: str, *, timeout: float = 3600.0) -> EndReply:  # type: ignore[override] # noqa: ASYNC109
        """See `Context.wait_for`. Given up (a timeout of asyncio's, a cancelled task), it is over at once."""
        key = self._others.new_wait()
        waiting = asyncio.ensure_future(asyncio.to_thread(self._wait_for, target, timeout, key))
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self._desk.give_up(key)
            await asyncio.wait([waiting])
            waiting.exception()  # looked at: nobody else will
            raise

    async def natural_stop(self) -> AsyncIterator[Message]:  # type: ignore[override]
        """See `Context.natural_stop`."""
        stops = super().natural_stop()
        while (message := await asyncio.to_thread(next, stops, _END)) is not _END:
            if isinstance(message, Message):
                yield message


class _Blocking(Context):
    """A blocking view of an `AsyncContext`, for use on a helper thread."""

    def __init__(self, of: AsyncContext) -> None:
        self.__dict__ = of.__dict__
