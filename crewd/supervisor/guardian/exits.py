"""Exit records on disk until crewd has confirmed them. They survive both programs; a power cut ends the workers too."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from crewd.protocol.hands import Exited
from crewd.supervisor.guardian.tree import Key


class ExitRecords:
    """A directory with one file per unconfirmed exit."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._records: dict[Key, Exited] = {}
        for path in sorted(directory.glob("*.msgpack")):
            try:
                record = msgspec.msgpack.decode(path.read_bytes(), type=Exited)
            except msgspec.DecodeError:
                path.unlink()  # half-written by a guardian that was killed: the process table tells the rest
                continue
            self._records[record.task, record.epoch] = record

    def _path(self, key: Key) -> Path:
        return self._directory / (hashlib.sha256(f"{key[0]}#{key[1]}".encode()).hexdigest()[:32] + ".msgpack")

    def add(self, record: Exited) -> None:
        """Keep a record. If the disk refuses it is kept in memory, which crewd's confirmation covers as well."""
        key = (record.task, record.epoch)
        self._records[key] = record
        path = self._path(key)
        try:
            path.with_suffix(".tmp").write_bytes(msgspec.msgpack.encode(record))
            path.with_suffix(".tmp").replace(path)
        except OSError:
            return

    def get(self, key: Key) -> Exited | None:
        """The record of a worker."""
        return self._records.get(key)

    def confirm(self, key: Key) -> None:
        """Crewd has it."""
        if self._records.pop(key, None) is not None:
            self._path(key).unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._records)

    def all(self) -> list[Exited]:
        """Every record that is not confirmed."""
        return list(self._records.values())
