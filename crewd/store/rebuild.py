"""Fold the log again and compare: the rows must be the very same (`crew doctor --rebuild`).

Tests: tests/store/test_store.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from crewd.model.events import Event, RunArchived, RunForgotten, Salvaged, type_of_class
from crewd.model.rows import ForgottenRow, RunRow
from crewd.store.cache import Cache, Nowhere, run_of
from crewd.store.fold import fold
from crewd.store.ports import Where
from crewd.store.schema import TABLES

if TYPE_CHECKING:
    from crewd.store.ports import Reading

PAGE = 2_000
"""Events read at a time."""
DIFFERENCES_MAX = 20
"""Differences named in words; more are only counted."""
_TAKEN = frozenset(type_of_class(kind) for kind in (RunForgotten, RunArchived, Salvaged))


def rebuild(database: Reading) -> tuple[list[str], int]:
    """The differences between the rows and the fold of the log (none: empty), and how many events were folded.

    Those of the commit log have no rows yet: it must be possible to fold them.

    Reads one snapshot. Raises InvariantError if the log itself cannot be folded.
    """
    database.snapshot()
    try:
        taken = Taken(database)
        folded = Cache(Nowhere())
        count = seen = 0
        for event in pages(database, Where()):
            seen += 1
            if not taken.has(event):
                fold(folded, event)
                count += 1
        missing, explained = database.last_seq() - seen, taken.explained()
        differences = [f"the log lacks {missing} events; {explained} were taken away"] if missing != explained else []
        expected = folded.everything()
        for kind, table in TABLES.items():
            for key, row in database.all_rows(kind):
                wanted = expected.pop((kind, key), None)
                going = run_of(row) in taken.upto and not isinstance(row, RunRow | ForgottenRow)
                if wanted != row and not going and len(differences) < DIFFERENCES_MAX:
                    differences.append(f"{table} {key}: the row is not what the log says")
        differences += [f"{kind.__name__} {key}: in the log, not in the rows" for kind, key in expected][:DIFFERENCES_MAX]
        for event in database.unflushed():
            fold(folded, event)
            count += 1
        return differences, count
    finally:
        database.release()


class Taken:
    """What of the log was taken away on purpose, or lost and noted: of which runs, up to which seq, and how much."""

    def __init__(self, database: Reading) -> None:
        self.upto: dict[str, int] = {}
        self._lost = 0
        self._gone: dict[str, int] = {}
        self._there: Counter[str] = Counter()
        for event in pages(database, Where(types=_TAKEN)):
            match event.body:
                case RunForgotten(events=events) | RunArchived(events=events):
                    self.upto[event.run] = event.seq
                    self._gone[event.run] = events
                case Salvaged(lost):
                    self._lost += lost
                case _:
                    pass

    def has(self, event: Event) -> bool:
        """Whether the event belongs to what was taken away, and is only still there."""
        if event.seq >= self.upto.get(event.run, 0):
            return False
        self._there[event.run] += 1
        return True

    def explained(self) -> int:
        """How many events need not be there, after all that are there have been looked at."""
        return self._lost + sum(gone - self._there[run] for run, gone in self._gone.items())


def pages(database: Reading, where: Where) -> Iterator[Event]:
    """All events that are asked for, in order."""
    after = 0
    while page := database.events(after=after, limit=PAGE, where=where):
        yield from page
        after = page[-1].seq
