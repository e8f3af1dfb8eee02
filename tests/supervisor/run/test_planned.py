from __future__ import annotations

from typing import Any

from crewd.model import events as ev
from crewd.model.reasons import BlockReason, CancelReason
from crewd.model.rows import CancelInfo
from crewd.model.statuses import AttemptStatus, RunStatus, TaskStatus
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.supervisor.attempt.mailbox import Mail
from crewd.supervisor.run import effects as do
from crewd.supervisor.run import events as heard
from crewd.supervisor.run.decide import decide
from crewd.supervisor.run.effects import Decision
from crewd.supervisor.run.state import Next, Run, new_run

WORK = WorkerSpec(call="a:b")
ADAPTIVE = Workflow(
    "w",
    (
        Step("plan", role="planner", adaptive=True, worker=WORK),
        Step("review", depends_on=("plan",), access="exclusive", worker=WORK),
    ),
    roles={"executor": Step("executor", worker=WORK), "reader": Step("reader", access="shared", worker=WORK)},
)


def plan(*phases: list[str]) -> dict[str, object]:
    return {"phases": [{"tasks": [{"role": role, "task": "x"} for role in phase]} for phase in phases]}


def started(decision: Decision) -> list[str]:
    return [effect.task.partition("/")[2] for effect in decision.effects if isinstance(effect, do.StartAttempt)]


def bodies(decision: Decision, *types: type) -> list[Any]:
    return [each.body for each in decision.events if isinstance(each.body, types)]


def over(run: Run, step: str, result: object = None, path: str = "") -> Next:
    ended = ev.AttemptEnded(status=AttemptStatus.COMPLETED)
    return decide(run, heard.AttemptOver(f"r/{step}", ended, result=result, result_path=path))


def begun(workflow: Workflow = ADAPTIVE) -> Run:
    return decide(new_run("r", workflow), heard.Proceed())[0]


def test_phases_start_one_after_the_other_and_then_what_depends_on_the_plan() -> None:
    run, decision = over(begun(), "plan", plan(["executor", "reader"], ["executor"]))
    added = bodies(decision, ev.TaskAdded)
    assert [(each.step.id, each.step.phase, each.plan) for each in added] == [
        ("executor.1", 1, "r/plan#1"), ("reader.1", 1, "r/plan#1"), ("executor.2", 2, "r/plan#1"),
    ]  # fmt: skip
    assert started(decision) == ["executor.1", "reader.1"]
    run, decision = over(run, "executor.1")
    assert started(decision) == []
    run, decision = over(run, "reader.1")
    assert started(decision) == ["executor.2"]
    run, decision = over(run, "executor.2")
    assert started(decision) == ["review"]
    run, decision = over(run, "review")
    assert run.status is RunStatus.COMPLETED


def test_what_a_plan_adds_waits_for_its_approval_like_any_step() -> None:
    run = begun(Workflow("w", ADAPTIVE.steps, roles=ADAPTIVE.roles, plan_approval=True))
    run, decision = over(run, "plan", plan(["executor", "reader"]))
    assert (started(decision), run.status) == (["reader.1"], RunStatus.BLOCKED)
    run, decision = decide(run, heard.Approve(1.0))
    assert started(decision) == ["executor.1"]


def test_a_plan_that_cannot_be_taken_blocks_the_run_and_adds_nothing() -> None:
    for result, path in (("prose", ""), (plan(["executor"], ["cook"]), ""), (None, "result.json")):
        run, decision = over(begun(), "plan", result, path)
        assert (run.status, len(run.tasks), started(decision)) == (RunStatus.BLOCKED, 2, [])
        assert [each.block.reason for each in bodies(decision, ev.RunBlocked)] == [BlockReason.PLAN_UNFIT]
        run, decision = decide(run, heard.Approve(1.0))
        assert started(decision) == ["review"], "it goes on without the plan"


