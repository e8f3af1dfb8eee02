"""State is a fold of events: how each event changes the rows.

Rule 1: pure but for the table it is given; no clock, no database. The same events give the same rows, byte for byte.
Rule 2: statuses move only along the tables of `model.statuses`; anything else is an InvariantError and commits nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, assert_never

from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.adaptive import with_step
from crewd.model.errors import InvariantError
from crewd.model.hooks import HOOKS_MAX
from crewd.model.ids import task_id
from crewd.model.limits import ORDERS_MAX
from crewd.model.message_kinds import WORK_KINDS
from crewd.model.receipts import Level, Outcome, Receipt, climb
from crewd.model.rows import (
    ArtifactRow,
    AskRow,
    AttemptRow,
    ClientRow,
    ExitStatus,
    ForgottenRow,
    MessageRow,
    NoticeRow,
    OperationRow,
    RunRow,
    TaskRow,
)
from crewd.model.statuses import (
    ATTEMPT_TERMINAL,
    RUN_REOPENS,
    RUN_TERMINAL,
    TASK_BARRED,
    TASK_REQUEUES,
    TASK_TERMINAL,
    AttemptStatus,
    RunStatus,
    TaskStatus,
    attempt_may_move,
    run_may_move,
    task_may_move,
)
from crewd.model.workflow import Step

Row = RunRow | TaskRow | AttemptRow | MessageRow | AskRow | OperationRow | ArtifactRow | NoticeRow | ClientRow | ForgottenRow
FOLDED = 1
"""The version of the fold. A change that makes other rows of the same events raises it; `refold` then updates old databases."""
R = TypeVar("R", RunRow, TaskRow, AttemptRow, MessageRow, AskRow, OperationRow, ArtifactRow, NoticeRow, ClientRow, ForgottenRow)


class Table(Protocol):
    """Where rows are while events are folded."""

    def get(self, kind: type[R], key: str) -> R | None:
        """The row, or None."""
        ...

    def put(self, run: str, key: str, row: Row) -> None:
        """Insert or replace."""
        ...

    def drop(self, run: str) -> None:
        """There is no row of this run any more."""
        ...


def attempt_key(task: str, epoch: int) -> str:
    """The key of an attempt's row."""
    return f"{task}#{epoch}"


