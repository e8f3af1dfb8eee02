"""Updates rows that an older version of the fold has made: they are folded from the log again when the database is opened.

Tests: tests/store/test_fold.py.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from crewd.model.errors import CrewdError
from crewd.store.cache import Cache, Nowhere
from crewd.store.database import Database
from crewd.store.fold import FOLDED, Row, fold
from crewd.store.ports import Where
from crewd.store.readonly import ReadOnly
from crewd.store.rebuild import Taken, pages
from crewd.store.schema import TABLES


def fold_again(database: Database, path: Path) -> int:
    """Fold the log again if another version of the fold has made the rows, and update the rows that differ.

    Returns how many differed. A log that cannot be folded, a row that cannot be read, and a disk on which nothing
    can be written leave the rows as they are: `crew doctor --rebuild` names them, and the next start tries again.
    """
    try:
        if database.folded == FOLDED:
            return 0
        with contextlib.closing(ReadOnly(path)) as reader:
            changed = _differing(reader)
        database.put_rows(changed, FOLDED)
    except CrewdError:  # who serves this home says what is wrong with it
        return 0
    return len(changed)


def _differing(reader: ReadOnly) -> list[tuple[str, str, Row]]:
    """The rows (run, key, row) of the flushed log that stand otherwise in the tables."""
    taken, folded = Taken(reader), Cache(Nowhere())
    for event in pages(reader, Where()):
        if not taken.has(event):
            fold(folded, event)
    stored = {(kind, key): row for kind in TABLES for key, row in reader.all_rows(kind)}
    return [(run, key, row) for run, key, row in folded.changed() if stored.get((type(row), key)) != row]
