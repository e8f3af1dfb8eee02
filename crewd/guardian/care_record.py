"""What a guardian writes to disk about a worker for its successor: which processes it has, and what was agreed.

Tests: tests/guardian/test_care.py.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from crewd.model.limits import ORPHAN_GRACE_SECONDS_DEFAULT
from crewd.model.policy import Limits


class CareRecord(msgspec.Struct, frozen=True):
    """`pid` and `start` are the worker's first process, in the boot `boot_id`; `unmarked` are processes without a marker.

    `home` is the inode of the home's directory, 0 if it is not known: in a copy of a home the records are of another one.
    """

    task: str
    epoch: int
    pid: int = 0
    start: float = 0.0
    boot_id: str = ""
    on_orphan: Literal["keep", "end"] = "keep"
    orphan_grace_seconds: float = ORPHAN_GRACE_SECONDS_DEFAULT
    limits: Limits = Limits()
    unmarked: tuple[tuple[int, float], ...] = ()
    home: int = 0

    @property
    def seconds_alone(self) -> float:
        """How long the worker may live while crewd is not connected."""
        return self.orphan_grace_seconds if self.on_orphan == "keep" else 0.0

    def first(self, boot_id: str) -> tuple[int, float] | None:
        """Pid and start of the first process, if it was started in this boot of the machine."""
        return (self.pid, self.start) if self.pid and self.boot_id == boot_id else None

    def members(self, boot_id: str) -> tuple[tuple[int, float], ...]:
        """Pid and start of every process that is named here, if they were started in this boot of the machine."""
        first = self.first(boot_id)
        return () if first is None else (first, *self.unmarked)
