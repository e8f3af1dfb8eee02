"""Reading what agents say: what is missing or of another kind is empty, so that a new version of an agent breaks nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from crewd.model.redact import clip

NUMBER_MAX = 1e15
"""Nothing that an agent counts is larger; what is, is a mistake."""
PREVIEW_CHARS = 240
"""Of a tool's arguments and of what it gave."""
_TELLING = ("command", "cmd", "path", "file_path", "filePath", "pattern", "query", "url", "prompt", "description")
"""Arguments that say most about a call, in this order."""


def at(record: object, *keys: str) -> Any:
    """What stands at the end of this way of keys; None where it breaks off."""
    for key in keys:
        if not isinstance(record, Mapping):
            return None
        record = record.get(key)
    return record


def text_at(record: object, *keys: str) -> str:
    """The text there; empty if there is none."""
    found = at(record, *keys)
    return found if isinstance(found, str) else ""


def number_at(record: object, *keys: str) -> float:
    """The number there; 0 if there is none, or one that cannot be."""
    found = at(record, *keys)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= NUMBER_MAX:
        return 0.0
    return float(found)


def list_at(record: object, *keys: str) -> list[Any]:
    """The list there; empty if there is none."""
    found = at(record, *keys)
    return found if isinstance(found, list) else []


def texts_of(content: object) -> str:
    """The text of a message's content: a text itself, or blocks of which some have the type `text`."""
    if isinstance(content, str):
        return content
    blocks: Iterable[Any] = content if isinstance(content, list) else ()
    return "".join(text_at(block, "text") for block in blocks if text_at(block, "type") == "text")


def preview(arguments: object) -> str:
    """What a tool is called with, in one line: what says most, or all of it."""
    told = telling(arguments)
    if told or not arguments:
        return told
    return clip(json.dumps(arguments, ensure_ascii=False, default=str), PREVIEW_CHARS)


def telling(arguments: object) -> str:
    """The argument that says most, such as a command or a path; empty if there is none."""
    if isinstance(arguments, str):
        return clip(" ".join(arguments.split()), PREVIEW_CHARS)
    for key in _TELLING:
        found = at(arguments, key)
        if isinstance(found, list) and found and all(isinstance(part, str) for part in found):
            found = " ".join(found)
        if isinstance(found, str) and found:
            return clip(" ".join(found.split()), PREVIEW_CHARS)
    return ""


def record_of(line: bytes) -> dict[str, Any] | None:
    """The record that a line is, or None if it is none.

    What is no UTF-8, and half a character (a lone surrogate, as JavaScript writes a text that it has cut), is U+FFFD in it.
    """
    try:
        found = msgspec.json.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # it is stricter than some agents are
        try:
            found = _mended(json.loads(line.decode("utf-8", "replace")))
        except (ValueError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


def _mended(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_mended(each) for each in value]
        case dict():
            return {str(_mended(key)): _mended(each) for key, each in value.items()}
        case _:
            return value


def is_piece(record: Mapping[str, Any]) -> bool:
    """Whether it is a piece of what a later record holds whole: nothing of it is kept."""
    kind = text_at(record, "type") or text_at(record, "method")
    if kind == "session/update":
        return text_at(record, "params", "update", "sessionUpdate").endswith("_chunk")
    return kind in {"message_update", "tool_execution_update", "stream_event"} or kind.lower().endswith("delta")