def test_a_plan_that_would_make_the_run_larger_than_a_frame_is_not_taken() -> None:
    roles = {"executor": Step("executor", text="x" * 100_000, worker=WORK)}
    _, decision = over(begun(Workflow("w", ADAPTIVE.steps, roles=roles)), "plan", plan(["executor"] * 8))
    (blocked,) = bodies(decision, ev.RunBlocked)
    assert "bytes, at most 786432 are possible" in blocked.block.text
    _, decision = over(begun(Workflow("w", ADAPTIVE.steps, roles=roles)), "plan", plan(["executor"] * 6))
    assert len(bodies(decision, ev.TaskAdded)) == 6


def test_a_run_that_was_rejected_for_its_plan_does_not_go_on_without_it_when_it_is_resumed() -> None:
    run, _ = over(begun(), "plan", "prose")
    run, _ = decide(run, heard.CancelRun(CancelInfo(reason=CancelReason.REJECTED)))
    run, decision = decide(run, heard.Reopen("resume", 2.0))
    assert (started(decision), [each.reason for each in run.blocks]) == ([], [BlockReason.PLAN_UNFIT])
    run, decision = decide(run, heard.Approve(3.0))
    assert started(decision) == ["review"]


def test_a_run_with_nothing_but_an_unfit_plan_waits_for_somebody_too() -> None:
    run, _ = over(begun(Workflow("w", ADAPTIVE.steps[:1], roles=ADAPTIVE.roles)), "plan", "prose")
    assert run.status is RunStatus.BLOCKED
    run, _ = decide(run, heard.Approve(1.0))
    assert run.status is RunStatus.COMPLETED


def test_a_plan_that_comes_after_its_steps_adds_none_beside_them() -> None:
    run, _ = over(begun(), "plan", plan(["executor"]))
    run, _ = decide(run, heard.CancelRun(CancelInfo(reason=CancelReason.CALLER_CANCELLED)))
    run, _ = decide(run, heard.AttemptOver("r/executor.1", ev.AttemptEnded(status=AttemptStatus.CANCELLED)))
    assert run.status is RunStatus.CANCELLED
    run, decision = decide(run, heard.Reopen("resume", 2.0))
    assert started(decision) == ["executor.1"], "the steps of the first plan go on"
    run, decision = decide(run, heard.StartFor("r/plan", Mail(id="m", order=1, kind="follow_up", text="again"), 3.0, "ann"))
    assert started(decision) == ["plan"]
    run, decision = over(run, "plan", plan(["reader"]))
    assert len(run.tasks) == 3
    assert "already" in bodies(decision, ev.RunBlocked)[0].block.text


def test_a_plan_of_a_run_that_is_being_cancelled_adds_nothing() -> None:
    run, _ = decide(begun(), heard.CancelRun(CancelInfo(reason=CancelReason.CALLER_CANCELLED)))
    run, decision = over(run, "plan", plan(["executor"]))
    assert bodies(decision, ev.TaskAdded) == []
    assert [task.status for task in run.tasks] == [TaskStatus.COMPLETED, TaskStatus.CANCELLED]


def test_a_plan_that_comes_after_all_lifts_its_own_block_and_no_other_in_the_rows_either() -> None:
    steps = (*ADAPTIVE.steps, Step("other", role="planner", adaptive=True, worker=WORK))
    run, first = over(begun(Workflow("w", steps, roles=ADAPTIVE.roles)), "plan", "prose")
    mail = Mail(id="m", order=1, kind="follow_up", text="again")
    run, again = decide(run, heard.StartFor("r/plan", mail, 2.0, "o"))
    assert started(again) == ["plan"]
    run, second = over(run, "other", "prose")
    run, third = over(run, "plan", plan(["executor"]))
    assert [block.task for block in run.blocks] == ["r/other"]
    (lifted,) = bodies(third, ev.RunUnblocked)
    told = [each.block for each in (*bodies(first, ev.RunBlocked), *bodies(second, ev.RunBlocked))]
    assert [lifted.lifts(block.reason, block.task) for block in told] == [True, False]
