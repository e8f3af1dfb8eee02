from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.reasons import BlockReason, CancelReason
from crewd.model.rows import CancelInfo
from crewd.model.statuses import AttemptStatus, RunStatus, TaskStatus
from crewd.model.verification import with_verifications
from crewd.model.workflow import Effectiveness, Step, WorkerSpec, Workflow
from crewd.supervisor.run import effects as do
from crewd.supervisor.run import events as heard
from crewd.supervisor.run.decide import decide
from crewd.supervisor.run.effects import Decision
from crewd.supervisor.run.state import Next, Run, new_run

WORK = WorkerSpec(call="a:b")
PLANNED = Workflow(
    "w",
    (
        Step("plan", role="planner", worker=WORK),
        Step("look", depends_on=("plan",), access="shared", worker=WORK),
        Step("change", depends_on=("plan",), access="exclusive", worker=WORK),
        Step("other", depends_on=("plan",), worker=WORK),
    ),
    plan_approval=True,
)


def started(decision: Decision) -> list[str]:
    return [effect.task.partition("/")[2] for effect in decision.effects if isinstance(effect, do.StartAttempt)]


def bodies(decision: Decision, *types: type) -> list[Any]:
    return [each.body for each in decision.events if isinstance(each.body, types)]


def over(run: Run, step: str, status: AttemptStatus = AttemptStatus.COMPLETED, *, observed: bool = True) -> Next:
    return decide(run, heard.AttemptOver(f"r/{step}", ev.AttemptEnded(status=status), observed=observed))


def planned() -> Next:
    run, _ = decide(new_run("r", PLANNED), heard.Proceed())
    return over(run, "plan")


def test_a_plan_that_is_not_approved_lets_only_steps_with_shared_access_start() -> None:
    run, decision = planned()
    assert started(decision) == ["look"]
    assert (run.status, [each.reason for each in run.blocks]) == (RunStatus.BLOCKED, [BlockReason.PLAN_APPROVAL])
    (raised,) = bodies(decision, ev.NoticeRaised)
    assert "crew approve" in raised.text
    run, decision = over(run, "look")
    assert (started(decision), run.status) == ([], RunStatus.BLOCKED)
    run, decision = decide(run, heard.Approve(1.0, "ann", "fine"))
    assert started(decision) == ["change", "other"]
    assert bodies(decision, ev.RunUnblocked) == [ev.RunUnblocked("ann", "fine", (), ("r/plan#1",))]
    assert [each.id for each in bodies(decision, ev.NoticeClosed)] == [raised.id]
    run, _ = over(run, "change")
    run, _ = over(run, "other")
    assert run.status is RunStatus.COMPLETED


def test_time_alone_lifts_no_block() -> None:
    run, _ = planned()
    run, _ = over(run, "look")
    assert decide(run, heard.Due(25 * 3600.0, 25 * 3600.0))[0].blocks == run.blocks


def test_a_blocked_run_can_be_cancelled_and_its_notice_goes() -> None:
    run, _ = planned()
    run, _ = over(run, "look")
    run, decision = decide(run, heard.CancelRun(CancelInfo(reason=CancelReason.REJECTED)))
    assert (run.status, run.blocks) == (RunStatus.CANCELLED, ())
    assert len(bodies(decision, ev.NoticeClosed)) == 1
    assert decide(run, heard.Approve(1.0)) == (run, do.NOTHING)


def test_a_plan_that_nobody_has_approved_is_not_carried_out_by_a_resume() -> None:
    run, _ = planned()
    run, _ = over(run, "look")
    run, _ = decide(run, heard.CancelRun(CancelInfo(reason=CancelReason.REJECTED)))
    run, decision = decide(run, heard.Reopen("resume", 2.0))
    assert (started(decision), run.status) == ([], RunStatus.BLOCKED)
    run, decision = decide(run, heard.Approve(3.0))
    assert started(decision) == ["change", "other"]
    run, _ = decide(run, heard.CancelRun(CancelInfo(reason=CancelReason.CALLER_CANCELLED)))
    for step in ("change", "other"):
        run, _ = over(run, step, AttemptStatus.CANCELLED)
    _, decision = decide(run, heard.Reopen("resume", 4.0))
    assert started(decision) == ["change", "other"], "this plan was approved"


