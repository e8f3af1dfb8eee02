"""Finds agents by name: those that crewd knows, and those that files of the user or of the project define."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from crewd.agents.catalogue import CATALOGUE, Known, agent_of
from crewd.agents.definition import FILE_BYTES_MAX, Definition, parse_agent
from crewd.model.errors import NotFound, Refused, UsageError
from crewd.model.markdown import did_you_mean


@dataclass(frozen=True, slots=True)
class FoundAgent:
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


def directories() -> dict[str, Path]:
    """Where files define agents: whose they are, and their directory."""
    return {
        "user": platformdirs.user_config_path("crewd", appauthor=False) / "agents",
        "project": Path(".crew") / "agents",
    }


def agents() -> list[FoundAgent]:
    """All of them, sorted. A name that crewd knows or the user has defined is not given to a file of a project."""
    found = {name: _found(name, Definition(agent_of(name, known)), "crewd", known) for name, known in CATALOGUE.items()}
    for origin, folder in directories().items():
        for path in sorted(folder.glob("*.md")):
            name = path.stem
            if name not in found or (origin == "user" and found[name].origin == "crewd"):
                found[name] = _read(path, origin)
    return [found[name] for name in sorted(found)]


def agent_named(name: str) -> FoundAgent:
    """The agent of this name, or in this file. NotFound if there is none; UsageError for a file that is wrong."""
    path = Path(name)
    if path.suffix == ".md":
        if not path.is_file():
            raise NotFound(f"there is no file {name}", hint="crew agents lists what there is")
        return _read(path, str(path))
    for origin, folder in directories().items():
        candidate = folder / f"{name}.md"
        if "/" not in name and candidate.is_file() and (origin == "user" or name not in CATALOGUE):
            return _read(candidate, origin)
    known = CATALOGUE.get(name)
    if known is None:
        raise NotFound(f"there is no agent {name!r}", hint=did_you_mean(name, CATALOGUE, {"oh-my-pi": "omp"}))
    return _found(name, Definition(agent_of(name, known)), "crewd", known)


def check_installed(found: FoundAgent) -> None:
    """Refused, with what to do, if its program is not there."""
    if not found.program:
        program = found.definition.agent.command[0]
        hint = "install it, or name its path in 'command:'" if found.known is None else found.known.install
        raise Refused(f"{program} was not found in PATH, and agent {found.name} needs it", hint=hint)


def _read(path: Path, origin: str) -> FoundAgent:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise UsageError(f"{path} has more than {FILE_BYTES_MAX} bytes", hint="an agent is defined in a few lines")
        definition = parse_agent(path.read_text(encoding="utf-8"), path.stem)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8: {error}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from None
    program = definition.agent.command[0]
    known = next((each for each in CATALOGUE.values() if each.command[0] == Path(program).name), None)
    return _found(definition.agent.name or path.stem, definition, origin, known)


def _found(name: str, definition: Definition, origin: str, known: Known | None) -> FoundAgent:
    return FoundAgent(name, definition, origin, known, shutil.which(definition.agent.command[0]) or "")
