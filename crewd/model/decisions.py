"""What crewd has decided by itself, and why: a table from events to actions and reasons. Pure.

Each decision is an event of the run's history already. This names what was decided in the same few words for all of them.
What somebody has asked for (a cancel, a retry) is nobody's decision here. docs/lifecycle.md has the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from crewd.model import events as ev
from crewd.model.reasons import BlockReason, CancelReason, FailureReason, NoticeKind, RefusalReason
from crewd.model.statuses import AttemptStatus, RunStatus, TaskStatus


class Action(StrEnum):
    """What was decided."""

    RETRY = "retry"
    REASSIGN = "reassign"
    ESCALATE = "escalate"
    BLOCK = "block"
    NOTIFY = "notify"
    CLEANUP = "cleanup"
    CLOSEOUT = "closeout"
    FAIL = "fail"


class Why(StrEnum):
    """Why it was decided."""

    TASK_FAILED = "task_failed"
    WORKER_STALE = "worker_stale"
    WORKER_ENDED = "worker_ended"
    GREEN_UNSATISFIED = "green_unsatisfied"
    LIMIT_EXCEEDED = "limit_exceeded"
    RUN_COMPLETE = "run_complete"
    MAILBOX_TIMEOUT = "mailbox_timeout"
    REVIEW_REJECTED = "review_rejected"
    INEFFECTIVE_WORKER = "ineffective_worker"
    PLAN_APPROVAL = "plan_approval"
    PLAN_UNFIT = "plan_unfit"
    HOOK = "blocked_by_hook"
    EXECUTION_OFF = "execution_disabled"
    LONG_RUNNING = "long_running"
    UNUSUAL_END = "unusual_end"
    PARENT_ENDED = "parent_ended"
    SURVIVORS = "survivors"


class Decision(msgspec.Struct, frozen=True):
    """One decision. `seq` and `at` are those of its event; `task` is empty for one on the run as a whole."""

    seq: int
    at: float
    run: str
    task: str
    epoch: int
    action: Action
    reason: Why
    text: str = ""


TYPES = (
    "run.created", "task.retrying", "task.parked", "task.unclaimed", "task.ended", "run.blocked",
    "run.cancel_requested", "run.ended", "notice.raised", "message.settled", "ask.closed", "attempt.ended",
)  # fmt: skip
"""The types of events that are decisions, or that are needed to name them."""
_OF_FAILURE = {
    FailureReason.LIMIT: Why.LIMIT_EXCEEDED,
    FailureReason.UNRESPONSIVE: Why.WORKER_STALE,
    FailureReason.LOST: Why.WORKER_STALE,
    FailureReason.INEFFECTIVE: Why.INEFFECTIVE_WORKER,
    FailureReason.HOOK: Why.HOOK,
}
_OF_BLOCK = {
    BlockReason.PLAN_APPROVAL: Why.PLAN_APPROVAL,
    BlockReason.INEFFECTIVE: Why.INEFFECTIVE_WORKER,
    BlockReason.PLAN_UNFIT: Why.PLAN_UNFIT,
    BlockReason.HOOK: Why.HOOK,
    BlockReason.EXECUTION_OFF: Why.EXECUTION_OFF,
}
_OF_CANCEL = {
    CancelReason.REJECTED: (Action.FAIL, Why.REVIEW_REJECTED),
    CancelReason.BUDGET_USED: (Action.FAIL, Why.LIMIT_EXCEEDED),
    CancelReason.RUN_TIMEOUT: (Action.FAIL, Why.LIMIT_EXCEEDED),
    CancelReason.PARENT_ENDED: (Action.CLEANUP, Why.PARENT_ENDED),
}
_OF_NOTICE = {
    NoticeKind.NEEDS_ATTENTION: (Action.NOTIFY, Why.WORKER_STALE),
    NoticeKind.LONG_RUNNING: (Action.NOTIFY, Why.LONG_RUNNING),
    NoticeKind.REPEATED_FAILURES: (Action.NOTIFY, Why.TASK_FAILED),
    NoticeKind.UNUSUAL: (Action.NOTIFY, Why.UNUSUAL_END),
    NoticeKind.INEFFECTIVE: (Action.NOTIFY, Why.INEFFECTIVE_WORKER),
    NoticeKind.DEAD_LETTER: (Action.ESCALATE, Why.TASK_FAILED),
    NoticeKind.PARKED: (Action.ESCALATE, Why.WORKER_ENDED),
}
"""A notice that a run is blocked is told of by the block itself."""
_EXPIRED = "expired"


def decisions(events: Iterable[ev.Event]) -> Iterator[Decision]:
    """The decisions in events of runs, in their order. `events` begin with those that create the runs."""
    levels: dict[str, str] = {}
    for event in events:
        match event.body:
            case ev.RunCreated(workflow=workflow):
                levels |= {f"{event.run}/{step.id}": step.level for step in workflow.steps if step.level}
            case _:
                found = _decided(event.body, levels.get(event.task, ""))
                if found is not None:
                    yield Decision(event.seq, event.at, event.run, event.task, event.epoch, *found)


def _decided(body: ev.Body, level: str) -> tuple[Action, Why, str] | None:
    match body:
        case ev.TaskRetrying(kind, _, reason, error):
            why = Why.WORKER_ENDED if kind == "restart" else _why_failed(reason)
            return Action.RETRY, why, error or reason
        case ev.TaskUnclaimed(reason) if reason == _EXPIRED:
            return Action.REASSIGN, Why.WORKER_STALE, "the lease of its claim has run out"
        case ev.TaskEnded(status=TaskStatus.FAILED) if level:
            return Action.FAIL, Why.GREEN_UNSATISFIED, f"the level {level} was not shown: {body.error or body.reason}"
        case ev.TaskEnded(status=TaskStatus.FAILED):
            return Action.FAIL, _why_failed(body.reason), body.error or body.reason
        case ev.RunBlocked(block) if block.reason in _OF_BLOCK:
            return Action.BLOCK, _OF_BLOCK[BlockReason(block.reason)], block.text
        case ev.RunCancelRequested(cancel) if cancel.reason in _OF_CANCEL:
            return *_OF_CANCEL[CancelReason(cancel.reason)], cancel.intent or cancel.reason
        case ev.NoticeRaised(kind=kind, text=text) if kind in _OF_NOTICE:
            return *_OF_NOTICE[NoticeKind(kind)], text
        case ev.MessageSettled(outcome=outcome) if outcome == _EXPIRED:
            return Action.NOTIFY, Why.MAILBOX_TIMEOUT, f"the message {body.id} was not taken in time"
        case ev.MessageSettled(reason=RefusalReason.BUDGET_USED):
            return Action.NOTIFY, Why.LIMIT_EXCEEDED, f"the message {body.id} was refused: the budget is used"
        case ev.AskClosed(outcome=outcome) if outcome in {_EXPIRED, "defaulted"}:
            return Action.NOTIFY, Why.MAILBOX_TIMEOUT, f"the question {body.id} was not answered in time ({outcome})"
        case ev.AttemptEnded(status=AttemptStatus.CANCEL_INCOMPLETE, survivors=survivors):
            return Action.ESCALATE, Why.SURVIVORS, f"{len(survivors)} processes could not be ended"
        case ev.RunEnded(status=RunStatus.COMPLETED):
            return Action.CLOSEOUT, Why.RUN_COMPLETE, ""
        case _:
            return None


def _why_failed(reason: str) -> Why:
    return next((why for failure, why in _OF_FAILURE.items() if failure == reason), Why.TASK_FAILED)
