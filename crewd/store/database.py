"""The writing side of the database. Its tables are in `schema`, its questions in `readonly`: there is no other SQL.

A commit writes one row, of the commit log, and syncs it: that is all that durability costs. What people ask for (the events
with their indexes, the rows) is written later, for many commits at once, by `flush`; after a crash the commit log has what is
missing.

Why these pragmas: WAL lets readers read while the writer commits; `synchronous=FULL` syncs the log at every commit, so that
`Committed` survives a power cut (NORMAL loses the last transactions: enough for a flush, for the commit log has it);
`temp_store` in memory because a temporary file would be one more thing that a full disk can break; `busy_timeout` covers a
reader that checkpoints; `wal_autocheckpoint` 4,000 pages keeps the log near 16 MB; a `cache_size` of 16 MiB holds the upper
pages of the indexes of a run of a million events, so that it is appended to as fast as a small one.

Tests: tests/store/test_store.py, tests/store/test_eio.py.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from crewd.model.errors import InvariantError, StoreDamaged, StoreUnavailable
from crewd.model.events import Event, RunArchived, RunForgotten, body_of, type_of, type_of_class
from crewd.model.limits import ARTIFACT_BYTES_MAX
from crewd.model.receipts import Level
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
    TaskRow,
)
from crewd.private_files import file_at, make_directory
from crewd.store.fold import R, Row
from crewd.store.ports import FREE_SPACE, LOOK_AT_DISK
from crewd.store.schema import MIGRATIONS, TABLES, check_version

ROWS_AT_ONCE = (256, 32, 4, 1)
"""Of one statement: few enough kinds that SQLite keeps them all prepared."""
PORTION_BYTES = 8 << 20
"""Of one row of the commit log; SQLite takes a thousand million."""
RESERVE_BYTES = 16 << 20
"""Room that is kept for cancels when the disk is full: a cancel writes about 16 KiB, and some are written together."""
FREE_PAGES_KEPT = 1_000
"""Room that is free again and will be needed soon: 4 MB."""
STATUSES_MAX = 50_000
"""Rows whose status is remembered: an update that names the status column writes its index again, even if it is the same."""
_SEEN_TABLES = ("runs", "tasks", "attempts", "asks", "artifacts", "notices")
_MANY_TABLES = ("messages", "operations")
_NEW_ROW = "ON CONFLICT (id) DO UPDATE SET status = excluded.status, doc = excluded.doc"
_NEW_DOC = "ON CONFLICT (id) DO UPDATE SET doc = excluded.doc"
_LAST_SEQ = "SELECT max((SELECT coalesce(max(seq), 0) FROM commits), (SELECT coalesce(max(seq), 0) FROM events))"
DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_TAKES_AWAY = frozenset(type_of_class(kind) for kind in (RunForgotten, RunArchived))
Record = tuple[int, int, str, str, int, str, str, str, str, float, bytes]
"""An event as the tables have it: seq, parent, run, task, epoch, type, causation, correlation, provenance, at, body."""
_ENCODER = msgspec.msgpack.Encoder()
_RECORDS = msgspec.msgpack.Decoder(list[Record])
DECODERS: dict[type[Any], msgspec.msgpack.Decoder[Any]] = {kind: msgspec.msgpack.Decoder(kind) for kind in TABLES}


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
        case ArtifactRow():
            return row.sha256
        case ClientRow() | ForgottenRow():
            return ""


def name_of(row: Row) -> str:
    """What the name column of a row's table holds: a run's request id stands beside its name in the row itself."""
    return row.name if isinstance(row, RunRow) else ""


def uri(path: Path, mode: str) -> str:
    """How SQLite is told to open a file without making one by mistake."""
    return f"{path.absolute().as_uri()}?mode={mode}"


def fault(error: sqlite3.Error, what: str) -> StoreUnavailable:
    """The error of ours that SQLite's error means."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE:
        return StoreDamaged(f"{what}: {error}", hint="stop crewd and start it again: it looks at the file, and says what to do")
    full = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_FULL) & 0xFF == sqlite3.SQLITE_FULL
    return StoreUnavailable(f"{what}: {error}", hint=FREE_SPACE if full else LOOK_AT_DISK)


