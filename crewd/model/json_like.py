"""What JSON can say. MessagePack, in which values arrive, says more: bytes, keys of any kind, extensions of its own. Pure."""

from __future__ import annotations

import msgspec


def not_json(value: object) -> str:
    """What in the value JSON would not give back as it is, in words; empty if there is nothing. However deep it is."""
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            for key in each:
                if not isinstance(key, str):
                    return f"a key that is no text: {str(key)[:40]}"
            todo.extend(each.values())
        elif isinstance(each, list | tuple):
            todo.extend(each)
        elif isinstance(each, bytes | bytearray | memoryview):
            return "bytes: send them as text"
        elif isinstance(each, msgspec.msgpack.Ext):
            return "an extension of MessagePack"
        elif not (each is None or isinstance(each, str | int | float)):
            return f"a {type(each).__name__}, for which JSON has no form"  # a time, which MessagePack has
    return ""
