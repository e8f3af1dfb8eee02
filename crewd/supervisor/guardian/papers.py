"""What a guardian writes down of a worker for its successor: who it is, what was agreed with it, and what only it knows."""

from __future__ import annotations

from typing import Literal

import msgspec

from crewd.protocol.limits import ORPHAN_GRACE_SECONDS_DEFAULT
from crewd.protocol.policy import Limits


class Papers(msgspec.Struct, frozen=True):
    """`pid` and `start` are of the worker's first process in the boot `boot_id`; `unmarked` of processes without a marker."""

    task: str
    epoch: int
    pid: int = 0
    start: float = 0.0
    boot_id: str = ""
    on_orphan: Literal["keep", "end"] = "keep"
    orphan_grace_seconds: float = ORPHAN_GRACE_SECONDS_DEFAULT
    limits: Limits = Limits()
    unmarked: tuple[tuple[int, float], ...] = ()

    @property
    def seconds_alone(self) -> float:
        """How long it may live without crewd."""
        return self.orphan_grace_seconds if self.on_orphan == "keep" else 0.0

    def first(self, boot_id: str) -> tuple[int, float] | None:
        """The first process, if it was started since the machine was."""
        return (self.pid, self.start) if self.pid and self.boot_id == boot_id else None

    def members(self, boot_id: str) -> tuple[tuple[int, float], ...]:
        """All processes that are named here, if they were started since the machine was."""
        first = self.first(boot_id)
        return () if first is None else (first, *self.unmarked)
