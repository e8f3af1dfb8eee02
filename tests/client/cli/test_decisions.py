from __future__ import annotations

import json
from pathlib import Path

import pytest

from crewd.client.blocking import Crew
from crewd.model.policy import Retry
from crewd.model.workflow import Step, WorkerSpec, Workflow
from tests.shell import Shell

pytestmark = pytest.mark.process


def test_what_was_decided_on_a_run_is_listed_with_its_reason(crew: Crew, tmp_path: Path) -> None:
    flaky = WorkerSpec(shell="test -e there || { touch there; exit 3; }", retry=Retry(attempts=2, backoff_seconds=0.01))
    workflow = Workflow(
        "decided",
        (
            Step("plan", role="planner", worker=WorkerSpec(shell="true")),
            Step("change", depends_on=("plan",), access="exclusive", worker=flaky, verify_levels={"targeted": "exit 4"}),
        ),
        plan_approval=True,
    )
    run = crew.run(workflow, cwd=str(tmp_path))
    shell = Shell(str(crew.home.root), tmp_path)
    crew.wait(run.id, or_waiting=True, timeout=120)
    crew.approve(run.id)
    crew.wait(run.id, timeout=120)
    told = [json.loads(line) for line in shell.ok("why", run.id, "--json").splitlines()]
    assert [(each["action"], each["reason"], each["task"].partition("/")[2]) for each in told] == [
        ("block", "plan_approval", ""), ("retry", "task_failed", "change"), ("fail", "green_unsatisfied", "change.verify"),
        ("escalate", "task_failed", "change.verify"),
    ]  # fmt: skip
    shown = " ".join(shell.ok("decisions", run.id).split())  # lines are as wide as the screen
    assert "retry task_failed change#1 exit code 3" in shown
    assert "fail green_unsatisfied change.verify#1 the level targeted was not shown" in shown


def test_a_run_on_which_nothing_was_decided_says_so(crew: Crew, tmp_path: Path) -> None:
    run = crew.exec(["sleep", "1000"], cwd="/")
    shell = Shell(str(crew.home.root), tmp_path)
    assert shell.ok("decisions", run.id) == "crewd has decided nothing on it so far\n"
    assert shell.fails(4, "decisions", "nobody")
    run.cancel(mode="now")
