"""The machine of one run: ready-queue scheduling over its tasks. Pure.

Rule 1: a task starts when every task that it depends on is completed and a place is free (no wave barrier, K2, K3).
Rule 2: a task that ends otherwise skips its descendants with the reason; independent ones go on.
Rule 3: a cancel is a tombstone: nothing starts after it. The run ends when nothing is live, with one terminal event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from crewd.protocol import events as ev
from crewd.protocol.ids import task_id
from crewd.protocol.reasons import SkipReason
from crewd.protocol.receipts import Outcome
from crewd.protocol.rows import CancelInfo, Undelivered, faster
from crewd.protocol.statuses import TASK_LIVE, TASK_TERMINAL, AttemptStatus, RunStatus, TaskStatus
from crewd.protocol.workflow import Workflow
from crewd.supervisor.attempt.mailbox import Mail, Mailbox

CONCURRENCY_DEFAULT = 8
"""Live tasks of a run without a limit of its own (system.md K5: hard cap 8)."""

_TASK_END: Mapping[AttemptStatus, TaskStatus] = {
    AttemptStatus.COMPLETED: TaskStatus.COMPLETED,
    AttemptStatus.FAILED: TaskStatus.FAILED,
    AttemptStatus.LOST: TaskStatus.FAILED,
    AttemptStatus.CANCELLED: TaskStatus.CANCELLED,
    AttemptStatus.CANCEL_INCOMPLETE: TaskStatus.CANCEL_INCOMPLETE,
}


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the run sees it. `held` are messages that wait for its first attempt."""

    id: str
    depends_on: tuple[str, ...]
    status: TaskStatus = TaskStatus.QUEUED
    epoch: int = 0
    held: Mailbox = field(default_factory=Mailbox)
    cancel: CancelInfo | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """The state."""

    id: str
    tasks: tuple[Task, ...]
    concurrency: int = CONCURRENCY_DEFAULT
    status: RunStatus = RunStatus.QUEUED
    cancel: CancelInfo | None = None
    undelivered: tuple[Undelivered, ...] = ()

    def task(self, key: str) -> Task | None:
        """The task of this id."""
        return next((task for task in self.tasks if task.id == key), None)

    def with_task(self, changed: Task) -> Run:
        """With the task in its new state."""
        return replace(self, tasks=tuple(changed if task.id == changed.id else task for task in self.tasks))

    @property
    def over(self) -> bool:
        """Whether the terminal event is decided."""
        return self.status not in {RunStatus.QUEUED, RunStatus.RUNNING}


def new_run(run: str, workflow: Workflow) -> Run:
    """The state of a run that was just admitted."""
    return Run(
        run,
        tuple(Task(task_id(run, step.id), tuple(task_id(run, name) for name in step.depends_on)) for step in workflow.steps),
        concurrency=workflow.max_concurrency or CONCURRENCY_DEFAULT,
    )


@dataclass(frozen=True, slots=True)
class Proceed:
    """Start what is ready (after admission, or after crewd came back)."""


@dataclass(frozen=True, slots=True)
class AttemptOver:
    """The terminal event of an attempt is durable."""

    task: str
    ended: ev.AttemptEnded
    error: str = ""
    result: object = None
    result_path: str = ""
    undelivered: tuple[Undelivered, ...] = ()


@dataclass(frozen=True, slots=True)
class CancelRun:
    """End the whole run."""

    cancel: CancelInfo


@dataclass(frozen=True, slots=True)
class CancelTask:
    """End one task."""

    task: str
    cancel: CancelInfo


@dataclass(frozen=True, slots=True)
class Hold:
    """A message for a task that has not started."""

    task: str
    mail: Mail


@dataclass(frozen=True, slots=True)
class TakeBack:
    """A held message is withdrawn."""

    task: str
    id: str


