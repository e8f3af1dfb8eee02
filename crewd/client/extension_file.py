"""The file `extension.toml`: what an extension brings beside its other files. Commands, which are only read here.

Tests: tests/client/test_extension_commands.py.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from crewd.client.hook_file import read_file
from crewd.model.errors import UsageError
from crewd.model.ids import check_name

FILE: Final = "extension.toml"
SECONDS_MAX: Final = 300.0
COMMANDS_MAX: Final = 32
"""Renderers, and as many sinks, of one extension."""


class Initialise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The command that runs once for each version that is installed."""

    run: str
    timeout_seconds: float = 60.0


class Renderer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command that is given an artifact and prints what people read. `artifact` is a shell pattern of names."""

    artifact: str
    run: str
    timeout_seconds: float = 30.0


class Sink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command that is given metrics, a line of JSON each time."""

    run: str


class Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file says."""

    initialise: Initialise | None = None
    renderers: Mapping[str, Renderer] = msgspec.field(default_factory=dict)
    sinks: Mapping[str, Sink] = msgspec.field(default_factory=dict)


def declared_in(folder: Path) -> Declared:
    """What the file in this folder says; nothing if there is none. UsageError for what is wrong."""
    path = folder / FILE
    try:
        said = msgspec.convert(tomllib.loads(read_file(path).decode("utf-8")), Declared)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8: {error}") from None
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        hint = "[initialise] with run, [renderers.NAME] with artifact and run, [sinks.NAME] with run"
        raise UsageError(f"{path}: {error}", hint=hint) from None
    for name in (*said.renderers, *said.sinks):
        check_name("a renderer or a sink", name)
    first, renderers = [] if said.initialise is None else [said.initialise], said.renderers.values()
    for run in (*(each.run for each in first), *(each.run for each in renderers), *(each.run for each in said.sinks.values())):
        if not run.strip() or "\0" in run:
            raise UsageError(f"{path}: a command is empty", hint="run = 'sh \"$EXTENSION/name.sh\"'")
    for seconds in (*(each.timeout_seconds for each in first), *(each.timeout_seconds for each in renderers)):
        if not 0 < seconds <= SECONDS_MAX:
            raise UsageError(f"{path}: {seconds:g} s is not possible", hint=f"more than 0, at most {SECONDS_MAX:g}")
    if max(len(said.renderers), len(said.sinks)) > COMMANDS_MAX:
        raise UsageError(f"{path} has more than {COMMANDS_MAX} renderers or sinks")
    return said
