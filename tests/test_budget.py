"""A budget of a run, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crewd.client.blocking import Crew, RunHandle
from crewd.model.budget import Budget
from crewd.model.errors import Refused
from crewd.model.policy import Retry
from crewd.model.reasons import CancelReason
from crewd.model.statuses import RunStatus
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.shell import Shell

pytestmark = pytest.mark.process
SPENDER = WorkerSpec(call="jobs:spend_15_turns")


def test_workers_that_have_used_the_budget_of_their_run_are_ended(crew: Crew, jobs_dir: str) -> None:
    steps = (Step("a", worker=SPENDER), Step("b", worker=SPENDER), Step("c", depends_on=("a",), worker=SPENDER))
    run = crew.run(Workflow("spenders", steps, budget=Budget(tokens=2_000)), cwd=jobs_dir)
    assert run.wait(timeout=120).run.status is RunStatus.CANCELLED
    shown = run.show()
    assert shown.run.cancel is not None
    assert shown.run.cancel.reason == CancelReason.BUDGET_USED
    assert "the budget of the run is 2,000" in shown.run.cancel.intent
    used = [attempt.tokens for attempt in shown.attempts]
    assert len(used) == 2
    assert sum(used) >= 2_000
    assert max(used) <= 1_500  # neither would have reached it alone
    with pytest.raises(Refused, match="budget") as caught:
        crew.resume(run.id)
    assert caught.value.values["reason"] == "budget_used"


def test_tries_before_a_kill_of_crewd_count(daemon: Daemon, jobs_dir: str) -> None:
    with daemon.connect() as crew:
        steps = (Step("a", worker=WorkerSpec(call="jobs:spend_and_fail", retry=Retry(attempts=9, backoff_seconds=0.01))),)
        run = crew.run(Workflow("tries", steps, budget=Budget(turns=50)), cwd=jobs_dir)
        wait_until(lambda: len(run.show().attempts) > 1, "a second try")
    daemon.kill()
    daemon.start()
    with daemon.connect() as crew:
        shown = crew.wait(run.id, timeout=120).run
        attempts = crew.show(run.id).attempts
    assert shown.status in {RunStatus.CANCELLED, RunStatus.FAILED}
    assert shown.cancel is not None
    assert shown.cancel.reason == CancelReason.BUDGET_USED
    assert [attempt.turns for attempt in attempts] == [10] * 5


def test_a_budget_in_the_shell(crew: Crew, tmp_path: Path, jobs_dir: str) -> None:
    shell = Shell(str(crew.home.root), tmp_path)
    run = json.loads(shell.ok("call", "jobs:spend", "--budget", "turns=20", "--cwd", jobs_dir, "--json"))["id"]
    shell.run("wait", run)
    shown = shell.ok("show", run)
    assert "the budget is 20 turns" in shown
    assert "turns are used, the budget of the run is 20" in " ".join(shown.split())
    refused = shell.fails(5, "resume", run)
    assert "start another run, with a larger budget" in " ".join(refused.split())
    receipt = json.loads(shell.prints(5, "follow-up", run, "go on", "--on-idle", "start", "--json"))
    assert (receipt["outcome"], receipt["reason"], receipt["effect"]) == ("refused", "budget_used", "")
    wrong = shell.fails(2, "call", "jobs:spend", "--budget", "dollars=5")
    assert "--budget takes: turns, tokens, cost" in " ".join(wrong.split())


def run_result(run: str, daemon: Daemon) -> str:
    with daemon.connect() as crew:
        return str(crew.get(run).result())


def test_what_workers_start_counts_in_the_budget_of_their_run(daemon: Daemon, jobs_dir: str) -> None:
    with daemon.connect() as crew:
        steps = (Step("lead", worker=WorkerSpec(call="jobs:lead_spenders")),)
        run = crew.run(Workflow("leaders", steps, budget=Budget(tokens=1_000)), cwd=jobs_dir)
        wait_until(lambda: len(run.show().run.below) > 1, "a second run below it")
    daemon.kill()
    daemon.start()
    with daemon.connect() as crew:
        shown = crew.wait(run.id, timeout=120).run
        below = [crew.show(each) for each in shown.below]
    assert [each.run.workflow.budget.tokens for each in below] == [1_000, 500], "each had what was left"
    assert [each.run.parent for each in below] == [f"{run.id}/lead#1"] * 2
    assert sum(attempt.tokens for attempt in below[0].attempts) == 500
    assert [used.tokens for used in shown.below.values()] == [500, 500]
    assert (shown.status is RunStatus.CANCELLED) or "the budget of the run is 1,000" in run_result(shown.id, daemon)
    with daemon.connect() as crew:
        found = " ".join(Shell(str(crew.home.root), Path(jobs_dir)).ok("show", run.id).split())
    assert "by runs below it; the budget is 1,000 tokens" in found


def led(crew: Crew, jobs_dir: str, call: str) -> RunHandle:
    workflow = Workflow("led", (Step("lead", worker=WorkerSpec(call=call)),), budget=Budget(tokens=1_000))
    return crew.run(workflow, cwd=jobs_dir)


def test_what_is_two_below_counts_though_the_run_between_has_ended(crew: Crew, jobs_dir: str) -> None:
    shown = led(crew, jobs_dir, "jobs:lead_relays").wait(timeout=120).run
    spenders = [crew.show(run).run for run, used in shown.below.items() if used.tokens]
    assert [shown.below[run.id].tokens for run in spenders] == [500, 500]
    assert [run.workflow.budget.tokens for run in spenders] == [1_000, 500]
    assert all(run.depth == 2 and run.above[0] == shown.id for run in spenders)


def test_a_run_that_may_stay_does_not_outlive_the_budget(crew: Crew, jobs_dir: str) -> None:
    shown = led(crew, jobs_dir, "jobs:lead_and_spend").wait(timeout=120).run
    (below,) = shown.below
    ended = crew.wait(below, timeout=120).run
    assert (shown.status, ended.status) == (RunStatus.CANCELLED, RunStatus.CANCELLED)
    assert ended.cancel is not None
    assert ended.cancel.reason == CancelReason.BUDGET_USED
    assert "the budget of the run is 1,000" in ended.cancel.intent
