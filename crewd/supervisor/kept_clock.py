"""The machine's clocks, with a file of the home that says how the wall clock was set, for the next crewd.

Tests: tests/test_wall_clock.py.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

import msgspec

from crewd.clock import SystemClock
from crewd.guardian.processes import boot_id
from crewd.model.errors import UsageError
from crewd.model.wall_times import WallTimes
from crewd.private_files import open_file, read_file

if TYPE_CHECKING:
    from pathlib import Path


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
        with contextlib.suppress(OSError, UsageError):  # a full disk; then the next crewd goes by the wall clock
            opened = open_file(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                os.write(opened, msgspec.json.encode(times))
            finally:
                os.close(opened)


def _read(path: Path) -> WallTimes:
    try:
        return msgspec.json.decode(read_file(path), type=WallTimes)
    except (OSError, UsageError, msgspec.MsgspecError):
        return WallTimes()
