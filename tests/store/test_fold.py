"""What events make of the rows, where a worker does several things at once or speaks of what is another one's."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.home import Home
from crewd.model.receipts import Outcome
from crewd.model.rows import AskRow, AttemptRow, TaskRow
from crewd.model.statuses import AttemptStatus, TaskStatus
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.store.cache import Cache, Nowhere
from crewd.store.fold import FOLDED, Row, fold
from crewd.store.health import open_database
from crewd.store.readonly import ReadOnly
from crewd.store.rebuild import rebuild
from tests.store.folded import digest_of, read

WORKER = WorkerSpec(call="jobs:add")


class Rows:
    """Rows in memory."""

    def __init__(self) -> None:
        self.rows: dict[tuple[type[Any], str], Any] = {}
        self.seq = 0

    def get(self, kind: type[Any], key: str) -> Any:
        return self.rows.get((kind, key))

    def put(self, run: str, key: str, row: Row) -> None:
        self.rows[type(row), key] = row

    def drop(self, run: str) -> None:
        raise AssertionError(run)

    def happen(self, body: ev.Body, task: str = "r_1/a", run: str = "r_1") -> None:
        self.seq += 1
        epoch = 0 if isinstance(body, ev.RunCreated) else 1
        fold(self, ev.Event(self.seq, str(self.seq), 0, run, task, epoch, "", "", "", float(self.seq), body))

    def attempt(self, task: str = "r_1/a") -> AttemptRow:
        found: AttemptRow = self.rows[AttemptRow, f"{task}#1"]
        return found

    def task(self, task: str = "r_1/a") -> TaskRow:
        found: TaskRow = self.rows[TaskRow, task]
        return found


def at_work() -> Rows:
    rows = Rows()
    rows.happen(
        ev.RunCreated(name="w", workflow=Workflow("w", (Step("a", worker=WORKER), Step("b", worker=WORKER))), cwd="/", goal=""),
        "",
    )
    rows.happen(ev.RunStarted(), "")
    for task in ("r_1/a", "r_1/b"):
        for body in (ev.AttemptReserved(directory="/d"), ev.AttemptStarting(), ev.AttemptReady()):
            rows.happen(body, task)
    return rows


def test_a_worker_waits_until_its_last_question_is_closed() -> None:
    rows = at_work()
    for key in ("q1", "q2"):
        rows.happen(ev.AskOpened(id=key, question="?"))
    rows.happen(ev.AskClosed(id="q1", outcome="expired"))
    assert (rows.attempt().status, rows.task().status) == (AttemptStatus.WAITING, TaskStatus.WAITING)
    rows.happen(ev.AskClosed(id="q2", outcome="answered"))
    assert (rows.attempt().status, rows.task().status) == (AttemptStatus.RUNNING, TaskStatus.RUNNING)


def test_nobody_closes_a_question_of_another_worker() -> None:
    rows = at_work()
    rows.happen(ev.AskOpened(id="q1", question="?"))
    for body in (ev.AskOpened(id="q1", question="mine"), ev.AskClosed(id="q1", outcome="answered", answered_by="m")):
        rows.happen(body, "r_1/b")
    asked = rows.get(AskRow, "q1")
    assert (asked.task, asked.question, asked.closed_at) == ("r_1/a", "?", None)
    assert rows.task().status is TaskStatus.WAITING


def test_a_question_has_its_answer_until_that_comes_to_nothing() -> None:
    rows = at_work()
    rows.happen(ev.AskOpened(id="q1", question="?"))
    for answer, outcome in (("m1", "expired"), ("m2", "refused")):
        rows.happen(ev.MessageAccepted(id=answer, kind="response", text="x", ask="q1", sender="s"))
        assert (rows.get(AskRow, "q1").answer, rows.get(AskRow, "q1").unanswered) == (answer, False)
        rows.happen(ev.MessageAccepted(id=f"{answer}-late", kind="response", text="y", ask="q1", sender="s"))
        rows.happen(ev.MessageSettled(id=f"{answer}-late", outcome=Outcome.REFUSED, reason="answered"))
        assert rows.get(AskRow, "q1").answer == answer, "the first one stands"
        rows.happen(ev.MessageSettled(id=answer, outcome=Outcome(outcome)))
        assert rows.get(AskRow, "q1").unanswered


def test_failures_in_a_row_are_counted_where_a_restart_finds_them() -> None:
    rows = at_work()
    counted = []
    for number, outcome in enumerate(("failed", "failed", "skipped", "done", "failed")):
        rows.happen(ev.OperationOpened(id=f"o{number}", kind="tool", name="x"))
        rows.happen(ev.OperationClosed(id=f"o{number}", outcome=outcome))
        counted.append(rows.attempt().failures)
    assert counted == [1, 2, 2, 0, 1]


def test_a_fold_that_makes_something_else_of_logs_that_there_are_has_another_number() -> None:
    kept = read()
    assert [digest_of(log) for log in kept.logs] == kept.digests and kept.folded == FOLDED, (
        "the fold has changed: raise FOLDED in crewd/store/fold.py, so that older rows are folded again,"
        " and write the fixture (python -m tests.store.folded --write)"
    )


def test_rows_of_an_older_fold_are_folded_again_when_their_database_is_opened(tmp_path: Path) -> None:
    home = Home(tmp_path)
    log = max(read().logs, key=len)
    database = open_database(home, "e")
    rows = Cache(Nowhere())
    for event in log:
        fold(rows, event)
    database.commit([replace(event, event_id=f"e-{event.seq}") for event in log])
    database.flush(rows.changed(), [])
    database.close()
    with contextlib.closing(sqlite3.connect(home.database)) as sql:
        attempts = [(msgspec.msgpack.decode(doc), key) for key, doc in sql.execute("SELECT id, doc FROM attempts")]
        older = [(msgspec.msgpack.encode({**doc, "asks": 7, "warnings": ("so it was",)}), key) for doc, key in attempts]
        assert older
        sql.executemany("UPDATE attempts SET doc = ? WHERE id = ?", older)
        sql.commit()
        open_database(home, "e").close()
        assert len(rebuild(ReadOnly(home.database))[0]) == len(older), "of this very fold none is looked at"
        (doc,) = sql.execute("SELECT doc FROM attempts WHERE id = ?", (attempts[0][1],)).fetchone()
        sql.execute("UPDATE attempts SET doc = ? WHERE id = ?", (b"garbage", attempts[0][1]))
        sql.execute("DELETE FROM meta WHERE key = 'folded'")
        sql.commit()
        open_database(home, "e").close()
        assert not sql.execute("SELECT value FROM meta WHERE key = 'folded'").fetchall(), "the next start tries again"
        sql.execute("UPDATE attempts SET doc = ? WHERE id = ?", (doc, attempts[0][1]))
        sql.commit()
    open_database(home, "e").close()
    reader = ReadOnly(home.database)
    assert rebuild(reader) == ([], len(log))
    reader.close()
