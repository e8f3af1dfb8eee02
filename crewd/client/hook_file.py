"""A file of hooks: a TOML table for each.

Tests: tests/client/test_hooks.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from crewd.client.toml_table import table_as, tables_in
from crewd.client.user_file import FILE_BYTES_MAX
from crewd.model.errors import UsageError
from crewd.model.hooks import HOOK_SECONDS_DEFAULT, POINTS, Hook, HookPoint, check_hooks
from crewd.model.markdown import did_you_mean

HookSource = Literal["user", "extension", "project"]
_EXAMPLES = {
    "on": 'on = "before_task_start"', "run": 'run = "python3 check.py"', "blocking": "blocking = true",
    "timeout_seconds": "timeout_seconds = 10", "roles": 'roles = ["executor"]',
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
        if path.is_symlink() and not path.exists():
            raise UsageError(f"{path} is a link that leads nowhere", hint="remove it, or make what it names")
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
    hooks = [
        replace(Hook(name, **msgspec.structs.asdict(_entry(name, table, path))), source=source)
        for name, table in tables_in(data, path, _EXAMPLE).items()
    ]
    check_hooks(str(path), hooks)
    return hooks


def _entry(name: str, table: object, path: Path) -> _Entry:
    if not isinstance(table, dict | list):
        raise UsageError(f"{path}: {name!r} stands outside of a table", hint=_EXAMPLE)
    where = f"{path}: hook {name!r}"
    if isinstance(table, dict) and table.get("on", POINTS[0]) not in POINTS:
        raise UsageError(f"{where}: on = {table['on']!r} is not possible", hint=did_you_mean(str(table["on"]), POINTS, {}))
    return table_as(_Entry, table, where, _EXAMPLES)