def fold(rows: Table, event: ev.Event) -> None:  # noqa: PLR0915 (one case per event)
    """Change `rows` as `event` says. Raises InvariantError if the event cannot follow what is there."""
    body = event.body
    match body:  # the most frequent ones first: each case is a look
        case ev.MessageAccepted() | ev.MessageDelivered() | ev.MessageApplied() | ev.MessageSettled():
            _message(rows, event, body)
        case ev.OperationStarted(id=key):
            _change(rows, event, OperationRow, key, lambda op: replace(op, started_at=event.at))
        case ev.OperationOpened(id=key, kind=kind, name=name, seconds=seconds, queued=queued, priority=priority):
            opened = OperationRow(
                id=key, run=event.run, task=event.task, epoch=event.epoch, kind=kind, name=name, opened_at=event.at,
                seconds=seconds, started_at=None if queued else event.at, priority=priority,
            )  # fmt: skip
            rows.put(event.run, key, opened)
        case ev.OperationClosed(id=key, outcome=outcome, reason=reason, synthetic=synthetic):
            _change(
                rows,
                event,
                OperationRow,
                key,
                lambda op: replace(op, closed_at=event.at, outcome=outcome, reason=reason, synthetic=synthetic),
            )
            if outcome != "skipped" and not synthetic:
                attempt = rows.get(AttemptRow, key := attempt_key(event.task, event.epoch))
                if attempt is not None:
                    failures = attempt.failures + 1 if outcome == "failed" else 0
                    rows.put(event.run, key, replace(attempt, failures=failures, operations=attempt.operations + 1))
        case ev.HookRan(run=ran):
            _change(
                rows, event, AttemptRow, attempt_key(event.task, event.epoch),
                lambda attempt: replace(attempt, hooks=(*attempt.hooks, ran)[: 2 * HOOKS_MAX]),
            )  # fmt: skip
        case ev.RunHookRan(run=ran):
            _change(rows, event, RunRow, event.run, lambda run: replace(run, hooks=(*run.hooks, ran)[-HOOKS_MAX:]))
        case ev.RunChildUsed(child, used):
            parent = rows.get(RunRow, event.run)
            if parent is not None:
                rows.put(event.run, event.run, replace(parent, below={**parent.below, child: used}))
        case ev.RunOrderDone(order=order):
            _change(rows, event, RunRow, event.run, lambda run: replace(run, orders=(*run.orders, order)[-ORDERS_MAX:]))
        case ev.ReportTaken() | ev.ProgressSampled():
            pass  # all that it says is its number, below
        case (
            ev.AttemptReserved() | ev.AttemptStarting() | ev.AttemptStarted() | ev.AttemptReady()
            | ev.AttemptFinishing() | ev.AttemptCancelRequested() | ev.AttemptOutcome() | ev.AttemptEnded()
            | ev.AttemptLimitHit() | ev.AttemptLiveness() | ev.UsageReported() | ev.CheckpointSaved()
        ):  # fmt: skip
            _attempt(rows, event, body)
        case ev.RunCreated():
            _run_created(rows, event, body)
        case ev.RunStarted():
            _move_run(rows, event, RunStatus.RUNNING, lambda run: replace(run, started_at=event.at))
        case ev.RunCancelRequested(cancel):
            _change(rows, event, RunRow, event.run, lambda run: replace(run, cancel=cancel))
        case ev.RunEnded(status, reason, undelivered):
            _move_run(
                rows,
                event,
                status,
                lambda run: replace(run, ended_at=event.at, reason=reason, undelivered=undelivered, blocks=()),
            )
        case ev.TaskCancelRequested(cancel):
            _change(rows, event, TaskRow, event.task, lambda task: replace(task, cancel=cancel))
        case ev.TaskEnded():
            _task_ended(rows, event, body)
        case ev.TaskAdded():
            _task_added(rows, event, body)
        case ev.TaskHeldBack():
            _change(rows, event, TaskRow, event.task, lambda task: replace(task, held_back=True))
        case ev.RunBlocked(block):
            _move_run(rows, event, RunStatus.BLOCKED, lambda run: replace(run, blocks=(*run.blocks, block)))
        case ev.RunUnblocked(approved=approved):
            before = rows.get(RunRow, event.run)
            left = () if before is None else tuple(each for each in before.blocks if not body.lifts(each.reason, each.task))
            _move_run(
                rows, event, RunStatus.BLOCKED if left else RunStatus.RUNNING,
                lambda run: replace(run, blocks=left, approved=(*run.approved, *approved)),
            )  # fmt: skip
        case ev.RunReopened():
            _change(rows, event, RunRow, event.run, lambda run: _reopened(event, run))
        case ev.TaskRequeued():
            _change(rows, event, TaskRow, event.task, lambda task: _requeued(event, task, body))
        case ev.TaskRetrying(due_at=due_at, reason=reason, error=error, in_a_row=in_a_row):
            _move_task(
                rows, event, TaskStatus.BACKOFF,
                lambda task: replace(task, retry_at=due_at, reason=reason, error=error, in_a_row=in_a_row),
            )  # fmt: skip
        case ev.TaskParked(reason, error):
            _move_task(rows, event, TaskStatus.PARKED, lambda task: replace(task, reason=reason, error=error))
        case ev.TaskClaimed(claim):
            _move_task(
                rows, event, TaskStatus.CLAIMED,
                lambda task: replace(
                    task, claim=claim, started_at=task.started_at or event.at, retry_at=None, in_a_row=0, held_back=False
                ),
            )  # fmt: skip
        case ev.TaskUnclaimed():
            _move_task(rows, event, TaskStatus.QUEUED, lambda task: replace(task, claim=None))
        case ev.TaskDismissed():
            _change(rows, event, TaskRow, event.task, lambda task: replace(task, dead="dismissed") if task.dead else task)
        case ev.NoticeRaised(id=key, kind=kind, text=text):
            notice = NoticeRow(key, event.run, event.task, event.epoch, kind, text, opened_at=event.at)
            rows.put(event.run, key, notice)
        case ev.NoticeClosed(id=key):
            _change(rows, event, NoticeRow, key, lambda notice: replace(notice, closed_at=event.at))
        case ev.MessageAcknowledged(id=key, by=by):
            _change(
                rows, event, MessageRow, key,
                lambda row: row if row.acknowledged_by else replace(row, acknowledged_by=by, acknowledged_at=event.at),
            )  # fmt: skip
        case ev.AskOpened() | ev.AskClosed():
            _ask(rows, event, body)
        case ev.ArtifactRecorded():
            _artifact(rows, event, body)
        case ev.NewsSeen(owner, upto):
            client = rows.get(ClientRow, owner) or ClientRow(owner)
            rows.put("", owner, replace(client, seen=max(client.seen, min(upto, event.seq)), seen_at=event.at))
        case ev.RunForgotten(name, owner, by, intent, events):
            before = rows.get(RunRow, event.run)
            if before is not None and before.status not in RUN_TERMINAL:
                raise InvariantError(f"{event.run} is live and cannot be forgotten", event_seq=event.seq)
            rows.drop(event.run)
            rows.put(event.run, event.run, ForgottenRow(event.run, name, owner, by, intent, event.at, events))
        case ev.RunArchived(row, bundle):
            rows.drop(event.run)
            rows.put(event.run, event.run, replace(row, archived=bundle))
        case (
            ev.AttemptSignalled()
            | ev.RunConcurrency()
            | ev.RunInventory()
            | ev.TaskTurn()
            | ev.GuardianLost()
            | ev.DaemonStarted()
            | ev.Salvaged()
            | ev.Foreign()
        ):
            return
        case _:
            assert_never(body)
    report = getattr(body, "report", 0)
    if report:
        _change(
            rows,
            event,
            AttemptRow,
            attempt_key(event.task, event.epoch),
            lambda attempt: replace(attempt, reports=max(attempt.reports, report)),
        )


