"""Questions of workers, through the public socket: kinds, deadlines, defaults, who has answered, and places while waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crewd.client.blocking import Crew, RunHandle
from crewd.model.errors import RunFailed, UsageError
from crewd.model.receipts import Receipt
from crewd.model.rows import AskRow
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing.daemon import wait_until
from tests.shell import Shell

pytestmark = pytest.mark.process


def asked(crew: Crew, jobs_dir: str, kind: str, **given: Any) -> tuple[RunHandle, AskRow]:
    run = crew.call("jobs:question", args={"kind": kind, **given}, cwd=jobs_dir)
    wait_until(lambda: [ask for ask in crew.inbox() if ask.run == run.id], "the question")
    return run, next(ask for ask in crew.inbox() if ask.run == run.id)


def became(crew: Crew, receipt: Receipt) -> Receipt:
    wait_until(lambda: crew.receipt(receipt.id).settled, "the answer to settle")
    return crew.receipt(receipt.id)


@pytest.mark.parametrize(
    ("kind", "given", "wrong", "right", "heard"),
    [
        ("confirm", {}, "perhaps", "Y", "yes"),
        ("permission", {}, "hm", "no", "deny"),
        ("choose", {"choices": ["red", "blue"]}, "green", "2", "blue"),
        ("json", {}, "{", '{"a": 1}', '{"a": 1}'),
        ("text", {}, None, "anything", "anything"),
    ],
)
def test_an_answer_fits_its_question_or_nothing_is_recorded_of_it(
    crew: Crew, jobs_dir: str, kind: str, given: dict[str, Any], wrong: str | None, right: str, heard: str
) -> None:
    run, ask = asked(crew, jobs_dir, kind, **given)
    assert (ask.kind, list(ask.choices)) == (kind, given.get("choices", []))
    if wrong is not None:
        with pytest.raises(UsageError) as caught:
            crew.respond(ask.id, wrong)
        assert caught.value.hint and caught.value.hint not in caught.value.message
        assert run.messages() == ()
    crew.respond(ask.id, right)
    assert run.result() == heard


def test_an_answer_that_does_not_follow_the_schema_is_refused_and_another_may_come(crew: Crew, jobs_dir: str) -> None:
    pytest.importorskip("jsonschema")
    schema = {"type": "object", "required": ["colour"], "properties": {"colour": {"enum": ["red", "blue"]}}}
    run, ask = asked(crew, jobs_dir, "json", schema=schema)
    assert ask.schema == schema, "whoever answers sees what is wanted"
    refused = crew.respond(ask.id, '{"colour": "green"}', wait="settled")
    assert (refused.outcome, refused.reason) == ("refused", "does_not_fit")
    assert "green" in refused.note
    assert run.show().tasks[0].status == "waiting"
    assert crew.respond(ask.id, '{"colour": "red"}', wait="settled").outcome == "done"
    assert run.result() == '{"colour": "red"}'


@pytest.mark.usefixtures("daemon")
def test_silence_is_the_default_and_said_so(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:question", args={"kind": "text", "default": "green", "timeout": 0.1}, cwd=jobs_dir)
    assert run.result() == "green"
    (ask,) = run.show().asks
    assert (ask.outcome, ask.default) == ("defaulted", "green")
    assert crew.inbox() == ()
    late = became(crew, crew.respond(ask.id, "red"))
    assert (late.outcome, late.reason, late.note) == ("refused", "worker_ended", "the question is defaulted")
    short = crew.call("jobs:permit", args={"timeout": 0.05}, cwd=jobs_dir)
    assert short.result() == [False, True]


def test_a_second_answer_hears_who_gave_the_first_and_when(crew: Crew, jobs_dir: str) -> None:
    run, ask = asked(crew, jobs_dir, "text")
    first = crew.respond(ask.id, "one")
    run.wait()
    second = became(crew, crew.respond(ask.id, "two"))
    assert second.outcome == "refused"
    assert second.note.startswith(f"answered by {next(m.sender for m in run.messages() if m.receipt.id == first.id)} at 20")
    assert run.result() == "one"


@pytest.mark.usefixtures("daemon")
def test_a_question_whose_asker_has_ended_is_closed(crew: Crew, jobs_dir: str) -> None:
    run, ask = asked(crew, jobs_dir, "text")
    run.cancel(mode="now")
    assert crew.inbox() == ()
    assert run.show().asks[0].outcome == "cancelled"
    assert became(crew, crew.respond(ask.id, "late")).note == "the question is cancelled"


@pytest.mark.usefixtures("daemon")
def test_a_question_that_an_async_worker_gives_up_is_closed_and_holds_up_nothing(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:impatient", cwd=jobs_dir)
    assert run.result(timeout=120) == ["given up"] * 3 + ["refused"] * 2
    assert [(ask.question, ask.outcome) for ask in run.show().asks] == [
        (question, "cancelled") for question in ("what?", "sure?", "may I?", "and now?")
    ]


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_a_question_is_shown_whole_with_its_choices_on_any_screen(
    crew: Crew, jobs_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    run, ask = asked(crew, jobs_dir, "choose", choices=["the red one", "the blue one"])
    monkeypatch.setenv("COLUMNS", str(columns))
    said = Shell(str(crew.home.root), tmp_path).ok("inbox")
    assert [line for line in said.splitlines() if len(line) > columns and " " in line.strip()] == []
    assert ask.id in said
    assert f"{ask.question} (the red one, the blue one)" in " ".join(said.split())
    crew.respond(ask.id, "1")
    run.wait(timeout=120)


def test_choices_belong_to_a_question_of_their_kind(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:question", {"kind": "text", "choices": ["red", "blue"]}, cwd=jobs_dir)
    with pytest.raises(RunFailed, match="a question of kind text has choices"):
        run.result(timeout=120)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"text": "x" * 2_049}, "a question has 2,048 characters at most, not 2,049"),
        ({"kind": "choose", "choices": ["a", "b" * 3_000]}, "a choice has 2,048 characters at most, not 3,000"),
        ({"default": "d" * 2_049}, "a default has 2,048 characters at most"),
    ],
)
def test_what_people_could_not_read_whole_is_not_asked(crew: Crew, jobs_dir: str, asked: dict[str, Any], said: str) -> None:
    run = crew.call("jobs:question", {"kind": "text", **asked}, cwd=jobs_dir)
    with pytest.raises(RunFailed, match=said):
        run.result(timeout=120)


def test_one_that_waits_for_an_answer_takes_no_place_of_its_run(crew: Crew, jobs_dir: str) -> None:
    asking = Step("asking", worker=WorkerSpec(call="jobs:ask"))
    other = Step("other", worker=WorkerSpec(call="jobs:add", args={"a": 1, "b": 2}))
    run = crew.run(Workflow("w", (asking, other), max_concurrency=1), cwd=jobs_dir)
    wait_until(lambda: next(t for t in run.show().tasks if t.step == "other").status == "completed", "the other worker")
    assert next(t for t in run.show().tasks if t.step == "asking").status == "waiting"
    crew.respond(crew.inbox()[0].id, "blue")
    assert run.result(step="asking") == "blue"
