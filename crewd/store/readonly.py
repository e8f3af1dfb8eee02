"""The reading side of the database: every question that is asked of it, typed, in a fixed order, on a read-only connection.

Tests: tests/store/test_store.py, tests/store/test_eio.py.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from crewd.clock import Clock, SystemClock
from crewd.model.errors import Unavailable
from crewd.model.events import Event
from crewd.model.rows import RunRow
from crewd.model.statuses import RUN_TERMINAL
from crewd.store.database import DAMAGE, DECODERS, event_of, fault, faults, records_of, row_of, unflushed_of, uri
from crewd.store.fold import R, Row
from crewd.store.ports import EVERYWHERE, Where
from crewd.store.schema import TABLES
from crewd.store.wal import UNSYNCED_COMMITS_MAX, commits_lost

WHAT = "the database cannot be read"
QUICK_SECONDS = 2.0
"""Of a look that other readers wait for."""
LOOK_STEPS = 200_000
"""SQLite's steps between two looks at whether a check takes too long."""
WRONG_MAX = 20_000
"""Places of a damaged file that may be unreadable before the rest of it is given up."""
SEQ_MAX = 1 << 62
"""No seq is so large."""
READ_AT_ONCE = 512
"""Events read at once of a damaged file."""
ROWS_KEPT = 5_000
"""Rows that stay decoded until something is written: so that looking again and again at what rests costs little."""
_COLUMNS = "seq, parent, run, task, epoch, type, causation, correlation, provenance, at, body"


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Raises an error of ours for what SQLite raises, and for a row that is not what crewd wrote."""
    with faults(WHAT):
        try:
            yield
        except (msgspec.MsgspecError, ValueError) as error:
            said = f"something in the database is not what crewd wrote: {error}"
            raise Unavailable(said, hint="crew doctor --check names it") from error


class ReadOnly:
    """A read-only connection. What it shows is what was flushed: the commit log is shown by `unflushed` alone."""

    def __init__(self, path: Path) -> None:
        with faults(WHAT):
            self._sql = sqlite3.connect(uri(path, "ro"), uri=True, isolation_level=None, check_same_thread=False)
            self._sql.execute("PRAGMA query_only=1")
            self._begin_cache()
            self.store_id = str(self._sql.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()[0])

    @classmethod
    def damaged(cls, path: Path) -> ReadOnly:
        """A connection to a file of which much may be unreadable."""
        self = cls.__new__(cls)
        self._begin_cache()
        self._sql = sqlite3.connect(uri(path, "ro"), uri=True, isolation_level=None, check_same_thread=False)
        self.store_id = ""
        self._sql.text_factory = lambda data: data.decode("utf-8", "replace")
        with contextlib.suppress(sqlite3.Error, UnicodeDecodeError, TypeError):
            self.store_id = str(self._sql.execute("SELECT value FROM meta WHERE key = 'store_id'").fetchone()[0])
        return self

    @staticmethod
    def verdict(path: Path, clock: Clock, seconds: float) -> str:
        """What is wrong with a database, in words; empty if nothing was found within so many seconds."""
        deadline = clock.monotonic() + seconds
        try:
            with contextlib.closing(sqlite3.connect(uri(path, "ro"), uri=True)) as sql:  # nothing is written, whatever it finds
                sql.text_factory = lambda data: data.decode("utf-8", "replace")
                sql.set_progress_handler(lambda: clock.monotonic() > deadline, LOOK_STEPS)
                found = str(sql.execute("PRAGMA quick_check(1)").fetchone()[0])
                lost = commits_lost(path)
        except sqlite3.DatabaseError as error:
            return str(error) if error.sqlite_errorcode & 0xFF in DAMAGE else ""
        except OSError as error:
            return f"its log cannot be read: {error.strerror}"
        except UnicodeDecodeError as error:  # what SQLite says of it holds bytes of the damaged file
            return f"its tables cannot be read: {error.reason}"
        if found != "ok":
            return " ".join(found.removeprefix("*** in database main ***").split())  # it may have several lines
        return f"{lost} commits follow a damaged place of its log crewd.db-wal" if lost > UNSYNCED_COMMITS_MAX else ""

    @staticmethod
    def has_no_tables(path: Path) -> bool:
        """Whether nothing was ever written to a database, or what was is in a log that is not there."""
        return ReadOnly.version_of(path) == 0

    @staticmethod
    def version_of(path: Path) -> int | None:
        """The version of the tables, 0 if there are none yet; None if the file cannot be read (opened, it says why)."""
        try:
            with contextlib.closing(sqlite3.connect(uri(path, "ro"), uri=True)) as sql:
                return int(sql.execute("PRAGMA user_version").fetchone()[0])
        except (sqlite3.Error, UnicodeDecodeError):
            return None

    def readable_events(self) -> Iterator[Event]:
        """Every event that can still be read, in order; what cannot be is stepped over in ever smaller steps."""
        seq, step, wrong, last = 1, READ_AT_ONCE, 0, 0
        while wrong < WRONG_MAX:
            try:
                found = self._events_between(seq, step)
            except (sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError, OverflowError):
                wrong += 1
                step, seq = (max(1, step // 8), seq) if step > 1 else (1, seq + 1)
                continue
            yield from found
            if found:
                last = found[-1].seq
                seq, step = last + 1, READ_AT_ONCE
                continue
            following = self._next_seq(seq + step)
            if following is None:
                break
            seq, step = following, min(READ_AT_ONCE, step * 8)

        yield from self._readable_commits(last + 1)

    def _readable_commits(self, seq: int) -> Iterator[Event]:
        """The events of the commit log from `seq` on, as far as they can be read."""
        with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
            for (key,) in self._sql.execute("SELECT seq FROM commits ORDER BY seq").fetchall():
                with contextlib.suppress(sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError):
                    found = self._sql.execute("SELECT records FROM commits WHERE seq = ?", (key,)).fetchone()
                    for record in records_of(found[0]):
                        if record[0] >= seq:
                            yield event_of(self.store_id, record)

    def _next_seq(self, seq: int) -> int | None:
        """The first event from here on; where that cannot be read, the next number. None: there is nothing more."""
        try:
            found = self._sql.execute("SELECT seq FROM events WHERE seq >= ? ORDER BY seq LIMIT 1", (seq,)).fetchone()
        except (sqlite3.Error, UnicodeDecodeError):
            return seq
        return None if found is None else int(found[0])

    def _events_between(self, first: int, count: int) -> list[Event]:
        """The events among the `count` numbers from `first` on."""
        found = self._sql.execute(
            f"SELECT {_COLUMNS} FROM events WHERE seq >= ? AND seq < ? ORDER BY seq", (first, first + count)
        )
        return [event_of(self.store_id, row) for row in found.fetchall()]

    def readable_latest(self) -> list[tuple[str, bytes | None]]:
        """The coalesced values that can still be read."""
        found: list[tuple[str, bytes | None]] = []
        with contextlib.suppress(sqlite3.Error):
            for key, value in self._sql.execute("SELECT key, value FROM latest"):
                found.append((key, bytes(value)))
        return found

    def _begin_cache(self) -> None:
        self._version = -1
        self._kept: dict[tuple[str, Sequence[object]], list[tuple[int, Any]]] = {}
        self._room = ROWS_KEPT

    def _all(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with faults(WHAT):
            return self._sql.execute(sql, values).fetchall()

    def _rows(self, kind: type[R], sql: str, values: Sequence[object]) -> list[tuple[int, R]]:
        """What `sql` finds (place and row), decoded once for as long as nobody has written to the database."""
        with reading():
            version = self._sql.execute("PRAGMA data_version").fetchone()[0]
            if version != self._version or self._room < 0:
                self._begin_cache()
                self._version = version
            found = self._kept.get((sql, values))
            if found is None:
                decode = DECODERS[kind].decode
                found = [(place, decode(doc)) for place, doc in self._sql.execute(sql, values)]
                self._kept[sql, values] = found
                self._room -= len(found) + 1
            return list(found)

    def snapshot(self) -> None:
        """Begin to see the database as it is now, until `release`."""
        self._sql.execute("BEGIN")
        self._sql.execute("SELECT 1 FROM meta").fetchone()

    def release(self) -> None:
        """See what is new again."""
        if self._sql.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # what was wrong has been said already
                self._sql.execute("COMMIT")

    def row(self, kind: type[R], key: str) -> R | None:
        """One row."""
        with reading():
            return row_of(self._sql, kind, key)

    def rows_of(self, kind: type[R], run: str, limit: int) -> list[R]:
        """The latest rows of one run, in the order in which they were made."""
        return [row for _, row in reversed(self.rows_before(kind, run, 0, limit))]

    def rows_before(self, kind: type[R], run: str, before: int, limit: int) -> list[tuple[int, R]]:
        """Rows of one run, the latest first, each with its place; only those with a place before `before`, if that is not 0."""
        sql = f"SELECT rowid, doc FROM {TABLES[kind]} WHERE run = ? AND rowid < ? ORDER BY rowid DESC LIMIT ?"
        return self._rows(kind, sql, (run, before or 1 << 62, limit))

    def rows_with(self, kind: type[R], status: str, limit: int) -> list[R]:
        """Rows of all runs in one status, oldest first."""
        sql = f"SELECT rowid, doc FROM {TABLES[kind]} WHERE status = ? ORDER BY rowid LIMIT ?"
        return [row for _, row in self._rows(kind, sql, (status, limit))]

    def all_rows(self, kind: type[Row]) -> Iterator[tuple[str, Row]]:
        """Every row with its key."""
        with reading():
            for key, doc in self._sql.execute(f"SELECT id, doc FROM {TABLES[kind]} ORDER BY id"):
                yield key, DECODERS[kind].decode(doc)

    def runs(self, *, ended: bool, limit: int, before: str = "") -> list[RunRow]:
        """Runs, newest first; those that are older than the one of the id `before`, if there is one."""
        ends = () if ended else tuple(sorted(RUN_TERMINAL))
        conditions = [f"status NOT IN ({','.join('?' * len(ends))})"] if ends else []
        conditions += ["id < ?"] if before else []
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = f"SELECT rowid, doc FROM runs {where} ORDER BY id DESC LIMIT ?"  # ids sort by the time at which they were made
        return [row for _, row in self._rows(RunRow, sql, (*ends, *([before] if before else []), limit))]

    def runs_matching(self, text: str, limit: int) -> list[RunRow]:
        """Runs whose id is `text`, else whose name is (newest first), else whose id begins or ends with it."""
        for where, argument in (
            ("id = ?", text),
            ("name = ?", text),
            ("id LIKE ? ESCAPE '\\'", _literal(text) + "%"),
            ("id LIKE ? ESCAPE '\\'", "%" + _literal(text)),
        ):
            found = self._rows(RunRow, f"SELECT rowid, doc FROM runs WHERE {where} ORDER BY id DESC LIMIT ?", (argument, limit))
            if found:
                return [row for _, row in found]
        return []

    def events(self, *, after: int = 0, before: int = 0, limit: int, where: Where = EVERYWHERE) -> list[Event]:
        """The first events after `after`, or (with `before`) the last ones before it; always the oldest of them first."""
        upto = before or SEQ_MAX
        if where.since:
            after = max(after, self._first_at(where.since) - 1)
        if where.until:
            upto = min(upto, self._first_at(where.until))
        chosen: list[tuple[str, tuple[object, ...]]] = [("seq > ? AND seq < ?", (after, upto))]
        if where.run:
            chosen.append(("run = ?", (where.run,)))
        if where.task:
            chosen.append(("task = ?", (where.task,)))
        if where.epoch:
            chosen.append(("epoch = ?", (where.epoch,)))
        if where.types:
            chosen.append((f"type IN ({','.join('?' * len(where.types))})", tuple(sorted(where.types))))
        if where.since:
            chosen.append(("at >= ?", (where.since,)))
        if where.until:
            chosen.append(("at < ?", (where.until,)))
        found = self._all(
            f"SELECT {_COLUMNS} FROM events WHERE {' AND '.join(text for text, _ in chosen)} "
            f"ORDER BY seq {'DESC' if before else ''} LIMIT ?",
            (*(value for _, values in chosen for value in values), limit),
        )
        with reading():
            return [event_of(self.store_id, row) for row in found[:: -1 if before else 1]]

    def not_readable(self) -> Iterator[str]:
        """Every row and every event that is not what crewd wrote, in words."""
        hint = "crewd salvage --anyway rebuilds the rows from the events"
        for kind, table in TABLES.items():
            for key, doc in self._all(f"SELECT id, doc FROM {table} ORDER BY id"):
                try:
                    DECODERS[kind].decode(doc)
                except (msgspec.MsgspecError, ValueError):
                    yield f"{key} in the table {table} is damaged: {hint}"
        seq = 0
        while found := self._all(f"SELECT {_COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (seq, READ_AT_ONCE)):
            for record in found:
                seq = record[0]
                try:
                    event_of(self.store_id, record)
                except (msgspec.MsgspecError, ValueError):
                    yield f"event {seq} is damaged, of the run {record[2]}: a backup may have it"

    def unflushed(self) -> list[Event]:
        """The events that are committed and in no other table yet."""
        with reading():
            return [event_of(self.store_id, record) for record in unflushed_of(self._sql)]

    def _first_at(self, at: float) -> int:
        """The seq from which on events are of this time or later. Times grow with seq, but for jumps of the wall clock."""
        low, high = 1, self.last_seq() + 1
        while low < high:
            middle = (low + high) // 2
            found = self._all("SELECT at FROM events WHERE seq >= ? ORDER BY seq LIMIT 1", (middle,))
            low, high = (low, middle) if found[0][0] >= at else (middle + 1, high)
        return low

    def count_events(self, run: str, first: int) -> int:
        """How many events of a run are in the log, from the seq `first` on."""
        return int(self._all("SELECT count(*) FROM events WHERE run = ? AND seq >= ?", (run, first))[0][0])

    def last_seq_of_run(self, run: str) -> int:
        """The seq of the last event of this run; 0 if there is none."""
        return int(self._all("SELECT coalesce(max(seq), 0) FROM events WHERE run = ?", (run,))[0][0])

    def backup(self, path: Path) -> None:
        """Copy the whole database as it is at one moment into a new file, while others write. Raises StoreUnavailable."""
        with faults(f"the backup {path} cannot be written"), contextlib.closing(sqlite3.connect(path)) as copy:
            self._sql.backup(copy)

    def size_of(self, run: str) -> tuple[int, int]:
        """How many events were ever written for a run, and how many bytes of events and rows."""
        found = self._all("SELECT events, bytes FROM sizes WHERE run = ?", (run,))
        return (int(found[0][0]), int(found[0][1])) if found else (0, 0)

    def latest(self, prefix: str) -> dict[str, bytes]:
        """Coalesced values whose key begins with `prefix`."""
        found = self._all("SELECT key, value FROM latest WHERE key >= ? AND key < ?", (prefix, prefix + "\U0010ffff"))
        return {key: bytes(value) for key, value in found}

    def last_seq(self) -> int:
        """The seq of the last event."""
        return int(self._all("SELECT coalesce(max(seq), 0) FROM events")[0][0])

    def counts(self) -> dict[str, int]:
        """Rows per table."""
        names = [*TABLES.values(), "events"]
        return {name: int(self._all(f"SELECT count(*) FROM {name}")[0][0]) for name in names}

    def check(self, *, whole: bool = False) -> str:
        """SQLite's own word on the file: `ok`, or what is wrong. Unless it is to look at the `whole`, for some seconds only."""
        if whole:
            return str(self._all("PRAGMA integrity_check(1)")[0][0])
        clock = SystemClock()
        deadline = clock.monotonic() + QUICK_SECONDS
        self._sql.set_progress_handler(lambda: clock.monotonic() > deadline, LOOK_STEPS)
        try:
            return str(self._sql.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_INTERRUPT:
                return "ok"  # as far as it came
            raise fault(error, WHAT) from error
        except sqlite3.DatabaseError as error:
            return str(error)
        finally:
            self._sql.set_progress_handler(None, 0)

    def close(self) -> None:
        """Close the connection."""
        self._sql.close()


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
