"""The file `extension.toml`: what an extension brings beside its other files. Commands, which are only read here.

Tests: tests/client/test_extension_commands.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from crewd.client.hook_file import read_file
from crewd.client.toml_table import table_as, tables_in
from crewd.model.errors import UsageError
from crewd.model.ids import check_name
from crewd.model.markdown import did_you_mean

T = TypeVar("T", bound=msgspec.Struct)
FILE: Final = "extension.toml"
SECONDS_MAX: Final = 300.0
COMMANDS_MAX: Final = 32
"""Renderers, and as many sinks, of one extension."""


class Initialise(msgspec.Struct, frozen=True):
    """The command that runs once for each version that is installed."""

    run: str
    timeout_seconds: float = 60.0


class Renderer(msgspec.Struct, frozen=True):
    """A command that is given an artifact and prints what people read. `artifact` is a shell pattern of names."""

    artifact: str
    run: str
    timeout_seconds: float = 30.0


class Sink(msgspec.Struct, frozen=True):
    """A command that is given metrics, a line of JSON each time."""

    run: str


class Declared(msgspec.Struct, frozen=True):
    """What the file says."""

    initialise: Initialise | None = None
    renderers: Mapping[str, Renderer] = msgspec.field(default_factory=dict)
    sinks: Mapping[str, Sink] = msgspec.field(default_factory=dict)


_EXAMPLE = "[initialise] with run, [renderers.NAME] with artifact and run, [sinks.NAME] with run"
_EXAMPLES = {
    "run": "run = 'sh \"$EXTENSION/name.sh\"'", "artifact": 'artifact = "*.csv"', "timeout_seconds": "timeout_seconds = 30",
}  # fmt: skip


def declared_in(folder: Path) -> Declared:
    """What the file in this folder says; nothing if there is none. UsageError for what is wrong."""
    path = folder / FILE
    tables = tables_in(read_file(path), path, _EXAMPLE)
    for name in tables:
        if name not in Declared.__struct_fields__:
            raise UsageError(f"{path}: there is no [{name}]", hint=did_you_mean(name, Declared.__struct_fields__, {}))
    first = tables.get("initialise")
    said = Declared(
        None if first is None else _command(Initialise, first, f"{path}: [initialise]"),
        _named(Renderer, tables.get("renderers", {}), path, "renderers"),
        _named(Sink, tables.get("sinks", {}), path, "sinks"),
    )
    if max(len(said.renderers), len(said.sinks)) > COMMANDS_MAX:
        raise UsageError(f"{path} has more than {COMMANDS_MAX} renderers or sinks")
    return said


def _named(kind: type[T], tables: object, path: Path, what: str) -> dict[str, T]:
    if not isinstance(tables, dict):
        raise UsageError(f"{path}: {what} is no table", hint=f"[{what}.NAME], and below it run")
    for name in tables:
        try:
            check_name(f"a name of {what}", name)
        except UsageError as error:
            raise UsageError(f"{path}: {error.message}", hint=error.hint) from None
    return {name: _command(kind, table, f"{path}: [{what}.{name}]") for name, table in tables.items()}


def _command(kind: type[T], table: object, where: str) -> T:
    """A command. UsageError if it is empty, or may take longer than any of them may."""
    command = table_as(kind, table, where, _EXAMPLES)
    run, seconds = getattr(command, "run", ""), getattr(command, "timeout_seconds", SECONDS_MAX)
    if not run.strip() or "\0" in run:
        raise UsageError(f"{where}: run is empty", hint=_EXAMPLES["run"])
    if not 0 < seconds <= SECONDS_MAX:
        hint = f"more than 0, at most {SECONDS_MAX:g}"
        raise UsageError(f"{where}: timeout_seconds = {seconds:g} is not possible", hint=hint)
    return command
