"""Reading what agents say: what is missing or of another kind is empty, so that a new version of an agent breaks nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from crewd.model.redact import clip

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
    """The number there, at least 0; 0 if there is none."""
    found = at(record, *keys)
    return max(0.0, float(found)) if isinstance(found, int | float) and not isinstance(found, bool) else 0.0


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
    if isinstance(arguments, str):
        return clip(" ".join(arguments.split()), PREVIEW_CHARS)
    for key in _TELLING:
        found = at(arguments, key)
        if isinstance(found, list) and found and all(isinstance(part, str) for part in found):
            found = " ".join(found)
        if isinstance(found, str) and found:
            return clip(" ".join(found.split()), PREVIEW_CHARS)
    return clip(json.dumps(arguments, ensure_ascii=False, default=str), PREVIEW_CHARS) if arguments else ""


def is_piece(record: Mapping[str, Any]) -> bool:
    """Whether it is a piece of what a later record holds whole: nothing of it is kept."""
    kind = text_at(record, "type") or text_at(record, "method")
    if kind == "session/update":
        return text_at(record, "params", "update", "sessionUpdate").endswith("_chunk")
    return kind in {"message_update", "tool_execution_update", "stream_event"} or kind.lower().endswith("delta")
