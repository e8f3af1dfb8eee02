"""A worker in any language: a program that reads and writes JSON lines, through the public socket."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from crewd.client.blocking import Crew, RunHandle
from crewd.client.shapes import one_step
from crewd.model.errors import RunFailed, UsageError
from crewd.model.policy import Limits, Retry
from crewd.model.rows import AttemptRow
from crewd.model.workflow import WorkerSpec
from crewd.protocol.stdio import NotUnderstood, read_line
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from crewd.worker.stdio import COMPLAINTS_MAX

pytestmark = pytest.mark.process
SPEAKER = str(Path(__file__).with_name("speaker.py"))


def speak(crew: Crew, *argv: str, retry: Retry | None = None) -> RunHandle:
    return crew.exec([sys.executable, SPEAKER, *argv], cwd="/", protocol="crewd-stdio", retry=retry)


def attempt_of(run: RunHandle) -> AttemptRow:
    return run.show().attempts[-1]


def until_ready(run: RunHandle) -> AttemptRow:
    wait_until(lambda: run.show().attempts and attempt_of(run).ready_at, "the program's hello")
    return attempt_of(run)


def test_it_is_steered_asks_and_goes_on_where_it_would_stop(crew: Crew) -> None:
    spec = WorkerSpec(argv=(sys.executable, SPEAKER, "everything"), protocol="crewd-stdio", args={"depth": 2})
    run = crew.run(one_step("talks", spec), "the goal", cwd="/")
    wait_until(lambda: [ask for ask in crew.inbox() if ask.run == run.id], "the question")
    (ask,) = [ask for ask in crew.inbox() if ask.run == run.id]
    assert (ask.question, run.show().tasks[0].status) == ("which colour?", "waiting")
    follow_up = run.follow_up("and the rest")
    unwanted = run.follow_up("unwanted")
    answer = crew.respond(ask.id, "blue", wait="settled")
    assert (answer.outcome, answer.effect) == ("done", "answered")
    steer = run.steer("faster", wait="settled")
    assert (steer.outcome, steer.note, steer.applied_at is not None) == ("done", "steered", True)
    assert run.result(timeout=120) == {
        "goal": "the goal", "args": {"depth": 2}, "answer": "blue", "steers": ["faster"], "follow_ups": ["and the rest"]
    }  # fmt: skip
    assert [crew.receipt(each.id).outcome for each in (follow_up, unwanted)] == ["done", "refused"]
    assert crew.receipt(unwanted.id).reason == "unwanted"
    shown = run.show()
    assert [(each.name, each.data) for each in shown.artifacts] == [("notes.txt", b"all of it")]
    assert attempt_of(run).capabilities == ("steer", "follow_up")
    assert "half of it is done" in [each.text for each in crew.messages(run.id)]


def test_a_program_that_echoes_is_answered_so_often_and_ended_when_its_time_is_over(crew: Crew, tmp_path: Path) -> None:
    limits = Limits(task_seconds=1.0)
    run = crew.exec(["sh", "-c", "exec tee heard"], cwd=str(tmp_path), protocol="crewd-stdio", limits=limits)
    with pytest.raises(RunFailed, match="task_seconds"):
        run.result(timeout=120)
    assert (tmp_path / "heard").read_text().count('"type":"error"') <= COMPLAINTS_MAX


def test_what_is_no_record_is_its_log_and_a_wrong_record_is_answered(crew: Crew) -> None:
    run = speak(crew, "noisy")
    complaints = run.result(timeout=120)
    assert isinstance(complaints, list)
    for said, word in zip(complaints, ("done", "ponder", "m_nobody", "text or a path", "has some", "choice"), strict=True):
        assert word in said
    assert crew.log(run.id).data == b'plain words\n{"no": "record"}\n{not even JSON\n'
    assert crew.log(run.id, stream="stderr").data.count(b"was not understood") == 5


def test_json_that_other_programs_write_is_named_as_what_it_is() -> None:
    for line, said in (
        (b'{"type":"end","state":"completed","result":"\\ud800"}', "lone surrogate"),
        (b'{"type":"progress","done":NaN}', "it has NaN, which JSON does not have"),
        (b'{"type":"progress","done":-Infinity}', "it has -Infinity"),
        (b'{"type":"end",', "truncated"),
    ):
        with pytest.raises(NotUnderstood, match=said):
            read_line(line)


def test_it_has_failed_if_it_does_not_say_how_it_has_ended(crew: Crew) -> None:
    for mode, code, why in (("mute", 3, "why it ended"), ("silent", 1, "no hello today")):
        run = speak(crew, mode)
        with pytest.raises(RunFailed, match="has not said how"):
            run.result(timeout=120)
        attempt = attempt_of(run)
        assert (attempt.reason, attempt.exit.code) == ("no_end", code), mode
        assert why in attempt.error


@pytest.mark.parametrize(
    ("script", "status", "exit_status"),
    [
        ("exit 0", "failed", (0, None)), ("kill -9 $$", "failed", (None, 9)),
        ("echo '{\"type\":\"end\",\"state\":\"completed\"}'; exit 8", "completed", (8, None)),
        ("echo '{\"type\":\"end\",\"state\":\"completed\"}'", "completed", (0, None)),
    ],
)  # fmt: skip
def test_the_exit_that_is_shown_is_that_of_the_program(
    crew: Crew, script: str, status: str, exit_status: tuple[int | None, int | None]
) -> None:
    run = crew.exec(["sh", "-c", f'echo \'{{"type":"hello"}}\'; {script}'], cwd="/", protocol="crewd-stdio")
    run.wait(timeout=120)
    attempt = attempt_of(run)
    assert attempt.exit is not None
    assert (attempt.status, (attempt.exit.code, attempt.exit.signal)) == (status, exit_status)


def test_a_program_that_cannot_be_started_is_named(crew: Crew) -> None:
    run = crew.exec(["no-such-program"], cwd="/", protocol="crewd-stdio")
    with pytest.raises(RunFailed, match="no-such-program was not found in PATH="):
        run.result(timeout=120)


def test_another_attempt_goes_on_from_the_checkpoint(crew: Crew) -> None:
    run = speak(crew, "again", retry=Retry(attempts=3, backoff_seconds=0.0))
    assert run.result(timeout=120) == [1, 2]
    assert [each.error_class for each in run.show().attempts] == ["TryAgain", ""]


def test_what_is_said_to_be_permanent_is_not_tried_again(crew: Crew) -> None:
    run = speak(crew, "hopeless", retry=Retry(attempts=3, backoff_seconds=0.0))
    with pytest.raises(RunFailed, match="never"):
        run.result(timeout=120)
    assert len(run.show().attempts) == 1


def test_a_large_result_is_whole(crew: Crew) -> None:
    assert speak(crew, "large").result(timeout=120) == "x" * 5_000_000


def test_a_program_that_stays_after_its_end_is_ended_and_that_is_said(crew: Crew) -> None:
    run = speak(crew, "lingers")
    assert run.result(timeout=120) == 1
    assert any("had not exited" in warning for warning in attempt_of(run).warnings)


def test_a_cancel_is_said_and_what_does_not_hear_it_is_ended(crew: Crew, tmp_path: Path) -> None:
    polite = speak(crew, "stops", str(tmp_path / "reason"))
    deaf = speak(crew, "deaf")
    for run in (polite, deaf):
        until_ready(run)
        run.cancel(grace=2.0)
        assert (attempt_of(run).status, attempt_of(run).survivors) == ("cancelled", ())
    assert (tmp_path / "reason").read_text() == "caller_cancelled"


def test_it_goes_on_when_crewd_is_killed_and_starts_again(daemon: Daemon, tmp_path: Path) -> None:
    with daemon.connect() as crew:
        run = speak(crew, "gate", str(tmp_path / "gate"))
        until_ready(run)
    daemon.kill()
    (tmp_path / "gate").touch()
    daemon.start()
    with daemon.connect() as crew:
        assert crew.get(run.id).result(timeout=120) == "through"
        assert len(crew.show(run.id).attempts) == 1


def test_the_worker_of_the_page_works(crew: Crew) -> None:
    page = (Path(__file__).parents[2] / "docs" / "stdio.md").read_text()
    found = re.search(r"```sh\n(#!/bin/sh\n.*?)```", page, re.DOTALL)
    assert found is not None
    run = crew.exec(["sh", "-c", found[1]], cwd="/", protocol="crewd-stdio")
    assert run.steer("go left,\nthen right", wait="settled").note == "will do"
    assert run.result(timeout=120) == "steered"


def test_it_has_no_other_input(crew: Crew) -> None:
    with pytest.raises(UsageError, match="no other input"):
        crew.exec(["cat"], cwd="/", protocol="crewd-stdio", stdin="lines")
