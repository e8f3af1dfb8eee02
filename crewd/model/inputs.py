"""What a workflow is given besides its steps: its goal, and inputs by name, with types and defaults. Pure.

An input reaches a command as the variable `CREWD_INPUT_<NAME>`, wherever its command line says `{name}`, and a callable as
`ctx.inputs` and in arguments that are just `"{name}"`. `goal` is an input, too, and a workflow may say of which type it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from crewd.model import variables
from crewd.model.errors import UsageError
from crewd.model.limits import ARGUMENT_BYTES_MAX

Kind = Literal["text", "integer", "number", "boolean", "file", "directory"]
GOAL = "goal"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_INTEGER = re.compile(r"-?[0-9]+")
_INTEGER_MIN, _INTEGER_MAX = -(1 << 63), (1 << 64) - 1
"""What the wire and readers of JSON hold."""
_INTEGER_CHARS_MAX = 20
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_YES, _NO = frozenset({"true", "yes", "1", "on"}), frozenset({"false", "no", "0", "off"})


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One input. Without a `default` it must be given. `choices`: it must be one of them, if there are some."""

    type: Kind = "text"
    default: str | None = None
    choices: tuple[str, ...] = ()
    description: str = ""


def variable(name: str) -> str:
    """The variable in which a command finds an input."""
    return variables.GOAL if name == GOAL else f"{variables.INPUT_PREFIX}{name.upper()}"


def check_inputs(inputs: Mapping[str, Input]) -> None:
    """UsageError for names that no input can have, and for defaults and choices that are not of their type."""
    for name, each in inputs.items():
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name of an input", hint="lower-case letters, digits and '_', a letter first")
        for choice in each.choices:
            value_of(name, each, choice, what=f"a choice of the input {name}")
        if each.default is not None:
            value_of(name, each, each.default, what=f"the default of the input {name}")


def resolve(inputs: Mapping[str, Input], goal: str, given: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The goal and all inputs, with defaults filled in and every value of its type. UsageError naming what is wrong."""
    unknown = next((name for name in given if name not in inputs or name == GOAL), None)
    if unknown == GOAL and GOAL in inputs:
        raise UsageError("the input goal is the goal of the run itself", hint="crew run GOAL, in place of --input goal=…")
    if unknown is not None:
        names = ", ".join(name for name in inputs if name != GOAL) or "none"
        raise UsageError(f"the workflow has no input {unknown}", hint=f"its inputs are: {names}")
    found: dict[str, str] = {}
    for name, each in inputs.items():
        text = (goal or None) if name == GOAL else given.get(name)
        if text is None:
            if each.default is None:
                raise UsageError(f"the workflow needs the input {name} ({each.type})", hint=_how(name, each))
            text = each.default
        if not isinstance(text, str):
            raise UsageError(f"the input {name} is {text!r}, which is no text", hint=f"inputs={{{name!r}: {str(text)!r}}}")
        value = value_of(name, each, text)
        if "\0" in text or len(variable(name)) + 1 + len(text.encode("utf-8", "replace")) > ARGUMENT_BYTES_MAX:
            what = "holds a NUL byte" if "\0" in text else f"has more than {ARGUMENT_BYTES_MAX - len(variable(name)) - 1} bytes"
            raise UsageError(f"the input {name} {what}: no program could be given it", hint="name a file that holds it")
        found[name] = str(value).lower() if isinstance(value, bool) else text  # one word for a script to compare with
    return found.pop(GOAL, goal), found


def value_of(name: str, each: Input, text: str, *, what: str = "") -> str | int | float | bool:
    """The value that a text means. UsageError if it is not of the input's type, or no choice; `what` it is, for the error."""
    what, how = what or f"the input {name}", "" if what else _how(name, each)
    if each.choices and text not in each.choices:
        raise UsageError(f"{what} is {text!r}", hint=f"one of {', '.join(each.choices)}")
    try:
        match each.type:
            case "integer":
                if not _INTEGER.fullmatch(text):
                    raise ValueError
                if len(text.lstrip("-0")) > _INTEGER_CHARS_MAX or not _INTEGER_MIN <= int(text) <= _INTEGER_MAX:
                    hint = f"{_INTEGER_MIN} to {_INTEGER_MAX} are possible"
                    raise UsageError(f"{what} is {text[:40]}, which is out of range", hint=hint)
                return int(text)
            case "number":
                number = float(text)
                if not _NUMBER.fullmatch(text) or number - number != 0:  # infinite, or not a number
                    raise ValueError
                return number
            case "boolean":
                if text.lower() not in _YES | _NO:
                    raise ValueError
                return text.lower() in _YES
            case _:
                if not text and each.type != "text":
                    raise ValueError
                return text
    except ValueError:
        raise UsageError(f"{what} is {text!r}, which is no {each.type}", hint=how) from None


def _how(name: str, each: Input) -> str:
    what = f" ({each.description})" if each.description else ""
    return f'crew run "GOAL"{what}' if name == GOAL else f"crew run --input {name}=...{what}"


def place(text: str, values: Mapping[str, str]) -> str:
    """A text for people or models with the values in it; every other pair of braces stays."""
    return re.sub(r"\{([a-z][a-z0-9_]*)\}", lambda found: values.get(found[1], found[0]), text)


def placed_chars(text: str, values: Mapping[str, str]) -> int:
    """How many characters `place` would make of it."""
    found = re.findall(r"\{([a-z][a-z0-9_]*)\}", text)
    return len(text) + sum(len(values[name]) - len(name) - 2 for name in found if name in values)


def place_in(value: object, values: Mapping[str, str], typed: Mapping[str, object]) -> object:
    """Arguments with the values in them: one that is nothing but `{name}` is the value with its type."""
    match value:
        case str():
            whole = re.fullmatch(r"\{([a-z][a-z0-9_]*)\}", value)
            return typed[whole[1]] if whole and whole[1] in typed else place(value, values)
        case list() | tuple():
            return [place_in(each, values, typed) for each in value]
        case dict():
            return {key: place_in(each, values, typed) for key, each in value.items()}
        case _:
            return value
