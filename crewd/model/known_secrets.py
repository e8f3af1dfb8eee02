"""Secrets whose values are known, such as those of `--secret`: each occurrence is masked, whatever it looks like. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec

from crewd.model.redact import CUT, MASK, SECRET_CHARS_MAX, is_deep

S = TypeVar("S", bound=msgspec.Struct)
CHARS_MIN = 6
"""A shorter value is not masked: it stands in ordinary words, too."""
PART_CHARS_MIN = 4
"""A shorter part of a value is not masked beside a cut."""
CHECKS_MAX = 200_000
"""A text with so many cuts that more would have to be looked at loses its middle: a worker must not hold up crewd."""


class KnownSecrets:
    """False if there are none."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        kept = {part for value in values for part in (value, value.strip()) if len(part) >= CHARS_MIN}
        self._texts = sorted(kept, key=len, reverse=True)
        self._bytes = [text.encode("utf-8", "surrogateescape") for text in self._texts]

    def __bool__(self) -> bool:
        return bool(self._texts)

    @property
    def reach(self) -> int:
        """How many bytes before an offset a secret may begin that continues there: one that is known, or looks like one."""
        return max(SECRET_CHARS_MAX, *map(len, self._bytes), 0)

    def in_text(self, text: str) -> str:
        """The text without them.

        A worker, which does not know them, may have cut the text in the middle of one, or masked what looked like a secret
        inside one: the parts of one beside such cuts are masked, too.
        """
        for value in self._texts:
            text = text.replace(value, MASK)
        pieces = CUT.split(text) if self._texts else [text]
        kept = CHECKS_MAX // max(1, sum(1 + len(value) // 1_000 for value in self._texts)) // 4 * 2 + 1
        if len(pieces) > 2 * kept:
            pieces = [*pieces[:kept], MASK, *pieces[-kept:]]
        for at in range(0, len(pieces) if len(pieces) > 1 else 0, 2):
            for value in self._texts if len(pieces[at]) >= PART_CHARS_MIN else ():
                pieces[at] = _without_part(pieces[at], value, after_cut=at > 0, before_cut=at < len(pieces) - 1)
        return "".join(pieces)

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
        """JSON-like data without them; bytes stay, for their hash is known.

        What is nested too deeply (`is_deep`) stays as it is: nobody takes it.
        """
        return value if is_deep(value) else self._in_value(value)

    def _in_value(self, value: Any) -> Any:
        match value:
            case str():
                return self.in_text(value)
            case list() | tuple():
                return [self._in_value(each) for each in value]
            case dict():
                return {self.in_text(key) if isinstance(key, str) else key: self._in_value(each) for key, each in value.items()}
            case _:
                return value

    def in_struct(self, body: S) -> S:
        """The same message without them in any field that may hold any text.

        Its kinds and choices (`Literal`) stay, also where one of them is the value of a secret.
        """
        if not self:
            return body
        masked = {name: self._of_type(getattr(body, name), kind) for name, kind in _fields(type(body))}
        return msgspec.structs.replace(body, **masked)

    def _of_type(self, value: Any, kind: Any) -> Any:
        kinds = _alternatives(kind)
        if isinstance(value, msgspec.Struct):
            return self.in_struct(value)
        if not kinds.isdisjoint({object, Any}):
            return self.in_value(value)
        if isinstance(value, str):
            return self.in_text(value) if str in kinds else value
        if isinstance(value, list | tuple):
            inner = next((get_args(each)[0] for each in kinds if get_args(each)), object)
            return type(value)(self._of_type(each, inner) for each in value)
        if isinstance(value, dict):
            of_key, of_value = next((get_args(each) for each in kinds if get_args(each)), (object, object))
            return {self._of_type(key, of_key): self._of_type(each, of_value) for key, each in value.items()}
        return value


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.type) for field in msgspec.structs.fields(kind))


def _alternatives(kind: Any) -> set[Any]:
    return set(get_args(kind)) if get_origin(kind) in {Union, UnionType} else {kind}


def _without_part(piece: str, value: str, *, after_cut: bool, before_cut: bool) -> str:
    """What stands between two cuts, or before or after one, without its part of the value.

    That is a beginning of the value before a cut, an end of it after one, and any part that fills the place between two.
    """
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
