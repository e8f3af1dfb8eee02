"""What the machines of a run and of its attempts were when crewd ended, from the rows. Pure.

Rule: a machine that was recalled decides as the one before it would have: what it needs is in the rows, and nothing is guessed.
The simulated world looks at that after the turns of each run.
"""

from __future__ import annotations

from msgspec.structs import replace

from crewd.model.events import AttemptEnded
from crewd.model.limits import LEASE_SECONDS_MAX, MAILBOX_MAX
from crewd.model.message_kinds import kind_named
from crewd.model.reasons import Liveness, NoticeKind
from crewd.model.receipts import Level, Outcome
from crewd.model.rows import AttemptRow, MessageRow, TaskRow, Undelivered
from crewd.model.statuses import TASK_LIVE, TaskStatus
from crewd.protocol import reports as rp
from crewd.store.messages import LiveRun
from crewd.supervisor.attempt import decide as at
from crewd.supervisor.attempt.mailbox import Mail, Mailbox
from crewd.supervisor.run import decide as rn

_OF_TASKS = {NoticeKind.PARKED, NoticeKind.DEAD_LETTER}
"""Notices of a task; the others are of an attempt."""


def run_of(live: LiveRun, wall: float, now: float) -> rn.Run:
    """The state of a run. `wall` and `now` (monotonic) are the same instant."""
    unsettled = [row for row in live.messages if not row.receipt.settled]
    fresh = rn.new_run(live.run.id, live.run.workflow)
    rows = {row.id: row for row in live.tasks}
    notices = {row.task: row.id for row in live.notices if row.closed_at is None and row.kind in _OF_TASKS}
    tasks = tuple(
        replace(
            task, status=row.status, epoch=row.epoch, cancel=row.cancel, tries_from=row.tries_from,
            held=_box(unsettled, task.id, wall, now) if row.status in rn.WAITING else Mailbox(),
            due=_due(task, row, wall, now),
            ends=_ends(live, row, now - wall), in_a_row=row.in_a_row, notice=notices.get(task.id, ""),
            claim=row.claim,
        )
        for task in fresh.tasks for row in (rows[task.id],)
    )  # fmt: skip
    started = live.run.started_at
    used = 0.0 if started is None else min(max(0.0, wall - started), fresh.max_seconds)
    deadline = None if not fresh.max_seconds or started is None else now + fresh.max_seconds - used
    return rn.Run.of(
        live.run.id, tasks, concurrency=fresh.concurrency, max_seconds=fresh.max_seconds, status=live.run.status,
        cancel=live.run.cancel, now=now, deadline=deadline, undelivered=tuple(_undelivered(live.messages)),
        joins=fresh.joins, openings=live.run.openings,
    )  # fmt: skip


def mail_of(row: MessageRow, wall: float, now: float) -> Mail:
    """The message of a row."""
    expires = None if row.deadline_at is None else now + (row.deadline_at - wall)
    receipt = row.receipt
    return Mail(
        receipt.id, kind_named(receipt.kind), row.seq, row.text, row.ask, receipt.level, expires, terms=row.terms,
        sender=row.sender,
    )  # fmt: skip


def _box(rows: list[MessageRow], task: str, wall: float, now: float) -> Mailbox:
    return Mailbox(tuple(mail_of(row, wall, now) for row in rows if row.receipt.task == task))


def _undelivered(rows: tuple[MessageRow, ...]) -> list[Undelivered]:
    return [
        Undelivered(r.receipt.id, r.receipt.kind, r.receipt.task, r.receipt.outcome or "", r.receipt.reason)
        for r in rows
        if r.receipt.settled and r.receipt.applied_at is None and r.receipt.outcome is not Outcome.DONE
    ]


def _ends(live: LiveRun, task: TaskRow, shift: float) -> tuple[float, ...]:
    """When the attempts of a task ended, for the window of restarts; one whose end the task has not heard of comes later."""
    last = task.epoch - 1 if task.status in TASK_LIVE else task.epoch
    return tuple(
        row.ended_at + shift
        for row in live.attempts
        if row.task == task.id and task.tries_from < row.epoch <= last and row.ended_at is not None
    )