@contextlib.contextmanager
def faults(what: str) -> Iterator[None]:
    """Whatever SQLite raises becomes an error of ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise fault(error, what) from error


def take_in_log(path: Path) -> None:
    """Write into a database what SQLite's log (`-wal`) beside it adds, and remove the log. Raises StoreUnavailable."""
    with faults("the database cannot be read"), contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class Database:
    """The writing connection. Raises StoreUnavailable for whatever SQLite or the disk refuses; then nothing was written.

    StoreDamaged, which is one, if the file is not what was written, or was taken away. `reserve`: a file that keeps room for
    cancels. `quarantine`: where what it holds is kept if somebody has taken its file away, unless `lock`, the file by which
    crewd holds its home, is another one by then: the directory at this place is another crewd's.
    """

    def __init__(
        self, path: Path, store_id: str, reserve: Path | None = None, quarantine: Path | None = None, lock: Path | None = None
    ) -> None:  # fmt: skip
        self._reserve = reserve
        self._path = path
        self._quarantine = quarantine
        self._lock = lock
        self._held = None if lock is None else file_at(lock)
        self._lost = ""
        self._statuses: dict[tuple[str, str], str] = {}
        self._records: list[Record] = []
        with faults(f"the database {path} cannot be opened"):
            self._sql = sqlite3.connect(uri(path, "rwc"), uri=True, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(path, store_id)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL or not self.relieve():
                    raise
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
                self._prepare(path, store_id)
            self.store_id = str(self._sql.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()[0])
            self._records = unflushed_of(self._sql)
        self._directory: int | None = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._files = self._identity()

    def _prepare(self, path: Path, store_id: str) -> None:
        """Set the connection up. What is there already is not written to: the disk may be full."""
        if not self._sql.execute("PRAGMA page_count").fetchone()[0]:
            self._sql.execute("PRAGMA auto_vacuum=INCREMENTAL")  # room that is free again is given back bit by bit
        for pragma in (
            "journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY", "cache_size=-16384", "busy_timeout=5000",
            "wal_autocheckpoint=4000",
        ):  # fmt: skip
            self._sql.execute(f"PRAGMA {pragma}").fetchall()
        self._migrate(path, store_id)
        self._sql.execute("BEGIN IMMEDIATE")  # the log is a file from here on
        self._sql.execute("COMMIT")

    def _identity(self, directory: int | None = None) -> tuple[tuple[int, int] | None, ...]:
        """Which files the database and its log are: at its path, or in the directory in which it was opened."""
        return tuple(
            file_at(self._path.with_name(name) if directory is None else Path(name), directory)
            for name in (self._path.name, f"{self._path.name}-wal")
        )

    def check_there(self) -> None:
        """Raises StoreDamaged if somebody has taken away or replaced the database's file: what is written would be lost.

        What it holds is put into the quarantine first, where the next start finds it. StoreUnavailable if that is not possible
        now.
        """
        if self._identity() == self._files:
            return
        if self._identity(self._directory) == self._files:
            raise StoreDamaged(
                f"the directory {self._path.parent} was moved while crewd ran", hint="crewd --home names where it is"
            )
        what = f"the file {self._path} or its log was removed or replaced while crewd ran"
        if self._lost:
            raise StoreDamaged(self._lost, hint="'crewd salvage' takes it back")
        if self._lock is not None and self._held is not None and file_at(self._lock) not in {None, self._held}:
            raise StoreDamaged(f"{what}: the home was moved or removed, and another crewd has taken its place")
        if self._quarantine is None:
            raise StoreDamaged(what)
        numbered = (self._quarantine / f"removed-{number}" for number in count(1))
        aside = next(path for path in numbered if not path.exists())
        part = aside / f".{self._path.name}.part"
        try:
            make_directory(aside)  # also what is above it is closed to others
            self._sql.execute("VACUUM INTO ?", (str(part),))
            part.rename(aside / self._path.name)
        except (OSError, sqlite3.Error) as error:  # the disk is full: what it holds is there as long as this process is
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
                aside.rmdir()
            raise StoreUnavailable(f"{what}, and what it holds cannot be kept: {error}", hint=LOOK_AT_DISK) from None
        self._lost = f"{what}; what it held is in {aside}"
        raise StoreDamaged(self._lost, hint="'crewd salvage' takes it back")

    def _migrate(self, path: Path, store_id: str) -> None:
        """Bring the tables to this version; what was there before is copied first."""
        version = int(self._sql.execute("PRAGMA user_version").fetchone()[0])
        check_version(version)
        if 0 < version < len(MIGRATIONS):
            with contextlib.closing(sqlite3.connect(path.with_name(f"before-schema-{version + 1}.db"))) as copy:
                self._sql.backup(copy)
        for number, statements in enumerate(MIGRATIONS[version:], version + 1):
            self._sql.execute("BEGIN IMMEDIATE")
            for statement in statements:
                self._sql.execute(statement)
            if number == 1:
                self._sql.execute("INSERT INTO meta VALUES ('store_id', ?)", (store_id,))
            self._sql.execute(f"PRAGMA user_version = {number}")
            self._sql.execute("COMMIT")

    def relieve(self) -> bool:
        """Give the reserve to the file system, so that what must be written can be. Whether there was one."""
        if self._reserve is None or not self._reserve.exists():
            return False
        with contextlib.suppress(OSError):
            self._reserve.unlink()
            return True
        return False

    def restock(self) -> str:
        """Keep room for what must be written when the disk is full. Why there is none, in words; empty if there is."""
        if self._reserve is None:
            return ""
        made = self._reserve if self._reserve.exists() else self._reserve.with_name(f"{self._reserve.name}.part")
        try:
            descriptor = os.open(made, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            return f"no room is kept in {self._reserve}: {error.strerror}"
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            made.rename(self._reserve)  # whether it is there says whether there is room: never before there is
        except OSError as error:
            made.unlink(missing_ok=True)
            return f"no room of {RESERVE_BYTES >> 20} MiB can be kept in {self._reserve}: {error.strerror}"
        finally:
            os.close(descriptor)
        return ""

    @property
    def folded(self) -> int:
        """What folded the rows, as `fold.FOLDED` counts; 0 for one that did not say so."""
        with faults("the database cannot be read"):
            found = self._sql.execute("SELECT value FROM meta WHERE key = 'folded'").fetchone()
        return 0 if found is None else int(found[0])

    def put_rows(self, rows: Iterable[tuple[str, str, Row]], folded: int) -> None:
        """Write rows (run, key, row) that were folded again, and what `folded` is from now on."""
        with self._transaction("the database cannot be written"):
            for run, key, row in rows:
                values = (key, run, status_of(row), name_of(row), _ENCODER.encode(row))
                self._insert(TABLES[type(row)], [values], _NEW_ROW)
            self._sql.execute("INSERT OR REPLACE INTO meta VALUES ('folded', ?)", (str(folded),))
        self._statuses.clear()

    def last_run(self) -> str:
        """The greatest id of a run that is, or was, here; empty if there was none."""
        found = self._sql.execute("SELECT max(id) FROM (SELECT max(id) AS id FROM runs UNION SELECT max(id) FROM forgotten)")
        return max((str(found.fetchone()[0] or ""), *(record[2] for record in self._records)))

    def last_seq(self) -> int:
        """The seq of the last event; 0 if there is none."""
        return int(self._sql.execute(_LAST_SEQ).fetchone()[0])

    def unflushed(self) -> list[Event]:
        """The events that are committed and in no other table yet."""
        return [event_of(self.store_id, record) for record in self._records]

    def last_seq_of(self, run: str, task: str, epoch: int) -> int:
        """The seq of the last event of this branch that was flushed, or 0. Epoch -1: of the last epoch or of none."""
        of_branch = "SELECT coalesce(max(seq), 0) FROM events WHERE run = ? AND task = ? AND epoch = ?"
        if epoch >= 0:
            return int(self._sql.execute(of_branch, (run, task, epoch)).fetchone()[0])
        last = self._sql.execute("SELECT max(epoch) FROM events WHERE run = ? AND task = ?", (run, task)).fetchone()[0]
        return max(int(self._sql.execute(of_branch, (run, task, each)).fetchone()[0]) for each in {last or 0, 0})

    def last_seq_of_run(self, run: str) -> int:
        """The seq of the last event of this run that was flushed; 0 if there is none."""
        return int(self._sql.execute("SELECT coalesce(max(seq), 0) FROM events WHERE run = ?", (run,)).fetchone()[0])

    def row(self, kind: type[R], key: str) -> R | None:
        """One row."""
        return row_of(self._sql, kind, key)

    def messages(self, keys: Sequence[str]) -> dict[str, MessageRow]:
        """Those of these messages that there are."""
        found: dict[str, MessageRow] = {}
        for at in range(0, len(keys), ROWS_AT_ONCE[0]):
            some = keys[at : at + ROWS_AT_ONCE[0]]
            sql = f"SELECT id, doc FROM messages WHERE id IN ({','.join('?' * len(some))})"
            found.update((key, DECODERS[MessageRow].decode(doc)) for key, doc in self._sql.execute(sql, some))
        return found

    def latest(self, key: str) -> bytes | None:
        """One coalesced value as it is on disk."""
        found = self._sql.execute("SELECT value FROM latest WHERE key = ?", (key,)).fetchone()
        return None if found is None else bytes(found[0])

    def run_named(self, name: str) -> str:
        """The newest run of this name (ids sort by the time at which they were made); empty if there is none."""
        found = self._sql.execute("SELECT id FROM runs WHERE name = ? ORDER BY id DESC LIMIT 1", (name,)).fetchone()
        return "" if found is None else str(found[0])

    def commit(self, events: Sequence[Event], latest: Iterable[tuple[str, bytes | None]] = ()) -> None:
        """Make events, and values that belong to them, durable: a row of the commit log (some, if they are many), synced.

        Raises InvariantError if the log goes further than it should: there is another writer.
        """
        records: list[Record] = [
            (
                event.seq, event.parent, event.run, event.task, event.epoch, type_of(event.body), event.causation,
                event.correlation, event.provenance, event.at, _ENCODER.encode(event.body),
            )
            for event in events
        ]  # fmt: skip
        with self._transaction("the database cannot be written"):
            if records:
                last = self._sql.execute(_LAST_SEQ).fetchone()[0]
                if last >= records[0][0]:
                    raise InvariantError(f"somebody else has written to the database: it has {last} events")
                for some in portions(records):
                    self._sql.execute("INSERT INTO commits VALUES (?, ?)", (some[-1][0], _ENCODER.encode(some)))
            self._keep(list(latest))
        self._records += records

    def flush(self, rows: Iterable[tuple[str, str, Row]], latest: Iterable[tuple[str, bytes | None]]) -> dict[str, int]:
        """Write what the commit log holds, the rows (run, key, row) that follow from it, and coalesced values: all or nothing.

        Not synced by itself: a power cut may undo it, and what was in the commit log is there again. The answer: how many
        bytes of events and artifacts were ever written for each of the runs that it is about.
        """
        sizes: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for record in self._records:
            sizes[record[2]] += len(record[10])
            counts[record[2]] += 1
        by_table: dict[tuple[str, str], list[tuple[str, str, str, str, bytes]]] = {}
        for run, key, row in rows:
            doc, table, status = _ENCODER.encode(row), TABLES[type(row)], status_of(row)
            if isinstance(row, ArtifactRow) and not row.data:
                sizes[run] += max(0, min(row.size, ARTIFACT_BYTES_MAX))
            known = self._statuses.get((table, key)) == status
            self._statuses[table, key] = status
            by_table.setdefault((table, _NEW_DOC if known else _NEW_ROW), []).append((key, run, status, name_of(row), doc))
        try:
            with faults("the database cannot be written"):
                self._sql.execute("PRAGMA synchronous=NORMAL")
            with self._transaction("the database cannot be written"):
                for record in self._records:
                    if record[5] in _TAKES_AWAY:
                        self._begin_sweep(record[2], record[0])
                self._insert("events", self._records)
                self._sql.execute("DELETE FROM commits WHERE seq <= ?", (self._records[-1][0] if self._records else 0,))
                for (table, conflict), values in by_table.items():
                    self._insert(table, values, conflict)
                written = dict(
                    self._insert(
                        "sizes",
                        [(run, counts[run], size) for run, size in sizes.items()],
                        "ON CONFLICT (run) DO UPDATE SET events = events + excluded.events, bytes = bytes + excluded.bytes "
                        "RETURNING run, bytes",
                    )
                )
                self._keep(list(latest))
        except (StoreUnavailable, InvariantError):
            self._statuses.clear()
            raise
        finally:
            with faults("the database cannot be written"):
                self._sql.execute("PRAGMA synchronous=FULL")
        self._records.clear()
        if len(self._statuses) > STATUSES_MAX:
            self._statuses.clear()
        return written

    @contextlib.contextmanager
    def _transaction(self, what: str) -> Iterator[None]:
        """All of it or nothing; whatever SQLite raises becomes an error of ours."""
        self.check_there()
        try:
            self._sql.execute("BEGIN IMMEDIATE")
            yield
            self._sql.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            raise InvariantError(f"somebody else has written to the database: {error}") from error
        except sqlite3.Error as error:
            raise fault(error, what) from error
        finally:
            if self._sql.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._sql.execute("ROLLBACK")

    def _keep(self, latest: Sequence[tuple[str, bytes | None]]) -> None:
        self._insert(
            "latest",
            [(key, value) for key, value in latest if value is not None],
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        self._sql.executemany("DELETE FROM latest WHERE key = ?", [(key,) for key, value in latest if value is None])

    def _begin_sweep(self, run: str, seq: int) -> None:
        """What anybody might still see of a run goes at once; what is many, in `sweep`."""
        for table in _SEEN_TABLES:
            self._sql.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
        self._sql.execute("DELETE FROM messages WHERE run = ? AND status <> ?", (run, Level.SETTLED.value))
        self._sql.execute(
            "INSERT INTO sweeps VALUES (?, ?) ON CONFLICT (run) DO UPDATE SET before = excluded.before", (run, seq)
        )
        self._statuses.clear()

    def sweep(self, limit: int) -> bool:
        """Delete up to `limit` events and rows of each kind of a run that was forgotten or archived. Whether more is left."""
        with faults("the database cannot be swept"):
            found = self._sql.execute("SELECT run, before FROM sweeps LIMIT 1").fetchone()
            if found is None:
                return self._give_back(limit)
        run, before = found
        with self._transaction("the database cannot be swept"):
            gone = [
                self._sql.execute(
                    f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE run = ? LIMIT ?)", (run, limit)
                ).rowcount
                for table in _MANY_TABLES
            ]
            gone.append(
                self._sql.execute(
                    "DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE run = ? AND seq < ? ORDER BY seq LIMIT ?)",
                    (run, before, limit),
                ).rowcount
            )
            if not any(gone):
                self._sql.execute("DELETE FROM sizes WHERE run = ?", (run,))
                self._sql.execute("DELETE FROM sweeps WHERE run = ?", (run,))
        return True

    def _give_back(self, pages: int) -> bool:
        """Free pages go back to the file system. Whether there are more; a home from before version 4 keeps its room."""
        free = int(self._sql.execute("PRAGMA freelist_count").fetchone()[0])
        if free <= FREE_PAGES_KEPT or not self._sql.execute("PRAGMA auto_vacuum").fetchone()[0]:
            return False
        self._sql.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        return True

    def _insert(self, table: str, rows: Sequence[tuple[Any, ...]], conflict: str = "") -> list[tuple[Any, ...]]:
        """Many rows per statement: Python's lock is given away at each one, and under load it is long in coming back."""
        at, answer = 0, list[tuple[Any, ...]]()
        for size in ROWS_AT_ONCE:
            while len(rows) - at >= size:
                values = [value for row in rows[at : at + size] for value in row]
                answer += self._sql.execute(_insertion(table, len(rows[0]), size, conflict), values).fetchall()
                at += size
        return answer

    def close(self) -> None:
        """Close the connection, folding the write-ahead log into the database."""
        self._sql.close()
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None


def unflushed_of(sql: sqlite3.Connection) -> list[Record]:
    """What was committed and is in no other table yet. A database of before schema 5 has no commit log."""
    if sql.execute("SELECT 1 FROM sqlite_master WHERE name = 'commits'").fetchone() is None:
        return []
    return [record for (blob,) in sql.execute("SELECT records FROM commits ORDER BY seq") for record in records_of(blob)]


def portions(records: list[Record]) -> Iterator[list[Record]]:
    """The same in pieces of which each is a row that SQLite takes, however much had to wait for the disk."""
    begin = size = 0
    for at, record in enumerate(records):
        size += len(record[10]) + 256
        if size > PORTION_BYTES and at > begin:
            yield records[begin:at]
            begin, size = at, len(record[10]) + 256
    yield records[begin:]


def records_of(blob: bytes) -> list[Record]:
    """The records of one commit."""
    return _RECORDS.decode(blob)


def event_of(store_id: str, record: Record) -> Event:
    """The event that a record is of."""
    seq, parent, run, task, epoch, _, causation, correlation, provenance, at, body = record
    return Event(
        seq=seq, event_id=f"{store_id}-{seq}", parent=parent, run=run, task=task, epoch=epoch, causation=causation,
        correlation=correlation, provenance=provenance, at=at, body=body_of(body),
    )  # fmt: skip


def row_of(sql: sqlite3.Connection, kind: type[R], key: str) -> R | None:
    """One row, by its key."""
    found = sql.execute(f"SELECT doc FROM {TABLES[kind]} WHERE id = ?", (key,)).fetchone()
    return None if found is None else DECODERS[kind].decode(found[0])


@cache
def _insertion(table: str, columns: int, rows: int, conflict: str) -> str:
    row = f"({','.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {','.join([row] * rows)} {conflict}"
