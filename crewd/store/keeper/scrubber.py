"""No secret of a worker's output stays in the home: what is left to blot, and a portion of that at a time.

A gigabyte in one piece would take Python's lock from everybody else for most of a minute.

Tests: tests/store/test_scrubber.py.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from crewd import worker_files
from crewd.model.known_secrets import KnownSecrets
from crewd.worker_output import SCRUB_BYTES, scrub

SCRUBBED = "scrubbed"
"""The file that says so, in an attempt's directory: what has it is not looked at again."""
WAITING_MAX = 50_000
"""Attempts that wait. What finds no room is found at the next start."""
FILE_BYTES = 4_096
"""A file costs as much as so many bytes."""
_NONE = KnownSecrets()
_OUTPUT = ("stdout", "stderr")


class Scrubber:
    """See the module's text. `runs`: below it alone anything is touched."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._waiting: deque[Path] = deque()
        self._known: dict[Path, KnownSecrets] = {}
        self._at_work: tuple[Path, Iterator[int]] | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting) or self._at_work is not None

    def add(self, directory: Path, values: tuple[str, ...] = ()) -> None:
        """The attempt of this directory is over; these values are blotted besides what looks like a secret."""
        if self._runs in directory.parents and len(self._waiting) < WAITING_MAX:
            self._waiting.append(directory)
            if values:
                self._known[directory] = KnownSecrets(values)

    def step(self) -> None:
        """The next portion."""
        left = SCRUB_BYTES
        while left > 0 and self:
            if self._at_work is None:
                directory = self._waiting.popleft()
                self._at_work = directory, self._scrub(directory)
            size = next(self._at_work[1], None)
            if size is None:
                self._at_work = None
            else:
                left -= size

    def finish(self, run: str = "") -> None:
        """All of this run, or of every run, now."""
        if self._at_work is not None and self._is_of(self._at_work[0], run):
            deque(self._at_work[1], maxlen=0)
            self._at_work = None
        mine = [directory for directory in self._waiting if self._is_of(directory, run)]
        if mine:
            self._waiting = deque(each for each in self._waiting if not self._is_of(each, run))
        for directory in mine:
            deque(self._scrub(directory), maxlen=0)

    def _is_of(self, directory: Path, run: str) -> bool:
        return not run or self._runs / run in directory.parents

    def _scrub(self, directory: Path) -> Iterator[int]:
        known = self._known.pop(directory, _NONE)
        try:
            for name in _OUTPUT:
                with contextlib.suppress(FileNotFoundError, worker_files.NotOurs):  # what leads elsewhere is not ours to change
                    yield from scrub(directory / name, known)
                yield FILE_BYTES
            worker_files.write(directory, SCRUBBED, b"")
        except OSError:
            return  # a link, a run that was taken away, or a disk that refuses: the next start tries again
