"""Tasks that an outside program carries out, through the public socket: claims, leases, what crewd does meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crewd.client.blocking import Crew, connect
from crewd.model.errors import Conflict, Forbidden, Refused, UsageError
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.shell import Shell

pytestmark = pytest.mark.process
OUTSIDE = WorkerSpec(outside=True)
FLOW = Workflow(
    "mixed",
    (
        Step("first", worker=WorkerSpec(call="jobs:add", args={"a": 1, "b": 2})),
        Step("other", worker=OUTSIDE, depends_on=("first",)),
        Step("last", worker=WorkerSpec(call="jobs:add", args={"a": 2, "b": 3}), depends_on=("other",)),
    ),
)


def status(crew: Crew, run: str, step: str) -> str:
    return next(task.status.value for task in crew.show(run).tasks if task.step == step)


def test_an_outside_program_carries_out_a_step_and_the_rest_goes_on(crew: Crew, daemon: Daemon, jobs_dir: str) -> None:
    run = crew.run(FLOW, cwd=jobs_dir)
    run.wait(step="first")
    task = f"{run.id}/other"
    assert status(crew, run.id, "other") == "queued", "crewd starts nothing for it"
    claimed = crew.claim(task, note="looking")
    with pytest.raises(Conflict, match=r"is claimed by .*:"):
        crew.claim(task)
    daemon.kill()
    daemon.start()
    assert status(crew, run.id, "other") == "claimed"
    assert [progress.note for progress in crew.show(run.id).progress if progress.task == task] == ["looking"]
    later = crew.claim(task, token=claimed.token, seconds=600.0)
    assert later.until > claimed.until
    with pytest.raises(Refused, match="not yours"):
        crew.finish(task, "another token of 16", 1)
    crew.finish(task, claimed.token, {"found": 7})
    crew.finish(task, claimed.token, {"found": 7})  # the reply was lost, say
    assert run.result(step="other") == {"found": 7}
    assert run.result() == {"first": 3, "other": {"found": 7}, "last": 5}
    with pytest.raises(Refused, match="over"):
        crew.release(task, claimed.token)


@pytest.mark.parametrize(("result", "read"), [("plain text", "plain text"), ({"found": [1, 2]}, '{"found":[1,2]}')])
def test_the_output_file_of_an_outside_step_is_its_result(crew: Crew, result: object, read: str) -> None:
    steps = (
        Step("other", worker=OUTSIDE, output="found.json"),
        Step("last", worker=WorkerSpec(shell='cat "$CREWD_OUTPUTS/found.json"'), depends_on=("other",), reads=("found.json",)),
    )
    run = crew.run(Workflow("w", steps), cwd="/")
    claimed = crew.claim(f"{run.id}/other")
    crew.finish(f"{run.id}/other", claimed.token, result)
    assert run.result(step="last", timeout=120) == read
    assert (crew.home.shared(run.id) / "found.json").read_text() == read


def test_a_restart_makes_an_output_file_that_is_missing_and_changes_none(crew: Crew, daemon: Daemon) -> None:
    steps = tuple(Step(name, worker=OUTSIDE, output=f"{name}.txt") for name in ("a", "b", "c"))
    run = crew.run(Workflow("w", steps), cwd="/")
    shared = crew.home.shared(run.id)
    for name in ("a", "b"):
        crew.finish(f"{run.id}/{name}", crew.claim(f"{run.id}/{name}").token, name)
        wait_until((shared / f"{name}.txt").exists, "the file")
    (shared / "a.txt").write_text("changed by a later step")
    (shared / "b.txt").unlink()
    daemon.kill()
    daemon.start()
    wait_until((shared / "b.txt").exists, "the file to be there again")
    assert (shared / "a.txt").read_text() == "changed by a later step"


def test_a_lease_that_runs_out_gives_the_task_to_whoever_comes_next_also_to_crewd(crew: Crew, jobs_dir: str) -> None:
    flow = Workflow(
        "w", (Step("a", worker=WorkerSpec(call="jobs:listen")), Step("b", worker=FLOW.steps[0].worker)), max_concurrency=1
    )
    run = crew.run(flow, cwd=jobs_dir)
    claimed = crew.claim(f"{run.id}/b", seconds=600.0)
    run.steer("stop", step="a")
    run.wait(step="a")
    assert status(crew, run.id, "b") == "claimed", "there is a place, and crewd leaves the task alone"
    crew.claim(claimed.task, token=claimed.token, seconds=1.0)
    run.wait()
    assert {task.step: task.result for task in run.show().tasks} == {"a": ["stop"], "b": 3}
    with pytest.raises(Refused):
        crew.finish(claimed.task, claimed.token, 1)
    assert [e.type for e in run.events() if e.type.startswith("task.") and e.task == claimed.task] == [
        "task.claimed", "task.claimed", "task.unclaimed", "task.ended",
    ]  # fmt: skip


def test_what_waits_for_others_or_is_at_work_or_belongs_to_others_is_not_claimed(
    crew: Crew, daemon: Daemon, jobs_dir: str, tmp_path: Path
) -> None:
    flow = Workflow(
        "w",
        (
            Step("a", worker=WorkerSpec(call="jobs:listen")),
            Step("b", worker=OUTSIDE, depends_on=("a",)),
            Step("c", worker=OUTSIDE),
        ),
    )
    run = crew.run(flow, cwd=jobs_dir)
    wait_until(lambda: status(crew, run.id, "a") == "running", "the worker")
    for step, text in (("a", "is running"), ("b", "waits for")):
        with pytest.raises(Refused, match=text):
            crew.claim(f"{run.id}/{step}")
    with pytest.raises(UsageError, match="lease"):
        crew.claim(f"{run.id}/c", seconds=0.0)
    held = crew.run(
        Workflow(
            "h", (Step("a", worker=WorkerSpec(call="jobs:listen")), Step("b", worker=FLOW.steps[0].worker)), max_concurrency=1
        ),
        cwd=jobs_dir,
    )
    with connect(str(daemon.home.root), name="ben", keys=tmp_path) as other:
        with pytest.raises(Forbidden):
            other.claim(f"{held.id}/b")
        mine = other.claim(f"{run.id}/c")
        crew.cancel(f"{run.id}/c")
        for again in (lambda: other.claim(mine.task, token=mine.token), lambda: other.finish(mine.task, mine.token, 1)):
            with pytest.raises(Refused, match=r"cancelled|not yours"):
                again()
        run.cancel(mode="now")
        with pytest.raises(Refused, match="over"):
            other.finish(mine.task, mine.token, 1)
    assert status(crew, run.id, "c") == "cancelled"


def test_a_failure_that_an_outside_program_reports_is_a_dead_letter(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    shell = Shell(str(daemon.home.root), Path(jobs_dir))
    run = crew.run(Workflow("w", (Step("a", worker=OUTSIDE),)), cwd=jobs_dir, name="mine")
    token = json.loads(shell.ok("--json", "claim", "mine", "--note", "trying"))["token"]
    assert "trying" in shell.ok("ps")
    crew.run(Workflow("w", (Step("a", worker=OUTSIDE),)), cwd=jobs_dir, name="let-go")
    shell.ok("claim", "let-go", "--seconds", "1")
    wait_until(lambda: "a: unclaimed" in shell.ok("ps"), "the lease to be over")
    shell.ok("finish", "mine", "--token", token, "--failed", "no disk")
    (dead,) = crew.dead().tasks
    assert (dead.run, dead.error, dead.claim and dead.claim.owner) == (
        run.id,
        "no disk",
        dead.reason.removeprefix("claimed by "),
    )
    crew.retry(run.id)
    token = crew.claim("mine").token
    shell.ok("release", "mine", "--token", token)
    assert status(crew, run.id, "a") == "queued"
    run.cancel()


def test_results_that_do_not_fit_one_answer_are_whole_and_hide_no_run(crew: Crew) -> None:
    steps = tuple(Step(f"s{number}", worker=OUTSIDE) for number in range(40))
    runs = [crew.run(Workflow("large", steps), cwd="/") for _ in range(2)]
    for run in runs:
        for step in steps:
            task = f"{run.id}/{step.id}"
            crew.finish(task, crew.claim(task).token, step.id * 10_000)
    assert {row.id for row in crew.runs(all=True).runs} >= {run.id for run in runs}
    shown = runs[0].show()
    assert 0 < len(shown.left_out) < 40
    assert [task.id for task in shown.tasks if task.result is None] == sorted(
        shown.left_out, key=[t.id for t in shown.tasks].index
    )
    assert runs[0].result() == {step.id: step.id * 10_000 for step in steps}


def test_a_list_has_all_runs_however_large_they_are(crew: Crew) -> None:
    steps = tuple(Step(f"s{number}", worker=OUTSIDE, depends_on=("s0",) if number else ()) for number in range(990))
    runs = [crew.run(Workflow("wide", steps), cwd="/").id for _ in range(4)]
    found = crew.runs()
    assert [row.id for row in found.runs if row.id in runs] == runs[::-1]
    assert sum(task.run in runs for task in found.tasks) == 4 * 990
    text = "x" * 5_000
    large = Workflow("large", tuple(Step(f"s{number}", text=text, worker=OUTSIDE) for number in range(200)))
    with pytest.raises(UsageError, match="the run's steps, goal and variables have"):
        crew.run(large, cwd="/")


def test_a_plan_that_somebody_else_hands_in_is_carried_out(crew: Crew) -> None:
    plan = {"phases": [{"tasks": [{"role": "reader", "task": "read"}]}]}
    roles = {"reader": Step("reader", role="reader", worker=WorkerSpec(shell='printf %s "$CREWD_TEXT"'))}
    run = crew.run(Workflow("w", (Step("plan", role="planner", adaptive=True, worker=OUTSIDE),), roles=roles), cwd="/")
    crew.finish(f"{run.id}/plan", crew.claim(f"{run.id}/plan").token, plan)
    assert run.result(timeout=120) == {"plan": plan, "reader.1": "read"}


def test_a_task_that_is_finished_twice_has_one_result(crew: Crew, daemon: Daemon) -> None:
    run = crew.run(Workflow("w", (Step("a", worker=OUTSIDE), Step("b", worker=OUTSIDE))), cwd="/").id
    token = crew.claim(f"{run}/a").token
    crew.finish(f"{run}/a", token, {"x": [1.0, None]})
    for _ in range(2):
        crew.finish(f"{run}/a", token, {"x": [1.0, None]})
        with pytest.raises(Conflict, match="was finished with another result"):
            crew.finish(f"{run}/a", token, "other")
        daemon.kill()
        daemon.start()


def test_all_runs_are_listed_and_cancelled_however_many_there_are(crew: Crew, daemon: Daemon) -> None:
    runs = {crew.run(Workflow("w", (Step("a", worker=OUTSIDE),)), cwd="/").id for _ in range(120)}
    assert {row.id for row in crew.runs().runs} >= runs
    newest = crew.runs(limit=7)
    assert (len(newest.runs), bool(newest.before)) == (7, True)
    Shell(str(daemon.home.root), daemon.home.root).ok("cancel", "--all")
    assert not {row.id for row in crew.runs().runs} & runs
