"""The rows of living runs in memory, and what of them has changed since the last flush.

Tests: tests/store/test_places.py, tests/store/test_store.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from crewd.model.rows import (
    ArtifactRow,
    AskRow,
    AttemptRow,
    ClientRow,
    ForgottenRow,
    MessageRow,
    NoticeRow,
    OperationRow,
    RunRow,
)
from crewd.model.statuses import RUN_TERMINAL
from crewd.store.fold import R, Row, attempt_key


class RowSource(Protocol):
    """Where rows that are not in memory come from."""

    def row(self, kind: type[R], key: str) -> R | None:
        """One row, or None."""
        ...

    def messages(self, keys: Sequence[str]) -> dict[str, MessageRow]:
        """Those of these messages that there are."""
        ...


class Nowhere:
    """The source of a fold that begins with nothing."""

    def row(self, kind: type[R], key: str) -> R | None:  # noqa: ARG002 (the interface)
        """None."""
        return None

    def messages(self, keys: Sequence[str]) -> dict[str, MessageRow]:  # noqa: ARG002 (the interface)
        """None of them."""
        return {}


class Cache:
    """A `fold.Table` over a source. What has changed stays until it is flushed; ended runs leave it then (`settle`)."""

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self._rows: dict[tuple[type[Any], str], Row] = {}
        self._changed: dict[tuple[type[Any], str], tuple[str, str, Row]] = {}
        self._keys_of: dict[str, set[tuple[type[Any], str]]] = {}
        self._absent: set[str] = set()
        self._undo: list[tuple[tuple[type[Any], str], str, Row | None, tuple[str, str, Row] | None]] = []

    def begin(self) -> None:
        """From here on changes can be taken back."""
        self._undo.clear()

    def take_back(self) -> None:
        """It is as if nothing had been put since `begin`."""
        for place, run, row, changed in reversed(self._undo):
            if row is None:
                del self._rows[place]
                self._keys_of[run].discard(place)
            else:
                self._rows[place] = row
            if changed is None:
                del self._changed[place]
            else:
                self._changed[place] = changed
        self._undo.clear()

    def look_for(self, messages: Sequence[str]) -> None:
        """Find out which of these messages there are, all at once: until they are put, no more need be asked for each."""
        self._absent.clear()
        wanted = [key for key in messages if (MessageRow, key) not in self._rows]
        found = self._source.messages(wanted) if wanted else {}
        for key, row in found.items():
            self._remember(run_of(row), (MessageRow, key), row)
        self._absent.update(key for key in wanted if key not in found)

    def get(self, kind: type[R], key: str) -> R | None:
        """The row as it is after the events folded so far."""
        found = self._rows.get((kind, key))
        if found is None:
            found = None if key in self._absent else self._source.row(kind, key)
            if found is None:
                return None
            self._remember(run_of(found), (kind, key), found)
        return found if isinstance(found, kind) else None

    def put(self, run: str, key: str, row: Row) -> None:
        """See `fold.Table`."""
        place = (type(row), key)
        before = self._rows.get(place)
        self._undo.append((place, run, before, self._changed.get(place)))
        if before is None:
            self._remember(run, place, row)
        else:
            self._rows[place] = row
        self._changed[place] = (run, key, row)

    def drop(self, run: str) -> None:
        """See `fold.Table`. Rows that are not in memory are dropped by the actor that commits: none is asked for meanwhile."""
        for place in self._keys_of.pop(run, set()):
            del self._rows[place]
            self._changed.pop(place, None)

    def _remember(self, run: str, place: tuple[type[Any], str], row: Row) -> None:
        self._rows[place] = row
        self._keys_of.setdefault(run, set()).add(place)

    def changed(self) -> list[tuple[str, str, Row]]:
        """(run, key, row) of every row that the next flush must write."""
        return list(self._changed.values())

    def over(self, kind: type[R], run: str, rows: Sequence[R]) -> tuple[R, ...]:
        """The rows of one run as they are now; `rows` are those that were flushed."""
        now = {key_of(row): row for row in rows}
        now.update({key: row for of, key, row in self._changed.values() if of == run and isinstance(row, kind)})
        return tuple(now.values())

    def settle(self) -> None:
        """The changes are flushed; forget runs that have ended, and of the others what nothing more will happen to."""
        for place, (run, _, row) in self._changed.items():
            if _is_over(row) and place in self._rows:
                del self._rows[place]
                self._keys_of[run].discard(place)
            if isinstance(row, ForgottenRow) or (isinstance(row, RunRow) and row.status in RUN_TERMINAL):
                self._let_go(run)
        if "" in self._keys_of:
            self._let_go("")
        self._changed.clear()
        self._absent.clear()

    def _let_go(self, run: str) -> None:
        for place in self._keys_of.pop(run, ()):
            del self._rows[place]

    def clear(self) -> None:
        """Forget everything: it is read again, and what was not flushed folded again."""
        self._rows.clear()
        self._changed.clear()
        self._keys_of.clear()
        self._absent.clear()

    def everything(self) -> dict[tuple[type[Any], str], Row]:
        """All rows held; for a fold that began with nothing, all rows there are."""
        return dict(self._rows)


def _is_over(row: Row) -> bool:
    """Whether the row changes no more, or hardly: a long run has very many of these."""
    match row:
        case OperationRow() | AskRow() | NoticeRow():
            return row.closed_at is not None
        case MessageRow():
            return row.receipt.settled
        case ArtifactRow():
            return True
        case _:
            return False


def key_of(row: Row) -> str:
    """The key of a row in its table."""
    match row:
        case MessageRow():
            return row.receipt.id
        case AttemptRow():
            return attempt_key(row.task, row.epoch)
        case ClientRow():
            return row.owner
        case _:
            return row.id


def run_of(row: Row) -> str:
    """The run that a row belongs to; empty for what belongs to none."""
    match row:
        case RunRow():
            return row.id
        case MessageRow():
            return row.receipt.run
        case AttemptRow():
            return row.task.partition("/")[0]
        case ForgottenRow():
            return row.id
        case ClientRow():
            return ""
        case _:
            return row.run