def _change(rows: Table, event: ev.Event, kind: type[R], key: str, change: Callable[[R], R]) -> R:
    before = rows.get(kind, key)
    if before is None:
        raise InvariantError(f"{event.type} names {kind.__name__} {key}, which does not exist", event_seq=event.seq)
    after = change(before)
    if after is not before:
        rows.put(event.run, key, after)
    return after


def _wrong_move(event: ev.Event, what: str, before: str, after: str) -> InvariantError:
    return InvariantError(
        f"{event.type} would move {what} from {before} to {after}", event_seq=event.seq, before=before, after=after
    )


def _run_created(rows: Table, event: ev.Event, body: ev.RunCreated) -> None:
    rows.put(
        event.run,
        event.run,
        RunRow(
            id=event.run, name=body.name, status=RunStatus.QUEUED, goal=body.goal, cwd=body.cwd,
            workflow=body.workflow, owner=body.owner, request_id=body.request_id, created_at=event.at,
            parent=body.parent, on_parent=body.on_parent, depth=body.depth, env=body.env, secrets=body.secrets,
            passed=body.passed, inputs=body.inputs, above=body.above,
        ),
    )  # fmt: skip
    for step in body.workflow.steps:
        rows.put(event.run, task_id(event.run, step.id), _task_row(event.run, step))


def _task_row(run: str, step: Step) -> TaskRow:
    return TaskRow(
        id=task_id(run, step.id), run=run, step=step.id, status=TaskStatus.QUEUED, runtime=step.worker.runtime,
        depends_on=tuple(task_id(run, name) for name in step.depends_on),
    )  # fmt: skip


