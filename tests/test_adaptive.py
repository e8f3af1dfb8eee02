"""Plans whose tasks become steps of their run, through crewd's public socket."""

from __future__ import annotations

from typing import Any

import pytest

from crewd.client.blocking import Crew
from crewd.model.errors import UsageError
from crewd.model.events import RunUnblocked, TaskAdded
from crewd.model.terms import Terms
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

pytestmark = pytest.mark.process
DO = WorkerSpec(call="jobs:do_task")
ROLES = {
    "executor": Step("executor", role="executor", text="You change things.", worker=DO),
    "reader": Step("reader", role="reader", worker=WorkerSpec(shell='printf %s "$CREWD_TEXT"')),
}
PLAN = {
    "phases": [
        {"tasks": [{"role": "executor", "task": "write"}, {"role": "reader", "task": "read"}]},
        {"tasks": [{"role": "executor", "task": "join"}]},
    ]
}


def workflow(*plans: object, **more: Any) -> Workflow:
    planner = WorkerSpec(call="jobs:hand_in", args={"plans": list(plans)})
    steps = (
        Step("plan", role="planner", output="plan.md", adaptive=True, worker=planner),
        Step("review", depends_on=("plan",), worker=DO),
    )
    return Workflow("planned", steps, roles=ROLES, **more)


def test_the_tasks_of_a_plan_are_done_in_its_phases_and_what_depends_on_it_comes_last(crew: Crew, jobs_dir: str) -> None:
    run = crew.run(workflow(PLAN), cwd=jobs_dir)
    assert crew.wait(run.id, timeout=120).run.status == "completed"
    shown = crew.show(run.id)
    results: dict[str, Any] = {task.step: task.result for task in shown.tasks}
    assert results["executor.1"] == {
        "task": "You change things.\n\nwrite",
        "reads": {"plan.md": results["executor.1"]["reads"]["plan.md"]},
    }
    assert results["executor.2"]["reads"]["reader.1.md"] == "read", "a command finds its task in CREWD_TEXT"
    assert set(results["review"]["reads"]) == {"executor.1.md", "reader.1.md", "executor.2.md"}
    added = [event for event in crew.events(run.id) if isinstance(event.body, TaskAdded)]
    assert [event.task.partition("/")[2] for event in added] == ["executor.1", "reader.1", "executor.2"]
    assert {event.body.plan for event in added if isinstance(event.body, TaskAdded)} == {f"{run.id}/plan#1"}


def test_what_a_plan_has_added_is_there_after_a_kill_and_waits_for_approval(daemon: Daemon, jobs_dir: str) -> None:
    with daemon.connect() as crew:
        run = crew.run(workflow(PLAN, plan_approval=True), cwd=jobs_dir).id
        wait_until(lambda: crew.show(run).run.status == "blocked", "the plan")
    daemon.kill()
    daemon.start()
    with daemon.connect() as crew:
        shown = crew.show(run)
        assert {task.step: task.status for task in shown.tasks} == {
            "plan": "completed", "review": "queued", "executor.1": "queued", "reader.1": "queued", "executor.2": "queued"
        }  # fmt: skip
        crew.approve(run)
        assert crew.wait(run, timeout=120).run.status == "completed"


def test_a_run_goes_on_with_a_plan_that_comes_after_one_that_could_not_be_taken(crew: Crew, jobs_dir: str) -> None:
    run = crew.run(workflow({"phases": [{"tasks": [{"role": "cook", "task": "x"}]}]}, PLAN), cwd=jobs_dir)
    blocked = crew.wait(run.id, or_waiting=True, timeout=120)
    assert "role 'cook', the roles are executor, reader" in blocked.attention
    assert [task.status for task in crew.show(run.id).tasks] == ["completed", "queued"]
    run.follow_up("The roles are executor and reader.", step="plan", terms=Terms(on_idle="start"))
    assert crew.wait(run.id, timeout=120).run.status == "completed"
    assert [task.status for task in crew.show(run.id).tasks] == ["completed"] * 5
    unblocked = [event.body for event in crew.events(run.id) if isinstance(event.body, RunUnblocked)]
    assert [(each.requester, each.reasons) for each in unblocked] == [("crewd", ("plan_unfit",))]


def test_a_run_whose_plan_could_not_name_anybody_is_refused(crew: Crew, jobs_dir: str) -> None:
    steps = workflow(PLAN).steps
    with pytest.raises(UsageError, match="no roles that its plan could name"):
        crew.run(Workflow("w", steps), cwd=jobs_dir)
    with pytest.raises(UsageError, match="of role agent"):
        crew.run(Workflow("w", steps, roles={"agent": Step("agent")}), cwd=jobs_dir)
