"""The tables of the database and how they came to be: each version of the schema that was ever released, in order.

Tests: tests/testing/world/test_ports.py.
"""

from __future__ import annotations

from crewd.model.errors import StoreUnavailable
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
from crewd.store.fold import Row

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
    ForgottenRow: "forgotten",
}
_FIRST_TABLES = ("runs", "tasks", "attempts", "messages", "asks", "operations", "artifacts")


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
    (
        "CREATE INDEX events_of_branch ON events (run, task, epoch)",
        "CREATE TABLE sizes (run TEXT PRIMARY KEY, events INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO sizes SELECT run, count(*), sum(length(body)) FROM events GROUP BY run",
        *_rows_table("forgotten"),
        "CREATE TABLE sweeps (run TEXT PRIMARY KEY, before INTEGER NOT NULL) WITHOUT ROWID",
    ),
    ("CREATE TABLE commits (seq INTEGER PRIMARY KEY, records BLOB NOT NULL)",),
)
"""Each entry takes the schema one version up. An entry and the record that it ran are one transaction.

`commits` is the commit log: it holds what was committed and is not in the other tables yet, a row per commit. `latest` are
coalesced values. `sizes` counts per run what was ever written for it: events, and bytes of events and artifacts. `sweeps` names
runs that were forgotten or archived and of which there still is something before this seq: it goes bit by bit.
"""


def check_version(version: int) -> None:
    """Raises StoreUnavailable for tables that a newer crewd has made: this one would not understand them."""
    if version > len(MIGRATIONS):
        raise StoreUnavailable(
            f"the database was written by a newer crewd (schema {version}, this one knows {len(MIGRATIONS)})",
            hint="upgrade crewd or use another --home",
        )
