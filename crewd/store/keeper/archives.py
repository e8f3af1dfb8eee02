"""What the keeper keeps: the database, the bundles behind it, and the files of runs.

Tests: tests/test_keeping.py.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from crewd.model.errors import NotFound, StoreDamaged, Unavailable
from crewd.model.events import RunArchived, type_of_class
from crewd.model.rows import AskRow, ForgottenRow, MessageRow, RunRow
from crewd.private_files import open_plain
from crewd.store.bundle import Bundle, write_bundle
from crewd.store.library import HINT, Library
from crewd.store.messages import Put, Removal, ToStore
from crewd.store.outputs import Outputs
from crewd.store.ports import Where
from crewd.store.readonly import ReadOnly
from crewd.store.run_files import RunFiles

if TYPE_CHECKING:
    from crewd.actors import Ref
    from crewd.model.home import Home


class Archives:
    """A connection of the keeper's own, and what it does with files. `store` finds the store's actor."""

    def __init__(self, home: Home, store: Callable[[], Ref[ToStore]], software: str, files: RunFiles) -> None:
        self.files = files
        self.home, self.store, self.software = home, store, software
        self.database = ReadOnly(home.database)
        self.library = Library(self.database, home.archive)
        self.outputs = Outputs(self.library, files)

    def close(self) -> None:
        """Give the connection back."""
        self.library.close()

    def gone_with(self, run: RunRow) -> int:
        """How many events the log has lost when this run is gone, those included that it was to lose before."""
        before = self.database.events(limit=1 << 31, where=Where(run.id, types=frozenset({type_of_class(RunArchived)})))
        last = before[-1] if before else None
        if last is None or not isinstance(last.body, RunArchived):
            return self.database.count_events(run.id, 0)
        return last.body.events + self.database.count_events(run.id, last.seq)

    def new_bundle(self, run: str) -> Path:
        """A name that no bundle of the archive has: one that is there may be in the log, or on its way into it."""
        number = self.database.last_seq()
        while (path := self.home.archive / f"{run}-{number}.zip").exists():
            number += 1
        return path

    def write(self, path: Path, run: RunRow) -> tuple[Removal, int, tuple[str, ...]]:
        """Write the bundle of a run: its events and rows are of one moment.

        On what it relies, what goes with the run, and which artifacts were not there to be put into it.
        """
        self.database.snapshot()
        try:
            guard = Removal(run.id, self.database.last_seq_of_run(run.id), archive=True)
            manifest = write_bundle(path, self.database, run, self.files, self.software)
            return guard, self.gone_with(run), manifest.lost
        finally:
            self.database.release()

    def note_ids(self, bundle: Bundle, run: str) -> None:
        """Receipts and questions are found by their ids for ever after: in which bundle each of them is."""
        with contextlib.closing(bundle):
            keys = [row.receipt.id for row in bundle.rows_of(MessageRow, run, 1 << 31)]
            keys += [row.id for row in bundle.rows_of(AskRow, run, 1 << 31)]
        for key in keys:
            if f"archived:{key}" not in self.database.latest(f"archived:{key}"):
                self.store().tell(Put(f"archived:{key}", run.encode()))

    def clear_left(self, run: str) -> None:
        """What is left of a run's files, if the tables say that it is forgotten, or in a bundle."""
        row = self.database.row(RunRow, run)
        if row is not None and row.archived:
            self.clear_away(run, row.archived)
        elif row is None and self.database.row(ForgottenRow, run) is not None:
            self.clear_away(run, "")

    def clear_away(self, run: str, bundle: str) -> None:
        """The files of a run that is in this bundle now, or (without one) forgotten: the log has said so.

        What cannot be taken away stays, and the next start tries again: the run is archived or forgotten all the same.
        """
        with contextlib.suppress(Unavailable):  # a guardian that hangs
            self.files.remove_run(run)
        for folder in (self.home.archive,) if bundle else (self.home.archive, self.home.exports):
            for path in folder.glob(f"{run}-*.zip"):
                if path.name != bundle:
                    with contextlib.suppress(OSError):
                        path.unlink()

    def check_room(self) -> None:
        """Raises Unavailable while the disk is so full that its reserve was given up, for cancels and ends."""
        if not self.home.reserve.is_file():
            raise Unavailable(
                "the disk is full, and the rest of it is for cancels and ends", hint="free disk space; crew doctor"
            )

    def bundle_of(self, run: RunRow) -> Path:
        """The file of an archived run. Raises StoreDamaged if it is not there."""
        path = self.home.archive / run.archived
        if not path.is_file():
            raise StoreDamaged(f"the bundle of {run.name} is not there: {path}", hint=HINT)
        return path

    def run(self, run: str) -> RunRow:
        """The row of a run. Raises NotFound."""
        row = self.library.row(RunRow, run)
        if row is None:
            raise NotFound(f"no run has the id {run}")
        return row


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
