"""All SQL of crewd: one writer, any number of readers, migrations.

Why these pragmas: WAL lets readers read while the writer commits; `synchronous=FULL` syncs the log at every commit, so that
`Committed` survives a power cut (NORMAL loses the last commits; measured 18 times faster, and worthless here); `temp_store`
in memory because a temporary file would be one more thing that a full disk can break; `busy_timeout` covers a reader that
checkpoints; `wal_autocheckpoint` 4,000 pages keeps the log near 16 MB.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from crewd.protocol.errors import InvariantError, StoreUnavailable
from crewd.protocol.events import Body, Event, type_of
from crewd.protocol.rows import (
    ArtifactRow,
    AskRow,
    AttemptRow,
    ClientRow,
    MessageRow,
    NoticeRow,
    OperationRow,
    RunRow,
    TaskRow,
)
from crewd.protocol.statuses import RUN_TERMINAL
from crewd.store.fold import R, Row

TABLES: dict[type[Row], str] = {
    RunRow: "runs",
    TaskRow: "tasks",
    AttemptRow: "attempts",
    MessageRow: "messages",
    AskRow: "asks",
    OperationRow: "operations",
    ArtifactRow: "artifacts",
    NoticeRow: "notices",
    ClientRow: "clients",
}
_FIRST_TABLES = ("runs", "tasks", "attempts", "messages", "asks", "operations", "artifacts")
_ROWS_AT_ONCE = (256, 32, 4, 1)
"""Of one statement: few enough kinds that SQLite keeps them all prepared."""
_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[type[Any], msgspec.msgpack.Decoder[Any]] = {kind: msgspec.msgpack.Decoder(kind) for kind in TABLES}
_BODY: msgspec.msgpack.Decoder[Body] = msgspec.msgpack.Decoder(Body)


def _rows_table(table: str) -> tuple[str, ...]:
    return (
        f"CREATE TABLE {table} (id TEXT PRIMARY KEY, run TEXT NOT NULL, status TEXT NOT NULL, name TEXT, doc BLOB)",
        f"CREATE INDEX {table}_of_run ON {table} (run)",
        f"CREATE INDEX {table}_by_status ON {table} (status)",
    )


MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE events (
               seq INTEGER PRIMARY KEY, parent INTEGER NOT NULL, run TEXT NOT NULL, task TEXT NOT NULL,
               epoch INTEGER NOT NULL, type TEXT NOT NULL, causation TEXT NOT NULL, correlation TEXT NOT NULL,
               provenance TEXT NOT NULL, at REAL NOT NULL, body BLOB NOT NULL)""",
        "CREATE INDEX events_of_run ON events (run, seq)",
        *(statement for table in _FIRST_TABLES for statement in _rows_table(table)),
        "CREATE INDEX runs_by_name ON runs (name)",
        "CREATE TABLE latest (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    ),
    _rows_table("notices"),
    _rows_table("clients"),
)
"""Each entry takes the schema one version up. An entry and the record that it ran are one transaction."""


def status_of(row: Row) -> str:
    """What the status column of a row's table holds: what rows are looked for by."""
    match row:
        case TaskRow(dead="open"):
            return "dead"
        case RunRow() | TaskRow() | AttemptRow():
            return row.status.value
        case MessageRow(direction="out", unread=True):
            return "unread"
        case MessageRow():
            return row.receipt.level.value
        case AskRow() | OperationRow() | NoticeRow():
            return "open" if row.closed_at is None else "closed"
        case ArtifactRow() | ClientRow():
            return ""


def name_of(row: Row) -> str:
    """What the name column of a row's table holds: a run's request id stands beside its name in the row itself."""
    return row.name if isinstance(row, RunRow) else ""


def _event_row(event: Event) -> tuple[Any, ...]:
    return (
        event.seq, event.parent, event.run, event.task, event.epoch, type_of(event.body), event.causation,
        event.correlation, event.provenance, event.at, _ENCODER.encode(event.body),
    )  # fmt: skip


def _uri(path: Path, mode: str) -> str:
    return f"{path.absolute().as_uri()}?mode={mode}"


