"""What a guardian writes down of a worker for its successor: who it is, and what was agreed with it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from crewd.protocol.limits import ORPHAN_GRACE_SECONDS_DEFAULT
from crewd.protocol.policy import Limits

PAPERS = "papers"
"""The file of an attempt's directory; it is there as long as the worker lives."""


class Papers(msgspec.Struct, frozen=True):
    """`pid` and `start` are of the worker's first process in the boot `boot_id`."""

    pid: int = 0
    start: float = 0.0
    boot_id: str = ""
    on_orphan: Literal["keep", "end"] = "keep"
    orphan_grace_seconds: float = ORPHAN_GRACE_SECONDS_DEFAULT
    limits: Limits = Limits()

    @property
    def seconds_alone(self) -> float:
        """How long it may live without crewd."""
        return self.orphan_grace_seconds if self.on_orphan == "keep" else 0.0

    def first(self, boot_id: str) -> tuple[int, float] | None:
        """The first process, if it was started since the machine was."""
        return (self.pid, self.start) if self.pid and self.boot_id == boot_id else None

    def write(self, directory: Path) -> None:
        """Write so that a reader sees all of it or nothing."""
        part = directory / f".{PAPERS}.part"
        part.write_bytes(msgspec.msgpack.encode(self))
        part.replace(directory / PAPERS)

    @classmethod
    def read(cls, directory: Path) -> Papers:
        """The papers in this directory; blank ones if there are none."""
        try:
            return msgspec.msgpack.decode((directory / PAPERS).read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError):
            return cls()
