"""What readers read: the database, and behind it the bundles of archived runs, as if they were one.

Tests: tests/test_keeping.py.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path

from crewd.model.errors import CrewdError, StoreDamaged, UsageError
from crewd.model.events import Event
from crewd.model.rows import AskRow, MessageRow, RunRow
from crewd.store.bundle import Bundle
from crewd.store.fold import R, Row
from crewd.store.ports import EVERYWHERE, Reading, Where

HINT = "crew doctor --check; take archive/ back from a backup, or forget the run"
OPEN_MAX = 4
"""Bundles that stay open: each keeps what was read of it lately."""


def lacking(archive: Path, archived: Iterable[RunRow]) -> list[RunRow]:
    """Those of these archived runs whose bundles in this directory are damaged or gone."""
    found = []
    for run in archived:
        try:
            Bundle(archive / run.archived).close()
        except (UsageError, OSError):
            found.append(run)
    return found


class Library:
    """A `Reading` over another one, and over `archive`, the directory of the bundles."""

    def __init__(self, database: Reading, archive: Path) -> None:
        self._database = database
        self._archive = archive
        self._open: OrderedDict[str, Bundle] = OrderedDict()
        self.store_id = database.store_id

    def bundle(self, run: str) -> Bundle | None:
        """The bundle of a run, if it is archived. Raises StoreDamaged if the file is not what it must be."""
        row = self._database.row(RunRow, run)
        if row is None or not row.archived:
            return None
        try:
            found = self._open.pop(row.archived, None) or Bundle(self._archive / row.archived)
        except UsageError as error:
            raise StoreDamaged(f"the bundle of {row.name} is damaged or gone: {error.message}", hint=HINT) from None
        self._open[row.archived] = found
        while len(self._open) > OPEN_MAX:
            self._open.popitem(last=False)[1].close()
        return found

    def _home(self, kind: type[Row], key: str) -> str:
        """The archived run that may have a row of this key."""
        if kind in {MessageRow, AskRow}:
            return (self._database.latest(f"archived:{key}").get(f"archived:{key}") or b"").decode()
        return key.partition("/")[0] if "/" in key else ""

    def row(self, kind: type[R], key: str) -> R | None:
        """See `Reading`."""
        found = self._database.row(kind, key)
        if found is not None or kind is RunRow:
            return found
        run = self._home(kind, key)
        bundle = self.bundle(run) if run else None
        return None if bundle is None else bundle.row(kind, key)

    def rows_of(self, kind: type[R], run: str, limit: int) -> list[R]:
        """See `Reading`."""
        return [row for _, row in reversed(self.rows_before(kind, run, 0, limit))]

    def rows_before(self, kind: type[R], run: str, before: int, limit: int) -> list[tuple[int, R]]:
        """See `Reading`."""
        bundle = self.bundle(run)
        return (self._database if bundle is None else bundle).rows_before(kind, run, before, limit)

    def events(self, *, after: int = 0, before: int = 0, limit: int, where: Where = EVERYWHERE) -> list[Event]:
        """See `Reading`. Events of archived runs are found when one asks for that run."""
        bundle = self.bundle(where.run) if where.run else None
        return (self._database if bundle is None else bundle).events(after=after, before=before, limit=limit, where=where)

    def unflushed(self) -> list[Event]:
        """See `Reading`."""
        return self._database.unflushed()

    def size_of(self, run: str) -> tuple[int, int]:
        """See `Reading`."""
        bundle = self.bundle(run)
        return (self._database if bundle is None else bundle).size_of(run)

    # -- the rest is in the database ----------------------------------------------------------------------------

    def snapshot(self) -> None:
        """See `Reading`."""
        self._database.snapshot()

    def release(self) -> None:
        """See `Reading`."""
        self._database.release()

    def rows_with(self, kind: type[R], status: str, limit: int) -> list[R]:
        """See `Reading`."""
        return self._database.rows_with(kind, status, limit)

    def not_readable(self) -> Iterator[str]:
        """See `Reading`."""
        return self._database.not_readable()

    def all_rows(self, kind: type[Row]) -> Iterator[tuple[str, Row]]:
        """See `Reading`."""
        return self._database.all_rows(kind)

    def runs(self, *, ended: bool, limit: int, before: str = "") -> list[RunRow]:
        """See `Reading`."""
        return self._database.runs(ended=ended, limit=limit, before=before)

    def runs_matching(self, text: str, limit: int) -> list[RunRow]:
        """See `Reading`."""
        return self._database.runs_matching(text, limit)

    def latest(self, prefix: str) -> dict[str, bytes]:
        """See `Reading`."""
        return self._database.latest(prefix)

    def last_seq(self) -> int:
        """See `Reading`."""
        return self._database.last_seq()

    def counts(self) -> dict[str, int]:
        """See `Reading`."""
        return self._database.counts()

    def check(self, *, whole: bool = False) -> str:
        """See `Reading`. The bundles are looked at, too: whether they are there, or (with `whole`) all of them."""
        for row in self._database.runs(ended=True, limit=1 << 31):
            if row.archived and not (self._archive / row.archived).is_file():
                return f"the bundle of {row.name} is not there: {row.archived}"
            if row.archived and whole:
                try:
                    with contextlib.closing(Bundle(self._archive / row.archived)) as bundle:
                        bundle.verify()
                except CrewdError as error:
                    return f"the bundle of {row.name} is damaged: {error}"
        return self._database.check(whole=whole)

    def close(self) -> None:
        """Give it back."""
        for bundle in self._open.values():
            bundle.close()
        self._open.clear()
        self._database.close()
