"""The methods of the Agent Client Protocol that crewd answers: each session of an editor is a run.

A session that ends, or an editor that does, ends no run: `crew ps` shows it, and `session/load` opens it again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from crewd import __version__
from crewd.client.acp.session import Crewd, Session
from crewd.client.acp.updates import text_of
from crewd.client.acp.wire import INVALID_PARAMS, NO_METHOD, NOT_FOUND, Wire, WireFault
from crewd.client.acts import RECENT_MAX, ask_about_async, ask_start_async, tell_async
from crewd.client.agents import agents, default_program
from crewd.client.chosen import Wish, choose
from crewd.client.environment import bring
from crewd.client.extensions import enabled_extensions
from crewd.client.initialised import initialise_extensions, is_due
from crewd.client.inventory import inventory
from crewd.client.usable import is_usable
from crewd.clock import in_words
from crewd.model.errors import CrewdError, DaemonUnreachable
from crewd.model.redact import clip

VERSION = 1
SESSIONS_MAX = 100
"""Open at once."""
LISTED_MAX = 50
TITLE_CHARS_MAX = 80
NAMES = "acp-"
"""How the names of runs begin that sessions have started; such a name is the session's id."""
T = TypeVar("T")
Result = Mapping[str, Any]


class _Params(msgspec.Struct, frozen=True, rename="camel"):
    session_id: str = ""
    cwd: str = ""


class _Prompt(msgspec.Struct, frozen=True, rename="camel"):
    session_id: str
    prompt: list[dict[str, Any]]


class _Config(msgspec.Struct, frozen=True, rename="camel"):
    session_id: str
    config_id: str
    value: str


class Start(msgspec.Struct, frozen=True):
    """What runs are started with: see `crewd.client.chosen`."""

    agent: str = ""
    team: str = ""
    source: str = ""
    model: str = ""
    permissions: str = ""


