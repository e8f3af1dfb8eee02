"""A file of hooks: a TOML table for each.

Tests: tests/client/test_hooks.py.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from crewd.client.user_file import FILE_BYTES_MAX
from crewd.model.errors import UsageError
from crewd.model.hooks import HOOK_SECONDS_DEFAULT, POINTS, Hook, HookPoint, check_hooks

HookSource = Literal["user", "extension", "project"]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""

    on: HookPoint
    run: str
    blocking: bool = False
    timeout_seconds: float = HOOK_SECONDS_DEFAULT
    roles: tuple[str, ...] = ()


def read_file(path: Path) -> bytes:
    """What is in a file; nothing if there is none. UsageError for one that cannot be read or is too large."""
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is no file")
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > FILE_BYTES_MAX:
        raise UsageError(f"{path} has more than {FILE_BYTES_MAX} bytes", hint="a hook is a few lines")
    return data


def parse_hooks(data: bytes, path: Path, source: HookSource) -> list[Hook]:
    """The hooks in the bytes of a file, in its order. UsageError for what is wrong."""
    try:
        entries = msgspec.convert(tomllib.loads(data.decode("utf-8")), dict[str, _Entry])
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8: {error}") from None
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        hint = f"a table for each hook, [NAME], with on (one of {', '.join(POINTS)}), run, blocking, timeout_seconds, roles"
        raise UsageError(f"{path}: {error}", hint=hint) from None
    hooks = [replace(Hook(name, **msgspec.structs.asdict(entry)), source=source) for name, entry in entries.items()]
    check_hooks(str(path), hooks)
    return hooks
