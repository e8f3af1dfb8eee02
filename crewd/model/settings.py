"""What a file of settings is: flat keys, each with its type, its bounds and a text for people. Pure.

Tests: tests/supervisor/test_config.py, tests/client/cli/test_config.py.
"""

from __future__ import annotations

import tomllib
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from crewd.model.errors import UsageError
from crewd.model.markdown import did_you_mean

S = TypeVar("S")


class Key(msgspec.Struct, frozen=True):
    """What a key of a file of settings is for.

    `least` and `most` bound a number. `live`: a new value takes effect without a restart of the daemon. `personal`: only the
    user's own file may have it, and not that of a project.
    """

    text: str
    least: float | None = None
    most: float | None = None
    live: bool = False
    personal: bool = False

    @property
    def range(self) -> str:
        """The bounds, for people."""
        if self.least is None or self.most is None:
            return ""
        return f"{self.least:,.10g} to {f'{self.most:,.0f}' if self.most >= 1_000 else f'{self.most:g}'}"


def parse_settings(text: str, where: str) -> dict[str, Any]:
    """The keys and values of a TOML text. UsageError with the place in `where` that is wrong."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a list in a list in a list
        raise UsageError(f"{where} is wrong: {error}", hint="a line is KEY = VALUE, and a text stands in quotes") from None


def check_settings(shape: type[S], keys: Mapping[str, Key], values: Mapping[str, Any], where: str) -> S:
    """The settings that `values` are, with the defaults for the others. UsageError names the first key that is wrong."""
    problem = next(iter(wrong_settings(shape, keys, values, where)), None)
    if problem is not None:
        raise problem
    hints = get_type_hints(shape)
    return shape(**{key: msgspec.convert(value, hints[key]) for key, value in values.items()})


def wrong_settings(shape: type[Any], keys: Mapping[str, Key], values: Mapping[str, Any], where: str) -> list[UsageError]:
    """What is wrong with each key by itself."""
    hints, found = get_type_hints(shape), list[UsageError]()
    for name, value in values.items():
        key = keys.get(name)
        if key is None:
            found.append(UsageError(f"{where}: there is no key {name!r}", hint=did_you_mean(name, keys, {})))
            continue
        try:
            converted = msgspec.convert(value, hints[name])
        except msgspec.ValidationError:
            found.append(
                UsageError(f"{where}: {name} = {shown(value)} is not possible", hint=f"it is {type_words(hints[name])}")
            )
            continue
        if isinstance(converted, str):
            if converted != converted.strip():
                said = f"{where}: {name} = {shown(value)} begins or ends with a blank"
                found.append(UsageError(said, hint="leave the blanks out"))
        elif key.least is not None and key.most is not None and not key.least <= converted <= key.most:
            found.append(UsageError(f"{where}: {name} = {shown(value)} is not possible", hint=key.range))
    return found


def type_words(hint: Any) -> str:
    """A type of a setting, for people."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(filter(None, arguments))
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return "a list of texts"
        return f"a list of {len(arguments)} numbers"
    if origin is types.UnionType:
        return type_words(next(each for each in arguments if each is not types.NoneType))
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes"}[hint]


def shown(value: Any) -> str:
    """A value as it stands in a TOML file. What no file can say (no value) is `(none)`."""
    match value:
        case None:
            return "(none)"
        case bool():
            return str(value).lower()
        case str():
            return msgspec.json.encode(value).decode()
        case list() | tuple():
            return f"[{', '.join(map(shown, value))}]"
        case dict():
            return "a table"
        case _:
            return str(value)
