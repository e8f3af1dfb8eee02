"""Secrets whose values are known, such as those of `--secret`: each occurrence is masked, whatever it looks like. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from crewd.model.redact import LEFT_OUT, MASK

S = TypeVar("S", bound=msgspec.Struct)
CHARS_MIN = 6
"""A shorter value is not masked: it stands in ordinary words, too."""
PART_CHARS_MIN = 4
"""A shorter beginning or end of a value is not masked beside a cut."""
_CUTS = re.compile(f"{re.escape(MASK)}|{re.escape(LEFT_OUT)}")


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
        inside one: the beginning before such a cut and the end after it are masked, too.
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
    """The text with a beginning of the value before each cut, and an end of it after each, masked."""
    cuts = list(_CUTS.finditer(text))
    kept, done = [], 0
    for cut, after in zip(cuts, [*(each.start() for each in cuts[1:]), len(text)], strict=True):
        first = cut.start() - _overlap(value, text[max(done, cut.start() - len(value)) : cut.start()])
        last = cut.end() + _overlap(value[::-1], text[cut.end() : min(after, cut.end() + len(value))][::-1])
        kept += [text[done:first], MASK if first < cut.start() else "", cut[0], MASK if last > cut.end() else ""]
        done = last
    return "".join([*kept, text[done:]])


def _overlap(value: str, text: str) -> int:
    """The length of the longest beginning of the value that the text ends with; 0 if it is too short to tell. Linear."""
    if value[:PART_CHARS_MIN] not in text:
        return 0
    shorter, size = _borders(value), 0
    for char in text:
        while size and (size == len(value) or value[size] != char):
            size = shorter[size - 1]
        size += value[size] == char
    return size if size >= PART_CHARS_MIN else 0


@functools.lru_cache(64)
def _borders(value: str) -> list[int]:
    """For each beginning of the value, how long the longest shorter one is that it ends with (Knuth, Morris and Pratt)."""
    found, size = [0], 0
    for char in value[1:]:
        while size and value[size] != char:
            size = found[size - 1]
        size += value[size] == char
        found.append(size)
    return found