def _due(task: rn.Task, row: TaskRow, wall: float, now: float) -> float | None:
    """When a task in backoff is due, or a lease runs out: what is left of the wait.

    A wall clock that was set makes it no longer than it can be.
    """
    if row.status is TaskStatus.CLAIMED and row.claim is not None:
        return now + min(max(0.0, row.claim.until - wall), LEASE_SECONDS_MAX)
    if row.retry_at is None or row.status is not TaskStatus.BACKOFF:
        return None
    return now + min(max(0.0, row.retry_at - wall), 1.3 * max(task.retry.cap_seconds, task.restart.cap_seconds))


def over_of(attempt: AttemptRow) -> rn.AttemptOver:
    """What a run has to hear of an attempt that is over."""
    ended = AttemptEnded(
        status=attempt.status, reason=attempt.reason, error=attempt.error, survivors=attempt.survivors, exit=attempt.exit,
        error_class=attempt.error_class,
    )  # fmt: skip
    return rn.AttemptOver(
        attempt.task, ended, result=attempt.result, result_path=attempt.result_path,
        lived=max(0.0, (attempt.ended_at or 0.0) - (attempt.started_at or attempt.ended_at or 0.0)),
    )  # fmt: skip


def attempt_of(live: LiveRun, row: AttemptRow, wall: float, now: float) -> at.Attempt:
    """The machine's state as the rows tell it."""
    answers = {
        message.ask: message.receipt.id
        for message in live.messages
        if message.ask and message.receipt.level is not Level.SETTLED
    }
    outcome = None
    if row.outcome in {"completed", "failed", "cancelled"}:
        outcome = rp.Outcome(
            outcome=row.outcome,  # type: ignore[arg-type]  # one of the three literals, checked above
            error=row.error,
            reason=row.reason,
            result=row.result,
            result_path=row.result_path,
            error_class=row.error_class,
            exit_code=row.exit.code,
        )
    unsettled = [message for message in live.messages if not message.receipt.settled]
    unread = [message for message in live.messages if message.unread and message.direction == "in"]
    operations = [op for op in live.operations if op.task == row.task and op.epoch == row.epoch and op.closed_at is None]
    told = [n for n in live.notices if n.task == row.task and n.epoch == row.epoch and n.kind not in _OF_TASKS]
    return at.Attempt(
        row.task,
        row.epoch,
        status=row.status,
        reserved=True,
        capabilities=row.capabilities if row.ready_at is not None else None,
        finishing=row.finishing,
        mailbox=_box(unsettled, row.task, wall, now),
        letters=_box(unread, row.task, wall, now).mails[-MAILBOX_MAX:],
        asks=tuple(
            at.Ask(ask.id, answers.get(ask.id, ""), ask.kind, ask.choices)
            for ask in live.asks
            if ask.task == row.task and ask.epoch == row.epoch and ask.closed_at is None
        ),
        operations=tuple(op.id for op in operations if op.started_at is not None),
        queued=tuple((op.id, op.seconds) for op in operations if op.started_at is None),
        waits=tuple(op.id for op in operations if op.started_at is not None and op.kind == rp.WAIT),
        operation_dues=tuple(
            (op.id, now + op.seconds - max(0.0, wall - op.started_at))
            for op in operations
            if op.seconds and op.started_at is not None
        ),
        reports=row.reports,
        cancel=row.cancel,
        outcome=outcome,
        pid=row.pid if row.host_pid is None else row.host_pid or None,
        command=row.pid or 0 if row.host_pid is not None else 0,
        limit=row.limit,
        limit_text=row.error if row.limit else "",
        level=Liveness(row.liveness),
        notices=tuple(n.kind for n in told if n.closed_at is None),
        told=tuple(n.kind for n in told),
        checkpoint=row.checkpoint,
        usage=(row.turns, row.tokens, row.cost),
        turn=row.turn,
        began=None if row.started_at is None else now - max(0.0, wall - row.started_at),
        active_at=now,
        heard_at=now,
    )
