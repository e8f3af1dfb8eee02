"""An editor, made of the protocol's own SDK, that has started `crew acp`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import acp
from acp.client.connection import ClientSideConnection
from acp.schema import (
    AllowedOutcome,
    ClientCapabilities,
    DeniedOutcome,
    EmbeddedResourceContentBlock,
    ImageContentBlock,
    RequestPermissionResponse,
    ResourceContentBlock,
    TextContentBlock,
    TextResourceContents,
)

from crewd.client.blocking import Crew
from tests.shell import MAIN

SECONDS = 120.0
Refused = acp.RequestError


class Editor:
    """What an editor has been told; `answer` is the option that it chooses when it is asked."""

    def __init__(self, answer: str = "allow") -> None:
        self.answer = answer
        self.updates: list[Any] = []
        self.asked: list[tuple[str, list[str]]] = []
        self.news = asyncio.Condition()
        self.is_asked = asyncio.Event()
        self.hold: asyncio.Event | None = None
        """A question is answered when this is set."""

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        assert session_id
        async with self.news:
            self.updates.append(update)
            self.news.notify_all()

    async def request_permission(
        self, session_id: str, tool_call: Any, options: list[Any], **_: Any
    ) -> RequestPermissionResponse:
        assert session_id
        self.asked.append((tool_call.title, [option.option_id for option in options]))
        self.is_asked.set()
        if self.hold is not None:
            await self.hold.wait()
        if not self.answer:
            return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=self.answer))

    def on_connect(self, conn: Any) -> None:
        """Nothing is asked of the agent from here."""

    def of(self, kind: str) -> list[Any]:
        return [update for update in self.updates if update.session_update == kind]

    @property
    def text(self) -> str:
        return "".join(update.content.text for update in self.of("agent_message_chunk"))

    async def hears(self) -> None:
        """Wait for the next update."""
        async with self.news:
            await self.news.wait()

    async def until(self, kind: str) -> None:
        async with self.news:
            await self.news.wait_for(lambda: self.of(kind))


@asynccontextmanager
async def editing(
    crew: Crew, folder: Path, *options: str, answer: str = "allow"
) -> AsyncIterator[tuple[ClientSideConnection, Editor]]:
    """An editor that works in this directory."""
    client = Editor(answer)
    argv = ["-c", MAIN, "--home", str(crew.home.root), "acp", *options]
    async with acp.spawn_agent_process(client, sys.executable, *argv, env=dict(os.environ), cwd=folder) as (agent, _):  # type: ignore[arg-type]
        async with asyncio.timeout(SECONDS):
            ready = await agent.initialize(protocol_version=1, client_capabilities=ClientCapabilities())
            assert (ready.protocol_version, ready.agent_capabilities.load_session) == (1, True)  # type: ignore[union-attr]
        yield agent, client


def say(text: str) -> Any:
    return [TextContentBlock(type="text", text=text)]


def picture() -> Any:
    return ImageContentBlock(type="image", data="", mime_type="image/png")


def file_by_name(name: str) -> Any:
    return ResourceContentBlock(type="resource_link", name=name, uri=f"file:///{name}")


def file_with_text(name: str, text: str) -> Any:
    inside = TextResourceContents(uri=f"file:///{name}", text=text)
    return EmbeddedResourceContentBlock(type="resource", resource=inside)
