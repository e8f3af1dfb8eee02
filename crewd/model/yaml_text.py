"""YAML as it stands in a workflow file: its value, and the line of each key. Pure.

What YAML would guess, or take silently, is refused: a key that stands twice, an alias, a tag. Plain words follow the core rules
of YAML 1.2, so `no`, `on` and `2024-01-01` are text.

Tests: tests/model/test_workflow.py.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from crewd.model.errors import UsageError
from crewd.model.markdown import wrong

Path = tuple[str, ...]
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_SIMPLE = re.compile(r'(?:(?!---|\.\.\.)[ "-=@-{}~]*\n)*(?:(?!---|\.\.\.)[ "-=@-{}~]*)')
"""Letters of ASCII and spaces, without '!', '?', '>' and '|', and without an end of the document."""
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_DIGITS_MAX = 40
_PLAIN_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")


class Yaml(msgspec.Struct, frozen=True):
    """A value made of dicts, lists, text (or JSON's scalars) and None for what has no value."""

    value: Any
    first_line: int
    lines: Mapping[Path, int] = msgspec.field(default_factory=dict)

    def line(self, *path: str) -> int:
        """The line of a key, or of the nearest one around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.first_line)


def read_yaml(text: str, first_line: int, *, typed: bool = False) -> Yaml:
    """What a YAML text says, whose first line is `first_line` of its file.

    Scalars are text as it is written; if `typed`, they are what JSON would have. UsageError with the line for what is no YAML.
    """
    import yaml  # only who reads a workflow pays for it

    lines: dict[Path, int] = {}
    seen: set[int] = set()

    def value_of(node: Any, path: Path) -> Any:
        line = first_line + node.start_mark.line
        if id(node) in seen:
            raise wrong(line, "an anchor ('&name') that is used again is not understood", "write the value twice")
        seen.add(id(node))
        if node.tag not in _PLAIN_TAGS:
            raise wrong(line, f"the tag {node.tag} is not understood", "leave it out")
        if isinstance(node, yaml.ScalarNode):
            if not is_text(node.value) or "\0" in node.value:
                raise wrong(line, "there is half of a character (a lone surrogate), or a NUL", "write the character itself")
            return _scalar(node.value, line, plain=not node.style, typed=typed)
        if isinstance(node, yaml.SequenceNode):
            return [value_of(each, path) for each in node.value]
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            at = first_line + key_node.start_mark.line
            if not isinstance(key_node, yaml.ScalarNode):
                raise wrong(at, "a key is no text", "give each key as text")
            key = key_node.value
            if key in found:
                raise wrong(at, f"{key!r} stands twice", "give each key once")
            lines[(*path, key)] = at
            found[key] = value_of(value_node, (*path, key))
        return found

    try:
        node = _node(text)
        return Yaml(None if node is None else value_of(node, ()), first_line, lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it is no YAML"
        line = first_line + (mark.line if mark is not None else 0)
        hint = "quote text that holds ': ', '#' or brackets, and indent with spaces"
        raise wrong(line, f"this is not understood: {problem}", hint) from None
    except RecursionError:
        raise wrong(first_line, "this is not understood: it is nested too deeply") from None


def _node(text: str) -> Any:
    """The root of a YAML text. YAMLError for what is none.

    The parser in C is eight times as fast, and takes some rare texts otherwise than the one in Python. So it reads only texts
    in which nothing rare stands, and what it cannot read is read again.
    """
    import yaml

    if yaml.__with_libyaml__ and is_simple(text):
        with contextlib.suppress(yaml.YAMLError):
            return yaml.CBaseLoader(text).get_single_node()
    return yaml.BaseLoader(text).get_single_node()


def is_simple(text: str) -> bool:
    """Whether both parsers of YAML read it alike."""
    return _SIMPLE.fullmatch(text) is not None


def _scalar(text: str, line: int, *, plain: bool, typed: bool) -> object:
    if not plain:
        return text
    if text in _NULL:
        return None
    if not typed:
        return text
    if _NO_NUMBER.fullmatch(text):
        raise wrong(line, f"{text} is no number that JSON has", "quote it if it is text")
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if len(text) > _DIGITS_MAX:
        return text
    if _INTEGER.fullmatch(text):
        return whole(int(text), line)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise wrong(line, f"{text} is no number that JSON has", "quote it if it is text")
        return number
    return text


def is_text(text: str) -> bool:
    """Whether the text can be written as UTF-8: it holds no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def whole(number: int, line: int) -> int:
    """The number, if the wire can hold it. UsageError otherwise."""
    if not -(1 << 63) <= number < 1 << 64:
        raise wrong(line, f"{str(number)[:24]}… has more than 64 bits", "quote it if it is text")
    return number


def field_text(yaml: Yaml, key: str) -> str:
    """The text of a field at the top; empty if it has none. UsageError for a list or a mapping."""
    value = (yaml.value or {}).get(key)
    return "" if value is None else scalar_text(value, yaml.line(key), key)


def scalar_text(value: object, line: int, what: str) -> str:
    """A value that must be one text. UsageError naming `what` otherwise."""
    if isinstance(value, str):
        return value
    if value is None:
        raise UsageError(f"line {line}: {what} has no value", hint='"" is the empty text', line=line)
    raise wrong(line, f"{what} is one value, and no list or mapping", "quote it if it is text")