def _task_added(rows: Table, event: ev.Event, body: ev.TaskAdded) -> None:
    run = rows.get(RunRow, event.run)
    if run is None or body.step.role not in run.workflow.roles or rows.get(TaskRow, event.task) is not None:
        raise InvariantError(f"event {event.seq}: step {body.step.id} cannot be added to run {event.run}")
    workflow = with_step(run.workflow, body.adaptive, body.step)
    rows.put(event.run, event.run, replace(run, workflow=workflow))
    rows.put(event.run, event.task, _task_row(event.run, workflow.steps[-1]))
    for step in workflow.steps:
        if body.step.id in step.depends_on:
            waiting = rows.get(TaskRow, task_id(event.run, step.id))
            if waiting is not None:
                needs = tuple(task_id(event.run, name) for name in step.depends_on)
                rows.put(event.run, waiting.id, replace(waiting, depends_on=needs))


def _move_run(rows: Table, event: ev.Event, status: RunStatus, change: Callable[[RunRow], RunRow]) -> None:
    def moved(run: RunRow) -> RunRow:
        if run.status in RUN_TERMINAL or not run_may_move(run.status, status):
            raise _wrong_move(event, run.id, run.status, status)
        return replace(change(run), status=status)

    _change(rows, event, RunRow, event.run, moved)


def _move_task(rows: Table, event: ev.Event, status: TaskStatus, change: Callable[[TaskRow], TaskRow]) -> None:
    def moved(task: TaskRow) -> TaskRow:
        if task.status in TASK_TERMINAL or not task_may_move(task.status, status):
            raise _wrong_move(event, task.id, task.status, status)
        return replace(change(task), status=status)

    _change(rows, event, TaskRow, event.task, moved)


def _task_ended(rows: Table, event: ev.Event, body: ev.TaskEnded) -> None:
    _move_task(
        rows,
        event,
        body.status,
        lambda task: replace(
            task,
            reason=body.reason,
            error=body.error,
            result=body.result,
            result_path=body.result_path,
            ended_at=event.at,
            dead="open" if body.status is TaskStatus.FAILED else "",
        ),
    )


def _reopened(event: ev.Event, run: RunRow) -> RunRow:
    if run.status not in RUN_REOPENS:
        raise _wrong_move(event, run.id, run.status, RunStatus.RUNNING)
    return replace(
        run, status=RunStatus.RUNNING, reason="", ended_at=None, cancel=None, undelivered=(), openings=run.openings + 1,
        reopened_at=event.at,
    )  # fmt: skip


def _requeued(event: ev.Event, task: TaskRow, body: ev.TaskRequeued) -> TaskRow:
    allowed = TASK_BARRED if body.barred else TASK_REQUEUES
    if task.status not in allowed and not (body.message and task.status is TaskStatus.COMPLETED):
        raise _wrong_move(event, task.id, task.status, TaskStatus.QUEUED)
    tries_from = task.epoch if body.tries_from is None else body.tries_from
    return replace(
        task, status=TaskStatus.QUEUED, reason="", error="", result=None, result_path="", ended_at=None, cancel=None,
        retry_at=None, tries_from=tries_from, dead="requeued" if task.dead else "", claim=None, in_a_row=0,
    )  # fmt: skip


AttemptBody = (
    ev.AttemptReserved | ev.AttemptStarting | ev.AttemptStarted | ev.AttemptReady | ev.AttemptFinishing
    | ev.AttemptCancelRequested | ev.AttemptOutcome | ev.AttemptEnded | ev.AttemptLimitHit | ev.AttemptLiveness
    | ev.UsageReported | ev.CheckpointSaved
)  # fmt: skip


def _attempt(rows: Table, event: ev.Event, body: AttemptBody) -> None:
    key = attempt_key(event.task, event.epoch)
    if isinstance(body, ev.AttemptReserved):
        row = AttemptRow(
            task=event.task,
            epoch=event.epoch,
            status=AttemptStatus.RESERVED,
            directory=body.directory,
            reserved_at=event.at,
        )
        rows.put(event.run, key, row)
        _move_task(
            rows,
            event,
            TaskStatus.RUNNING,
            lambda task: replace(
                task,
                epoch=event.epoch,
                started_at=task.started_at or event.at,
                retry_at=None,
                reason="",
                error="",
                held_back=False,
            ),
        )
        return

    def changed(attempt: AttemptRow) -> AttemptRow:
        after = _next_attempt(attempt, event, body)
        if attempt.status in ATTEMPT_TERMINAL or not attempt_may_move(attempt.status, after.status):
            raise _wrong_move(event, key, attempt.status, after.status)
        return after

    _change(rows, event, AttemptRow, key, changed)


