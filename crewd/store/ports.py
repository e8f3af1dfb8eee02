"""What the store's actors need of a disk. The real body is `database`; `crewd.testing` has a simulated one.

Tests: tests/testing/world/test_ports.py, tests/store/test_store.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from crewd.model.events import Event
from crewd.model.rows import MessageRow, RunRow
from crewd.store.fold import R, Row

FREE_SPACE = "free disk space"
LOOK_AT_DISK = "look at the disk: it may be full, read-only or broken"


class Where(msgspec.Struct, frozen=True):
    """Which events are asked for; what is empty or 0 excludes none. `since` and `until` are wall-clock seconds."""

    run: str = ""
    task: str = ""
    epoch: int = 0
    types: frozenset[str] = frozenset()
    since: float = 0.0
    until: float = 0.0

    def takes(self, event: Event) -> bool:
        """Whether the event is asked for."""
        return (
            self.run in {"", event.run} and self.task in {"", event.task} and self.epoch in {0, event.epoch}
            and (not self.types or event.type in self.types)
            and event.at >= self.since and (not self.until or event.at < self.until)
        )  # fmt: skip


EVERYWHERE = Where()


class Writing(Protocol):
    """The one writer. `commit` and `flush` raise StoreUnavailable when the disk refuses; then nothing was written.

    InvariantError if an event of the same seq is there: there is another writer, and whoever commits must read again.
    What is committed and not yet flushed is in the commit log (`unflushed`); all other answers are of what was flushed.
    """

    store_id: str

    def last_seq(self) -> int:
        """The seq of the last event that was committed; 0 if there is none."""
        ...

    def unflushed(self) -> list[Event]:
        """The events that are committed and not yet flushed, in order."""
        ...

    def last_seq_of(self, run: str, task: str, epoch: int) -> int:
        """The seq of the last event of this branch; 0 if there is none. Epoch -1: of the last epoch or of none."""
        ...

    def last_seq_of_run(self, run: str) -> int:
        """The seq of the last event of this run; 0 if there is none."""
        ...

    def sweep(self, limit: int) -> bool:
        """Delete up to `limit` events and rows of each kind of a run that was forgotten or archived. Whether more is left."""
        ...

    def relieve(self) -> bool:
        """Give the reserve to the file system, so that what must be written can be. Whether there was one."""
        ...

    def restock(self) -> str:
        """Keep room for what must be written when the disk is full. Whether there is room."""
        ...

    def row(self, kind: type[R], key: str) -> R | None:
        """One row."""
        ...

    def messages(self, keys: Sequence[str]) -> dict[str, MessageRow]:
        """Those of these messages that there are."""
        ...

    def latest(self, key: str) -> bytes | None:
        """One coalesced value as it is on disk."""
        ...

    def run_named(self, name: str) -> str:
        """The newest run of this name; empty if there is none."""
        ...

    def commit(self, events: Sequence[Event], latest: Iterable[tuple[str, bytes | None]] = ()) -> None:
        """Make events, and values that belong to them (None deletes), durable: all of it or nothing, synced to disk."""
        ...

    def flush(self, rows: Iterable[tuple[str, str, Row]], latest: Iterable[tuple[str, bytes | None]]) -> dict[str, int]:
        """Let readers see what the commit log holds, the rows (run, key, row) that follow from it, and coalesced values.

        How many bytes of events and artifacts were ever written for each of the runs that it is about.
        """
        ...

    def close(self) -> None:
        """Give it back."""
        ...


class Reading(Protocol):
    """A reader. What it shows was flushed, and may be older than what is committed: `unflushed` is the rest."""

    store_id: str

    def snapshot(self) -> None:
        """Begin to see the database as it is now, until `release`."""
        ...

    def release(self) -> None:
        """See what is new again."""
        ...

    def row(self, kind: type[R], key: str) -> R | None:
        """One row."""
        ...

    def rows_of(self, kind: type[R], run: str, limit: int) -> list[R]:
        """The latest rows of one run, in the order in which they were made."""
        ...

    def rows_before(self, kind: type[R], run: str, before: int, limit: int) -> list[tuple[int, R]]:
        """Rows of one run, the latest first, each with its place; only those with a place before `before`, if that is not 0."""
        ...

    def rows_with(self, kind: type[R], status: str, limit: int) -> list[R]:
        """Rows of all runs in one status, oldest first."""
        ...

    def not_readable(self) -> Iterator[str]:
        """See `ReadOnly.not_readable`."""
        ...

    def all_rows(self, kind: type[Row]) -> Iterator[tuple[str, Row]]:
        """Every row with its key."""
        ...

    def runs(self, *, ended: bool, limit: int, before: str = "") -> list[RunRow]:
        """Runs, newest first; those that are older than the one of the id `before`, if there is one."""
        ...

    def runs_matching(self, text: str, limit: int) -> list[RunRow]:
        """Runs whose id is `text`, else whose name is (newest first), else whose id begins or ends with it."""
        ...

    def events(self, *, after: int = 0, before: int = 0, limit: int, where: Where = EVERYWHERE) -> list[Event]:
        """The first events after `after`, or (with `before`) the last ones before it; always the oldest of them first."""
        ...

    def unflushed(self) -> list[Event]:
        """The events that are committed and not yet flushed, in order."""
        ...

    def size_of(self, run: str) -> tuple[int, int]:
        """How many events were ever written for a run, and how many bytes of events and artifacts."""
        ...

    def latest(self, prefix: str) -> dict[str, bytes]:
        """Coalesced values whose key begins with `prefix`."""
        ...

    def last_seq(self) -> int:
        """The seq of the last event that was flushed."""
        ...

    def counts(self) -> dict[str, int]:
        """Rows per table."""
        ...

    def check(self, *, whole: bool = False) -> str:
        """The disk's own word on the file: `ok`, or what is wrong. If it is to look at the `whole`, it may take long."""
        ...

    def close(self) -> None:
        """Give it back."""
        ...
