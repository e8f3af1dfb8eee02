"""The same context for `async def` workers: what waits is awaited; a cancel arrives as `asyncio.CancelledError`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from crewd.protocol.questions import QuestionKind
from crewd.worker.context import Context
from crewd.worker.message import Message

_END = object()


class AsyncContext(Context):
    """As `Context`; `sleep`, `ask`, `confirm` and `natural_stop` are awaited, the rest answers at once."""

    async def sleep(self, seconds: float) -> None:  # type: ignore[override]  # the awaited twin
        """Wait without holding up the loop."""
        self.check()
        await self.token.wait_async(seconds)

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
