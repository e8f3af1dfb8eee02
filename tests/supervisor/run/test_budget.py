from __future__ import annotations

from crewd.model import events as ev
from crewd.model.budget import Budget, Used
from crewd.model.policy import Retry
from crewd.model.reasons import CancelReason, RefusalReason
from crewd.model.statuses import AttemptStatus, RunStatus
from crewd.model.terms import Terms
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.supervisor.attempt.mailbox import Mail
from crewd.supervisor.run import effects as do
from crewd.supervisor.run import events as heard
from crewd.supervisor.run.decide import decide
from crewd.supervisor.run.effects import Decision
from crewd.supervisor.run.state import Run, new_run

WORK = WorkerSpec(call="a:b", retry=Retry(attempts=3))


def begun(*, budget: Budget = Budget(tokens=100)) -> Run:  # noqa: B008 (frozen)
    steps = (Step("a", worker=WORK), Step("b", worker=WORK), Step("c", depends_on=("a", "b"), worker=WORK))
    return decide(new_run("r", Workflow("w", steps, budget=budget)), heard.Proceed())[0]


def spend(run: Run, step: str, tokens: int, epoch: int = 1, at: float = 5.0) -> tuple[Run, Decision]:
    return decide(run, heard.Spent(f"r/{step}", epoch, Used(tokens=tokens), at=at))


def cancelled(run: Run, at: float = 6.0) -> tuple[Run, Decision]:
    """What becomes of the run when its time to end by itself is over."""
    return decide(run, heard.Due(at, 1_000.0 + at))


def over(run: Run, step: str, status: AttemptStatus) -> tuple[Run, Decision]:
    return decide(run, heard.AttemptOver(f"r/{step}", ev.AttemptEnded(status=status, reason="raised"), at=6.0))


def test_all_attempts_of_all_tasks_count_together() -> None:
    run, decision = spend(begun(), "a", 60)
    assert decision.events == ()
    run, decision = spend(run, "b", 39)
    assert run.cancel is None
    run, decision = spend(run, "b", 40)
    assert (decision.events, decision.effects) == ((), (do.AlarmAt(6.0),))
    run, decision = cancelled(run)
    (asked,) = (each.body for each in decision.events if isinstance(each.body, ev.RunCancelRequested))
    assert (asked.cancel.reason, asked.cancel.requester) == (CancelReason.BUDGET_USED, "crewd")
    assert asked.cancel.intent == "100 tokens are used, the budget of the run is 100"
    assert {each.task for each in decision.effects if isinstance(each, do.CancelAttempt)} == {"r/a", "r/b"}
    for step in ("a", "b"):
        run, _ = over(run, step, AttemptStatus.CANCELLED)
    assert run.status is RunStatus.CANCELLED


def test_what_a_worker_has_used_is_a_sum_and_its_earlier_attempts_count() -> None:
    run, _ = spend(begun(), "a", 50)
    run, _ = spend(run, "a", 60)
    assert run.used == Used(tokens=60)
    run, _ = over(run, "a", AttemptStatus.FAILED)
    run, _ = decide(run, heard.Due(1_000.0, 2_000.0))
    task = run.task("r/a")
    assert task is not None
    assert (task.epoch, task.used, run.used) == (2, Used(), Used(tokens=60))
    run, _ = spend(run, "a", 39, epoch=2)
    assert run.cancel is None
    run, _ = spend(run, "a", 40, epoch=2, at=1_000.0)
    assert cancelled(run, at=1_001.0)[0].cancel is not None


def test_what_is_heard_with_the_end_of_an_attempt_counts_before_its_next_try() -> None:
    ended = ev.AttemptEnded(status=AttemptStatus.FAILED, reason="raised")
    run, decision = decide(begun(), heard.AttemptOver("r/a", ended, at=6.0, used=Used(tokens=100)))
    assert do.AlarmAt(7.0) in decision.effects
    run, decision = decide(run, heard.Due(6.9, 1_006.9))
    assert not [each for each in decision.effects if isinstance(each, do.StartAttempt)]
    assert cancelled(run, at=7.0)[0].cancel is not None


def test_a_late_report_of_an_earlier_attempt_counts_for_nothing() -> None:
    assert spend(begun(), "a", 1_000, epoch=0)[0].cancel is None


