"""Identifiers: UUIDv7 as 26 Crockford characters with a prefix, and names that are safe in paths.

Time and randomness come in as arguments (see `crewd.clock`); an id made later sorts later, also within a millisecond.

Tests: tests/model/test_values.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crewd.model.errors import UsageError
from crewd.model.limits import NAME_CHARS_MAX

if TYPE_CHECKING:
    from crewd.clock import Chance, Clock

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_LIKE_AN_ID = re.compile(r"[a-z]_[0-7][0-9a-z]{3,}\Z", re.IGNORECASE)
_ID = re.compile(r"[a-z]_[0-9a-hjkmnp-tv-z]{26}\Z")
_MARKER = re.compile(r"([0-9A-Za-z]{1,64}):([A-Za-z0-9_]{1,64}/[A-Za-z0-9][A-Za-z0-9._-]*)#([0-9]{1,9})\Z")
"""Any process may bear any text as its marker: nothing counts that would lead out of a home."""
SELECTOR_CHARS_MAX = 256
"""Of a run or task that is named: more than any name and id has."""
RUN, MESSAGE, ASK, EVENT = "r", "m", "q", "e"


AHEAD_MILLISECONDS_MAX = 366 * 86_400_000
"""A year: an id from further in the future comes from an imported file, and not from a clock that was wrong for a while."""


def uuid7(milliseconds: int, randomness: bytes) -> bytes:
    """The 16 bytes of an RFC 9562 UUID version 7. `randomness` is 10 bytes; 6 bits of it are overwritten."""
    raw = bytearray(milliseconds.to_bytes(6, "big") + randomness[:10])
    raw[6] = 0x70 | (raw[6] & 0x0F)
    raw[8] = 0x80 | (raw[8] & 0x3F)
    return bytes(raw)


def spell(prefix: str, raw: bytes) -> str:
    """`raw` (16 bytes) as `<prefix>_` and 26 characters that sort as the bytes do."""
    number = int.from_bytes(raw, "big")
    return f"{prefix}_" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def time_of(text: str) -> int:
    """The milliseconds of an id."""
    number = 0
    for letter in text.partition("_")[2]:
        number = number << 5 | _ALPHABET.index(letter)
    return number >> 80


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` is a whole id of this kind."""
    return text.startswith(f"{prefix}_") and _ID.match(text) is not None


class IdSource:
    """Makes ids; monotonic within one process even when the wall clock stands still or goes back."""

    def __init__(self, clock: Clock, chance: Chance) -> None:
        self._clock = clock
        self._chance = chance
        self._last = 0
        self._counter = 0

    def follow(self, made: str) -> None:
        """Make ids that sort after this one, which an earlier process has made: the wall clock may have been set back since.

        One of a time far ahead of the clock is not followed: a file from somewhere else may say anything.
        """
        if is_id(made, made[:1]) and (milliseconds := time_of(made)) <= int(self._clock.wall() * 1000) + AHEAD_MILLISECONDS_MAX:
            self._last = max(self._last, milliseconds + 1)

    def next(self, prefix: str) -> str:
        """A new id that sorts after every id made before by this source."""
        milliseconds = int(self._clock.wall() * 1000)
        if milliseconds > self._last:
            self._last, self._counter = milliseconds, 0
        else:
            self._counter += 1
            if self._counter > 0xFFF:
                self._last, self._counter = self._last + 1, 0
        tail = self._chance.bytes(8)
        return spell(prefix, uuid7(self._last, self._counter.to_bytes(2, "big") + tail))


def check_name(what: str, name: str) -> str:
    """`name` if it may be part of a path and a selector; `UsageError` naming `what` if not."""
    if len(name) > NAME_CHARS_MAX or not _NAME.match(name) or ".." in name:
        raise UsageError(
            f"{what} {name!r} is not a name",
            hint=f"use up to {NAME_CHARS_MAX} letters, digits, '-', '_' and '.', starting with a letter or digit",
        )
    return name


def check_run_name(name: str) -> str:
    """`name` if a run may be called so; UsageError if it is no name, or looks like an id and would be taken for another run."""
    if _LIKE_AN_ID.match(name):
        raise UsageError(f"the run name {name!r} looks like an id", hint="begin it with a word")
    return check_name("run name", name)


def split_older(text: str) -> tuple[str, int]:
    """A run's selector and how many runs of that name to go back: `nightly~2` is the one before the one before the newest."""
    name, tilde, count = text.rpartition("~")
    return (name, int(count)) if tilde and name and count.isdecimal() and len(count) < 4 else (text, 0)


def task_id(run: str, step: str) -> str:
    """The id of the task that a step of a run becomes; also the id of the worker that carries it."""
    return f"{run}/{step}"


def split_task_id(task: str) -> tuple[str, str]:
    """The run id and the step of a task id."""
    run, _, step = task.partition("/")
    return run, step


def marker(home_key: str, task: str, epoch: int) -> str:
    """What the environment of every process of a worker says: `<home key>:<task id>#<epoch>`."""
    return f"{home_key}:{task}#{epoch}"


def split_marker(text: str) -> tuple[str, str, int] | None:
    """Home key, task id and epoch of a marker; None if `text` is none."""
    found = _MARKER.match(text)
    return None if found is None or ".." in found[2] else (found[1], found[2], int(found[3]))
