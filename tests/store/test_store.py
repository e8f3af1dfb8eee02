"""The store's promises: committed is there, half is never, a refusing disk refuses new work and keeps the facts."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.actors import Actor, ChildSpec, Ref
from crewd.actors.exits import SHUTDOWN
from crewd.model import events as ev
from crewd.model.errors import InvariantError, StoreUnavailable
from crewd.model.events import Draft
from crewd.model.rows import CancelInfo, MessageRow, OperationRow, Progress, RunRow
from crewd.model.statuses import RunStatus
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.store.actor import RETRY_SECONDS, ROWS_SECONDS, StoreActor
from crewd.store.cache import Cache, Nowhere
from crewd.store.database import RESERVE_BYTES, Database
from crewd.store.fold import fold
from crewd.store.messages import (
    Answer,
    Append,
    Committed,
    Delayed,
    Flush,
    Flushed,
    Known,
    LiveRun,
    Load,
    Missed,
    NewMessage,
    NewRun,
    Overfull,
    Published,
    Put,
    Read,
    Rejected,
    Removal,
)
from crewd.store.overlay import Overlay, over
from crewd.store.ports import Where
from crewd.store.reader import Reader
from crewd.store.readonly import ROWS_KEPT, ReadOnly
from crewd.store.rebuild import rebuild
from crewd.store.schema import MIGRATIONS
from crewd.testing import Scheduler

FLOW = Workflow(name="w", steps=(Step(id="s", worker=WorkerSpec(call="a:b")),))


def created(run: str = "r_1", name: str = "one") -> Draft:
    return Draft(ev.RunCreated(name=name, goal="", cwd="/", workflow=FLOW), run)


def accepted(key: str, run: str = "r_1", text: str = "hi") -> Draft:
    return Draft(ev.MessageAccepted(id=key, kind="steer", text=text, digest=text), run, f"{run}/s", 1)


class Failing(Database):
    """A disk that can be told to refuse."""

    broken = False

    def commit(self, events: Any, latest: Any = ()) -> None:
        if self.broken:
            raise StoreUnavailable("no space left")
        super().commit(events, latest)

    def flush(self, rows: Any, latest: Any) -> dict[str, int]:
        if self.broken:
            raise StoreUnavailable("no space left")
        return super().flush(rows, latest)


class Ear(Actor[Any]):
    def __init__(self, heard: list[Any]) -> None:
        super().__init__()
        self.heard = heard

    def receive(self, message: Any) -> None:
        self.heard.append(message)


class World:
    def __init__(self, path: Path, kind: type[Database] = Failing) -> None:
        self.path = path / "crewd.db"
        self.scheduler = Scheduler()
        self.heard: list[Any] = []
        self.overlay = Overlay()
        self.database: Any = kind(self.path, "s")
        self.ear: Ref[Any] = self.scheduler.system.spawn(ChildSpec("ear", lambda: Ear(self.heard)), None)
        self.store: Ref[Any] = self.scheduler.system.spawn(
            ChildSpec(
                "store",
                lambda: StoreActor(
                    lambda: self.database, lambda: ReadOnly(self.path), self.scheduler.clock, self.overlay, lambda: None
                ),
            ),
            None,
        )
        self.scheduler.settle()
        self.token = 0

    def append(self, *drafts: Draft, guard: NewMessage | NewRun | None = None) -> None:
        self.token += 1
        self.store.tell(Append(drafts, self.ear, self.token, guard))

    def answers(self) -> list[Any]:
        self.scheduler.settle()
        heard, self.heard[:] = list(self.heard), []
        return heard

    def reader(self) -> ReadOnly:
        """What was flushed, after all that was committed was."""
        self.store.offer(Flush(self.ear))
        self.scheduler.settle()
        self.heard[:] = [each for each in self.heard if not isinstance(each, Flushed)]
        return ReadOnly(self.path)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_was_asked_together_is_committed_together_and_answered_in_order(world: World) -> None:
    commits: list[int] = []
    original = world.database.commit

    def counting(events: Any, latest: Any) -> None:
        commits.append(len(events))
        original(events, latest)

    world.database.commit = counting
    world.append(created())
    for number in range(50):
        world.append(accepted(f"m{number}"))
    answers = world.answers()
    assert [type(each) for each in answers] == [Committed] * 51
    assert [event.seq for each in answers for event in each.events] == list(range(1, 52))
    assert commits == [51]
    assert [event.parent for event in world.reader().events(where=Where(run="r_1"), limit=100)] == list(range(51))


def test_a_repeat_is_known_and_other_content_is_a_conflict(world: World) -> None:
    world.append(created())
    world.append(accepted("m1"), guard=NewMessage("m1", "hi"))
    world.append(accepted("m1"), guard=NewMessage("m1", "hi"))
    world.append(accepted("m1", text="other"), guard=NewMessage("m1", "other"))
    kinds = [type(each) for each in world.answers()]
    assert kinds == [Committed, Committed, Known, Rejected]
    world.append(accepted("m1"), guard=NewMessage("m1", "hi"))
    (known,) = world.answers()
    assert isinstance(known, Known)
    assert isinstance(known.row, MessageRow)
    assert world.reader().last_seq() == 2


def test_a_run_is_admitted_once_per_request_id_and_name(world: World) -> None:
    world.append(created("r_1"), guard=NewRun("q", "d", "one"))
    world.append(created("r_2"), guard=NewRun("q", "d", "one"))
    world.append(created("r_3"), guard=NewRun("q", "e", "two"))
    world.append(created("r_4"), guard=NewRun("p", "e", "one"))
    first, again, other, name = world.answers()
    assert isinstance(first, Committed)
    assert isinstance(again, Known)
    assert isinstance(again.row, RunRow)
    assert again.row.id == "r_1"
    assert [type(other), type(name)] == [Rejected, Rejected]


def test_a_full_disk_refuses_new_work_and_keeps_the_facts(world: World) -> None:
    world.append(created())
    world.answers()
    world.database.broken = True
    world.append(accepted("m1"))
    world.append(accepted("m2"), guard=NewMessage("m2", "hi"))
    kinds = {type(each) for each in world.answers()}
    assert kinds == {Delayed, Rejected}
    world.append(accepted("m3"))
    assert [type(each) for each in world.answers()] == [Delayed]
    world.scheduler.advance(5.0)
    assert world.answers() == []
    world.database.broken = False
    world.scheduler.advance(1.0)
    assert [type(each) for each in world.answers()] == [Committed, Committed]
    assert world.reader().row(MessageRow, "m2") is None
    assert rebuild(world.reader()) == ([], 3)


def test_an_append_that_cannot_follow_is_refused_and_those_beside_it_are_committed(world: World) -> None:
    world.append(created())
    world.append(accepted("m1"), Draft(ev.RunStarted(), "r_9"))
    world.append(accepted("m2"))
    first, wrong, last = world.answers()
    assert isinstance(wrong, Rejected)
    assert isinstance(wrong.error, InvariantError)
    assert [event.seq for answer in (first, last) for event in answer.events] == [1, 2]
    assert world.reader().row(MessageRow, "m1") is None
    assert rebuild(world.reader()) == ([], 2)
    world.append(accepted("m1"))
    (again,) = world.answers()
    assert (again.events[0].seq, again.events[0].parent) == (3, 2), "what was taken back left no trace"


def sampled(count: int) -> Draft:
    return Draft(ev.ProgressSampled(count=count), "r_1", "r_1/s", 1)


def test_samples_wait_for_what_is_durable_or_for_their_window(world: World) -> None:
    world.append(created(), Draft(ev.AttemptReserved(directory="/"), "r_1", "r_1/s", 1))
    world.answers()
    world.append(sampled(1))
    assert world.answers() == []
    world.append(accepted("m1"))
    assert [type(event.body) for answer in world.answers() for event in answer.events] == [
        ev.ProgressSampled,
        ev.MessageAccepted,
    ]
    world.append(sampled(2))
    assert world.answers() == []
    world.scheduler.advance(0.06)
    assert [event.seq for answer in world.answers() for event in answer.events] == [5]
    world.append(sampled(3))
    world.scheduler.settle()
    world.scheduler.system.stop(world.store, SHUTDOWN, 1.0)
    world.scheduler.settle()
    assert world.reader().last_seq() == 6, "what waits is written on the way out"


def test_the_shortest_window_of_what_waits_counts(world: World) -> None:
    world.store.tell(Put("usage:r/t", b"1", 0.25))
    world.store.tell(Put("progress:r/t", b"1", 0.05))
    world.scheduler.advance(0.06)
    reader = ReadOnly(world.path)
    assert set(reader.latest("")) == {"usage:r/t", "progress:r/t"}
    world.store.tell(Put("usage:r/t", b"2", 0.25))
    world.scheduler.advance(0.1)
    assert reader.latest("usage:") == {"usage:r/t": b"1"}
    world.scheduler.advance(0.2)
    assert reader.latest("usage:") == {"usage:r/t": b"2"}


class Small(Database):
    """A disk that is full but for a reserve."""

    full = False
    relieved = False

    def commit(self, events: Any, latest: Any = ()) -> None:
        if self.full and not self.relieved:
            raise StoreUnavailable("no space left")
        super().commit(events, latest)

    def flush(self, rows: Any, latest: Any) -> dict[str, int]:
        if self.full and not self.relieved:
            raise StoreUnavailable("no space left")
        return super().flush(rows, latest)

    def relieve(self) -> bool:
        had, self.relieved = not self.relieved, True
        return had

    def restock(self) -> str:
        self.relieved = self.relieved and self.full
        return "the disk is full" if self.relieved else ""


def test_a_full_disk_takes_facts_into_the_reserve_and_new_work_when_there_is_room_again(tmp_path: Path) -> None:
    Small.full = False
    world = World(tmp_path, Small)
    world.append(created())
    world.answers()
    Small.full = True
    world.append(accepted("m1"), guard=NewMessage("m1", "hi"))
    world.append(Draft(ev.RunCancelRequested(CancelInfo("user")), "r_1"))
    assert [type(each) for each in world.answers()] == [Rejected, Committed]
    assert world.overlay.refused
    world.append(accepted("m2"), guard=NewMessage("m2", "hi"))
    assert [type(each) for each in world.answers()] == [Rejected]
    world.scheduler.advance(5.0)
    Small.full = False
    world.scheduler.advance(1.0)
    world.append(accepted("m3"), guard=NewMessage("m3", "hi"))
    assert [type(each) for each in world.answers()] == [Committed]
    assert not world.overlay.refused
    assert rebuild(world.reader()) == ([], 3)


def test_the_reserve_is_room_on_the_disk(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db", "s", tmp_path / "reserve")
    assert not database.relieve()
    assert database.restock() == ""
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= RESERVE_BYTES
    assert database.relieve()
    assert not (tmp_path / "reserve").exists()
    database.close()


def test_the_reserve_is_not_there_before_it_has_its_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = tmp_path / "reserve"
    database = Database(tmp_path / "x.db", "s", reserve)

    def full(*_: object) -> None:
        assert not reserve.exists(), "an export would take the room that cancels need"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert "no room" in database.restock()
    assert [each.name for each in tmp_path.glob("reserve*")] == []
    database.close()


def test_terminal_is_absorbing(world: World) -> None:
    ended = Draft(ev.RunEnded(status=RunStatus.FAILED), "r_1")
    world.append(created(), ended)
    world.answers()
    world.append(ended)
    world.answers()
    assert world.reader().row(RunRow, "r_1").ended_at is not None  # type: ignore[union-attr]
    assert world.reader().last_seq() == 2


def test_the_last_coalesced_value_wins_is_readable_at_once_and_is_on_disk_soon(world: World) -> None:
    for number in range(100):
        world.store.tell(Put("progress:r/t", str(number).encode()))
    world.scheduler.settle()
    assert over(world.overlay.pending(), {}, "progress:") == {"progress:r/t": b"99"}
    assert ReadOnly(world.path).latest("progress:") == {}
    world.scheduler.advance(0.1)
    assert world.reader().latest("progress:") == {"progress:r/t": b"99"}
    world.store.tell(Put("progress:r/t", None))
    world.scheduler.settle()
    assert over(world.overlay.pending(), ReadOnly(world.path).latest("progress:"), "progress:") == {}
    world.scheduler.advance(0.1)
    assert world.reader().latest("progress:") == {}


def test_a_rebuild_finds_a_row_that_was_touched_by_hand(world: World) -> None:
    world.append(created(), accepted("m1"))
    world.answers()
    assert rebuild(world.reader()) == ([], 2)
    world.database._sql.execute("UPDATE messages SET doc = (SELECT doc FROM messages LIMIT 1), id = 'm2'")
    differences, _ = rebuild(world.reader())
    assert differences


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db", "s")
    database._sql.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    database.close()
    with pytest.raises(StoreUnavailable, match="newer crewd"):
        Database(tmp_path / "x.db", "s")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(StoreUnavailable):
        Database(tmp_path / "x.db", "s")


@given(st.lists(st.tuples(st.sampled_from(["open", "close"]), st.integers(0, 3)), max_size=12))
def test_any_history_of_operations_folds_the_same_again(tmp_path_factory: Any, history: list[tuple[str, int]]) -> None:
    world = World(tmp_path_factory.mktemp("fold"))
    world.append(created(), Draft(ev.AttemptReserved(directory="/"), "r_1", "r_1/s", 1))
    opened: set[int] = set()
    for verb, number in history:
        if verb == "open":
            opened.add(number)
            world.append(Draft(ev.OperationOpened(id=str(number), kind="tool", name="x"), "r_1", "r_1/s", 1))
        elif number in opened:
            world.append(Draft(ev.OperationClosed(id=str(number), outcome="done"), "r_1", "r_1/s", 1))
        else:
            with pytest.raises(InvariantError):
                world_fold_alone(number)
    world.answers()
    assert rebuild(world.reader())[0] == []
    world.database.close()


def world_fold_alone(number: int) -> None:
    event = ev.Event(1, "e", 0, "r_1", "r_1/s", 1, "", "", "", 1.0, ev.OperationClosed(id=str(number), outcome="done"))
    fold(Cache(Nowhere()), event)


def test_messages_are_listed_from_the_latest_back_however_many_there_are(world: World) -> None:
    world.append(created())
    for number in range(0, 1_300, 100):
        world.append(*(accepted(f"m_{each}") for each in range(number, number + 100)))
    world.answers()
    reader = Reader(lambda: ReadOnly(world.path), Overlay(), lambda: None, lambda: ([], {}))
    reader.on_start()
    request = rq.ListMessages(target="r_1", limit=500)
    pages: list[list[str]] = []
    while True:
        reply = reader.answer(request)
        assert isinstance(reply, rl.MessagesReply)
        pages.insert(0, [message.receipt.id for message in reply.messages])
        if not reply.before:
            break
        request = msgspec.structs.replace(request, before=reply.before)
    assert [each for page in pages for each in page] == [f"m_{number}" for number in range(1_300)]
    assert [len(page) for page in pages] == [300, 500, 500]
    shown = reader.answer(rq.Show(target="r_1"))
    assert isinstance(shown, rl.ShowReply)
    assert shown.messages[-1].receipt.id == "m_1299", "what is shown is the latest"
    reader.on_stop()


def test_what_is_pending_is_never_invisible_while_it_is_written(world: World) -> None:
    """A flush that comes between the two looks of a reader takes nothing away from it."""
    world.append(created())
    world.answers()
    world.reader().close()
    reader = Reader(lambda: ReadOnly(world.path), world.overlay, lambda: None, lambda: ([], {}))
    reader.on_start()
    value = msgspec.msgpack.encode(Progress(task="r_1/s", epoch=1, note="n"))
    world.store.tell(Put("progress:r_1/s", value))
    world.scheduler.settle()
    looked: list[int] = []
    original = reader._database.latest

    def late(prefix: str) -> dict[str, bytes]:
        found = original(prefix)
        world.scheduler.advance(1.0)  # it is written, and leaves the overlay
        looked.append(len(found))
        return found

    reader._database.latest = late  # type: ignore[method-assign]
    for request in (rq.Show(target="r_1"), rq.ListRuns()):
        reply = reader.answer(request)
        assert isinstance(reply, rl.ShowReply | rl.RunsReply)
        assert [each.note for each in reply.progress] == ["n"]
    assert looked[0] == 0, "it was not on disk when the reader looked there"
    reader.on_stop()


def test_of_a_long_run_only_what_lives_stays_in_memory(world: World) -> None:
    cache = Cache(world.database)
    key, run = "r_1/s", "r_1"
    drafts = [created(), Draft(ev.AttemptReserved(directory="/"), run, key, 1)]
    for number in range(500):
        drafts.append(Draft(ev.OperationOpened(id=str(number), kind="tool", name="x"), run, key, 1))
        if number < 490:
            drafts.append(Draft(ev.OperationClosed(id=str(number), outcome="done"), run, key, 1))
    for seq, draft in enumerate(drafts, 1):
        fold(cache, ev.Event(seq, str(seq), 0, run, draft.task, draft.epoch, "", "", "", 1.0, draft.body))
    assert len(cache.everything()) == 503
    world.database.flush(cache.changed(), [])
    cache.settle()
    assert len(cache.everything()) == 3 + 10, "the run, its task, its attempt, and what is open"
    assert cache.get(OperationRow, "7").outcome == "done"  # type: ignore[union-attr]  # it is found on the disk


def test_a_commit_writes_one_row_and_the_tables_follow(world: World) -> None:
    flushes: list[int] = []
    original = world.database.flush

    def counting(rows: Any, latest: Any) -> dict[str, int]:
        rows = list(rows)
        flushes.append(len(rows))
        written: dict[str, int] = original(rows, latest)
        return written

    world.database.flush = counting
    world.append(created(), Draft(ev.AttemptReserved(directory="/"), "r_1", "r_1/s", 1))
    for number in range(20):
        world.append(Draft(ev.OperationOpened(id="o", kind="tool", name="x", report=number + 1), "r_1", "r_1/s", 1))
        world.answers()
    tables = ReadOnly(world.path)
    assert world.overlay.behind
    assert (tables.last_seq(), [event.seq for event in tables.unflushed()]) == (0, list(range(1, 23)))
    world.scheduler.advance(ROWS_SECONDS)
    assert not world.overlay.behind
    assert (tables.last_seq(), tables.unflushed()) == (22, [])
    assert flushes == [4], "the run, its task, its attempt and its operation, once each"
    assert rebuild(tables) == ([], 22)
    tables.close()


def test_what_a_crash_left_in_the_commit_log_is_in_the_tables_before_anybody_reads(tmp_path: Path) -> None:
    before = Database(tmp_path / "crewd.db", "s")
    drafts = [created(), Draft(ev.AttemptReserved(directory="/"), "r_1", "r_1/s", 1), accepted("m1")]
    events = [
        ev.Event(seq, f"s-{seq}", seq - 1, draft.run, draft.task, draft.epoch, "", "", "", 1.0, draft.body)
        for seq, draft in enumerate(drafts, 1)
    ]
    before.commit(events[:1])
    before.commit(events[1:])
    before.close()
    world = World(tmp_path)
    tables = ReadOnly(world.path)
    assert rebuild(tables) == ([], 3) and not tables.unflushed()
    assert tables.row(MessageRow, "m1") is not None
    tables.close()
    world.append(accepted("m2"))
    world.append(accepted("m1"), guard=NewMessage("m1", "hi"))
    committed, known = world.answers()
    assert (committed.events[0].seq, committed.events[0].parent) == (4, 3)
    assert isinstance(known, Known)


def test_a_start_on_a_disk_that_refuses_knows_what_was_committed(tmp_path: Path) -> None:
    before = Failing(tmp_path / "crewd.db", "s")
    before.commit([ev.Event(1, "s-1", 0, "r_1", "", 0, "", "", "", 1.0, created().body)])
    before.commit([ev.Event(2, "s-2", 1, "r_1", "r_1/s", 1, "", "", "", 1.0, ev.AttemptReserved(directory="/"))])
    before.close()
    Failing.broken = True
    try:
        world = World(tmp_path)
    finally:
        Failing.broken = False
    assert ReadOnly(world.path).last_seq() == 0
    world.store.tell(Load("r_1", world.ear))
    world.append(accepted("m1"))
    loaded, committed = sorted(world.answers(), key=lambda each: type(each).__name__, reverse=True)
    assert isinstance(loaded, LiveRun)
    assert (loaded.run.id, [attempt.epoch for attempt in loaded.attempts]) == ("r_1", [1])
    assert (committed.events[0].seq, committed.events[0].parent) == (3, 2)
    world.scheduler.advance(RETRY_SECONDS)
    assert rebuild(ReadOnly(world.path)) == ([], 3)


def reading(world: World, store: Any = None) -> Ref[Any]:
    """A reader beside the store, as in crewd."""
    spec = ChildSpec(
        "reader", lambda: Reader(lambda: ReadOnly(world.path), world.overlay, lambda: store or world.store, lambda: ([], {}))
    )
    ref: Ref[Any] = world.scheduler.system.spawn(spec, None)
    world.scheduler.settle()
    return ref


def asked(world: World, reader: Ref[Any], *, stale_ok: bool = True) -> list[Any]:
    reader.tell(Read(rq.Show(target="r_1"), world.ear, 7, stale_ok=stale_ok))
    return [each.reply for each in world.answers() if isinstance(each, Answer)]


def test_who_reads_sees_what_was_committed_before(world: World) -> None:
    reader = reading(world)
    for number in range(5):
        world.append(created() if number == 0 else accepted(f"m{number}"))
        world.answers()
        (shown,) = asked(world, reader)
        assert len(shown.messages) == number


def test_readers_do_not_wait_for_a_store_that_is_gone_or_a_disk_that_refuses(world: World) -> None:
    reader = reading(world)
    world.append(created(), accepted("m1"))
    assert len(asked(world, reader)[-1].messages) == 1
    world.append(accepted("m2"))
    world.answers()
    world.database.broken = True
    assert asked(world, reader, stale_ok=False) == [], "what must be true waits"
    assert (len(asked(world, reader)[-1].messages), asked(world, reader)[-1].stale) == (1, True), "and it says so"
    world.append(accepted("m3"), guard=NewMessage("m3", "hi"))
    assert [type(each) for each in world.answers()] == [Rejected], "what cannot be flushed is not added to"
    world.database.broken = False
    world.scheduler.advance(2 * RETRY_SECONDS)
    assert [each.reply.stale for each in world.answers()] == [False], "it has waited"
    assert (len(asked(world, reader)[-1].messages), asked(world, reader)[-1].stale) == (2, False)
    world.append(accepted("m4"))
    world.answers()
    gone = world.scheduler.system.spawn(ChildSpec("gone", lambda: Ear([])), None)
    world.scheduler.settle()
    world.scheduler.system.kill(gone)
    world.scheduler.settle()
    assert [each.stale for each in asked(world, reading(world, gone))] == [True]


def test_what_is_shown_is_stale_while_a_fact_waits_for_the_disk(world: World) -> None:
    reader = reading(world)
    world.append(created(), accepted("m1"))
    assert asked(world, reader)[-1].stale is False
    world.database.broken = True
    assert asked(world, reader)[-1].stale is False, "nothing has happened since"
    world.append(accepted("m2"))
    world.answers()
    assert asked(world, reader)[-1].stale is True
    world.database.broken = False
    world.scheduler.advance(2 * RETRY_SECONDS)
    world.answers()
    assert (len(asked(world, reader)[-1].messages), asked(world, reader)[-1].stale) == (2, False)


def test_what_rests_is_decoded_once_and_what_somebody_wrote_is_read_again(world: World) -> None:
    world.append(created(), accepted("m1"))
    world.answers()
    tables, statements = world.reader(), list[str]()
    first = tables.rows_of(MessageRow, "r_1", 9)
    tables._sql.set_trace_callback(statements.append)
    again = tables.rows_of(MessageRow, "r_1", 9)
    assert again[0] is first[0] and not [each for each in statements if "SELECT" in each]
    world.append(accepted("m2"))
    world.answers()
    world.scheduler.advance(ROWS_SECONDS)
    assert [row.receipt.id for row in tables.rows_of(MessageRow, "r_1", 9)] == ["m1", "m2"]
    for number in range(ROWS_KEPT + 10):
        tables.rows_of(MessageRow, f"r_{number}", 9)
    assert len(tables._kept) <= ROWS_KEPT
    tables.close()


def test_a_run_that_is_taken_away_is_gone_from_the_tables_when_its_end_is_answered(world: World) -> None:
    world.append(created(), Draft(ev.RunEnded(status=RunStatus.FAILED), "r_1"))
    world.answers()
    body = ev.RunForgotten(name="one", owner="", by="me", intent="", events=2)
    world.store.tell(Append((Draft(body, "r_1"),), world.ear, 99, Removal("r_1", 2)))
    (answer,) = world.answers()
    assert isinstance(answer, Committed)
    assert ReadOnly(world.path).row(RunRow, "r_1") is None
    world.append(accepted("m1"))
    assert [type(each) for each in world.answers()] == [Rejected]


def test_a_run_that_has_written_too_much_hears_of_it_and_takes_no_more_messages(world: World) -> None:
    database = Database(world.path.with_name("small.db"), "s")
    told: list[Any] = []
    owner: Ref[Any] = world.scheduler.system.spawn(ChildSpec("owner", lambda: Ear(told)), None)
    store: Ref[Any] = world.scheduler.system.spawn(
        ChildSpec(
            "small",
            lambda: StoreActor(
                lambda: database, lambda: ReadOnly(world.path.with_name("small.db")), world.scheduler.clock, Overlay(),
                lambda: None, 10_000, {"r_1": owner}.get,
            ),
        ),
        None,
    )  # fmt: skip

    def say(number: int, run: str = "r_1") -> Any:
        draft = accepted(f"m{number}", run, "x" * 2_000)
        store.tell(Append((draft,), world.ear, number, NewMessage(f"m{number}", f"{number}")))
        (answer,) = world.answers()
        world.scheduler.advance(ROWS_SECONDS)
        return answer

    store.tell(Append((created(), created("r_2", "two")), world.ear, 0))
    world.answers()
    assert [type(say(number)) for number in range(3)] == [Committed] * 3
    (over,) = told
    assert over == Overfull(over.size, 10_000) and over.size > 10_000
    refused = say(3)
    assert isinstance(refused, Rejected) and "run_store_bytes" in refused.error.info.hint
    assert isinstance(say(4, "r_2"), Committed), "others are not concerned"
    store.tell(Append((Draft(ev.RunCancelRequested(CancelInfo("user")), "r_1"),), world.ear, 5))
    assert [type(each) for each in world.answers()] == [Committed], "what happens to it is recorded"
    world.scheduler.advance(ROWS_SECONDS)
    assert len(told) == 2, "and it is told again"


def test_a_size_that_cannot_be_does_no_harm(world: World) -> None:
    """Such an event may be in a log of before: what only a flush would refuse would keep crewd from starting for ever."""
    artifact = ev.ArtifactRecorded(id="a", name="x", path="/x", sha256="0" * 64, size=1 << 63)
    world.append(created(), Draft(ev.AttemptReserved(directory="/"), "r_1", "r_1/s", 1), Draft(artifact, "r_1", "r_1/s", 1))
    world.append(Draft(msgspec.structs.replace(artifact, id="b", size=-5), "r_1", "r_1/s", 1))
    world.answers()
    tables = world.reader()
    assert rebuild(tables) == ([], 4)
    assert 0 < tables.size_of("r_1")[1] < 1 << 40


def test_a_flush_takes_from_the_commit_log_what_it_has_written_and_nothing_else(tmp_path: Path) -> None:
    old, new = Database(tmp_path / "x.db", "s"), Database(tmp_path / "x.db", "s")
    new.commit([ev.Event(1, "s-1", 0, "r_1", "", 0, "", "", "", 1.0, created().body)])
    old.flush([], [("progress:r/t", b"1")])
    tables = ReadOnly(tmp_path / "x.db")
    assert [event.seq for event in tables.unflushed()] == [1]
    for port in (old, new, tables):
        port.close()


def test_what_had_to_wait_for_long_is_committed_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crewd.store.database.PORTION_BYTES", 10_000)
    database = Database(tmp_path / "x.db", "s")
    events = [
        ev.Event(seq, f"s-{seq}", 0, f"r_{seq}", "", 0, "", "", "", 1.0, created(text := "r" * seq * 400, text).body)
        for seq in range(1, 21)
    ]
    database.commit(events)
    assert database._sql.execute("SELECT count(*) FROM commits").fetchone()[0] > 5
    database.close()
    again = Database(tmp_path / "x.db", "s")
    assert again.unflushed() == events
    again.close()


def test_what_a_late_flush_takes_away_is_swept(world: World) -> None:
    world.append(created(), accepted("m1"), Draft(ev.RunEnded(status=RunStatus.FAILED), "r_1"))
    world.answers()
    world.reader().close()
    body = ev.RunForgotten(name="one", owner="", by="me", intent="", events=3)
    world.database.flush = lambda _rows, _latest: (_ for _ in ()).throw(StoreUnavailable("full"))
    world.store.tell(Append((Draft(body, "r_1"),), world.ear, 99, Removal("r_1", 3)))
    assert [type(each) for each in world.answers()] == [Committed]
    del world.database.flush
    world.scheduler.advance(5.0)
    tables = ReadOnly(world.path)
    assert [event.type for event in tables.events(limit=99)] == ["run.forgotten"]
    assert tables._all("SELECT * FROM sweeps") == []
    tables.close()


def test_a_salvage_reads_the_commit_log_whatever_is_wrong_with_the_rest(world: World) -> None:
    for number in range(200):
        world.append(created(f"r_{number}", f"name{number}"))
    world.answers()
    world.reader().close()
    world.append(created("r_late", "late"))
    world.answers()
    world.database._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(world.path.read_bytes())
    for at in range(0, len(data), 4_096):  # the last leaf of the log, which is full of what happened last
        page = bytes(data[at : at + 4_096])
        if page[:1] == b"\x0d" and b"run.created" in page and b"name198" in page and b"late" not in page:
            data[at : at + 4_096] = b"\xff" * 4_096
    damaged = world.path.with_name("damaged.db")
    damaged.write_bytes(data)
    reader = ReadOnly.damaged(damaged)
    names = [event.body.name for event in reader.readable_events() if isinstance(event.body, ev.RunCreated)]
    assert "name198" not in names and "name0" in names and names[-1] == "late"
    reader.close()


class Listener:
    """The gateway, with a full inbox or with room."""

    def __init__(self) -> None:
        self.full = False
        self.heard: list[Any] = []

    def offer(self, letter: object) -> bool:
        if not self.full:
            self.heard.append(letter)
        return not self.full


def test_a_gateway_that_had_no_room_hears_that_it_has_missed_something(tmp_path: Path) -> None:
    scheduler, listener, overlay = Scheduler(), Listener(), Overlay()
    path = tmp_path / "crewd.db"
    store: Ref[Any] = scheduler.system.spawn(
        ChildSpec(
            "store",
            lambda: StoreActor(
                lambda: Database(path, "s"), lambda: ReadOnly(path), scheduler.clock, overlay, lambda: cast("Any", listener)
            ),
        ),
        None,
    )
    ear: Ref[Any] = scheduler.system.spawn(ChildSpec("ear", lambda: Ear([])), None)
    scheduler.settle()
    store.tell(Append((created("r_1", "a"),), ear, 1))
    scheduler.settle()
    assert [type(each) for each in listener.heard] == [Published]
    listener.full = True
    store.tell(Append((created("r_2", "b"),), ear, 2))
    scheduler.advance(2.0)
    listener.full = False
    scheduler.advance(2.0)
    assert listener.heard[1:] == [Missed(2)], "without waiting for another commit"
    store.tell(Append((created("r_3", "c"),), ear, 3))
    scheduler.settle()
    assert [event.seq for event in listener.heard[-1].events] == [3]
    scheduler.system.stop(store, SHUTDOWN)
    scheduler.settle()
