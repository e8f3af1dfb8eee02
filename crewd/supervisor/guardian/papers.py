"""What a guardian writes down of a worker for its successor: who it is, what was agreed with it, and what only it knows."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from crewd.protocol.limits import ORPHAN_GRACE_SECONDS_DEFAULT
from crewd.protocol.policy import Limits
from crewd.supervisor.guardian.tree import Key


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


class Notes:
    """A directory with the papers of each living worker. A disk that refuses costs the successor some of its knowledge."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with contextlib.suppress(OSError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _path(self, key: Key) -> Path:
        return self._directory / (hashlib.sha256(f"{key[0]}#{key[1]}".encode()).hexdigest()[:32] + ".msgpack")

    def keep(self, papers: Papers) -> None:
        """Write so that a reader sees all of it or nothing."""
        path = self._path((papers.task, papers.epoch))
        with contextlib.suppress(OSError):
            path.with_suffix(".part").write_bytes(msgspec.msgpack.encode(papers))
            path.with_suffix(".part").replace(path)

    def forget(self, key: Key) -> None:
        """The worker is over."""
        self._path(key).unlink(missing_ok=True)

    def all(self) -> list[Papers]:
        """Everything that can be read."""
        found = []
        for path in sorted(self._directory.glob("*.msgpack")):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                found.append(msgspec.msgpack.decode(path.read_bytes(), type=Papers))
        return found
