"""Small JSON files of the user's own, in crewd's configuration directory: written whole or not at all, by one at a time.

Tests: tests/client/cli/test_teams.py, tests/client/test_hooks.py, tests/client/test_inventory.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
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
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read: {why}", hint=f"mend it, or remove it: then {otherwise}") from None


@contextlib.contextmanager
def alone(path: Path, mode: int = 0o700) -> Iterator[None]:
    """While nobody else changes a file beside this one. `mode` is for its directory, if there is none yet.

    Unavailable if the directory cannot be had.
    """
    folder = Path(os.path.realpath(path)).parent
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}", hint="nothing is changed") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def change_json(name: str, shape: type[T], absent: T, otherwise: str, change: Callable[[T], T]) -> bool:
    """Change what the file says, as `read_json` reads it, while nobody else does. Whether `change` has made it another value.

    Only the user can read the file. Unavailable if it cannot be written; nothing is changed then.
    """
    path = user_path(name)
    with alone(path):
        before = read_json(name, shape, absent, otherwise)
        after = change(before)
        if after != before:
            _write(path, after)
        return after != before


def _write(path: Path, value: object) -> None:
    beside = path.with_suffix(f".{os.getpid()}.new")
    try:
        beside.unlink(missing_ok=True)
        beside.touch(mode=0o600, exist_ok=False)
        beside.write_bytes(msgspec.json.format(msgspec.json.encode(value)) + b"\n")
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise Unavailable(f"{path} cannot be written: {error.strerror}", hint="nothing is changed") from None