RunEvent = Proceed | AttemptOver | CancelRun | CancelTask | Hold | TakeBack


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Reserve a controller for the next attempt of a task; it takes over the held messages."""

    task: str
    epoch: int
    mails: tuple[Mail, ...]


@dataclass(frozen=True, slots=True)
class CancelAttempt:
    """Let the task's controller end its attempt. `urgent`: also when the disk refuses."""

    task: str
    epoch: int
    cancel: CancelInfo


@dataclass(frozen=True, slots=True)
class Leave:
    """The run is over and durable."""


RunEffect = StartAttempt | CancelAttempt | Leave


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event of the run or of one of its tasks."""

    body: ev.Body
    task: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to record and what to do then."""

    events: tuple[Recorded, ...] = ()
    effects: tuple[RunEffect, ...] = ()


NOTHING = Decision()
Next = tuple[Run, Decision]


def decide(run: Run, event: RunEvent) -> Next:
    """The run after `event`, and the decision."""
    if run.over:
        return run, NOTHING
    match event:
        case Proceed():
            return _go_on(run, [])
        case AttemptOver():
            return _attempt_over(run, event)
        case CancelRun(cancel):
            return _cancel_run(run, cancel)
        case CancelTask(task, cancel):
            return _cancel_task(run, task, cancel)
        case Hold(key, mail):
            held = run.task(key)
            return (run if held is None else run.with_task(replace(held, held=held.held.add(mail)))), NOTHING
        case TakeBack(key, message):
            return _take_back(run, key, message)
        case _:
            assert_never(event)


def _take_back(run: Run, key: str, message: str) -> Next:
    task = run.task(key)
    if task is None or task.held.get(message) is None:
        return run, NOTHING
    held, settled = task.held.settle(task.id, [message], Outcome.WITHDRAWN, "")
    run = replace(
        run.with_task(replace(task, held=replace(held, undelivered=()))), undelivered=(*run.undelivered, *held.undelivered)
    )
    return run, Decision(tuple(Recorded(body, task.id) for body in settled))


def _attempt_over(run: Run, over: AttemptOver) -> Next:
    task = run.task(over.task)
    if task is None or task.status in TASK_TERMINAL:
        return run, NOTHING
    ended = ev.TaskEnded(
        status=_TASK_END[over.ended.status],
        reason=over.ended.reason,
        error=over.ended.error or over.error,
        result=over.result,
        result_path=over.result_path,
    )
    run = replace(run.with_task(replace(task, status=ended.status)), undelivered=(*run.undelivered, *over.undelivered))
    return _go_on(run, [Recorded(ended, task.id)])


def _cancel_run(run: Run, cancel: CancelInfo) -> Next:
    """The tombstone. A second cancel is recorded only if it is faster; the controllers hear of each (one may be new)."""
    events: list[Recorded] = []
    if run.cancel is None or faster(cancel, run.cancel):
        events.append(Recorded(ev.RunCancelRequested(cancel=cancel)))
        run = replace(run, cancel=cancel)
    else:
        cancel = run.cancel
    effects: list[RunEffect] = []
    for task in run.tasks:
        if task.status in TASK_LIVE:
            effects.append(CancelAttempt(task.id, task.epoch, cancel))
        elif task.status is TaskStatus.QUEUED:
            run, ended = _end_queued(run, task, TaskStatus.CANCELLED, cancel.reason)
            events += ended
    run, decision = _go_on(run, events)
    return run, replace(decision, effects=(*effects, *decision.effects))


def _cancel_task(run: Run, key: str, cancel: CancelInfo) -> Next:
    task = run.task(key)
    if task is None or task.status in TASK_TERMINAL:
        return run, NOTHING
    events: list[Recorded] = []
    if task.cancel is None or faster(cancel, task.cancel):
        events.append(Recorded(ev.TaskCancelRequested(cancel=cancel), task.id))
        task = replace(task, cancel=cancel)
        run = run.with_task(task)
    if task.status in TASK_LIVE:
        return run, Decision(tuple(events), (CancelAttempt(task.id, task.epoch, cancel),))
    run, ended = _end_queued(run, task, TaskStatus.CANCELLED, cancel.reason)
    return _go_on(run, [*events, *ended])


