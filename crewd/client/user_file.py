"""Small JSON files of the user's own, in crewd's configuration directory: written whole or not at all.

Tests: tests/client/cli/test_teams.py, tests/client/test_hooks.py.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import platformdirs

from crewd.model.errors import Unavailable, UsageError

T = TypeVar("T")
FILE_BYTES_MAX: Final = 64 << 10
"""Of a file that defines something: an agent, a team, a workflow, a skill, hooks."""


def user_path(name: str) -> Path:
    """Where the user's file of this name stands."""
    return platformdirs.user_config_path("crewd", appauthor=False) / name


def read_json(name: str, shape: type[T], absent: T, otherwise: str) -> T:
    """What the file says, `absent` if there is none. UsageError if it cannot be read; `otherwise`: what holds without it."""
    path = user_path(name)
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except FileNotFoundError:
        return absent
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint=f"mend it, or remove it: then {otherwise}") from None


def write_json(name: str, value: object) -> None:
    """Write the file; only the user can read it. Unavailable if that cannot be; nothing is changed then."""
    path = user_path(name)
    beside = path.with_suffix(f".{os.getpid()}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        beside.touch(mode=0o600, exist_ok=False)
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(value)) + b"\n")
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise Unavailable(f"{path} cannot be written: {error.strerror}", hint="nothing is changed") from None