class Server:
    """One editor."""

    def __init__(self, home: str | None, name: str, start: Start, source: BinaryIO, sink: BinaryIO) -> None:
        self._start = start
        self._crewd = Crewd(home, name)
        self._wire = Wire(source, sink, self._handle)
        self._sessions: dict[str, Session] = {}
        self._agents = () if start.agent or start.team or start.source else _offered()
        self._methods: dict[str, Callable[[Mapping[str, Any]], Awaitable[Result]]] = {
            "initialize": self._initialize, "authenticate": self._nothing, "session/new": self._new, "session/load": self._load,
            "session/resume": self._resume, "session/list": self._list, "session/close": self._close,
            "session/prompt": self._prompt, "session/cancel": self._cancel, "session/set_config_option": self._configure,
            "_session/steering": self._steer,
        }  # fmt: skip

    async def serve(self) -> None:
        """Answer until the input ends. Runs go on."""
        try:
            await self._wire.serve()
        finally:
            for session in self._sessions.values():
                await session.close()
            await self._crewd.close()

    async def _handle(self, method: str, params: Mapping[str, Any]) -> Result:
        answer = self._methods.get(method)
        if answer is None:
            raise WireFault(NO_METHOD, f"crewd does not answer {method}")
        return await answer(params)

    async def _nothing(self, _: Mapping[str, Any]) -> Result:
        return {}

    async def _initialize(self, _: Mapping[str, Any]) -> Result:
        can: dict[str, Any] = {
            "loadSession": True,
            "promptCapabilities": {"image": False, "audio": False, "embeddedContext": True},
            "mcpCapabilities": {"http": False, "sse": False},
            "sessionCapabilities": {"list": {}, "resume": {}, "close": {}},
        }
        return {
            "protocolVersion": VERSION, "agentCapabilities": can, "authMethods": [],
            "agentInfo": {"name": "crewd", "title": "crewd", "version": __version__},
            "_meta": {"steering": {"supported": True}},
        }  # fmt: skip

    # -- sessions -----------------------------------------------------------------------------------------------

    async def _new(self, params: Mapping[str, Any]) -> Result:
        given = _read(params, _Params)
        if not _is_directory(given.cwd):
            raise WireFault(INVALID_PARAMS, f"cwd {given.cwd!r} is not the absolute path of a directory")
        session = await self._open("", given.cwd)
        return {"sessionId": session.id, **self._options(session)}

    async def _load(self, params: Mapping[str, Any]) -> Result:
        return await self._show(params, replay=True)

    async def _resume(self, params: Mapping[str, Any]) -> Result:
        return await self._show(params, replay=False)

    async def _show(self, params: Mapping[str, Any], *, replay: bool) -> Result:
        """A session is opened by its id, or by what names a run."""
        key = _read(params, _Params).session_id
        crew = await self._crewd.get()
        run = (await crew.get(key)).id
        await ask_about_async(crew, "session_before_switch", run, "the session is not opened", session=key, wants="open")
        if key in self._sessions:
            await self._sessions.pop(key).close()
        session = await self._open(key, "")
        try:
            await session.opens(run, replay=replay)
        except BaseException:
            self._sessions.pop(key, None)
            raise
        return self._options(session)

    async def _open(self, key: str, cwd: str) -> Session:
        if len(self._sessions) >= SESSIONS_MAX:
            raise WireFault(INVALID_PARAMS, f"{SESSIONS_MAX} sessions are open: close one")
        if not (self._start.agent or self._start.team or self._start.source or self._agents or key):
            raise WireFault(INVALID_PARAMS, "no coding agent is in PATH: install one, or give crew acp --agent or -w")
        crew = await self._crewd.get()
        key = key or f"{NAMES}{crew.new_message_id()[-12:]}"
        session = self._sessions[key] = Session(key, cwd, self._crewd, self._wire)
        usual = default_program()
        session.chosen = usual if usual in self._agents else self._agents[0] if self._agents else self._start.agent
        return session

    async def _list(self, params: Mapping[str, Any]) -> Result:
        cwd = _read(params, _Params).cwd
        crew = await self._crewd.get()
        found = [
            row
            for row in (await crew.runs(all=True, limit=RECENT_MAX)).runs
            if row.owner == crew.owner and cwd in {"", row.cwd}
        ]
        sessions = [
            {
                "sessionId": row.name if row.name.startswith(NAMES) else row.id, "cwd": row.cwd,
                "title": clip(f"{row.status.value}: {row.goal or row.name}", TITLE_CHARS_MAX),
                "updatedAt": in_words(row.ended_at or row.created_at),
            }
            for row in found[:LISTED_MAX]
        ]  # fmt: skip
        return {"sessions": sessions}

    async def _close(self, params: Mapping[str, Any]) -> Result:
        session = self._session(_read(params, _Params).session_id)
        if session.run:
            with contextlib.suppress(DaemonUnreachable):
                crew, undone = await self._crewd.get(), "the session is not closed"
                await ask_about_async(crew, "session_before_switch", session.run, undone, session=session.id, wants="close")
        self._sessions.pop(session.id, None)
        if session.own:
            await session.cancel()
        await session.close()
        return {}

    def _session(self, key: str) -> Session:
        session = self._sessions.get(key)
        if session is None:
            raise WireFault(NOT_FOUND, f"there is no session {key!r}: session/load opens a run")
        return session

    # -- turns --------------------------------------------------------------------------------------------------

    async def _prompt(self, params: Mapping[str, Any]) -> Result:
        given = _read(params, _Prompt)
        session, text = self._session(given.session_id), _text(given.prompt)
        session.wants()
        async with session.beginning:
            if session.goes_on(text):
                await session.say(text)
            elif not await self._begin(session, text):
                return {"stopReason": "cancelled"}
        return {"stopReason": await session.turn(), "_meta": {"crewd": {"run": session.run}}}

    async def _begin(self, session: Session, text: str) -> bool:
        """Start the run of a session. False if the editor has cancelled it, or closed the session, before it began."""
        fields = {"permissions": self._start.permissions}
        if any(map(is_due, enabled_extensions())):
            await asyncio.to_thread(initialise_extensions)
        chosen = choose(Wish(session.chosen, self._start.team, self._start.source, model=self._start.model, fields=fields))
        crew = await self._crewd.get()
        asked = await ask_start_async(chosen.workflow, text, session.cwd, session.id)
        if self._sessions.get(session.id) is not session or session.unwanted:
            return False
        brought = bring(crew.home, "path", chosen.secrets, inventory())
        goal = str(asked.about["goal"])
        run = await crew.run(chosen.workflow, goal, cwd=session.cwd, name=session.id, brought=brought)
        session.begins(run.id)
        await tell_async(crew, run.id, asked)
        return True

    async def _steer(self, params: Mapping[str, Any]) -> Result:
        """Tell a run that works something; one that does not has to be prompted."""
        given = _read(params, _Prompt)
        session, text = self._session(given.session_id), _text(given.prompt)
        if not session.working:
            return {"outcome": "promptRequired", "reason": "noRunningTurn"}
        try:
            await session.say(text, steer=True)
        except CrewdError as error:
            return {"outcome": "failed", "reason": error.message}
        return {"outcome": "injected"}

    async def _cancel(self, params: Mapping[str, Any]) -> Result:
        await self._session(_read(params, _Params).session_id).cancel()
        return {}

    # -- options ------------------------------------------------------------------------------------------------

    async def _configure(self, params: Mapping[str, Any]) -> Result:
        given = _read(params, _Config)
        session = self._session(given.session_id)
        if given.config_id != "agent" or given.value not in self._agents:
            raise WireFault(INVALID_PARAMS, f"there is no option {given.config_id!r} with the value {given.value!r}")
        session.chosen = given.value
        return self._options(session)

    def _options(self, session: Session) -> dict[str, Any]:
        """Which agent the next run begins with can be chosen, if the command line has not done it."""
        if not self._agents:
            return {}
        option = {
            "id": "agent", "name": "Agent", "description": "Who does what you ask next", "type": "select",
            "currentValue": session.chosen, "options": [{"value": name, "name": name} for name in self._agents],
        }  # fmt: skip
        return {"configOptions": [option]}


def _offered() -> tuple[str, ...]:
    """The agents that an editor can choose: the programs that are installed, then those of files."""
    found = [each for each in agents() if each.program and is_usable(each)]
    return tuple(each.name for each in sorted(found, key=lambda each: (each.origin != "crewd", each.name)))


def _is_directory(path: str) -> bool:
    return Path(path).is_absolute() and Path(path).is_dir()


def _read(params: Mapping[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(params, kind)
    except msgspec.ValidationError as error:
        raise WireFault(INVALID_PARAMS, str(error)) from None


def _text(blocks: list[dict[str, Any]]) -> str:
    try:
        text = text_of(blocks)
    except ValueError as error:
        raise WireFault(INVALID_PARAMS, str(error)) from None
    if not text:
        raise WireFault(INVALID_PARAMS, "the prompt is empty")
    return text
