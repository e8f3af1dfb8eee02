"""Answers with rows as they are after everything that was told to the store before: from memory, over the tables.

Tests: tests/store/test_store.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crewd.actors import Lane
from crewd.model.budget import Used
from crewd.model.receipts import Level
from crewd.model.rows import AskRow, AttemptRow, MessageRow, NoticeRow, OperationRow, RunRow, TaskRow
from crewd.model.statuses import ATTEMPT_TERMINAL, AttemptStatus
from crewd.store.fold import R, attempt_key
from crewd.store.messages import AttemptIs, LiveRun, LiveRuns, Load, LoadAttempt, LoadLive, NoRun

if TYPE_CHECKING:
    from crewd.store.cache import Cache
    from crewd.store.ports import Reading
    from crewd.store.unflushed import Unflushed

LOAD_MAX = 1_000_000
"""Rows of one kind read at once; more than a run can have."""


class Loads:
    """`reader` reads the tables, `cache` has what has changed since, and `unflushed` says of which runs."""

    def __init__(self, cache: Cache, reader: Reading, unflushed: Unflushed) -> None:
        self._cache = cache
        self._reader = reader
        self._unflushed = unflushed

    def answer(self, load: Load | LoadLive | LoadAttempt) -> None:
        if isinstance(load, LoadAttempt):
            key, run_id = attempt_key(load.task, load.epoch), load.task.partition("/")[0]
            flushed = self._reader.row(AttemptRow, key)
            rows_now = self._cache.over(AttemptRow, run_id, [] if flushed is None else [flushed])
            attempt = next((row for row in rows_now if (row.task, row.epoch) == (load.task, load.epoch)), None)
            load.reply_to.offer(AttemptIs(load.task, load.epoch, attempt), lane=Lane.CONTROL)
            return
        if isinstance(load, LoadLive):
            found = [run.id for run in reversed(self._reader.runs(ended=False, limit=LOAD_MAX))]
            levels = [level for level in Level if level is not Level.SETTLED]
            mails = [row for level in levels for row in self._reader.rows_with(MessageRow, level, LOAD_MAX)]
            found += [row.receipt.run for row in mails if row.receipt.run]  # one that has ended must still answer these
            found += sorted(self._unflushed.touched - {""})
            load.reply_to.offer(LiveRuns(tuple(dict.fromkeys(found)), self._live_attempts()), lane=Lane.CONTROL)
            return
        wanted = load.run

        live = None if wanted in self._unflushed.removed else self.live(wanted, in_tables=True)
        load.reply_to.offer(NoRun(wanted) if live is None else live, lane=Lane.CONTROL)

    def _live_attempts(self) -> tuple[tuple[str, int], ...]:
        states = (status for status in AttemptStatus if status not in ATTEMPT_TERMINAL)
        rows = [row for status in states for row in self._reader.rows_with(AttemptRow, status, LOAD_MAX)]
        touched = self._unflushed.touched - {""}
        found = [row for row in rows if row.task.partition("/")[0] not in touched]
        for run in touched:
            live = self.live(run, in_tables=True)
            found += [] if live is None else [row for row in live.attempts if row.status not in ATTEMPT_TERMINAL]
        return tuple((row.task, row.epoch) for row in found)

    def live(self, run: str, *, in_tables: bool) -> LiveRun | None:
        """The rows of a run as they are now, and whether the tables may have some. None if it is not here, or in a bundle."""

        def rows(kind: type[R]) -> tuple[R, ...]:
            return self._cache.over(kind, run, self._reader.rows_of(kind, run, LOAD_MAX) if in_tables else [])

        row = next(iter(rows(RunRow)), None)
        if row is None or row.archived:
            return None
        return LiveRun(
            run=row, tasks=rows(TaskRow), attempts=rows(AttemptRow), messages=rows(MessageRow), asks=rows(AskRow),
            operations=rows(OperationRow), notices=rows(NoticeRow), below=self._below(row, in_tables=in_tables),
        )  # fmt: skip

    def _below(self, run: RunRow, *, in_tables: bool) -> dict[str, Used]:
        found: dict[str, Used] = {}
        for child in run.below:
            rows = self._cache.over(AttemptRow, child, self._reader.rows_of(AttemptRow, child, LOAD_MAX) if in_tables else [])
            if rows:  # they are not here any more if it was forgotten or archived
                found[child] = sum((Used(row.turns, row.tokens, row.cost) for row in rows), start=Used())
        return found