class Database:
    """The writing connection. Raises StoreUnavailable for whatever SQLite or the disk refuses; then nothing was written."""

    def __init__(self, path: Path, store_id: str) -> None:
        try:
            self._sql = sqlite3.connect(_uri(path, "rwc"), uri=True, isolation_level=None, check_same_thread=False)
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "temp_store=MEMORY",
                "busy_timeout=5000",
                "wal_autocheckpoint=4000",
            ):
                self._sql.execute(f"PRAGMA {pragma}").fetchall()
            self._migrate(store_id)
            self.store_id = str(self._sql.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()[0])
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the database {path} cannot be opened: {error}") from error

    def _migrate(self, store_id: str) -> None:
        version = int(self._sql.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise StoreUnavailable(
                f"the database was written by a newer crewd (schema {version}, this one knows {len(MIGRATIONS)})",
                hint="upgrade crewd or use another --home",
            )
        for number, statements in enumerate(MIGRATIONS[version:], version + 1):
            self._sql.execute("BEGIN IMMEDIATE")
            for statement in statements:
                self._sql.execute(statement)
            if number == 1:
                self._sql.execute("INSERT INTO meta VALUES ('store_id', ?)", (store_id,))
            self._sql.execute(f"PRAGMA user_version = {number}")
            self._sql.execute("COMMIT")

    def last_seq(self) -> int:
        """The seq of the last event; 0 if there is none."""
        return int(self._sql.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])

    def last_seq_of(self, run: str) -> int:
        """The seq of the run's last event; 0 if there is none."""
        return int(self._sql.execute("SELECT coalesce(max(seq), 0) FROM events WHERE run = ?", (run,)).fetchone()[0])

    def row(self, kind: type[R], key: str) -> R | None:
        """One row."""
        return _row(self._sql, kind, key)

    def messages(self, keys: Sequence[str]) -> dict[str, MessageRow]:
        """Those of these messages that there are."""
        found: dict[str, MessageRow] = {}
        for at in range(0, len(keys), _ROWS_AT_ONCE[0]):
            some = keys[at : at + _ROWS_AT_ONCE[0]]
            sql = f"SELECT id, doc FROM messages WHERE id IN ({','.join('?' * len(some))})"
            found.update((key, _DECODERS[MessageRow].decode(doc)) for key, doc in self._sql.execute(sql, some))
        return found

    def latest(self, key: str) -> bytes | None:
        """One coalesced value as it is on disk."""
        found = self._sql.execute("SELECT value FROM latest WHERE key = ?", (key,)).fetchone()
        return None if found is None else bytes(found[0])

    def run_named(self, name: str) -> bool:
        """Whether a run of this name exists."""
        return self._sql.execute("SELECT 1 FROM runs WHERE name = ? LIMIT 1", (name,)).fetchone() is not None

    def commit(
        self,
        events: Sequence[Event],
        rows: Iterable[tuple[str, str, Row]],
        latest: Iterable[tuple[str, bytes | None]],
    ) -> None:
        """Write events, rows (run, key, row) and coalesced values (None deletes) in one transaction, synced to disk."""
        by_table: dict[str, list[tuple[str, str, str, str, bytes]]] = {}
        for run, key, row in rows:
            by_table.setdefault(TABLES[type(row)], []).append((key, run, status_of(row), name_of(row), _ENCODER.encode(row)))
        kept = list(latest)
        try:
            self._sql.execute("BEGIN IMMEDIATE")
            self._insert("events", [_event_row(event) for event in events])
            for table, values in by_table.items():
                self._insert(table, values, "ON CONFLICT (id) DO UPDATE SET status = excluded.status, doc = excluded.doc")
            self._insert(
                "latest",
                [(key, value) for key, value in kept if value is not None],
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )
            self._sql.executemany("DELETE FROM latest WHERE key = ?", [(key,) for key, value in kept if value is None])
            self._sql.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            self._sql.execute("ROLLBACK")
            raise InvariantError(f"somebody else has written to the database: {error}") from error
        except sqlite3.Error as error:
            if self._sql.in_transaction:
                self._sql.execute("ROLLBACK")
            raise StoreUnavailable(f"the database cannot be written: {error}", hint="free disk space") from error

    def _insert(self, table: str, rows: Sequence[tuple[Any, ...]], conflict: str = "") -> None:
        """Many rows per statement: Python's lock is given away at each one, and under load it is long in coming back."""
        at = 0
        for size in _ROWS_AT_ONCE:
            while len(rows) - at >= size:
                values = [value for row in rows[at : at + size] for value in row]
                self._sql.execute(_insertion(table, len(rows[0]), size, conflict), values)
                at += size

    def close(self) -> None:
        """Close the connection, folding the write-ahead log into the database."""
        self._sql.close()


