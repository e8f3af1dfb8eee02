"""What a callable may return: what JSON can say, so that it is the same wherever it is read. The rest is refused by name.

Tests: tests/worker/test_host.py.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

DEPTH_MAX = 200
"""Lists and dicts in each other: what reads a result walks down as far."""
LEAST, MOST = -(1 << 63), (1 << 64) - 1
"""Integers that every reader keeps exactly (MessagePack)."""


class NotJson(Exception):
    """A value that would be another one when it is read; the text says where it stands, what it is and what to return."""


def as_json(value: object, what: str = "the result") -> Any:
    """The value as None, bool, int, float, text, lists and dicts.

    Tuples and sets become lists, dataclasses and structs become dicts, times, UUIDs and Decimals become text, and enums
    become their values.
    Raises NotJson, which calls the value `what`, for what would not be the same value then.
    """
    try:
        plain = msgspec.to_builtins(value, builtin_types=(bytes, bytearray, memoryview))
        _check(plain, what, 0)
    except NotJson:
        raise
    except RecursionError:
        raise NotJson(f"{what} is nested too deeply, or holds itself") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise NotJson(f"{what} cannot be sent: {error}; return JSON-like values") from None
    return plain


def _check(value: object, where: str, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise NotJson(f"{where} is nested too deeply: at most {DEPTH_MAX} lists and dicts in each other")
    match value:
        case None | bool():
            return
        case str():
            if not value.isascii():
                try:
                    value.encode()
                except UnicodeEncodeError:
                    raise NotJson(f"{where} is text with lone surrogates; use os.fsencode and base64 for file names") from None
        case int():
            if not LEAST <= value <= MOST:
                raise NotJson(f"{where} is an integer of more than 64 bits; return it as text")
        case float():
            if not math.isfinite(value):
                raise NotJson(f"{where} is {value}, which JSON cannot say; return None or text")
        case bytes() | bytearray() | memoryview():
            raise NotJson(f"{where} is bytes; return text, or leave a file with ctx.artifact")
        case dict():
            for key, each in value.items():
                if not isinstance(key, str):
                    raise NotJson(f"{where} has the key {key!r}, and JSON's keys are text; use str(key)")
                _check(key, f"a key of {where}", depth + 1)
                _check(each, _place(where, f"[{key!r}]"), depth + 1)
        case list() | tuple():
            for number, each in enumerate(value):
                _check(each, _place(where, f"[{number}]"), depth + 1)
        case _:
            raise NotJson(f"{where} is a {type(value).__name__}; return JSON-like values")


def _place(where: str, step: str) -> str:
    """A place inside another one; of a deep one its beginning and end."""
    place = where + step
    return place if len(place) <= 200 else f"{place[:90]} ... {place[-90:]}"
