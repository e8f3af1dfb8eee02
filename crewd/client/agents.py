"""Finds agents by name: those that crewd knows, and those that files of the user or of the project define."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from crewd.agents.catalogue import CATALOGUE, Known, agent_of
from crewd.agents.definition import Definition, parse_agent
from crewd.client.resources import resource, resources
from crewd.client.texts import check_no_directory, read_text
from crewd.model.errors import NotFound, Refused, UsageError
from crewd.model.markdown import did_you_mean

PARSED_MAX = 4_096
"""Texts of files whose meaning is remembered."""
_OTHER_NAMES: Final = {"oh_my_pi": "omp"}
_OF_EXECUTABLE: Final = {known.command[0]: known for known in reversed(CATALOGUE.values())}


class FoundAgent(msgspec.Struct, frozen=True):
    """An agent by name. `origin` says where it is defined; `program` is its program's file, empty if it is not installed."""

    name: str
    definition: Definition
    origin: str
    known: Known | None
    program: str

    @property
    def env(self) -> dict[str, str]:
        """The variables that it is given: those of the caller that its program looks at, and those that its file sets."""
        names = () if self.known is None else self.known.variables
        return {name: os.environ[name] for name in names if name in os.environ} | dict(self.definition.env or {})

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of variables of the caller with secrets that its program looks at."""
        return tuple(name for name in (() if self.known is None else self.known.keys) if name in os.environ)


def agents(program: str = "") -> list[FoundAgent]:
    """All that can be named, sorted: the programs that crewd knows, and files. Files that cannot be read are left out.

    `program`: see `agent_named`.
    """
    which = functools.cache(_which)  # for this list: what is installed meanwhile is found the next time
    program = program or default_program()
    found = {name: _known(name, which) for name in CATALOGUE}
    for each in resources("agents"):
        if each.state == "active" and (each.source == "user" or each.name not in CATALOGUE):
            with contextlib.suppress(UsageError, NotFound):
                found[each.name] = _read(each.text(), each.place, each.name, each.source, program, which)
    return [found[name] for name in sorted(found)]


def agent_named(name: str, program: str = "") -> FoundAgent:
    """The agent of this name, or in this file. NotFound if there is none; UsageError for a file that is wrong.

    `program` names the agent whose program an agent that names none is given; else that is `default_program`.
    """
    path = Path(name)
    if path.suffix == ".md":
        if path.is_dir():
            raise UsageError(f"{name} is a directory", hint="name a file in it")
        if not path.is_file():
            raise NotFound(f"there is no file {name}", hint="crew agents lists what there is")
        return _read(read_text(path), name, path.stem, str(path), program)
    check_no_directory(name)
    if name not in CATALOGUE or any(each.id == f"user:{name}" for each in resources("agents")):
        try:
            found = resource("agents", name)
        except NotFound as error:
            known = [*CATALOGUE, *(each.name for each in resources("agents"))]
            raise NotFound(error.message, hint=did_you_mean(name, known, _OTHER_NAMES) or error.hint) from None
        return _read(found.text(), found.place, found.name, found.source, program)
    return _known(name)


def default_program() -> str:
    """The agent whose program does what no file names a program for: `$CREWD_AGENT`, else the first that is installed.

    If none is installed it is the first that crewd knows, which says how to get it when it is started.
    """
    named = os.environ.get("CREWD_AGENT", "")
    if named:
        return named
    installed = (name for name, known in CATALOGUE.items() if shutil.which(known.command[0]))
    return next(installed, next(iter(CATALOGUE)))


def check_installed(found: FoundAgent) -> None:
    """Refused, with what to do, if its program is not there."""
    if not found.program:
        program = found.definition.agent.command[0]
        hint = "install it, or name its path in 'command:'" if found.known is None else found.known.install
        if found.definition.inherits:
            hint += "; or --runtime NAME, for the program of another agent (crew agents)"
        raise Refused(f"{program} was not found in PATH, and agent {found.name} needs it", hint=hint)


def _which(program: str) -> str:
    """The file of a program in `PATH`; empty if there is none."""
    return shutil.which(program) or ""


def _read(
    text: str, place: str, name: str, origin: str, program: str, which: Callable[[str], str] = _which
) -> FoundAgent:  # fmt: skip
    """The agent that a file's text defines."""
    program = program or default_program()
    defined = b"" if program == name else check_program(program)
    try:
        definition = _parsed(text, name, program, defined)
    except UsageError as error:
        raise UsageError(f"{place}: {error.message}", hint=error.hint) from None
    known = _OF_EXECUTABLE.get(definition.agent.command[0].rpartition("/")[2])
    return _found(name, definition, origin, known, which)


@functools.lru_cache(PARSED_MAX)
def _parsed(text: str, name: str, program: str, defined: bytes) -> Definition:
    """The same text means the same: a leader or an editor asks for a list of a thousand files again and again.

    `defined` is how a file defines the program; empty for one that crewd knows.
    """
    if defined:
        return parse_agent(text, name, msgspec.json.decode(defined, type=Definition))
    known = CATALOGUE.get(program) or CATALOGUE[next(iter(CATALOGUE))]
    return parse_agent(text, name, Definition(agent_of(name, known)))


def check_program(program: str) -> bytes:
    """How a file defines the agent whose program is meant, in JSON; empty for one that crewd knows.

    One that a file defines has to name a program itself. Raises NotFound if there is none, UsageError for a file that is wrong.
    """
    if program in CATALOGUE:
        return b""
    if program.endswith(".md"):
        place, text = program, read_text(Path(program))
    else:
        try:
            found = resource("agents", program)
        except NotFound as error:
            known = [*CATALOGUE, *(each.name for each in resources("agents"))]
            raise NotFound(error.message, hint=did_you_mean(program, known, _OTHER_NAMES) or error.hint) from None
        place, text = found.place, found.text()
    try:
        return msgspec.json.encode(parse_agent(text, Path(program).stem))
    except UsageError as error:
        raise UsageError(f"{place}: {error.message}", hint=error.hint) from None


def _known(name: str, which: Callable[[str], str] = _which) -> FoundAgent:
    return _found(name, Definition(agent_of(name, CATALOGUE[name])), "crewd", CATALOGUE[name], which)


def _found(name: str, definition: Definition, origin: str, known: Known | None, which: Callable[[str], str]) -> FoundAgent:
    return FoundAgent(name, definition, origin, known, which(definition.agent.command[0]))