def _end_queued(run: Run, task: Task, status: TaskStatus, reason: str) -> tuple[Run, list[Recorded]]:
    held, settled = task.held.settle_rest(task.id, cancelled=status is TaskStatus.CANCELLED, heard_out=True)
    run = run.with_task(replace(task, status=status, held=Mailbox()))
    run = replace(run, undelivered=(*run.undelivered, *held.undelivered))
    return run, [*(Recorded(body, task.id) for body in settled), Recorded(ev.TaskEnded(status=status, reason=reason), task.id)]


def _go_on(run: Run, events: list[Recorded]) -> Next:
    """Skip what can never start, start what is ready, and end the run when nothing is left."""
    run, skipped = _skip_blocked(run)
    events += skipped
    effects: list[RunEffect] = []
    if run.cancel is None:
        live = sum(task.status in TASK_LIVE for task in run.tasks)
        done = {task.id for task in run.tasks if task.status is TaskStatus.COMPLETED}
        for task in run.tasks:
            if live >= run.concurrency:
                break
            if task.status is TaskStatus.QUEUED and done.issuperset(task.depends_on):
                live += 1
                if run.status is RunStatus.QUEUED:
                    run = replace(run, status=RunStatus.RUNNING)
                    events.append(Recorded(ev.RunStarted()))
                effects.append(StartAttempt(task.id, task.epoch + 1, task.held.mails))
                run = run.with_task(replace(task, status=TaskStatus.RUNNING, epoch=task.epoch + 1, held=Mailbox()))
    if all(task.status in TASK_TERMINAL for task in run.tasks):
        status, reason = _verdict(run)
        run = replace(run, status=status)
        events.append(Recorded(ev.RunEnded(status=status, reason=reason, undelivered=run.undelivered)))
        effects.append(Leave())
    return run, Decision(tuple(events), tuple(effects))


def _skip_blocked(run: Run) -> tuple[Run, list[Recorded]]:
    events: list[Recorded] = []
    bad = {task.id for task in run.tasks if task.status in TASK_TERMINAL and task.status is not TaskStatus.COMPLETED}
    changed = True
    while changed:
        changed = False
        for task in run.tasks:
            blocked = bad.intersection(task.depends_on) if task.status is TaskStatus.QUEUED else set()
            if blocked:
                because = SkipReason.RUN_CANCELLED if run.cancel else SkipReason.DEPENDENCY_FAILED
                names = ", ".join(sorted(name.partition("/")[2] for name in blocked))
                run, ended = _end_queued(run, task, TaskStatus.SKIPPED, f"{because}: {names}")
                events += ended
                bad.add(task.id)
                changed = True
    return run, events


def _verdict(run: Run) -> tuple[RunStatus, str]:
    """How the run ended.

    A run that was cancelled is cancelled; one with a failed task failed; one of whose tasks was cancelled on purpose is
    completed if something of it completed, and says so in the reason.
    """
    by_status: dict[TaskStatus, list[str]] = {}
    for task in run.tasks:
        by_status.setdefault(task.status, []).append(task.id.partition("/")[2])
    incomplete = TaskStatus.CANCEL_INCOMPLETE in by_status
    if run.cancel is not None:
        return (RunStatus.CANCEL_INCOMPLETE if incomplete else RunStatus.CANCELLED), run.cancel.reason
    if TaskStatus.FAILED in by_status:
        return RunStatus.FAILED, f"failed: {', '.join(by_status[TaskStatus.FAILED])}"
    if incomplete:
        return RunStatus.CANCEL_INCOMPLETE, f"survivors of: {', '.join(by_status[TaskStatus.CANCEL_INCOMPLETE])}"
    cancelled = by_status.get(TaskStatus.CANCELLED, [])
    if cancelled and TaskStatus.COMPLETED not in by_status:
        return RunStatus.CANCELLED, f"cancelled: {', '.join(cancelled)}"
    return RunStatus.COMPLETED, f"without the cancelled: {', '.join(cancelled)}" if cancelled else ""
