from __future__ import annotations

from typing import Any

import pytest

from crewd.model import events as ev
from crewd.model.decisions import TYPES, Action, Decision, Why, decisions
from crewd.model.reasons import BlockReason, CancelReason, FailureReason, NoticeKind
from crewd.model.rows import BlockInfo, CancelInfo
from crewd.model.statuses import AttemptStatus, RunStatus, TaskStatus
from crewd.model.workflow import Step, WorkerSpec, Workflow

RUN = "r_1"
WORKFLOW = Workflow(
    "w", (Step("change", worker=WorkerSpec(shell="true")), Step("change.verify", role="verification", level="package"))
)
CREATED = ev.RunCreated(name="w", goal="", cwd="/", workflow=WORKFLOW, owner="me")


def event(body: ev.Body, task: str = "", seq: int = 2) -> ev.Event:
    return ev.Event(seq, f"e_{seq}", 0, RUN, task and f"{RUN}/{task}", 1 if task else 0, "", "", "crewd", 1.0, body)


def decided(body: ev.Body, task: str = "change") -> Decision | None:
    found = list(decisions([event(CREATED, seq=1), event(body, task)]))
    assert len(found) <= 1
    return found[0] if found else None


def failed(reason: FailureReason) -> ev.TaskEnded:
    return ev.TaskEnded(TaskStatus.FAILED, reason, "boom")


TABLE: list[tuple[ev.Body, Action, Why]] = [
    (ev.TaskRetrying("retry", 1.0, FailureReason.EXIT_CODE, "boom"), Action.RETRY, Why.TASK_FAILED),
    (ev.TaskRetrying("retry", 1.0, FailureReason.LOST, "boom"), Action.RETRY, Why.WORKER_STALE),
    (ev.TaskRetrying("restart", 1.0, FailureReason.EXIT_CODE), Action.RETRY, Why.WORKER_ENDED),
    (ev.TaskUnclaimed("expired"), Action.REASSIGN, Why.WORKER_STALE),
    (failed(FailureReason.RAISED), Action.FAIL, Why.TASK_FAILED),
    (failed(FailureReason.LIMIT), Action.FAIL, Why.LIMIT_EXCEEDED),
    (failed(FailureReason.UNRESPONSIVE), Action.FAIL, Why.WORKER_STALE),
    (failed(FailureReason.INEFFECTIVE), Action.FAIL, Why.INEFFECTIVE_WORKER),
    (failed(FailureReason.HOOK), Action.FAIL, Why.HOOK),
    (ev.RunCancelRequested(CancelInfo(CancelReason.REJECTED)), Action.FAIL, Why.REVIEW_REJECTED),
    (ev.RunCancelRequested(CancelInfo(CancelReason.BUDGET_USED)), Action.FAIL, Why.LIMIT_EXCEEDED),
    (ev.RunCancelRequested(CancelInfo(CancelReason.PARENT_ENDED)), Action.CLEANUP, Why.PARENT_ENDED),
    (ev.NoticeRaised("n", NoticeKind.NEEDS_ATTENTION, "quiet"), Action.NOTIFY, Why.WORKER_STALE),
    (ev.NoticeRaised("n", NoticeKind.LONG_RUNNING, "long"), Action.NOTIFY, Why.LONG_RUNNING),
    (ev.NoticeRaised("n", NoticeKind.UNUSUAL, "odd"), Action.NOTIFY, Why.UNUSUAL_END),
    (ev.NoticeRaised("n", NoticeKind.DEAD_LETTER, "lost"), Action.ESCALATE, Why.TASK_FAILED),
    (ev.NoticeRaised("n", NoticeKind.PARKED, "again and again"), Action.ESCALATE, Why.WORKER_ENDED),
    (ev.MessageSettled("m_1", "expired"), Action.NOTIFY, Why.MAILBOX_TIMEOUT),
    (ev.AskClosed("q_1", "defaulted"), Action.NOTIFY, Why.MAILBOX_TIMEOUT),
    (ev.AttemptEnded(AttemptStatus.CANCEL_INCOMPLETE), Action.ESCALATE, Why.SURVIVORS),
    (ev.RunEnded(RunStatus.COMPLETED), Action.CLOSEOUT, Why.RUN_COMPLETE),
    *(
        (ev.RunBlocked(BlockInfo(reason, "text", "n")), Action.BLOCK, Why(reason.value))
        for reason in BlockReason
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "action", "reason"), TABLE, ids=str)
def test_an_event_is_a_decision(body: ev.Body, action: Action, reason: Why) -> None:
    found = decided(body)
    assert found is not None
    assert (found.action, found.reason, found.seq, found.task, found.epoch) == (action, reason, 2, f"{RUN}/change", 1)
    assert event(body).type in TYPES, "who asks for these types gets it"


def test_a_verification_that_fails_leaves_its_level_unshown() -> None:
    found = decided(failed(FailureReason.EXIT_CODE), "change.verify")
    assert found is not None
    assert (found.action, found.reason, found.text) == (
        Action.FAIL,
        Why.GREEN_UNSATISFIED,
        "the level package was not shown: boom",
    )


@pytest.mark.parametrize(
    "body",
    [
        ev.RunStarted(), ev.TaskEnded(TaskStatus.COMPLETED), ev.TaskUnclaimed("released"), ev.MessageSettled("m", "done"),
        ev.RunCancelRequested(CancelInfo(CancelReason.CALLER_CANCELLED)), ev.AskClosed("q", "answered"),
        ev.NoticeRaised("n", NoticeKind.BLOCKED, "told by the block"), ev.RunEnded(RunStatus.CANCELLED),
        ev.RunBlocked(BlockInfo("of a newer crewd", "text", "n")), ev.NoticeRaised("n", "of a newer crewd", "text"),
    ],
    ids=str,
)  # fmt: skip
def test_what_somebody_else_has_decided_is_none(body: ev.Body) -> None:
    assert decided(body) is None


def test_each_action_and_each_reason_is_one_of_some_event() -> None:
    reasons: set[Any] = {reason for *_, reason in TABLE} | {Why.GREEN_UNSATISFIED}
    assert (set(Action) - {action for _, action, _ in TABLE}, set(Why) - reasons) == (set(), set())
