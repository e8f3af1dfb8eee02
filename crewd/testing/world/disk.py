"""The simulated disk: what was committed, for ever; the ports of `store.ports` over it; and how it fails.

Tests: tests/testing/world/test_ports.py.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from crewd.model.errors import InvariantError, StoreUnavailable
from crewd.model.events import Event, RunArchived, RunForgotten
from crewd.model.rows import ForgottenRow, MessageRow, RunRow
from crewd.model.statuses import RUN_TERMINAL
from crewd.store.database import status_of
from crewd.store.fold import R, Row, fold
from crewd.store.ports import EVERYWHERE, Where
from crewd.store.schema import TABLES

RESERVED_COMMITS = 5
"""Commits that the reserve of a full disk is good for."""


class Truth:
    """The rows that follow from everything that was committed, whether it is flushed or not. A `fold.Table`."""

    def __init__(self) -> None:
        self.rows: dict[type[Any], dict[str, Any]] = {kind: {} for kind in TABLES}
        self.changed: list[tuple[str, str, Row]] = []
        self._of_run: dict[str, set[tuple[type[Any], str]]] = {}

    def get(self, kind: type[R], key: str) -> R | None:
        """See `fold.Table`."""
        found: R | None = self.rows[kind].get(key)
        return found

    def put(self, run: str, key: str, row: Row) -> None:
        """See `fold.Table`."""
        self.rows[type(row)][key] = row
        self._of_run.setdefault(run, set()).add((type(row), key))
        self.changed.append((run, key, row))

    def drop(self, run: str) -> None:
        """See `fold.Table`."""
        for kind, key in self._of_run.pop(run, ()):
            self.rows[kind].pop(key, None)


class Disk:
    """What survives: what was committed is in `unflushed`, what was flushed in `log` and `tables`.

    `on_commit` is called after every commit with its events and what rows they change; `refuses` says why one fails.
    """

    def __init__(self) -> None:
        self.store_id = ""
        self.unflushed: list[Event] = []
        self.log: list[Event] = []
        self.truth = Truth()
        self.tables: dict[type[Any], dict[str, Any]] = {kind: {} for kind in TABLES}
        self.of_run: dict[tuple[type[Any], str], dict[str, None]] = {}
        self.latest: dict[str, bytes] = {}
        self.names: dict[str, str] = {}
        self.ends: dict[tuple[str, str, int], int] = {}
        self.counts: Counter[str] = Counter()
        self.reserve = 0
        self.relieved = 0
        self.on_commit: Callable[[Sequence[Event], Sequence[tuple[str, str, Row]]], None] = lambda _events, _rows: None
        self.refuses: Callable[[], str] = lambda: ""
        self.commits = 0

    @property
    def now(self) -> dict[type[Any], dict[str, Any]]:
        """The rows that follow from everything that was committed."""
        return self.truth.rows

    @property
    def events(self) -> list[Event]:
        """Everything that was committed."""
        return self.log + self.unflushed

    def writer(self, store_id: str, permitted: Callable[[], bool] = lambda: True) -> Writer:
        """Open for writing, by a process that may die in the middle of a turn: it writes only while it is `permitted`."""
        self.store_id = self.store_id or store_id
        return Writer(self, permitted)

    def reader(self) -> SimReader:
        """Open for reading. Raises StoreUnavailable if it was never opened for writing."""
        if not self.store_id:
            raise StoreUnavailable("there is no database yet")
        return SimReader(self)

    def commit(self, events: Sequence[Event], latest: Iterable[tuple[str, bytes | None]]) -> None:
        """Make events and values durable: all of it or, with StoreUnavailable, nothing."""
        self._check()
        for event in events:
            if event.seq <= self.last_seq():
                raise InvariantError("somebody else has written to the database")
            self.unflushed.append(event)
        self._keep(latest)
        self.commits += 1
        self.truth.changed = []
        for event in events:
            fold(self.truth, event)
        self.on_commit(events, self.truth.changed)

    def flush(self, rows: Sequence[tuple[str, str, Row]], latest: Iterable[tuple[str, bytes | None]]) -> None:
        """Let readers see what was committed: all of it or, with StoreUnavailable, nothing."""
        self._check()
        for event in self.unflushed:
            if isinstance(event.body, RunForgotten | RunArchived):
                self._take_away(event.run)
            self.log.append(event)
            for epoch in (event.epoch, -1):
                self.ends[event.run, event.task, epoch] = event.seq
            self.counts[event.run] += 1
        self.unflushed.clear()
        for run, key, row in rows:
            self.tables[type(row)][key] = row
            self.of_run.setdefault((type(row), run), {})[key] = None
            if isinstance(row, RunRow):
                self.names[row.name] = max(row.id, self.names.get(row.name, ""))
        self._keep(latest)

    def _check(self) -> None:
        why = self.refuses()
        if why and self.relieved > 0:
            self.relieved -= 1
        elif why:
            raise StoreUnavailable(f"the database cannot be written: {why}", hint="free disk space")

    def _keep(self, latest: Iterable[tuple[str, bytes | None]]) -> None:
        for key, value in latest:
            if value is None:
                self.latest.pop(key, None)
            else:
                self.latest[key] = value

    def last_seq(self) -> int:
        """The seq of the last event that was committed."""
        last = self.unflushed or self.log
        return last[-1].seq if last else 0

    def _take_away(self, run: str) -> None:
        self.log = [event for event in self.log if event.run != run]
        for kind, table in self.tables.items():
            for key in self.of_run.pop((kind, run), {}) if kind is not ForgottenRow else ():
                del table[key]


class Writer:
    """See `store.ports.Writing`."""

    def __init__(self, disk: Disk, permitted: Callable[[], bool]) -> None:
        self._disk = disk
        self._permitted = permitted
        self.store_id = disk.store_id

    def last_seq(self) -> int:
        """See `Writing`."""
        return self._disk.last_seq()

    def last_seq_of(self, run: str, task: str, epoch: int) -> int:
        """See `Writing`."""
        return self._disk.ends.get((run, task, epoch), 0)

    def last_seq_of_run(self, run: str) -> int:
        """See `Writing`."""
        return max((seq for (of, _, _), seq in self._disk.ends.items() if of == run), default=0)

    def sweep(self, limit: int) -> bool:  # noqa: ARG002 (it is all gone already)
        """See `Writing`."""
        return False

    def relieve(self) -> bool:
        """See `Writing`."""
        had, self._disk.reserve = self._disk.reserve, 0
        self._disk.relieved = had
        return had > 0

    def restock(self) -> str:
        """See `Writing`."""
        if not self._disk.refuses():
            self._disk.reserve = RESERVED_COMMITS
        return "" if self._disk.reserve > 0 else "the disk is full"

    def row(self, kind: type[R], key: str) -> R | None:
        """See `Writing`."""
        found: R | None = self._disk.tables[kind].get(key)
        return found

    def messages(self, keys: Sequence[str]) -> dict[str, MessageRow]:
        """See `Writing`."""
        found = {key: self.row(MessageRow, key) for key in keys}
        return {key: row for key, row in found.items() if row is not None}

    def latest(self, key: str) -> bytes | None:
        """See `Writing`."""
        return self._disk.latest.get(key)

    def run_named(self, name: str) -> str:
        """See `Writing`."""
        return self._disk.names.get(name, "")

    def unflushed(self) -> list[Event]:
        """See `Writing`."""
        return list(self._disk.unflushed)

    def commit(self, events: Sequence[Event], latest: Iterable[tuple[str, bytes | None]] = ()) -> None:
        """See `Writing`."""
        if self._permitted():
            self._disk.commit(events, latest)

    def flush(self, rows: Iterable[tuple[str, str, Row]], latest: Iterable[tuple[str, bytes | None]]) -> dict[str, int]:
        """See `Writing`; here nothing has a size."""
        if self._permitted():
            self._disk.flush(list(rows), latest)
        return {}

    def close(self) -> None:
        """See `Writing`."""


class SimReader:
    """See `store.ports.Reading`. One thread runs everything, so that every reading is a snapshot."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.store_id = disk.store_id

    def snapshot(self) -> None:
        """See `Reading`."""

    def release(self) -> None:
        """See `Reading`."""

    def row(self, kind: type[R], key: str) -> R | None:
        """See `Reading`."""
        found: R | None = self._disk.tables[kind].get(key)
        return found

    def rows_of(self, kind: type[R], run: str, limit: int) -> list[R]:
        """See `Reading`."""
        return [row for _, row in reversed(self.rows_before(kind, run, 0, limit))]

    def rows_before(self, kind: type[R], run: str, before: int, limit: int) -> list[tuple[int, R]]:
        """See `Reading`."""
        table = self._disk.tables[kind]
        placed = list(enumerate(self._disk.of_run.get((kind, run), ()), 1))
        return [(place, table[key]) for place, key in reversed(placed) if not before or place < before][:limit]

    def rows_with(self, kind: type[R], status: str, limit: int) -> list[R]:
        """See `Reading`."""
        return [row for row in self._disk.tables[kind].values() if status_of(row) == status][:limit]

    def not_readable(self) -> Iterator[str]:
        """See `Reading`."""
        return iter(())

    def all_rows(self, kind: type[Row]) -> Iterator[tuple[str, Row]]:
        """See `Reading`."""
        yield from sorted(self._disk.tables[kind].items())

    def runs(self, *, ended: bool, limit: int, before: str = "") -> list[RunRow]:
        """See `Reading`."""
        runs: list[RunRow] = sorted(self._disk.tables[RunRow].values(), key=lambda run: run.id, reverse=True)
        runs = [run for run in runs if not before or run.id < before]
        return [run for run in runs if ended or run.status not in RUN_TERMINAL][:limit]

    def runs_matching(self, text: str, limit: int) -> list[RunRow]:
        """See `Reading`."""
        runs: list[RunRow] = sorted(self._disk.tables[RunRow].values(), key=lambda run: run.id, reverse=True)
        tests: list[Callable[[RunRow], bool]] = [
            lambda run: run.id == text,
            lambda run: run.name == text,
            lambda run: run.id.lower().startswith(text.lower()),  # SQLite's LIKE folds ASCII case
            lambda run: run.id.lower().endswith(text.lower()),
        ]
        for test in tests:
            found = [run for run in runs if test(run)][:limit]
            if found:
                return found
        return []

    def events(self, *, after: int = 0, before: int = 0, limit: int, where: Where = EVERYWHERE) -> list[Event]:
        """See `Reading`."""
        log = self._disk.log
        start = log[after:] if after < len(log) and (after == 0 or log[after - 1].seq == after) else log
        fitting = (event for event in (reversed(start) if before else start) if event.seq > after and where.takes(event))
        found = list(itertools.islice((event for event in fitting if not before or event.seq < before), limit))
        return found[::-1] if before else found

    def unflushed(self) -> list[Event]:
        """See `Reading`."""
        return list(self._disk.unflushed)

    def size_of(self, run: str) -> tuple[int, int]:
        """See `Reading`; here nothing has a size."""
        return self._disk.counts[run], 0

    def latest(self, prefix: str) -> dict[str, bytes]:
        """See `Reading`."""
        return {key: value for key, value in self._disk.latest.items() if key.startswith(prefix)}

    def last_seq(self) -> int:
        """See `Reading`."""
        return self._disk.log[-1].seq if self._disk.log else 0

    def counts(self) -> dict[str, int]:
        """See `Reading`."""
        return {**{name: len(self._disk.tables[kind]) for kind, name in TABLES.items()}, "events": len(self._disk.log)}

    def check(self, *, whole: bool = False) -> str:  # noqa: ARG002 (see `Reading`)
        """See `Reading`."""
        return "ok"

    def close(self) -> None:
        """See `Reading`."""