def test_a_plan_is_verified_before_it_is_approved() -> None:
    steps = (Step("plan", role="planner", verify="true", worker=WORK), Step("do", depends_on=("plan",), worker=WORK))
    run, _ = decide(new_run("r", with_verifications(Workflow("w", steps, plan_approval=True))), heard.Proceed())
    run, decision = over(run, "plan")
    assert (started(decision), run.blocks) == (["plan.verify"], ())
    run, decision = over(run, "plan.verify")
    assert (started(decision), run.status) == ([], RunStatus.BLOCKED)


def test_a_plan_after_which_nothing_would_change_anything_blocks_nothing() -> None:
    steps = (Step("plan", role="planner", worker=WORK), Step("look", depends_on=("plan",), access="shared", worker=WORK))
    run, _ = decide(new_run("r", Workflow("w", steps, plan_approval=True)), heard.Proceed())
    run, decision = over(run, "plan")
    assert (run.blocks, started(decision)) == ((), ["look"])


def test_a_run_whose_waiting_steps_were_cancelled_one_by_one_ends() -> None:
    run, _ = planned()
    run, _ = over(run, "look")
    cancel = CancelInfo(reason=CancelReason.CALLER_CANCELLED)
    for step in ("change", "other"):
        run, _ = decide(run, heard.CancelTask(f"r/{step}", cancel))
    assert (run.status, run.blocks) == (RunStatus.COMPLETED, ())


def test_a_run_fails_that_waits_for_an_approval_which_nobody_needs_any_more() -> None:
    steps = (Step("plan", role="planner", worker=WORK), Step("b", depends_on=("plan",), worker=WORK), Step("c", worker=WORK))
    run, _ = decide(new_run("r", Workflow("w", steps, plan_approval=True)), heard.Proceed())
    run, _ = over(run, "plan")
    run, _ = decide(run, heard.CancelTask("r/b", CancelInfo(reason=CancelReason.CALLER_CANCELLED)))
    assert run.status is RunStatus.BLOCKED
    run, _ = over(run, "c", AttemptStatus.FAILED)
    assert (run.status, run.blocks) == (RunStatus.FAILED, ())


def guarded(effectiveness: Effectiveness, *, observed: bool) -> Next:
    steps = (Step("a", effectiveness=effectiveness, worker=WORK), Step("b", depends_on=("a",), worker=WORK))
    run, _ = decide(new_run("r", Workflow("w", steps)), heard.Proceed())
    return over(run, "a", observed=observed)


@pytest.mark.parametrize("effectiveness", ["off", "warn", "block", "fail"])
def test_a_worker_of_which_something_was_seen_is_never_held_against_its_run(effectiveness: Effectiveness) -> None:
    run, decision = guarded(effectiveness, observed=True)
    assert (started(decision), run.blocks) == (["b"], ())
    assert bodies(decision, ev.NoticeRaised) == []


def test_what_becomes_of_a_worker_of_which_nothing_was_seen() -> None:
    run, decision = guarded("off", observed=False)
    assert (started(decision), bodies(decision, ev.NoticeRaised)) == (["b"], [])
    run, decision = guarded("warn", observed=False)
    assert started(decision) == ["b"]
    assert [each.kind for each in bodies(decision, ev.NoticeRaised)] == ["ineffective_worker"]
    run, decision = guarded("block", observed=False)
    assert (started(decision), run.status) == ([], RunStatus.BLOCKED)
    assert [(each.reason, each.task) for each in run.blocks] == [("ineffective_worker", "r/a")]
    assert run.tasks[0].status is TaskStatus.COMPLETED
    assert started(decide(run, heard.Approve(1.0))[1]) == ["b"]
    run, decision = guarded("fail", observed=False)
    (ended, skipped) = bodies(decision, ev.TaskEnded)
    assert (ended.status, ended.reason, skipped.status) == ("failed", "ineffective_worker", "skipped")