class ReadOnly:
    """A read-only connection. What it shows is committed, and may be older than what the store's actor holds."""

    def __init__(self, path: Path) -> None:
        self._sql = sqlite3.connect(_uri(path, "ro"), uri=True, isolation_level=None, check_same_thread=False)
        self._sql.execute("PRAGMA query_only=1")
        self.store_id = str(self._sql.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()[0])

    def snapshot(self) -> None:
        """Begin to see the database as it is now, until `release`."""
        self._sql.execute("BEGIN")
        self._sql.execute("SELECT 1 FROM meta").fetchone()

    def release(self) -> None:
        """See what is new again."""
        if self._sql.in_transaction:
            self._sql.execute("COMMIT")

    def row(self, kind: type[R], key: str) -> R | None:
        """One row."""
        return _row(self._sql, kind, key)

    def rows_of(self, kind: type[R], run: str, limit: int) -> list[R]:
        """The latest rows of one run, in the order in which they were made."""
        return [row for _, row in reversed(self.rows_before(kind, run, 0, limit))]

    def rows_before(self, kind: type[R], run: str, before: int, limit: int) -> list[tuple[int, R]]:
        """Rows of one run, the latest first, each with its place; only those with a place before `before`, if that is not 0."""
        found = self._sql.execute(
            f"SELECT rowid, doc FROM {TABLES[kind]} WHERE run = ? AND rowid < ? ORDER BY rowid DESC LIMIT ?",
            (run, before or 1 << 62, limit),
        )
        return [(place, _DECODERS[kind].decode(doc)) for place, doc in found]

    def rows_with(self, kind: type[R], status: str, limit: int) -> list[R]:
        """Rows of all runs in one status, oldest first."""
        found = self._sql.execute(
            f"SELECT doc FROM {TABLES[kind]} WHERE status = ? ORDER BY rowid LIMIT ?",
            (status, limit),
        )
        return [_DECODERS[kind].decode(doc) for (doc,) in found]

    def all_rows(self, kind: type[Row]) -> Iterator[tuple[str, Row]]:
        """Every row with its key."""
        for key, doc in self._sql.execute(f"SELECT id, doc FROM {TABLES[kind]} ORDER BY id"):
            yield key, _DECODERS[kind].decode(doc)

    def runs(self, *, ended: bool, limit: int) -> list[RunRow]:
        """Runs, newest first."""
        ends = tuple(sorted(RUN_TERMINAL))
        where = "" if ended else f"WHERE status NOT IN ({','.join('?' * len(ends))})"
        found = self._sql.execute(
            f"SELECT doc FROM runs {where} ORDER BY rowid DESC LIMIT ?",
            (*(() if ended else ends), limit),
        )
        return [_DECODERS[RunRow].decode(doc) for (doc,) in found]

    def runs_matching(self, text: str, limit: int) -> list[RunRow]:
        """Runs whose id is `text`, else whose name is (newest first), else whose id begins or ends with it."""
        for where, argument in (
            ("id = ?", text),
            ("name = ?", text),
            ("id LIKE ? ESCAPE '\\'", _literal(text) + "%"),
            ("id LIKE ? ESCAPE '\\'", "%" + _literal(text)),
        ):
            found = self._sql.execute(
                f"SELECT doc FROM runs WHERE {where} ORDER BY rowid DESC LIMIT ?",
                (argument, limit),
            ).fetchall()
            if found:
                return [_DECODERS[RunRow].decode(doc) for (doc,) in found]
        return []

    def events(
        self, *, after: int, run: str, limit: int, task: str = "", types: frozenset[str] = frozenset()
    ) -> list[Event]:  # fmt: skip
        """Events after `after` in order, of one run or task or (with empty ones) of all, and of all types if none is named."""
        chosen: list[tuple[str, tuple[str, ...]]] = [("run = ?", (run,))] if run else []
        chosen += [("task = ?", (task,))] if task else []
        chosen += [(f"type IN ({','.join('?' * len(types))})", tuple(sorted(types)))] if types else []
        found = self._sql.execute(
            "SELECT seq, parent, run, task, epoch, causation, correlation, provenance, at, body FROM events "
            f"WHERE {' AND '.join(['seq > ?', *(where for where, _ in chosen)])} ORDER BY seq LIMIT ?",
            (after, *(value for _, values in chosen for value in values), limit),
        )
        return [
            Event(
                seq=seq, event_id=f"{self.store_id}-{seq}", parent=parent, run=of_run, task=task, epoch=epoch,
                causation=causation, correlation=correlation, provenance=provenance, at=at, body=_BODY.decode(body),
            )
            for seq, parent, of_run, task, epoch, causation, correlation, provenance, at, body in found
        ]  # fmt: skip

    def latest(self, prefix: str) -> dict[str, bytes]:
        """Coalesced values whose key begins with `prefix`."""
        found = self._sql.execute("SELECT key, value FROM latest WHERE key >= ? AND key < ?", (prefix, prefix + "\U0010ffff"))
        return {key: bytes(value) for key, value in found}

    def last_seq(self) -> int:
        """The seq of the last event."""
        return int(self._sql.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])

    def counts(self) -> dict[str, int]:
        """Rows per table."""
        names = [*TABLES.values(), "events"]
        return {name: int(self._sql.execute(f"SELECT count(*) FROM {name}").fetchone()[0]) for name in names}

    def check(self) -> str:
        """SQLite's own word on the file: `ok`, or what is wrong."""
        return str(self._sql.execute("PRAGMA quick_check(1)").fetchone()[0])

    def close(self) -> None:
        """Close the connection."""
        self._sql.close()


def _row(sql: sqlite3.Connection, kind: type[R], key: str) -> R | None:
    found = sql.execute(f"SELECT doc FROM {TABLES[kind]} WHERE id = ?", (key,)).fetchone()
    return None if found is None else _DECODERS[kind].decode(found[0])


@cache
def _insertion(table: str, columns: int, rows: int, conflict: str) -> str:
    row = f"({','.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {','.join([row] * rows)} {conflict}"


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
