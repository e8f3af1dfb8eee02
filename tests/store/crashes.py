"""What a crash can leave of a database, reconstructed from what was on the disk before and after each commit.

SQLite appends to its log and syncs it at each commit, and now and then copies pages back into the database; nothing else is
ever written. So the state of the two files after a kill or a power cut at any moment is one of these: of the log's new bytes
a prefix that ends anywhere, or (nothing was synced yet) any of its sectors; of a checkpoint's pages any. What lies behind is
what was there before, or garbage.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crewd.actors import Actor, ChildSpec
from crewd.protocol import events as ev
from crewd.protocol.events import Draft
from crewd.protocol.workflow import Step, WorkerSpec, Workflow
from crewd.store.actor import StoreActor
from crewd.store.database import Database
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
class Moment:
    """A crash during a write: what it may leave on the disk, and between which two states the home must be."""

    name: str
    files: Files
    least: int
    most: int


class _Ear(Actor):
    def __init__(self, heard: list[Any]) -> None:
        super().__init__()
        self.heard = heard

    def receive(self, message: Any) -> None:
        self.heard.append(message)


def committed(home: Path, commits: int, chance: random.Random) -> Iterator[tuple[int, Files, Files]]:
    """Work on a home through the real store; after each commit the last seq that was answered, the files before and after."""
    path, scheduler, heard = home / "crewd.db", Scheduler(), list[Any]()
    database = Database(path, "s")
    database._sql.execute(f"PRAGMA wal_autocheckpoint={chance.choice((4, 30))}")
    ear = scheduler.system.spawn(ChildSpec("ear", lambda: _Ear(heard)), None)
    store = scheduler.system.spawn(
        ChildSpec(
            "store", lambda: StoreActor(lambda: database, lambda: ReadOnly(path), scheduler.clock, Overlay(), lambda: None)
        ),
        None,
    )  # fmt: skip
    scheduler.settle()
    before, seq = _files(path), 0
    for number in range(commits):
        for each in _work(number, chance):
            store.tell(each if isinstance(each, Put) else Append(each, ear, number))
        scheduler.settle()
        scheduler.advance(0.3)
        for answer in heard:
            assert isinstance(answer, Committed), answer
            seq = max(seq, *(event.seq for event in answer.events))
        heard.clear()
        after = _files(path)
        yield seq, before, after
        before = after
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


def moments(least: int, most: int, before: Files, after: Files, chance: random.Random) -> Iterator[Moment]:
    """What a crash between these two states may leave."""
    start = next((at for at, (old, new) in enumerate(zip(before.log, after.log)) if old != new), len(before.log))  # noqa: B905 (the tails are what differs)
    end = len(after.log)
    while end > start and before.log[end - 1 : end] == after.log[end - 1 : end]:
        end -= 1
    cuts = {start, end, *range(HEADER, end, FRAME), *range(HEADER + 24, end, FRAME)}
    cuts |= {chance.randrange(start, end) for _ in range(3) if end > start}
    old_log, database = before.log, before.database
    for cut in sorted(cut for cut in cuts if start <= cut <= end):
        rest = old_log[cut:]
        whole = cut == end
        yield Moment(f"killed at {cut} of the log", Files(database, after.log[:cut] + rest), most if whole else least, most)
        torn = after.log[:cut] + chance.randbytes(min(len(after.log) - cut, 900))
        yield Moment(f"torn at {cut}", Files(database, torn), least, most)
    sectors = range(start - start % SECTOR, end, SECTOR)
    for number in range(3 if end > start else 0):
        image = bytearray(old_log[: len(after.log)].ljust(len(after.log), b"\0"))
        for at in sectors:
            if chance.random() < (0.5, 0.9, 0.1)[number]:
                image[at : at + SECTOR] = after.log[at : at + SECTOR]
        yield Moment("power cut before the sync", Files(database, bytes(image)), least, most)
    pages = [at for at in range(0, len(after.database), PAGE) if database[at : at + PAGE] != after.database[at : at + PAGE]]
    for number in range(4 if pages else 0):  # the log is whole and synced before any page is copied back
        image = bytearray(database.ljust(len(after.database), b"\0"))
        for at in pages:
            if chance.random() < (0.5, 0.1, 0.9, 0.5)[number]:
                image[at : at + PAGE] = after.database[at : at + PAGE]
        if number == 3:  # a page half copied
            at = chance.choice(pages)
            image[at : at + SECTOR] = chance.randbytes(SECTOR)
        log = after.log if len(after.log) >= len(before.log) else before.log
        yield Moment("killed while pages are copied back", Files(bytes(image), log), least, most)


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
        assert count == last, "no gap, no repeat"
        assert reader.check() == "ok", moment.name
    finally:
        reader.close()
        database.close()
