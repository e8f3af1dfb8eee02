"""Runs that wait for somebody's approval, and steps that may not run beside each other, as clients of crewd see them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from crewd.client import keeping
from crewd.client.blocking import Crew
from crewd.client.shapes import one_step
from crewd.model.errors import Conflict, Forbidden, Refused, UsageError
from crewd.model.events import RunBlocked, RunConcurrency, RunUnblocked, TaskHeldBack, TaskTurn
from crewd.model.green import Level
from crewd.model.ids import MESSAGE
from crewd.model.workflow import Effectiveness, Step, WorkerSpec, Workflow
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.shell import Shell

pytestmark = pytest.mark.process
QUICK = WorkerSpec(shell="true")
NARROW = 40


def planned() -> Workflow:
    steps = (
        Step("plan", role="planner", worker=WorkerSpec(shell="echo the plan")),
        Step("look", depends_on=("plan",), access="shared", worker=QUICK),
        Step("change", depends_on=("plan",), access="exclusive", worker=QUICK),
    )
    return Workflow("planned", steps, plan_approval=True)


def test_a_step_whose_dependency_has_not_ended_well_is_not_taken_up_alone(crew: Crew, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    steps = (Step("a", worker=WorkerSpec(shell=f"test -e {flag}")), Step("b", depends_on=("a",), worker=QUICK))
    run = crew.run(Workflow("w", steps), cwd="/")
    run.wait(timeout=120)
    before = len(list(crew.events(run.id)))
    with pytest.raises(Refused, match="depends on a, which is failed"):
        crew.resume(f"{run.id}/b")
    assert len(list(crew.events(run.id))) == before
    flag.touch()
    crew.resume(f"{run.id}/a")
    wait_until(lambda: crew.show(run.id).tasks[0].status == "completed", "the step that was taken up")
    crew.wait(run.id, timeout=120)
    crew.resume(f"{run.id}/b")
    assert crew.wait(run.id, timeout=120).run.status == "completed"


def test_a_notice_fits_a_narrow_screen(crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = crew.run(one_step("a-step-with-a-long-name", WorkerSpec(shell="exit 3")), cwd="/").id
    crew.wait(run, timeout=120)
    monkeypatch.setenv("COLUMNS", str(NARROW))
    told = Shell(str(crew.home.root), tmp_path).ok("inbox")
    assert "dead_letter" in told
    assert [line for line in told.splitlines() if len(line) > NARROW and " " in line.strip()] == []


def test_a_plan_waits_for_its_approval_whatever_is_restarted(daemon: Daemon) -> None:
    with daemon.connect() as crew:
        run = crew.run(planned(), cwd="/").id
        assert "is to be approved" in crew.wait(run, or_waiting=True, timeout=120).attention
        wait_until(lambda: [task.status for task in crew.show(run).tasks][1] == "completed", "the step that only looks")
    daemon.kill()
    daemon.start()
    with daemon.connect() as crew:
        shown = crew.show(run)
        assert (shown.run.status, shown.run.blocks[0].reason) == ("blocked", "plan_approval")
        assert shown.tasks[2].status == "queued"
        assert [notice.kind for notice in crew.notices() if notice.run == run] == ["blocked"]
        assert keeping.forget(crew, run, intent="tidy up").action == "kept"  # it is not over
        crew.approve(run, intent="it is good")
        assert crew.wait(run, timeout=120).run.status == "completed"
        bodies = [event.body for event in crew.events(run)]
        assert [each.block.reason for each in bodies if isinstance(each, RunBlocked)] == ["plan_approval"]
        assert [each.intent for each in bodies if isinstance(each, RunUnblocked)] == ["it is good"]
        assert [notice for notice in crew.notices() if notice.run == run] == []
        with pytest.raises(Refused, match="nothing blocks"):
            crew.approve(run)


def test_what_was_carried_out_is_answered_so_when_it_is_asked_for_again(daemon: Daemon) -> None:
    failing = one_step("s", WorkerSpec(argv=("false",)))
    with daemon.connect() as crew:
        orders: list[rq.Request] = []
        for number in range(4):
            run = crew.run(planned() if number < 2 else failing, cwd="/").id
            crew.wait(run, or_waiting=True, timeout=120)
            key = crew.ids.next(MESSAGE)
            orders.append((
                rq.Approve(run, id=key), rq.Approve(run, approved=False, id=key),
                rq.Dismiss(run, id=key), rq.Reopen(run, id=key),
            )[number])  # fmt: skip
        first = [type(crew.request(order)) for order in orders]
        assert first == [rl.Done, rl.Done, rl.Done, rl.RunReply]
        for order in orders:
            crew.wait(order.target, timeout=120)  # type: ignore[union-attr]
        assert [type(crew.request(order)) for order in orders] == first
        _are_conflicts(crew, orders)
    daemon.kill()
    daemon.start()
    with daemon.connect() as crew:
        assert [type(crew.request(order)) for order in orders] == first
        _are_conflicts(crew, orders)
        assert len(crew.show(orders[3].target).attempts) == 2, "it was retried once"  # type: ignore[union-attr]
        wrong = crew.request(rq.Dismiss(orders[2].target, id="7"))  # type: ignore[union-attr]
        assert isinstance(wrong, rl.ErrorReply)
        assert "not a message id" in wrong.error.message


def _are_conflicts(crew: Crew, orders: list[rq.Request]) -> None:
    """Other requests that have the ids of these ones are refused."""
    approve, reject, dismiss, retry = orders
    assert isinstance(approve, rq.Approve)
    assert isinstance(reject, rq.Approve)
    assert isinstance(dismiss, rq.Dismiss)
    assert isinstance(retry, rq.Reopen)
    others = (
        (replace(approve, approved=False), "approve"), (replace(reject, approved=True), "reject"),
        (rq.Reopen(dismiss.target, id=dismiss.id), "dismiss"), (replace(retry, kind="resume"), "retry"),
    )  # fmt: skip
    for other, before in others:
        reply = crew.request(other)
        assert isinstance(reply, rl.ErrorReply)
        assert reply.error.code == Conflict.code, reply
        assert f"was used for another request: {before}" in reply.error.message


def test_what_was_rejected_and_is_taken_up_again_is_not_ended_by_the_same_order(crew: Crew) -> None:
    run = crew.run(planned(), cwd="/").id
    crew.wait(run, or_waiting=True, timeout=120)
    order = rq.Approve(run, approved=False, id=crew.ids.next(MESSAGE))
    assert isinstance(crew.request(order), rl.Done)
    crew.wait(run, timeout=120)
    crew.resume(run)
    assert isinstance(crew.request(order), rl.Done)
    assert crew.wait(run, or_waiting=True, timeout=120).run.status == "blocked"
    crew.cancel(run)


def test_what_was_cancelled_was_not_rejected(crew: Crew) -> None:
    run = crew.run(planned(), cwd="/").id
    crew.wait(run, or_waiting=True, timeout=120)
    crew.cancel(run, reason="rejected")
    with pytest.raises(Refused, match="nothing blocks"):
        crew.reject(run)


def test_a_run_has_as_many_steps_at_once_as_the_configuration_allows(home: Path, tmp_path: Path) -> None:
    (home / "h").mkdir(mode=0o700)
    (home / "h" / "crewd.toml").write_text("concurrency_max = 2\n")
    steps = tuple(Step(f"s{number}", worker=WorkerSpec(shell="echo; sleep 0.3")) for number in range(5))
    with Daemon(home / "h") as daemon, daemon.connect() as crew:
        run = crew.run(Workflow("many", steps), cwd=str(tmp_path)).id
        assert crew.show(run).run.workflow.max_concurrency == 2
        assert crew.wait(run, timeout=120).run.status == "completed"


def test_what_is_rejected_ends_and_has_started_nothing(crew: Crew) -> None:
    run = crew.run(planned(), cwd="/").id
    crew.wait(run, or_waiting=True, timeout=120)
    crew.reject(run, intent="too much")
    end = crew.wait(run, timeout=120)
    assert (end.run.status, end.run.reason) == ("cancelled", "rejected")
    assert crew.show(run).tasks[2].epoch == 0


def test_a_worker_cannot_approve(crew: Crew, tmp_path: Path) -> None:
    run = crew.run(planned(), cwd="/").id
    crew.wait(run, or_waiting=True, timeout=120)
    words = ["--home", str(crew.home.root), "approve", run, "--force", "--intent", "mine"]
    code = f"from crewd.client.cli.main import main; main({words})"
    tried = crew.exec([sys.executable, "-c", code], cwd=str(tmp_path))
    assert crew.wait(tried.id, timeout=120).run.status == "failed"
    assert b"a worker cannot approve" in crew.log(f"{tried.id}/python", stream="stderr").data
    assert crew.show(run).run.status == "blocked"
    crew.cancel(run)


def test_a_worker_cannot_approve_as_a_client_of_the_protocol(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    run = crew.run(planned(), cwd="/").id
    crew.wait(run, or_waiting=True, timeout=120)
    monkeypatch.setenv("CREWD_PARENT_TOKEN", "of a worker")
    with pytest.raises(Forbidden):
        crew.approve(run)
    crew.cancel(run)


def test_exclusive_steps_of_one_key_never_overlap(crew: Crew, tmp_path: Path) -> None:
    guard = "mkdir held || exit 1; sleep 0.2; rmdir held"
    steps = (
        *(Step(name, access="exclusive", conflict_key="db", worker=WorkerSpec(shell=guard)) for name in ("a", "b", "c")),
        Step("reader", access="shared", conflict_key="docs", worker=QUICK),
    )
    run = crew.run(Workflow("keys", steps), cwd=str(tmp_path)).id
    assert crew.wait(run, timeout=120).run.status == "completed"
    bodies = [event.body for event in crew.events(run)]
    turns = [(each.batch, each.index, each.total) for each in bodies if isinstance(each, TaskTurn)]
    assert sorted(turns) == [(f"{run}:db", 1, 3), (f"{run}:db", 2, 3), (f"{run}:db", 3, 3), (f"{run}:docs", 1, 1)]
    assert sum(isinstance(each, TaskHeldBack) for each in bodies) == 2


@pytest.mark.parametrize(
    ("effectiveness", "status"), [("off", "completed"), ("warn", "completed"), ("block", "blocked"), ("fail", "failed")]
)
def test_a_worker_of_which_nothing_was_seen(crew: Crew, effectiveness: Effectiveness, status: str) -> None:
    workflow = Workflow("idle", (Step("a", effectiveness=effectiveness, worker=QUICK),))
    run = crew.run(workflow, cwd="/").id
    wait_until(lambda: crew.show(run).run.status == status, f"the run to be {status}")
    shown = crew.show(run)
    if status == "blocked":
        assert (shown.run.blocks[0].reason, shown.run.blocks[0].task) == ("ineffective_worker", f"{run}/a")
        crew.approve(run)
        assert crew.wait(run, timeout=120).run.status == "completed"
    if status == "failed":
        assert shown.tasks[0].reason == "ineffective_worker"


def test_a_worker_that_did_something_is_seen(crew: Crew, jobs_dir: str) -> None:
    worker = WorkerSpec(call="jobs:did")
    run = crew.run(Workflow("busy", (Step("a", effectiveness="fail", worker=worker),)), cwd=jobs_dir)
    assert crew.wait(run.id, timeout=120).run.status == "completed"


def test_more_steps_at_once_than_usual_are_recorded(crew: Crew) -> None:
    steps = tuple(Step(f"s{number}", worker=QUICK) for number in range(2))
    for unbounded, at_once in ((False, 8), (True, 50)):
        run = crew.run(Workflow("many", steps, max_concurrency=50, unbounded=unbounded), cwd="/").id
        crew.wait(run, timeout=120)
        assert crew.show(run).run.workflow.max_concurrency == at_once
        (body,) = [event.body for event in crew.events(run) if isinstance(event.body, RunConcurrency)]
        assert (body.asked, body.at_once) == (50, at_once)


def test_where_no_workers_are_started_a_run_is_blocked_and_says_so(home: Path) -> None:
    (home / "h").mkdir(mode=0o700)
    (home / "h" / "crewd.toml").write_text("execution = false\n")
    with Daemon(home / "h") as daemon:
        with daemon.connect() as crew:
            run = crew.run(one_step("a", QUICK), cwd="/").id
            shown = crew.show(run)
            assert (shown.run.status, shown.run.blocks[0].reason, shown.attempts) == ("blocked", "execution_disabled", ())
            with pytest.raises(Refused, match="starts no workers"):
                crew.approve(run)
        daemon.kill()
        daemon.home.config.write_text("execution = true\n")
        daemon.start()
        with daemon.connect() as crew:
            assert crew.wait(run, timeout=120).run.status == "completed"


def test_a_run_is_as_green_as_what_has_passed(crew: Crew, tmp_path: Path) -> None:
    levels: dict[Level, str] = {"targeted": "test -e made", "package": "test -e more", "merge_ready": "false"}
    change = Step("change", worker=WorkerSpec(shell="touch made"), verify_levels=levels)
    workflow = Workflow("leveled", (change, Step("report", depends_on=("change",), worker=QUICK)), green="package")
    run = crew.run(workflow, cwd=str(tmp_path))
    assert crew.wait(run.id, timeout=120).run.status == "failed"
    shell = Shell(str(crew.home.root), tmp_path)
    assert "green: targeted; package is required" in shell.ok("show", run.id)
    assert json.loads(shell.ok("show", run.id, "--json"))["green"] == "targeted"
    (tmp_path / "more").touch()
    crew.retry(run.id)
    assert crew.wait(run.id, timeout=120).run.status == "completed", "a level above is not tried"
    shown = shell.ok("show", run.id)
    assert "green: package" in shown
    assert "required" not in shown
    with pytest.raises(UsageError, match="no step has a command that shows it"):
        crew.run(replace(workflow, green="workspace"), cwd=str(tmp_path))


def test_a_run_whose_verification_was_cancelled_is_not_completed(crew: Crew) -> None:
    change = Step("change", worker=QUICK, verify_levels={"targeted": "true", "package": "sleep 1000"})
    run = crew.run(Workflow("leveled", (change,), green="package"), cwd="/")
    wait_until(lambda: any(a.task.endswith(".verify") and a.pid for a in run.show().attempts), "the command to run")
    crew.cancel(f"{run.id}/change.verify", mode="now")
    ended = run.wait(timeout=120).run
    assert ended.status == "cancelled"
    assert ended.reason == "cancelled: change.verify; green: targeted, and package is required"


def test_how_green_a_run_has_to_be_is_chosen_on_the_command_line(crew: Crew, tmp_path: Path) -> None:
    (tmp_path / "w.md").write_text(
        "---\nname: w\n---\n## change\nrun: true\nverify:\n  targeted: true\n  package: exit 3\n", encoding="utf-8"
    )
    shell = Shell(str(crew.home.root), tmp_path)
    assert "have to reach the level package" in shell.ok("plan", "-w", "w.md")
    assert "package: exit 3" not in shell.ok("plan", "-w", "w.md", "--green", "targeted")
    shell.ok("run", "-w", "w.md", "--green", "targeted", "-f")
    assert shell.run("run", "-w", "w.md", "-f").returncode == 1
    assert "one of" in shell.run("run", "-w", "w.md", "--green", "lawn").stderr


@pytest.mark.parametrize(
    ("command", "status", "report"), [("test -e made", "completed", "completed"), ("false", "failed", "skipped")]
)
def test_what_counts_is_what_the_verification_did(crew: Crew, tmp_path: Path, command: str, status: str, report: str) -> None:
    steps = (
        Step("change", worker=WorkerSpec(shell="touch made"), verify=command),
        Step("report", depends_on=("change",), worker=QUICK),
    )
    run = crew.run(Workflow("verified", steps), cwd=str(tmp_path)).id
    assert crew.wait(run, timeout=120).run.status == status
    assert [(task.step, task.status) for task in crew.show(run).tasks] == [
        ("change", "completed"), ("change.verify", status), ("report", report),
    ]  # fmt: skip