def _next_attempt(attempt: AttemptRow, event: ev.Event, body: AttemptBody) -> AttemptRow:
    match body:
        case ev.AttemptReserved():
            return attempt
        case ev.AttemptStarting():
            # One that was cancelled before crewd knew that its worker lives: it never was one that starts.
            return replace(attempt, status=AttemptStatus.STARTING if attempt.cancel is None else AttemptStatus.ENDING)
        case ev.AttemptStarted(pid, start_time, boot_id):
            after = replace(attempt, start_time=start_time, boot_id=boot_id, started_at=attempt.started_at or event.at)
            return replace(after, pid=pid) if attempt.host_pid is None else replace(after, host_pid=pid)
        case ev.AttemptReady(capabilities, command):
            status = AttemptStatus.RUNNING if attempt.status is AttemptStatus.STARTING else attempt.status
            after = replace(attempt, status=status, capabilities=capabilities, ready_at=event.at)
            return replace(after, pid=command, host_pid=attempt.pid or 0) if command else after
        case ev.AttemptFinishing():
            return replace(attempt, finishing=True)
        case ev.AttemptCancelRequested(cancel):
            status = attempt.status if attempt.status is AttemptStatus.RESERVED else AttemptStatus.ENDING
            return replace(attempt, status=status, cancel=cancel)
        case ev.AttemptOutcome():
            return replace(
                attempt, status=AttemptStatus.ENDING, outcome=body.outcome, error=body.error, reason=body.reason,
                result=body.result, result_path=body.result_path, finishing=True, error_class=body.error_class,
                exit=ExitStatus(code=body.exit_code), warnings=body.warnings,
            )  # fmt: skip
        case ev.AttemptEnded():
            return replace(
                attempt, status=body.status, reason=body.reason, error=body.error or attempt.error,
                survivors=body.survivors, ended_at=event.at, exit=body.exit, error_class=body.error_class,
            )  # fmt: skip
        case ev.AttemptLimitHit(limit, text):
            return replace(attempt, status=AttemptStatus.ENDING, limit=limit, error=text)
        case ev.AttemptLiveness(level):
            return replace(attempt, liveness=level)
        case ev.UsageReported(turns, tokens, cost):
            return replace(attempt, turns=turns, tokens=tokens, cost=cost)
        case ev.CheckpointSaved(value):
            return replace(attempt, checkpoint=value)
        case _:
            assert_never(body)


MessageBody = ev.MessageAccepted | ev.MessageDelivered | ev.MessageApplied | ev.MessageSettled


def _message(rows: Table, event: ev.Event, body: MessageBody) -> None:
    if isinstance(body, ev.MessageAccepted):
        receipt = Receipt(
            id=body.id,
            kind=body.kind,
            run=event.run,
            task=event.task,
            epoch=event.epoch,
            level=Level.ACCEPTED,
            accepted_at=event.at,
            effect=body.effect,
            sender=body.sender,
        )
        row = MessageRow(
            receipt=receipt, text=body.text, ask=body.ask, sender=body.sender, digest=body.digest,
            deadline_at=body.deadline_at, seq=event.seq, terms=body.terms, direction=body.direction,
        )  # fmt: skip
        rows.put(event.run, body.id, row)
        _answer(rows, event, body)
        _answered(rows, event, body.ask, body.id)
        return

    def climbed(row: MessageRow) -> MessageRow:
        match body:
            case ev.MessageDelivered():
                after = climb(row.receipt, Level.DELIVERED, event.at, effect=body.effect)
            case ev.MessageApplied():
                after = climb(row.receipt, Level.APPLIED, event.at)
            case ev.MessageSettled():
                after = climb(
                    climb(row.receipt, Level.APPLIED, event.at) if body.applied else row.receipt,
                    Level.SETTLED,
                    event.at,
                    outcome=Outcome(body.outcome),
                    reason=body.reason,
                    note=body.note,
                )
            case _:
                assert_never(body)
        return row if after is row.receipt else replace(row, receipt=after)

    before = rows.get(MessageRow, body.id)
    after = _change(rows, event, MessageRow, body.id, climbed)
    began = before is not after and after.terms.mode == "next_turn" and after.receipt.kind in WORK_KINDS
    if isinstance(body, ev.MessageSettled) and body.outcome != Outcome.DONE:
        _answered(rows, event, after.ask, body.id, gone=True)
    applied = isinstance(body, ev.MessageApplied) or (isinstance(body, ev.MessageSettled) and body.applied)
    if applied and began:
        key = attempt_key(event.task, event.epoch)
        _change(rows, event, AttemptRow, key, lambda attempt: replace(attempt, turn=attempt.turn + 1))