def test_the_last_worker_of_a_run_blocks_its_end() -> None:
    steps = (Step("a", effectiveness="block", worker=WORK),)
    run, _ = decide(new_run("r", Workflow("w", steps)), heard.Proceed())
    run, _ = over(run, "a", observed=False)
    assert run.status is RunStatus.BLOCKED
    assert decide(run, heard.Approve(1.0))[0].status is RunStatus.COMPLETED


def test_where_no_workers_are_started_a_run_is_blocked_until_they_are() -> None:
    run, decision = decide(new_run("r", Workflow("w", (Step("a", worker=WORK),)), execution=False), heard.Proceed())
    assert (started(decision), run.status, run.blocks[0].reason) == ([], RunStatus.BLOCKED, "execution_disabled")
    again = Run.of("r", run.tasks, status=run.status, blocks=run.blocks)
    again, decision = decide(again, heard.Proceed())
    assert (started(decision), again.status) == (["a"], RunStatus.RUNNING)
    run, _ = decide(run, heard.CancelTask("r/a", CancelInfo(reason=CancelReason.CALLER_CANCELLED)))
    assert (run.status, run.blocks) == (RunStatus.CANCELLED, ()), "nothing is left that would start"


def test_workers_that_are_started_again_lift_that_block_and_no_other_one() -> None:
    run, _ = planned()
    off = replace(run, execution=False)
    off, _ = decide(over(off, "look")[0], heard.Proceed())
    off = replace(off, tasks=tuple(replace(each, access="shared") if each.id == "r/other" else each for each in off.tasks))
    off, decision = decide(off, heard.Proceed())
    assert {each.reason for each in off.blocks} == {"plan_approval", "execution_disabled"}
    run, decision = decide(replace(off, execution=True), heard.Proceed())
    assert [each.reason for each in run.blocks] == ["plan_approval"]
    assert (started(decision), run.status) == (["other"], RunStatus.BLOCKED)


def test_what_a_hook_blocks_waits_for_approval_and_is_tried_again_as_if_it_had_never_been() -> None:
    steps = (Step("a", worker=WORK), Step("b", depends_on=("a",), worker=WORK), Step("c", worker=WORK))
    run, _ = decide(new_run("r", Workflow("w", steps)), heard.Proceed())
    ended = ev.AttemptEnded(status=AttemptStatus.FAILED, reason="blocked_by_hook", error="hook guard blocks it")
    run, decision = decide(run, heard.AttemptOver("r/a", ended))
    assert bodies(decision, ev.TaskRequeued) == [ev.TaskRequeued(tries_from=1, barred=True)]
    assert (started(decision), run.status, run.blocks[0].reason) == ([], RunStatus.BLOCKED, BlockReason.HOOK)
    assert "step a: hook guard blocks it; crew approve r" in run.blocks[0].text
    run, decision = over(run, "c")
    assert (started(decision), run.status) == ([], RunStatus.BLOCKED), "it does not end, and skips nothing"
    run, decision = decide(run, heard.Approve(1.0, "ann"))
    assert started(decision) == ["a"]
    run, decision = over(run, "a")
    assert started(decision) == ["b"]


def test_a_cancel_wins_over_a_hook_that_blocks() -> None:
    run, _ = decide(new_run("r", Workflow("w", (Step("a", worker=WORK),))), heard.Proceed())
    run, _ = decide(run, heard.CancelRun(CancelInfo(CancelReason.CALLER_CANCELLED)))
    ended = ev.AttemptEnded(status=AttemptStatus.FAILED, reason="blocked_by_hook", error="hook guard blocks it")
    run, _ = decide(run, heard.AttemptOver("r/a", ended))
    assert (run.over, run.blocks) == (True, ())
