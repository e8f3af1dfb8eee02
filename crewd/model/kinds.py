"""What an event means to somebody who follows a run, and which events a subscription takes.

An event's type says exactly what was recorded; its kind is the coarser word for it, of which there are few.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from crewd.model import events as ev
from crewd.model.errors import UsageError


class Kind(StrEnum):
    """What happened, in one word."""

    RUN_STARTED = "run_started"
    RUN_UPDATED = "run_updated"
    RUN_ENDED = "run_ended"
    TASK_STARTED = "task_started"
    TASK_UPDATED = "task_updated"
    TASK_ENDED = "task_ended"
    WORKER_STATUS = "worker_status"
    MAILBOX_UPDATED = "mailbox_updated"
    QUESTION_UPDATED = "question_updated"
    OPERATION_UPDATED = "operation_updated"
    USAGE_UPDATED = "usage_updated"
    ARTIFACT_RECORDED = "artifact_recorded"
    NOTICE_UPDATED = "notice_updated"
    DAEMON_UPDATED = "daemon_updated"
    PROGRESS = "progress"
    OTHER = "other"


KIND_OF: Mapping[type[ev.Body], Kind] = {
    ev.RunCreated: Kind.RUN_UPDATED,
    ev.RunStarted: Kind.RUN_STARTED,
    ev.RunCancelRequested: Kind.RUN_UPDATED,
    ev.RunReopened: Kind.RUN_UPDATED,
    ev.RunConcurrency: Kind.RUN_UPDATED,
    ev.RunBlocked: Kind.RUN_UPDATED,
    ev.RunUnblocked: Kind.RUN_UPDATED,
    ev.TaskTurn: Kind.TASK_UPDATED,
    ev.TaskHeldBack: Kind.TASK_UPDATED,
    ev.TaskAdded: Kind.TASK_UPDATED,
    ev.RunEnded: Kind.RUN_ENDED,
    ev.TaskCancelRequested: Kind.TASK_UPDATED,
    ev.TaskRequeued: Kind.TASK_UPDATED,
    ev.TaskRetrying: Kind.TASK_UPDATED,
    ev.TaskParked: Kind.TASK_UPDATED,
    ev.TaskClaimed: Kind.TASK_UPDATED,
    ev.TaskUnclaimed: Kind.TASK_UPDATED,
    ev.TaskDismissed: Kind.TASK_UPDATED,
    ev.TaskEnded: Kind.TASK_ENDED,
    ev.AttemptReserved: Kind.WORKER_STATUS,
    ev.AttemptStarting: Kind.WORKER_STATUS,
    ev.AttemptStarted: Kind.TASK_STARTED,
    ev.AttemptReady: Kind.WORKER_STATUS,
    ev.AttemptFinishing: Kind.WORKER_STATUS,
    ev.AttemptCancelRequested: Kind.WORKER_STATUS,
    ev.AttemptLimitHit: Kind.WORKER_STATUS,
    ev.AttemptLiveness: Kind.WORKER_STATUS,
    ev.AttemptOutcome: Kind.WORKER_STATUS,
    ev.AttemptSignalled: Kind.WORKER_STATUS,
    ev.AttemptEnded: Kind.WORKER_STATUS,
    ev.ReportTaken: Kind.WORKER_STATUS,
    ev.UsageReported: Kind.USAGE_UPDATED,
    ev.CheckpointSaved: Kind.USAGE_UPDATED,
    ev.ProgressSampled: Kind.PROGRESS,
    ev.RunForgotten: Kind.RUN_UPDATED,
    ev.RunArchived: Kind.RUN_UPDATED,
    ev.Salvaged: Kind.DAEMON_UPDATED,
    ev.Foreign: Kind.OTHER,
    ev.MessageAccepted: Kind.MAILBOX_UPDATED,
    ev.MessageDelivered: Kind.MAILBOX_UPDATED,
    ev.MessageApplied: Kind.MAILBOX_UPDATED,
    ev.MessageSettled: Kind.MAILBOX_UPDATED,
    ev.MessageAcknowledged: Kind.MAILBOX_UPDATED,
    ev.AskOpened: Kind.QUESTION_UPDATED,
    ev.AskClosed: Kind.QUESTION_UPDATED,
    ev.OperationOpened: Kind.OPERATION_UPDATED,
    ev.OperationStarted: Kind.OPERATION_UPDATED,
    ev.OperationClosed: Kind.OPERATION_UPDATED,
    ev.HookRan: Kind.WORKER_STATUS,
    ev.RunHookRan: Kind.RUN_UPDATED,
    ev.RunChildUsed: Kind.RUN_UPDATED,
    ev.RunOrderDone: Kind.RUN_UPDATED,
    ev.RunInventory: Kind.RUN_UPDATED,
    ev.ArtifactRecorded: Kind.ARTIFACT_RECORDED,
    ev.NoticeRaised: Kind.NOTICE_UPDATED,
    ev.NoticeClosed: Kind.NOTICE_UPDATED,
    ev.NewsSeen: Kind.DAEMON_UPDATED,
    ev.GuardianLost: Kind.DAEMON_UPDATED,
    ev.DaemonStarted: Kind.DAEMON_UPDATED,
}
_TYPES_OF_KIND = {kind: frozenset(ev.type_of_class(body) for body in KIND_OF if KIND_OF[body] is kind) for kind in Kind}


def types_named(names: Iterable[str]) -> frozenset[str]:
    """The event types that these names mean: a type (`task.ended`), a group (`task.*`), or a kind. None named: none.

    Raises UsageError for a name that means nothing.
    """
    found: set[str] = set()
    for name in names:
        if name.endswith(".*"):
            more = {each for each in ev.EVENT_TYPES if each.startswith(name[:-1])}
        elif name in _TYPES_OF_KIND:
            more = set(_TYPES_OF_KIND[Kind(name)])
        else:
            more = {name} & set(ev.EVENT_TYPES)
        if not more:
            raise UsageError(f"no event is of the type {name}", hint=f"kinds are: {', '.join(Kind)}; groups are like task.*")
        found |= more
    return frozenset(found)
