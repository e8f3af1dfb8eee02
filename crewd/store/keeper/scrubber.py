"""No secret of a worker's output stays in the home: what is left to mask, and a portion of that at a time.

The guardian masks one portion for each request, so that its workers and everybody else have their turn in between.

Tests: tests/store/test_scrubber.py.
"""

from __future__ import annotations

import contextlib
from collections import deque

import msgspec

from crewd.model.errors import Unavailable
from crewd.protocol.files import Scrub
from crewd.store.run_files import RunFiles

WAITING_MAX = 50_000
"""Attempts that wait. What finds no room is found at the next start."""
STEP_BYTES = 1 << 15
"""Looked at in one step."""
FILE_BYTES = 4_096
"""A file costs as much as so many bytes."""


class Scrubber:
    """See the module's text. An attempt that cannot be scrubbed is left: the next start tries again."""

    def __init__(self, files: RunFiles) -> None:
        self._files = files
        self._waiting: deque[Scrub] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, run: str, directory: bytes, values: tuple[str, ...] = ()) -> None:
        """The attempt of this directory is over; these values are masked besides what looks like a secret."""
        if len(self._waiting) < WAITING_MAX:
            self._waiting.append(Scrub(run, directory, values=values))

    def step(self) -> None:
        """The next portion."""
        left = STEP_BYTES
        while left > 0 and self._waiting:
            left -= self._portion()

    def finish(self, run: str = "") -> None:
        """All of this run, or of every run, now."""
        others = deque(each for each in self._waiting if run not in {"", each.run})
        self._waiting = deque(each for each in self._waiting if run in {"", each.run})
        while self._waiting:
            self._portion()
        self._waiting = others

    def _portion(self) -> int:
        portion = self._waiting.popleft()
        with contextlib.suppress(Unavailable):
            done = self._files.scrub(portion)
            if not done.done:
                self._waiting.appendleft(msgspec.structs.replace(portion, stream=done.stream, offset=done.offset))
            return done.looked_at or FILE_BYTES
        return FILE_BYTES
