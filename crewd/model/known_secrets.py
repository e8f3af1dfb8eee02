"""Secrets whose values are known, such as those of `--secret`: each occurrence is masked, whatever it looks like. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from crewd.model.redact import CUT, MASK

S = TypeVar("S", bound=msgspec.Struct)
CHARS_MIN = 6
"""A shorter value is not masked: it stands in ordinary words, too."""
PART_CHARS_MIN = 4
"""A shorter part of a value is not masked beside a cut."""


class KnownSecrets:
    """False if there are none."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        kept = {part for value in values for part in (value, value.strip()) if len(part) >= CHARS_MIN}
        self._texts = sorted(kept, key=len, reverse=True)
        self._bytes = [text.encode("utf-8", "surrogateescape") for text in self._texts]

    def __bool__(self) -> bool:
        return bool(self._texts)

    def in_text(self, text: str) -> str:
        """The text without them.

        A worker, which does not know them, may have cut the text in the middle of one, or masked what looked like a secret
        inside one: the parts of one beside such cuts are masked, too.
        """
        for value in self._texts:
            text = _without_parts(text.replace(value, MASK), value)
        return text

    def in_bytes(self, data: bytes) -> bytes:
        """The bytes of a file without them: each byte is `*`, so that every offset stays what it was."""
        for value in self._bytes:
            data = data.replace(value, b"*" * len(value))
        return data

    def unfinished(self, data: bytes) -> int:
        """How many bytes at the end of the data may be the beginning of one."""
        longest = max((len(value) for value in self._bytes), default=1)
        return next(
            (
                size
                for size in range(min(len(data), longest - 1), 0, -1)
                if any(value.startswith(data[-size:]) and len(value) > size for value in self._bytes)
            ),
            0,
        )

    def in_value(self, value: Any) -> Any:
        """JSON-like data without them; bytes stay, for their hash is known."""
        match value:
            case str():
                return self.in_text(value)
            case list() | tuple():
                return [self.in_value(each) for each in value]
            case dict():
                return {self.in_value(key): self.in_value(each) for key, each in value.items()}
            case _:
                return value

    def in_struct(self, body: S) -> S:
        """The same message without them."""
        if not self:
            return body
        plain = msgspec.to_builtins(body, builtin_types=(bytes,))
        return msgspec.convert(self.in_value(plain), type(body), builtin_types=(bytes,))


def _without_parts(text: str, value: str) -> str:
    """The text with the parts of the value masked that stand beside a cut.

    These are its beginning before one, its end after one, and any part of it that fills the place between two.
    """
    pieces = CUT.split(text)
    for at in range(0, len(pieces) if len(pieces) > 1 else 0, 2):
        pieces[at] = _without_part(pieces[at], value, after_cut=at > 0, before_cut=at < len(pieces) - 1)
    return "".join(pieces)


def _without_part(piece: str, value: str, *, after_cut: bool, before_cut: bool) -> str:
    if after_cut and before_cut and len(piece) >= PART_CHARS_MIN and piece in value:
        return MASK
    end = _overlap(value[::-1], piece[: len(value)][::-1]) if after_cut else 0
    beginning = _overlap(value, piece[-len(value) :]) if before_cut else 0
    if end + beginning > len(piece):
        return MASK
    return f"{MASK if end else ''}{piece[end : len(piece) - beginning]}{MASK if beginning else ''}"


def _overlap(value: str, text: str) -> int:
    """The length of the longest beginning of the value that the text ends with; 0 if it is too short to tell.

    The text is no longer than the value. The time is linear in its length (Knuth, Morris and Pratt).
    """
    value = value[: len(text)]
    if len(text) < PART_CHARS_MIN or value[:PART_CHARS_MIN] not in text:
        return 0
    sizes, size = [0], 0
    for char in (*value[1:], None, *text):
        while size and value[size] != char:
            size = sizes[size - 1]
        size += value[size] == char
        sizes.append(size)
    return size if size >= PART_CHARS_MIN else 0
