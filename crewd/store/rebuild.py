"""Fold the log again and compare: the rows must be the very same (`crew doctor --rebuild`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crewd.store.cache import Cache, Nowhere
from crewd.store.fold import fold
from crewd.store.schema import TABLES

if TYPE_CHECKING:
    from crewd.store.ports import Reading

PAGE = 2_000
"""Events read at a time."""
DIFFERENCES_MAX = 20
"""Differences named in words; more are only counted."""


def rebuild(database: Reading) -> tuple[list[str], int]:
    """The differences between the rows and the fold of the log (none: empty), and how many events were folded.

    Reads one snapshot. Raises InvariantError if the log itself cannot be folded.
    """
    database.snapshot()
    try:
        folded = Cache(Nowhere())
        seq = count = 0
        while page := database.events(after=seq, limit=PAGE):
            for event in page:
                if event.seq != seq + 1:
                    return [f"the log jumps from event {seq} to {event.seq}"], count
                fold(folded, event)
                seq, count = event.seq, count + 1
        expected = folded.everything()
        differences: list[str] = []
        for kind, table in TABLES.items():
            for key, row in database.all_rows(kind):
                wanted = expected.pop((kind, key), None)
                if wanted != row and len(differences) < DIFFERENCES_MAX:
                    differences.append(f"{table} {key}: the row is not what the log says")
        differences += [f"{kind.__name__} {key}: in the log, not in the rows" for kind, key in expected][:DIFFERENCES_MAX]
        return differences, count
    finally:
        database.release()
