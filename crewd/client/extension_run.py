"""Runs a command of an extension below a process of its own, with the context that it is given.

The context is three variables: `EXTENSION` is the folder of the extension, `EXTENSION_DATA` one where it may write, and
`EXTENSION_CONTEXT` says in JSON its name and version, the version of crewd, how wide the terminal is and whether there is one.

Tests: tests/client/test_extension_commands.py.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

import msgspec
import platformdirs

import crewd
from crewd.client.extensions import Extension
from crewd.client.host_process import BESIDE_SECONDS, END_SECONDS, answer, hang_up, start
from crewd.model.errors import Unavailable
from crewd.model.hooks import CommandEnded, CommandToRun, as_json

INITIALISING: Final = "CREWD_INITIALISING"
"""Names the extension whose command `initialise` runs."""


def in_context(extension: Extension, run: str) -> str:
    """The command, for `/bin/sh`, in its context. Unavailable if the extension can have no folder to write in."""
    data = platformdirs.user_state_path("crewd-extensions", appauthor=False) / extension.name
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{data} cannot be made: {error.strerror}", hint="an extension writes there") from None
    context = {
        "name": extension.name, "version": extension.version, "crewd": crewd.__version__,
        "columns": shutil.get_terminal_size().columns, "interactive": sys.stdout.isatty(),
    }  # fmt: skip
    variables = {
        "EXTENSION": str(extension.folder), "EXTENSION_DATA": str(data), "EXTENSION_CONTEXT": json.dumps(context),
    }  # fmt: skip
    lines = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join([*lines, f"export {' '.join(variables)}", run])


def run_once(
    extension: Extension, run: str, seconds: float, data: bytes = b"", *, only_beginning: bool = False
) -> CommandEnded:  # fmt: skip
    """Run a command to its end, with `data` as its input. Neither it nor what it has started outlives this call.

    `only_beginning`: it ends in order when it has written more than `CommandEnded.output` holds.
    """
    order, host = CommandToRun(in_context(extension, run), _here(), seconds, data, only_beginning), start()
    try:
        return msgspec.convert(answer(host, as_json(order), seconds + BESIDE_SECONDS + END_SECONDS), CommandEnded)
    except (OSError, ValueError):  # also what is no JSON
        return CommandEnded(None, error="the process that runs it has failed")
    finally:
        hang_up(host)


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return os.sep