def test_a_run_without_a_budget_counts_nothing() -> None:
    run, decision = spend(begun(budget=Budget()), "a", 1_000)
    assert (run.used, decision.events) == (Used(), ())


def test_a_run_that_comes_back_with_a_used_budget_is_cancelled_before_it_starts_anything() -> None:
    run = begun()
    run, decision = decide(run.with_used(Used(tokens=100), {}), heard.Proceed(1.0))
    assert decision.effects == (do.AlarmAt(2.0),)
    assert cancelled(run)[0].cancel is not None


def test_who_has_ended_by_then_keeps_its_result_and_nothing_else_starts() -> None:
    run, _ = spend(begun(), "a", 100)
    run, decision = over(run, "a", AttemptStatus.COMPLETED)
    assert decision.effects == ()
    run, decision = over(run, "b", AttemptStatus.FAILED)
    assert not [each for each in decision.effects if isinstance(each, do.StartAttempt)]
    run, _ = cancelled(run)
    assert {task.id: task.status.value for task in run.tasks} == {"r/a": "completed", "r/b": "cancelled", "r/c": "cancelled"}
    assert (run.status, run.cancel is not None and run.cancel.reason) == (RunStatus.CANCELLED, CancelReason.BUDGET_USED)


def test_a_run_that_is_done_in_time_is_completed() -> None:
    run, _ = decide(new_run("r", Workflow("w", (Step("a", worker=WORK),), budget=Budget(tokens=100))), heard.Proceed())
    run, _ = spend(run, "a", 100)
    run, _ = over(run, "a", AttemptStatus.COMPLETED)
    assert (run.status, run.cancel) == (RunStatus.COMPLETED, None)
    assert cancelled(run) == (run, Decision())


def test_a_run_whose_budget_is_used_is_not_opened_again() -> None:
    run, _ = cancelled(spend(begun(), "a", 100)[0])
    for step in ("a", "b"):
        run, _ = over(run, step, AttemptStatus.CANCELLED)
    assert decide(run, heard.Reopen("resume", 7.0)) == (run, Decision())
    mail = Mail("m", "follow_up", 1, "more", terms=Terms(on_idle="start"))
    after, decision = decide(run, heard.StartFor("r/a", mail, 7.0))
    (settled,) = (each.body for each in decision.events if isinstance(each.body, ev.MessageSettled))
    assert (after, settled.reason) == (run, RefusalReason.BUDGET_USED)


def test_what_is_below_counts_once_for_each_run_whenever_it_is_told() -> None:
    run, _ = spend(begun(), "a", 50)
    run, decision = decide(run, heard.ChildUsed("r_2", Used(tokens=20), 5.0))
    assert decision.events == (do.Recorded(ev.RunChildUsed("r_2", Used(tokens=20))),)
    run, decision = decide(run, heard.ChildUsed("r_2", Used(tokens=20), 5.0))
    assert decision.events == ()
    run, _ = decide(run, heard.ChildUsed("r_2", Used(tokens=30), 5.0))
    run, decision = decide(run, heard.ChildUsed("r_3", Used(tokens=20), 5.0))
    assert (run.used, decision.effects) == (Used(tokens=100), (do.AlarmAt(6.0),)), "the budget is used"
    run, _ = cancelled(run)
    for step in ("a", "b"):
        run, _ = over(run, step, AttemptStatus.CANCELLED)
    run, decision = decide(run, heard.ChildUsed("r_3", Used(tokens=21), 7.0))
    assert (len(decision.events), decision.effects) == (1, ()), "one that tells of its end a moment later"


def test_a_run_goes_on_if_a_worker_takes_back_what_it_had_said() -> None:
    run, _ = spend(begun(), "a", 100)
    run, _ = spend(run, "a", 90)
    run, decision = cancelled(run)
    assert (run.cancel, run.budget_due, decision.events) == (None, None, ())
    assert spend(run, "a", 100)[1].effects == (do.AlarmAt(7.0),)


def test_a_run_without_a_budget_does_not_count_what_is_below() -> None:
    run = begun(budget=Budget())
    assert decide(run, heard.ChildUsed("r_2", Used(tokens=20), 5.0)) == (run.at(5.0), Decision())
