"""What a message meant, through the public socket with real workers: terms, effects, refusals, turns, starts."""

from __future__ import annotations

import sys

import pytest

from crewd.client.blocking import Crew, RunHandle
from crewd.model.errors import NotFound, UsageError
from crewd.model.events import OperationClosed
from crewd.model.receipts import Receipt
from crewd.model.rows import AttemptRow
from crewd.model.terms import Terms
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.waits import ready

pytestmark = pytest.mark.process


def attempts(run: RunHandle) -> tuple[AttemptRow, ...]:
    return run.show().attempts


def became(crew: Crew, receipt: Receipt) -> tuple[str, str]:
    wait_until(lambda: crew.receipt(receipt.id).settled, "the message to settle")
    settled = crew.receipt(receipt.id)
    return str(settled.outcome), settled.reason


@pytest.mark.usefixtures("daemon")
def test_the_receipt_says_what_a_message_will_do(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:listen", args={"until": "stop"}, cwd=jobs_dir)
    ready(run)
    assert run.steer("x", wait="accepted").effect == "next_boundary"
    assert run.follow_up("y").effect == "next_turn"
    run.steer("stop")
    assert run.result() == ["x", "stop", "follow_up:y"]
    asking = crew.call("jobs:ask", cwd=jobs_dir)
    wait_until(crew.inbox, "the question")
    question = crew.inbox()[0].id
    assert asking.steer("hurry", wait="accepted").effect == f"held: waiting for question {question}"
    assert crew.respond(question, "blue").effect == "answered"
    assert asking.result() == "blue"


def test_a_steer_that_comes_now_breaks_off_what_the_worker_does(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:toil", cwd=jobs_dir)
    ready(run)
    wait_until(lambda: run.show().operations, "the operation")
    waiting = run.steer("later")
    assert (waiting.effect, waiting.level) == ("next_boundary", "delivered"), "it waits for the end of the operation"
    receipt = run.steer("stop", wait="settled", terms=Terms(now=True))
    assert (receipt.effect, receipt.outcome) == ("interrupted", "done")
    assert run.result() == [f"broken off for {receipt.id}", "later", "stop"]
    (operation,) = run.show().operations
    assert (operation.outcome, operation.reason) == ("cancelled", f"interrupted by {receipt.id}")
    coroutine = crew.call("jobs:atoil", cwd=jobs_dir)
    wait_until(lambda: coroutine.show().operations, "the operation")
    assert coroutine.steer("hey", wait="settled", terms=Terms(now=True)).effect == "interrupted"
    assert coroutine.result() == ["broken off", "hey"]


def test_what_is_broken_off_amid_its_reports_loses_none_of_them(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:chatter", cwd=jobs_dir)
    wait_until(lambda: run.show().operations, "the operation")
    assert run.steer("enough", terms=Terms(now=True)).effect == "interrupted"
    assert run.result(timeout=120) == ["went on", "enough"]
    closed = {event.body.id: event.body for event in run.events() if isinstance(event.body, OperationClosed)}
    outer = closed.pop(run.show().attempts[0].task + "#1:op1")
    assert outer.reason.startswith("interrupted by")
    outcomes = {operation.outcome for operation in closed.values()}
    assert outcomes <= {"done", "cancelled"}, "one around it is broken off, not swallowed by one inside"


def test_what_cannot_be_broken_off_takes_it_at_its_next_safe_point_and_the_receipt_says_so(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:listen", args={"until": "stop"}, cwd=jobs_dir)
    ready(run)
    assert run.steer("stop", wait="settled", terms=Terms(now=True)).effect == "next_boundary"


def test_a_message_for_a_turn_or_an_attempt_that_is_over_is_refused(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:turns", cwd=jobs_dir)
    ready(run)
    first = run.steer("one", wait="settled", terms=Terms(turn=1, epoch=1))
    assert first.outcome == "done"
    run.follow_up("go on")
    assert run.steer("next", wait="settled").outcome == "done"
    wait_until(lambda: attempts(run)[-1].turn == 2, "the second turn")
    late = run.steer("one more", terms=Terms(turn=1))
    assert became(crew, late) == ("refused", "turn_is_over")
    assert became(crew, run.steer("too early", terms=Terms(turn=3))) == ("refused", "no_such_turn")
    assert became(crew, run.steer("elsewhere", terms=Terms(epoch=2))) == ("refused", "no_such_turn")
    assert run.steer("two", wait="settled", terms=Terms(turn=2)).outcome == "done"
    run.steer("next")
    assert run.result() == ["one", "next", "follow_up:go on", "two", "next"]


def test_if_nobody_is_at_work_the_sender_says_what_happens(crew: Crew, jobs_dir: str) -> None:
    busy = Step("busy", worker=WorkerSpec(call="jobs:listen", args={"until": "stop"}))
    later = Step("later", worker=WorkerSpec(call="jobs:converse"), depends_on=("busy",))
    run = crew.run(Workflow("w", (busy, later)), cwd=jobs_dir)
    ready(run)
    for terms in (Terms(if_running=True), Terms(on_idle="refuse")):
        assert became(crew, run.follow_up("no", step="later", terms=terms)) == ("refused", "not_running")
    queued = run.follow_up("yes", step="later")
    assert queued.effect == "queued"
    short = crew.send("follow_up", f"{run.id}/later", "soon", deadline=0.2)
    assert became(crew, short) == ("expired", "deadline"), "also while nobody could take it"
    assert became(crew, run.follow_up("old", step="later", terms=Terms(epoch=2))) == ("refused", "no_such_turn")
    run.steer("stop", step="busy")
    assert run.result(step="later") == {"epoch": 1, "heard": ["follow_up:yes"]}
    assert became(crew, run.follow_up("over", step="later")) == ("refused", "worker_ended")


def test_a_worker_that_has_ended_is_started_again_for_a_follow_up_and_its_first_result_stays(
    daemon: Daemon, jobs_dir: str
) -> None:
    with daemon.connect() as crew:
        run = crew.call("jobs:converse", cwd=jobs_dir)
        assert run.result() == {"epoch": 1, "heard": []}
        again = run.follow_up("what else?", wait="settled", terms=Terms(on_idle="start"))
        assert (again.effect, again.outcome) == ("started", "done")
        run.wait()
        assert run.result() == {"epoch": 2, "heard": ["follow_up:what else?"]}
        assert [a.result for a in attempts(run)] == [
            {"epoch": 1, "heard": []},
            {"epoch": 2, "heard": ["follow_up:what else?"]},
        ], "what the first attempt said stays what it is"
        repeated = run.follow_up("what else?", id=again.id, terms=Terms(on_idle="start"))
        assert repeated.id == again.id
        run.wait()
        assert len(attempts(run)) == 2, "the same message starts it once"
        assert run.show().run.openings == 2
        steered = run.steer("and now?", wait="settled", terms=Terms(on_idle="start"))
        assert steered.effect == "started"
        run.wait()
        assert run.result() == {"epoch": 3, "heard": ["steer:and now?"]}


def test_terms_that_contradict_each_other_are_refused_at_the_door(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:listen", args={"until": "stop"}, cwd=jobs_dir)
    ready(run)
    for kind, terms in (
        ("follow_up", Terms(now=True)),
        ("steer", Terms(if_running=True, on_idle="start")),
        ("steer", Terms(on_idle="start", epoch=1)),
        ("steer", Terms(turn=-1)),
    ):
        with pytest.raises(UsageError):
            crew.send(kind, run.id, "x", terms=terms)  # type: ignore[arg-type]
    assert run.messages() == ()


def test_a_command_takes_one_turn(crew: Crew, jobs_dir: str) -> None:
    script = "import sys; print(sys.stdin.readline().strip())"
    worker = WorkerSpec(argv=(sys.executable, "-c", script), stdin="lines")
    run = crew.run(Workflow("w", (Step("a", worker=worker),)), cwd=jobs_dir)
    ready(run)
    assert became(crew, run.steer("x", terms=Terms(mode="next_turn"))) == ("refused", "not_supported")
    assert run.steer("hello", wait="settled", terms=Terms(turn=1)).outcome == "done"
    assert run.result() == "hello"


def test_a_reply_is_found_at_the_message_that_it_answers(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:listen", args={"until": "stop"}, cwd=jobs_dir)
    ready(run)
    first = run.steer("a question", wait="settled", terms=Terms(reply_seconds=60))
    second = run.steer("stop", wait="settled", terms=Terms(reply_to=first.id))
    rows = {row.receipt.id: row for row in run.messages()}
    assert (rows[first.id].replied, rows[second.id].terms.reply_to) == (second.id, first.id)


def test_a_steer_skips_what_was_planned_and_has_not_begun(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:plan", cwd=jobs_dir)
    wait_until(lambda: any(op.outcome == "done" for op in run.show().operations), "the first operation")
    steer = run.steer("otherwise", wait="applied")
    for text in ("one", "two"):
        run.steer(text)
    assert run.result() == {"done": ["op1", "op3"], "skipped": ["op2", "op4"], "all": ["one", "two"]}
    rows = {op.name: (op.outcome, op.reason, op.started_at is None) for op in run.show().operations}
    assert rows == {
        "a": ("done", "", False),
        "b": ("skipped", f"steer {steer.id}", True),
        "c": ("done", "", False),
        "d": ("skipped", f"steer {steer.id}", True),
    }
    assert all(message.receipt.outcome == "done" for message in run.messages())


def test_what_was_queued_when_its_worker_was_killed_is_skipped_and_said_so(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:plan", cwd=jobs_dir)
    wait_until(lambda: any(op.outcome == "done" for op in run.show().operations), "the first operation")
    run.cancel(mode="now")
    assert [(op.outcome, op.synthetic) for op in run.show().operations] == [("done", False)] + [("skipped", True)] * 3


# -- mailboxes ------------------------------------------------------------------------------------------------------


def test_a_worker_and_people_read_what_the_other_has_put_into_the_mailbox(daemon: Daemon, jobs_dir: str) -> None:
    with daemon.connect() as crew:
        run = crew.call("jobs:correspond", cwd=jobs_dir)
        wait_until(crew.unread, "what the worker says")
        (hello,) = crew.unread()
        assert (hello.text, hello.terms.priority, hello.direction) == ("hello", "urgent", "out")
        sent = run.message("first")
        assert (sent.level, sent.outcome, sent.effect) == ("settled", "done", "mailbox")
        wait_until(lambda: run.messages(direction="in")[0].acknowledged_by, "the worker to read it")
        assert run.messages(direction="in")[0].acknowledged_by == f"{run.show().tasks[0].id}#1"
        daemon.kill()
        daemon.start()
    with daemon.connect() as crew:
        crew.send("message", run.id, "stop")
        crew.wait(run.id)
        shown = crew.show(run.id)
        assert shown.tasks[0].result == ["first", "stop"], "each is read once"
        assert [m.text for m in crew.unread()] == ["hello", "bye"]
        crew.acknowledge(hello.receipt.id)
        crew.acknowledge(hello.receipt.id)
        assert [m.text for m in crew.unread()] == ["bye"]
        assert [m.text for m in crew.messages(run.id, direction="out", state="unread")] == ["bye"]
        assert [b.unread for b in shown.backlogs] == [2]


def test_a_mailbox_takes_messages_whether_somebody_reads_or_not(crew: Crew, jobs_dir: str) -> None:
    two = (
        Step("a", worker=WorkerSpec(call="jobs:listen", args={"until": "stop"})),
        Step("b", worker=WorkerSpec(call="jobs:add")),
    )
    run = crew.run(Workflow("w", two), cwd=jobs_dir)
    ready(run)
    to_run = run.message("for the run")
    to_worker = run.message("for one that does not read", step="a")
    assert (to_run.task, to_run.outcome, to_worker.outcome) == ("", "done", "done")
    run.steer("stop", step="a")
    run.wait()
    late = run.message("for one that has ended", step="a")
    assert (late.outcome, late.effect) == ("done", "mailbox")
    texts = [message.text for message in run.messages(kind="message", state="unread")]
    assert texts == ["for the run", "for one that does not read", "for one that has ended"]
    repeated = run.message("for one that has ended", step="a", id=late.id)
    assert repeated == late
    with pytest.raises(UsageError, match="steer"):
        crew.acknowledge(run.messages(kind="steer")[0].receipt.id)
    with pytest.raises(NotFound):
        crew.acknowledge("m_00000000000000000000000000")


@pytest.mark.usefixtures("daemon")  # it looks at the numbers of all runs
def test_steers_and_follow_ups_that_wait_are_counted_apart(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:quiet", cwd=jobs_dir)
    ready(run)
    busy = crew.call("jobs:toil", cwd=jobs_dir)
    wait_until(lambda: busy.show().operations, "the operation")
    for number in range(3):
        busy.steer(f"s{number}")
    busy.follow_up("f")
    (backlog,) = crew.runs().backlogs
    assert (backlog.steers, backlog.follow_ups) == (3, 1)
    assert busy.show().backlogs == (backlog,)
    assert [m.text for m in busy.messages(kind="steer", state="open")] == ["s0", "s1", "s2"]
    busy.cancel(mode="now")
    assert crew.runs().backlogs == ()
