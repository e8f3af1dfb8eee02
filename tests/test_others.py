"""Workers among themselves, through the public socket with real processes: messages, relations, waits and their cycles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crewd.client.blocking import Crew, RunHandle
from crewd.model.terms import Terms
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

pytestmark = pytest.mark.process


def mate(step: str, to: str, depends_on: tuple[str, ...] = (), **args: Any) -> Step:
    return Step(step, worker=WorkerSpec(call="jobs:mate", args={"to": to, **args}), depends_on=depends_on)


def job(step: str, name: str) -> Step:
    return Step(step, worker=WorkerSpec(call=f"jobs:{name}"))


def results(run: RunHandle) -> dict[str, Any]:
    run.wait()
    return {task.step: task.result for task in run.show().tasks}


def test_a_worker_hears_from_the_one_that_it_started_and_steers_it_and_waits_for_it(crew: Crew, jobs_dir: str) -> None:
    foreman = crew.call("jobs:foreman", cwd=jobs_dir)
    assert foreman.result(timeout=120) == {"heard": "the disk is nearly full", "from_child": True, "child": "completed"}


def test_steps_of_a_run_write_to_each_other_and_to_nobody_else(crew: Crew, jobs_dir: str) -> None:
    stranger = crew.call("jobs:listen", cwd=jobs_dir)
    flow = Workflow(
        "w",
        (
            job("all_ears", "reader"),
            mate("writes", "all_ears"),
            mate("steers", "all_ears", kind="steer"),
            mate("talks_to_itself", "talks_to_itself"),
            mate("meddles", stranger.id),
            mate("is_nobodys_child", "parent"),
        ),
        max_concurrency=6,
    )
    found = results(crew.run(flow, cwd=jobs_dir))
    assert found["all_ears"] == ["from writes"]
    assert found["writes"] == ["mailbox"]
    assert [found[step][0] for step in ("steers", "talks_to_itself", "meddles", "is_nobodys_child")] == [
        "forbidden", "usage", "forbidden", "refused",
    ]  # fmt: skip
    assert not stranger.messages()


def test_a_wait_that_would_never_end_is_refused_and_the_way_round_is_named(crew: Crew, jobs_dir: str) -> None:
    flow = Workflow("ring", (mate("a", "c", waits=True), mate("b", "a", waits=True), mate("c", "b", waits=True)))
    found = results(crew.run(flow, cwd=jobs_dir, name="ring"))
    refused = [result for result in found.values() if result[0] == "refused"]
    assert len(refused) == 1
    assert refused[0][1].count("waits for") == 3
    assert sorted(result[0] for result in found.values() if result[0] != "refused") == ["completed"] * 2
    itself = results(crew.run(Workflow("own", (mate("a", "own", waits=True),)), cwd=jobs_dir, name="own"))
    assert itself["a"][1] == "this wait would never end: own/a waits for own, own needs own/a"


def test_who_waits_takes_no_place_and_goes_on_when_crewd_was_killed_meanwhile(home: Path, jobs_dir: str) -> None:
    flow = Workflow("line", (mate("first", "second", waits=True), job("second", "reader")), max_concurrency=1)
    daemon = Daemon(home / "h", [jobs_dir])
    daemon.home.config.write_text("workers_max = 1\n")
    with daemon, daemon.connect() as crew:
        run = crew.run(flow, cwd=jobs_dir)
        wait_until(lambda: [a for a in run.show().attempts if a.task.endswith("second") and a.ready_at], "the second worker")
        daemon.kill()
        daemon.start()
        run.message("go on", step="second")
        assert results(run) == {"first": ["completed"], "second": ["go on"]}


@pytest.mark.usefixtures("daemon")
def test_a_question_wakes_whoever_waits_for_the_one_that_asks(crew: Crew, jobs_dir: str) -> None:
    run = crew.run(Workflow("asks", (mate("first", "second", waits=True), job("second", "ask"))), cwd=jobs_dir)
    wait_until(lambda: any(task.result for task in run.show().tasks), "the first worker")
    first = next(task.result for task in run.show().tasks if task.step == "first")
    assert isinstance(first, list)
    assert first[0].startswith("second asks: ")
    crew.respond(crew.inbox()[0].id, "blue")
    assert results(run)["second"] == "blue"


@pytest.mark.usefixtures("daemon")
def test_a_steer_that_comes_now_breaks_off_a_wait_and_what_is_given_up_is_over(crew: Crew, jobs_dir: str) -> None:
    other = crew.call("jobs:listen", cwd=jobs_dir)
    run = crew.call("jobs:patience", {"to": other.id}, cwd=jobs_dir)
    wait_until(lambda: [op for op in run.show().operations if op.kind == "crewd.wait"], "the wait")
    assert run.steer("enough", terms=Terms(now=True)).effect == "interrupted"
    assert run.result(timeout=120) == "enough"
    hasty = crew.call("jobs:hasty", {"to": other.id}, cwd=jobs_dir)
    assert hasty.result(timeout=120) == "given up"
    waits = [op for op in hasty.show().operations if op.kind == "crewd.wait"]
    assert [op.closed_at is not None for op in waits] == [True]
    wait_until(lambda: crew.doctor().counts["waits"] == 0, "crewd to forget both waits")
    mangled = crew.call("jobs:mangled", cwd=jobs_dir)
    assert mangled.result(timeout=120) == ["usage", "usage", "usage"]
    assert [message.text for message in mangled.messages()] == ["a?b"]


def test_an_asynchronous_worker_without_a_parent_reaches_whoever_watches(crew: Crew, jobs_dir: str) -> None:
    other = crew.call("jobs:listen", cwd=jobs_dir)
    run = crew.call("jobs:amate", {"to": other.id}, cwd=jobs_dir)
    wait_until(lambda: [m for m in run.messages() if m.direction == "out" and m.text == "here I am"], "the word")
    other.steer("stop")
    assert run.result(timeout=120) == "completed"
