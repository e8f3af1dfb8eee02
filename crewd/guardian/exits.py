"""Exit records on disk until crewd has confirmed them. They survive both programs; a power cut ends the workers too.

Tests: tests/guardian/test_zygote.py.
"""

from __future__ import annotations

from pathlib import Path

from crewd.guardian.folder import Folder
from crewd.guardian.tree import Key
from crewd.protocol.guardian import Exited


class ExitRecords:
    """A directory with one file per unconfirmed exit."""

    def __init__(self, directory: Path) -> None:
        self._folder = Folder(directory, Exited)
        self._records: dict[Key, Exited] = {(record.task, record.epoch): record for record in self._folder.all()}

    def add(self, record: Exited) -> None:
        """Keep a record. If the disk refuses it is kept in memory, which crewd's confirmation covers as well."""
        self._records[record.task, record.epoch] = record
        self._folder.keep((record.task, record.epoch), record)

    def get(self, key: Key) -> Exited | None:
        """The record of a worker."""
        return self._records.get(key)

    def confirm(self, key: Key) -> None:
        """Crewd has it."""
        if self._records.pop(key, None) is not None:
            self._folder.forget(key)

    def __len__(self) -> int:
        return len(self._records)

    def all(self) -> list[Exited]:
        """Every record that is not confirmed."""
        return list(self._records.values())
