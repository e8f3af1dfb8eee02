"""A JSON text in one line, for a reader that may take more than LF for the end of a line.

Node's `readline` ends a line at U+2028 and U+2029, too, and Python's `str.splitlines` at U+0085. In JSON they stand in texts
alone, where they can be escaped (RFC 8259, section 7).
"""

from __future__ import annotations

_ENDS = tuple((end.encode(), f"\\u{ord(end):04x}".encode()) for end in "\x85\u2028\u2029")


def json_line(data: bytes) -> bytes:
    """The line of a JSON text that has no LF: its other ends of lines are escaped."""
    for end, escaped in _ENDS:
        data = data.replace(end, escaped)
    return data + b"\n"
