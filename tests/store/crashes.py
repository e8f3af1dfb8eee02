"""What a crash can leave of a database, reconstructed from what was on the disk before and after each commit.

SQLite appends to its log, syncs it at each commit (not at a flush), and now and then copies pages back into the database,
after a sync; nothing else is ever written. So the state of the two files after a kill or a power cut at any moment is one of
these: of the log's new bytes a prefix that ends anywhere; of what was written since the last sync any sectors; of a
checkpoint's pages any. What lies behind is what was there before, or garbage.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crewd.actors import Actor, ChildSpec
from crewd.model import events as ev
from crewd.model.events import Draft
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.store.actor import StoreActor
from crewd.store.database import Database
from crewd.store.fold import Row
from crewd.store.messages import Append, Committed, Put
from crewd.store.overlay import Overlay
from crewd.store.readonly import ReadOnly
from crewd.store.rebuild import rebuild
from crewd.testing import Scheduler

PAGE = 4096
FRAME = 24 + PAGE
HEADER = 32
SECTOR = 512
FLOW = Workflow(name="w", steps=(Step(id="s", worker=WorkerSpec(call="a:b")),))


@dataclass(frozen=True, slots=True)
class Files:
    """The bytes of the database and of its log."""

    database: bytes
    log: bytes


@dataclass(frozen=True, slots=True)
class Write:
    """One transaction: the last seq that is answered before and after it; the files at the last sync, before it, after it."""

    least: int
    most: int
    synced: Files
    before: Files
    after: Files


@dataclass(frozen=True, slots=True)
class Moment:
    """A crash during a write: what it may leave on the disk, and between which two states the home must be."""

    name: str
    files: Files
    least: int
    most: int


class _Watched(Database):
    """Takes a picture of the files after each transaction."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "s")
        self.writes: list[Write] = []
        self._path, self._seq = path, 0
        self._now = self._synced = _files(path)

    def commit(self, events: Sequence[ev.Event], latest: Iterable[tuple[str, bytes | None]] = ()) -> None:
        super().commit(events, latest)
        self._look(events[-1].seq, synced=True)

    def flush(self, rows: Iterable[tuple[str, str, Row]], latest: Iterable[tuple[str, bytes | None]]) -> dict[str, int]:
        written = super().flush(rows, latest)
        self._look(self._seq, synced=False)
        return written

    def _look(self, seq: int, *, synced: bool) -> None:
        before, self._now = self._now, _files(self._path)
        self.writes.append(Write(self._seq, seq, self._synced, before, self._now))
        self._seq = seq
        if synced or self._now.database != before.database:
            self._synced = self._now


class _Ear(Actor[Any]):
    def __init__(self, heard: list[Any]) -> None:
        super().__init__()
        self.heard = heard

    def receive(self, message: Any) -> None:
        self.heard.append(message)


def written(home: Path, rounds: int, chance: random.Random) -> Iterator[Write]:
    """Work on a home through the real store: every transaction that it makes."""
    path, scheduler, heard = home / "crewd.db", Scheduler(), list[Any]()
    database = _Watched(path)
    database._sql.execute(f"PRAGMA wal_autocheckpoint={chance.choice((4, 30))}")
    ear = scheduler.system.spawn(ChildSpec("ear", lambda: _Ear(heard)), None)
    store = scheduler.system.spawn(
        ChildSpec(
            "store", lambda: StoreActor(lambda: database, lambda: ReadOnly(path), scheduler.clock, Overlay(), lambda: None)
        ),
        None,
    )  # fmt: skip
    scheduler.settle()
    answered = 0
    for number in range(rounds):
        for each in _work(number, chance):
            store.tell(each if isinstance(each, Put) else Append(each, ear, number))
            if chance.random() < 0.5:
                scheduler.settle()  # else it is committed with the next one
        scheduler.settle()
        if chance.random() < 0.7:
            scheduler.advance(0.3)  # it is flushed
        for answer in heard:
            assert isinstance(answer, Committed), answer
            answered = max(answered, *(event.seq for event in answer.events))
        heard.clear()
        writes, database.writes = database.writes, []
        assert writes[-1].most >= answered, "what was answered is written"
        yield from writes
    scheduler.system.kill(store)
    database.close()


