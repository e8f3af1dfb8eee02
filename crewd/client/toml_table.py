"""Reads a table of a TOML file into a struct. Errors name the table, the key, and what is possible.

Tests: tests/client/test_hooks.py, tests/client/test_extension_commands.py.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from crewd.client.texts import not_utf8
from crewd.model.errors import UsageError
from crewd.model.markdown import did_you_mean

T = TypeVar("T", bound=msgspec.Struct)


def tables_in(data: bytes, path: Path, example: str) -> dict[str, object]:
    """What the bytes of a file hold. UsageError for what is no TOML; `example` says what could stand there."""
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise not_utf8(str(path), error) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: {error}", hint=example) from None


def table_as(kind: type[T], table: object, where: str, examples: Mapping[str, str]) -> T:
    """A table as a struct. UsageError names the key that is unknown, missing or wrong. `examples` are lines, by key."""
    if isinstance(table, list):
        raise UsageError(f"{where} stands there several times", hint="one pair of brackets: [NAME]")
    if not isinstance(table, dict):
        raise UsageError(f"{where} is no table", hint="[NAME], and below it " + ", ".join(examples.values()))
    fields = msgspec.structs.fields(kind)
    for key in table:
        if key not in {field.name for field in fields}:
            raise UsageError(f"{where}: there is no {key!r}", hint=did_you_mean(key, [field.name for field in fields], {}))
    for field in fields:
        if field.required and field.name not in table:
            raise UsageError(f"{where}: {field.name!r} is missing", hint=examples.get(field.name, ""))
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        key = str(error).rpartition("`$.")[2].rstrip("`").partition("[")[0]
        raise UsageError(f"{where}: {key} = {table.get(key)!r} is not possible", hint=examples.get(key, "")) from None
