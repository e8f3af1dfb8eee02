"""A worker in C with libzmq, written from docs/protocol.md: the page is enough to write one if it works."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewd.client.blocking import Crew, RunHandle
from crewd.model.errors import RunFailed
from crewd.model.events import ProgressSampled
from crewd.model.rows import AskRow
from crewd.model.terms import Terms
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.witness.building import built, needs_a_compiler

pytestmark = [pytest.mark.process, needs_a_compiler]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return built("worker", tmp_path_factory.mktemp("worker"))


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that the worker waits for. It removes it when it has said what comes next."""
    return tmp_path / "gate"


def started(crew: Crew, *argv: str) -> RunHandle:
    return crew.exec(list(argv), protocol="crewd")


def asked(crew: Crew, run: RunHandle) -> AskRow:
    wait_until(lambda: [ask for ask in crew.inbox() if ask.run == run.id], "the question")
    return next(ask for ask in crew.inbox() if ask.run == run.id)


@pytest.mark.usefixtures("daemon")
def test_it_is_steered_asks_and_goes_on_for_what_waits_where_it_would_stop(crew: Crew, program: str) -> None:
    run = started(crew, program)
    ask = asked(crew, run)
    assert (ask.question, ask.kind, run.show().tasks[0].status) == ("which colour?", "text", "waiting")
    steer = run.steer("faster", wait="delivered")
    assert steer.level == "delivered", "while it waits for an answer, its code takes nothing"
    follow_up = run.follow_up("then the other half", wait="delivered")
    other_turn = run.follow_up("too late", terms=Terms(turn=7), wait="delivered")
    answer = crew.respond(ask.id, "blue", wait="settled")
    assert (answer.outcome, answer.effect) == ("done", "answered")
    assert run.result() == {
        "goal": "",
        "answer": "blue",
        "steers": ["faster"],
        "follow_ups": ["then the other half"],
        "turns": 2,
        "welcomes": 1,
    }
    for receipt, outcome, reason, note in (
        (steer, "done", "", "steered"),
        (follow_up, "done", "", "followed"),
        (other_turn, "refused", "no_such_turn", ""),
    ):
        last = crew.receipt(receipt.id)
        assert (last.level, last.outcome, last.reason, last.note) == ("settled", outcome, reason, note)
        assert (last.applied_at is not None) == (outcome == "done")
    (attempt,) = run.show().attempts
    assert (attempt.status, attempt.outcome, attempt.exit.code, attempt.turn) == ("completed", "completed", 0, 2)
    assert list(attempt.capabilities) == ["steer", "follow_up"]
    (operation,) = run.show().operations
    assert (operation.name, operation.outcome, operation.synthetic) == ("listen", "done", False)
    samples = [event.body for event in run.events() if isinstance(event.body, ProgressSampled)]
    assert [sample.note for sample in samples] == ["begun", "faster", "then the other half"]


@pytest.mark.usefixtures("daemon")
def test_what_it_has_not_taken_is_given_back(crew: Crew, program: str) -> None:
    run = started(crew, program)
    ask = asked(crew, run)
    unwanted = run.steer("not this", wait="delivered")
    assert crew.withdraw(unwanted.id).outcome == "withdrawn"
    run.steer("x" * 5_000, wait="settled")
    run.steer("this", wait="delivered")
    crew.respond(ask.id, "blue")
    result = run.result()
    assert isinstance(result, dict)
    assert result["steers"] == ["this"]
    assert [message.receipt.reason for message in run.messages(kind="steer")] == ["", "too_long", ""]


def test_a_cancel_ends_it_by_its_own_hand(daemon: Daemon, crew: Crew, program: str) -> None:
    run = started(crew, program)
    ask = asked(crew, run)
    steer = run.steer("never taken", wait="delivered")
    end = run.cancel()
    assert (end.status, end.verified, end.survivors) == ("cancelled", True, ())
    assert daemon.marked() == []
    shown = run.show()
    (attempt,) = shown.attempts
    assert (attempt.outcome, attempt.exit.code, attempt.exit.signal, attempt.exit.killed) == ("cancelled", 3, None, False)
    assert [(each.id, each.outcome) for each in shown.asks] == [(ask.id, "cancelled")]
    assert [(each.outcome, each.synthetic) for each in shown.operations] == [("cancelled", False)]
    last = crew.receipt(steer.id)
    assert (last.outcome, last.reason) == ("refused", "cancelled")


def test_it_goes_on_when_crewd_is_killed_and_starts_again(daemon: Daemon, program: str, gate: Path) -> None:
    with daemon.connect() as crew:
        run = started(crew, program, str(gate))
        wait_until(lambda: run.show().operations, "the worker at work")
        run.steer("before", wait="delivered")
    daemon.kill()
    gate.touch()
    wait_until(lambda: not gate.exists(), "the question, asked while nobody hears it")
    daemon.start()
    with daemon.connect() as crew:
        run = crew.get(run.id)
        ask = asked(crew, run)
    daemon.kill()
    daemon.start()
    with daemon.connect() as crew:
        run = crew.get(run.id)
        assert crew.respond(ask.id, "green", wait="settled").outcome == "done"
        result = run.result()
        assert isinstance(result, dict)
        assert (result["answer"], result["steers"]) == ("green", ["before"])
        assert result["welcomes"] >= 3, "it said hello to each crewd"
        (attempt,) = run.show().attempts
        assert (attempt.epoch, attempt.status) == (1, "completed")
        assert [message.receipt.outcome for message in run.messages()] == ["done", "done"]


def test_what_it_says_last_while_crewd_is_gone_is_not_lost(daemon: Daemon, program: str, gate: Path) -> None:
    with daemon.connect() as crew:
        run = started(crew, program, "alone", str(gate))
        wait_until(lambda: run.show().operations, "the worker at work")
        refused = run.steer("it takes none", wait="settled")
        assert (refused.outcome, refused.reason) == ("refused", "not_supported")
    daemon.kill()
    gate.touch()
    wait_until(lambda: not daemon.marked(), "the worker to leave its unsent reports and go")
    daemon.start()
    with daemon.connect() as crew:
        run = crew.get(run.id)
        result = run.result()
        assert isinstance(result, dict)
        assert result["welcomes"] == 1
        assert run.show().attempts[0].outcome == "completed"


@pytest.mark.parametrize(
    ("argv", "reason", "killed_by"),
    [
        (["/nowhere/worker"], "spawn_failed", None),
        (["true"], "exited_without_result", None),
        (["sh", "-c", "kill -9 $$"], "killed_by_signal", 9),
    ],
)
def test_a_program_that_says_nothing_has_failed(
    daemon: Daemon, crew: Crew, argv: list[str], reason: str, killed_by: int | None
) -> None:
    run = started(crew, *argv)
    with pytest.raises(RunFailed):
        run.result()
    (attempt,) = run.show().attempts
    assert (attempt.status, attempt.reason, attempt.exit.signal) == ("failed", reason, killed_by)
    assert daemon.marked() == []