def _work(number: int, chance: random.Random) -> Iterator[tuple[Draft, ...] | Put]:
    run = f"r_{number}"
    yield (
        Draft(ev.RunCreated(name=run, goal="g" * chance.choice((0, 9_000)), cwd="/", workflow=FLOW), run),
        Draft(ev.AttemptReserved(directory="/"), run, f"{run}/s", 1),
    )
    for key in range(chance.randrange(3)):
        yield (Draft(ev.MessageAccepted(id=f"m_{number}_{key}", kind="steer", text="t" * 50), run, f"{run}/s", 1),)
    yield Put(f"progress:{run}/s", b"p" * 30)
    if number % 3 == 2:
        yield (Draft(ev.ProgressSampled(count=1), f"r_{number - 1}", f"r_{number - 1}/s", 1),)


def _files(path: Path) -> Files:
    log = path.with_name("crewd.db-wal")
    return Files(path.read_bytes(), log.read_bytes() if log.exists() else b"")


def moments(write: Write, chance: random.Random) -> Iterator[Moment]:
    """What a crash during this transaction, or after it and before it is synced, may leave."""
    least, most, before, after = write.least, write.most, write.before, write.after
    start, end = _changed(before.log, after.log)
    cuts = {start, end, *range(HEADER, end, FRAME), *range(HEADER + 24, end, FRAME)}
    cuts |= {chance.randrange(start, end) for _ in range(3) if end > start}
    for cut in sorted(cut for cut in cuts if start <= cut <= end):
        whole = cut == end
        left = Files(before.database, after.log[:cut] + before.log[cut:])
        yield Moment(f"killed at {cut} of the log", left, most if whole else least, most)
        torn = after.log[:cut] + chance.randbytes(min(len(after.log) - cut, 900))
        yield Moment(f"torn at {cut}", Files(before.database, torn), least, most)
    synced = write.synced
    start, end = _changed(synced.log, after.log)
    for number in range(3 if end > start else 0):
        image = bytearray(synced.log[: len(after.log)].ljust(len(after.log), b"\0"))
        for at in range(start - start % SECTOR, end, SECTOR):
            if chance.random() < (0.5, 0.9, 0.1)[number]:
                image[at : at + SECTOR] = after.log[at : at + SECTOR]
        image[:HEADER] = after.log[:HEADER]  # SQLite syncs a new header before it writes anything behind it
        yield Moment("power cut before the sync", Files(before.database, bytes(image)), least, most)
    pages = [
        at for at in range(0, len(after.database), PAGE) if before.database[at : at + PAGE] != after.database[at : at + PAGE]
    ]
    for number in range(4 if pages else 0):  # the log is whole and synced before any page is copied back
        image = bytearray(before.database.ljust(len(after.database), b"\0"))
        for at in pages:
            if chance.random() < (0.5, 0.1, 0.9, 0.5)[number]:
                image[at : at + PAGE] = after.database[at : at + PAGE]
        if number == 3:  # a page half copied
            at = chance.choice(pages)
            image[at : at + SECTOR] = chance.randbytes(SECTOR)
        log = after.log if len(after.log) >= len(before.log) else before.log
        yield Moment("killed while pages are copied back", Files(bytes(image), log), least, most)


def _changed(old: bytes, new: bytes) -> tuple[int, int]:
    """From where to where the new bytes are others than the old ones."""
    start = next(
        (at for at in range(0, min(len(old), len(new)), SECTOR) if old[at : at + SECTOR] != new[at : at + SECTOR]), None
    )
    if start is None:
        return (min(len(old), len(new)), len(new)) if len(new) > len(old) else (len(new), len(new))
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = len(new)
    while end > start and old[end - 1 : end] == new[end - 1 : end]:
        end -= 1
    return start, end


def check(home: Path, moment: Moment) -> None:
    """Open what the crash has left, as the next crewd does, and look whether the promises hold."""
    path = home / "crewd.db"
    path.write_bytes(moment.files.database)
    path.with_name("crewd.db-wal").write_bytes(moment.files.log)
    path.with_name("crewd.db-shm").unlink(missing_ok=True)
    database = Database(path, "s")
    reader = ReadOnly(path)
    try:
        last = database.last_seq()
        assert moment.least <= last, f"{moment.name}: {moment.least} was answered, {last} is there"
        assert last in {moment.least, moment.most}, f"{moment.name}: {last} is half of what came between"
        differences, count = rebuild(reader)
        assert differences == [], f"{moment.name}: {differences}"
        assert count == last, f"{moment.name}: {count} of {last}, a gap or a repeat"
        assert reader.check() == "ok", moment.name
    finally:
        reader.close()
        database.close()
