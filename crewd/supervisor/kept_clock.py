"""The machine's clocks, with a file of the home that says how the wall clock was set, for the next crewd.

Tests: tests/test_wall_clock.py.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import msgspec

from crewd import worker_files
from crewd.clock import SystemClock
from crewd.guardian.processes import boot_id
from crewd.model.wall_times import ERAS_MAX, WallTimes

if TYPE_CHECKING:
    from pathlib import Path


FILE_BYTES_MAX = 1_024 + 64 * ERAS_MAX
"""Of two numbers in decimal for each era. A larger file is not one that crewd has written."""


class KeptClock(SystemClock):
    """Notes, whenever the wall clock is asked, whether it was set. `times` is what is known of that. Safe on any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._boot = boot_id()
        self._lock = threading.Lock()
        self.times = _read(path)
        self.wall()

    def wall(self) -> float:
        """See `Clock`."""
        wall, now = super().wall(), self.monotonic()
        times = self.times.noted(self._boot, wall, now)
        if times is not self.times:
            with self._lock:
                self.times = times = self.times.noted(self._boot, wall, now)
                self._write(times)
        return wall

    def _write(self, times: WallTimes) -> None:
        with contextlib.suppress(OSError):  # a full disk: the next crewd has what was known before, and the wall clock
            worker_files.write(self._path.parent, self._path.name, msgspec.json.encode(times), rooms=1)


def _read(path: Path) -> WallTimes:
    try:
        return msgspec.json.decode(worker_files.read(path.parent, path.name, FILE_BYTES_MAX, rooms=1), type=WallTimes)
    except (OSError, msgspec.MsgspecError):
        return WallTimes()
