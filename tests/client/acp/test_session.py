"""Prompts that come when their worker is about to end, on a crewd that is stopped and started meanwhile. Values alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from crewd.client.acp.session import Session
from crewd.model import events as ev
from crewd.model.errors import DaemonUnreachable
from crewd.model.events import Event
from crewd.model.statuses import RunStatus


class SomeCrew:
    """Remembers what it is sent; `gone` times nobody answers."""

    def __init__(self, gone: int = 0) -> None:
        self.sent: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self._gone, self._made = gone, 0

    def new_message_id(self) -> str:
        self._made += 1
        return f"m_{self._made}"

    async def send(self, kind: str, target: str, text: str, *, id: str, **_: Any) -> None:
        assert (kind, target) == ("follow_up", "r_1")
        self.ids.append(id)
        if self._gone:
            self._gone -= 1
            raise DaemonUnreachable("nobody answers")
        self.sent.append((id, text))


def event(body: Any) -> Event:
    return Event(1, "e-1", 0, "r_1", "", 0, "", "", "crewd", 0.0, body)


async def refused(crew: SomeCrew, *texts: str) -> Session:
    """A session whose prompts were refused because the worker was about to end."""
    session = Session("acp-1", "/", None, None)  # type: ignore[arg-type]  # neither is reached
    session.begins("r_1")
    for number, text in enumerate(texts):
        session._unsettled.add(f"m_old{number}")
        session._prompts[f"m_old{number}"] = "r_1", text
        settled = ev.MessageSettled(id=f"m_old{number}", outcome="refused", reason="worker_ended")
        await session._heard(crew, event(settled))  # type: ignore[arg-type]
    return session


def ended(status: RunStatus) -> Event:
    return event(ev.RunEnded(status=status))


def test_they_are_sent_in_order_once_the_run_has_ended() -> None:
    async def go() -> None:
        crew = SomeCrew()
        session = await refused(crew, "one", "two")
        await session._heard(crew, ended(RunStatus.COMPLETED))  # type: ignore[arg-type]
        await session._send_again(crew)  # type: ignore[arg-type]
        await session._send_again(crew)  # type: ignore[arg-type]
        assert [text for _, text in crew.sent] == ["one", "two"]

    asyncio.run(go())


@pytest.mark.parametrize("status", [RunStatus.CANCELLED, RunStatus.CANCEL_INCOMPLETE])
def test_a_cancel_of_the_turn_is_a_cancel_of_them(status: RunStatus) -> None:
    async def go() -> None:
        crew = SomeCrew()
        session = await refused(crew, "one")
        await session._heard(crew, ended(status))  # type: ignore[arg-type]
        await session._send_again(crew)  # type: ignore[arg-type]
        assert crew.sent == [], "it would start the run again"

    asyncio.run(go())


def test_none_is_lost_or_doubled_when_crewd_is_gone_meanwhile() -> None:
    async def go() -> None:
        crew = SomeCrew(gone=2)
        session = await refused(crew, "one", "two")
        await session._heard(crew, ended(RunStatus.COMPLETED))  # type: ignore[arg-type]
        for _ in range(2):
            with pytest.raises(DaemonUnreachable):
                await session._send_again(crew)  # type: ignore[arg-type]
        await session._send_again(crew)  # type: ignore[arg-type]
        assert [text for _, text in crew.sent] == ["one", "two"]
        assert len(set(crew.ids)) == 2, "asked again with the same id it is the same message"

    asyncio.run(go())
