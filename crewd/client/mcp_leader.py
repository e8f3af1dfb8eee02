"""A leader's connection to crewd, as the MCP server uses it: what crewd refuses is told in words, and each notice once.

Tests: tests/client/test_mcp_server.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from mcp.server.mcpserver.exceptions import ToolError

from crewd.client import aio
from crewd.model.errors import CrewdError, DaemonUnreachable
from crewd.model.redact import clip

NOTICES_MAX = 10
NOTICES_SECONDS = 5.0
"""An answer waits no longer for its notices: the next one has them."""
LOOKED_THROUGH = 10_000
"""Events in which nothing was news for this leader: where it is to look next is noted after so many."""
T = TypeVar("T")


@dataclass(slots=True)
class Leader:
    """The connection to crewd, made when it is first needed and again when it was lost."""

    home: str | None
    name: str
    _crew: aio.Crew | None = None
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)
    _telling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _told: int = 0
    """How far news were told, or looked through."""
    _marked: int = 0
    """How far crewd knows of it: it is told before news are read again, so that a call that is given up loses none."""

    async def crew(self) -> aio.Crew:
        """The client."""
        async with self._one:
            if self._crew is None:
                self._crew = await aio.connect(self.home, name=self.name)
            return self._crew

    async def close(self) -> None:
        """Tell crewd how far news were told, and hang up."""
        if self._crew is not None:
            with contextlib.suppress(CrewdError, OSError, TimeoutError):
                async with asyncio.timeout(NOTICES_SECONDS):
                    await self._mark(self._crew)
        await self._hang_up()

    async def _hang_up(self) -> None:
        crew, self._crew = self._crew, None
        if crew is not None:
            with contextlib.suppress(CrewdError, OSError):
                await crew.close()

    async def ask(self, what: Callable[[aio.Crew], Awaitable[T]]) -> T:
        """Ask crewd; what it refuses is told to the model in words."""
        try:
            return await what(await self.crew())
        except DaemonUnreachable as error:
            await self._hang_up()
            raise ToolError(f"{error.message} ({error.hint})") from None
        except CrewdError as error:
            raise ToolError(f"{error.message} ({error.hint})" if error.hint else error.message) from None

    async def notices(self) -> list[str]:
        """What is new for this owner; it counts as told."""
        with contextlib.suppress(CrewdError, TimeoutError):
            crew = await self.crew()
            async with asyncio.timeout(NOTICES_SECONDS), self._telling:  # calls overlap, and each thing is told once
                await self._mark(crew)
                news = await crew.news(limit=NOTICES_MAX)
                if news.items or news.upto > self._told + LOOKED_THROUGH:  # what others did need not be looked through again
                    self._told = news.items[-1].seq if news.items else news.upto
            return [clip(f"{item.name}: {item.kind} {item.text}".strip(), 300) for item in news.items]
        return []

    async def _mark(self, crew: aio.Crew) -> None:
        if self._told > self._marked:
            await crew.seen(self._told)
            self._marked = self._told