def _answer(rows: Table, event: ev.Event, body: ev.MessageAccepted) -> None:
    """The message that this one answers knows it; one that is not there any more is no reason to refuse the answer."""
    asked = rows.get(MessageRow, body.terms.reply_to) if body.terms.reply_to else None
    if asked is not None and not asked.replied and asked.receipt.run == event.run:
        rows.put(event.run, asked.receipt.id, replace(asked, replied=body.id, replied_at=event.at))


def _answered(rows: Table, event: ev.Event, key: str, message: str, *, gone: bool = False) -> None:
    """An open question has an answer on its way; or this one came to nothing, and it waits for another one."""
    ask = rows.get(AskRow, key) if key else None
    if ask is None or ask.closed_at is not None or ask.run != event.run or ask.answer != (message if gone else ""):
        return
    rows.put(event.run, ask.id, replace(ask, answer="" if gone else message))


def _ask(rows: Table, event: ev.Event, body: ev.AskOpened | ev.AskClosed) -> None:
    key = attempt_key(event.task, event.epoch)
    if isinstance(body, ev.AskOpened):
        if rows.get(AskRow, body.id) is not None:
            return  # a worker that uses another one's id hurts only itself: the question stays the other one's
        row = AskRow(
            id=body.id, run=event.run, task=event.task, epoch=event.epoch, question=body.question, kind=body.kind,
            choices=body.choices, opened_at=event.at, deadline_at=body.deadline_at, schema=body.schema, default=body.default,
        )  # fmt: skip
        rows.put(event.run, body.id, row)
        more, before, after, task_status = 1, AttemptStatus.RUNNING, AttemptStatus.WAITING, TaskStatus.WAITING
    else:
        ask = rows.get(AskRow, body.id)
        if ask is None or (ask.task, ask.epoch) != (event.task, event.epoch) or ask.closed_at is not None:
            return
        rows.put(event.run, ask.id, replace(ask, closed_at=event.at, outcome=body.outcome, answered_by=body.answered_by))
        more, before, after, task_status = -1, AttemptStatus.WAITING, AttemptStatus.RUNNING, TaskStatus.RUNNING
    attempt = rows.get(AttemptRow, key)
    if attempt is None:
        return
    attempt = replace(attempt, asks=max(0, attempt.asks + more))
    waits_on = more < 0 and attempt.asks > 0  # for the answer to another question
    rows.put(event.run, key, replace(attempt, status=after) if attempt.status is before and not waits_on else attempt)
    task = rows.get(TaskRow, event.task)
    if task is not None and task.status not in TASK_TERMINAL and not waits_on:
        _move_task(rows, event, task_status, lambda row: row)


def _artifact(rows: Table, event: ev.Event, body: ev.ArtifactRecorded) -> None:
    row = ArtifactRow(
        id=body.id, run=event.run, task=event.task, epoch=event.epoch, name=body.name, path=body.path,
        sha256=body.sha256, size=body.size, mime=body.mime, recorded_at=event.at, data=body.data, source=body.source,
        redacted=body.redacted, retention=body.retention,
    )  # fmt: skip
    rows.put(event.run, body.id, row)
