"""Secrets whose values are known, such as those of `--secret`: each occurrence is masked, whatever it looks like. Pure.

Tests: tests/test_secrets.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from crewd.model.redact import MASK

S = TypeVar("S", bound=msgspec.Struct)
CHARS_MIN = 6
"""A shorter value is not masked: it stands in ordinary words, too."""


class KnownSecrets:
    """False if there are none."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        kept = {part for value in values for part in (value, value.strip()) if len(part) >= CHARS_MIN}
        self._texts = sorted(kept, key=len, reverse=True)
        self._bytes = [text.encode("utf-8", "surrogateescape") for text in self._texts]

    def __bool__(self) -> bool:
        return bool(self._texts)

    def in_text(self, text: str) -> str:
        """The text without them."""
        for value in self._texts:
            text = text.replace(value, MASK)
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
