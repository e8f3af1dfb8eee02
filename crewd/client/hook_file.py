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
from crewd.model.markdown import did_you_mean

HookSource = Literal["user", "extension", "project"]
_EXAMPLES = {
    "run": 'run = "python3 check.py"', "blocking": "blocking = true", "timeout_seconds": "timeout_seconds = 10",
    "roles": 'roles = ["executor"]',
}  # fmt: skip
_EXAMPLE = "a table for each hook: [NAME], and below it on, run, and perhaps blocking, timeout_seconds, roles"


class _Entry(msgspec.Struct, frozen=True):
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
        tables = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: {error}", hint=_EXAMPLE) from None
    hooks = [
        replace(Hook(name, **msgspec.structs.asdict(_entry(name, table, path))), source=source)
        for name, table in tables.items()
    ]
    check_hooks(str(path), hooks)
    return hooks


def _entry(name: str, table: object, path: Path) -> _Entry:
    where = f"{path}: hook {name!r}"
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {name!r} stands outside of a table", hint=_EXAMPLE)
    for key in table:
        if key not in _Entry.__struct_fields__:
            raise UsageError(f"{where}: there is no {key!r}", hint=did_you_mean(key, _Entry.__struct_fields__, {}))
    for key, example in (("on", 'on = "before_task_start"'), ("run", 'run = "python3 check.py"')):
        if key not in table:
            raise UsageError(f"{where}: {key!r} is missing", hint=example)
    if table["on"] not in POINTS:
        raise UsageError(f"{where}: on = {table['on']!r} is not possible", hint=did_you_mean(str(table["on"]), POINTS, {}))
    try:
        return msgspec.convert(table, _Entry)
    except msgspec.ValidationError as error:
        key = str(error).rpartition("`$.")[2].rstrip("`").partition("[")[0]
        raise UsageError(f"{where}: {key} = {table.get(key)!r} is not possible", hint=_EXAMPLES.get(key, "")) from None
