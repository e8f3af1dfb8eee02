"""What the machines of a run and of its attempts were when crewd ended, from the rows. Pure.

Rule: a machine that was recalled decides as the one before it would have: what it needs is in the rows, and nothing is guessed.
The simulated world looks at that after the turns of each run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from crewd.model.budget import Used
from crewd.model.events import AttemptEnded
from crewd.model.limits import LEASE_SECONDS_MAX, MAILBOX_MAX
from crewd.model.message_kinds import kind_named
from crewd.model.reasons import Liveness, NoticeKind
from crewd.model.receipts import Level, Outcome
from crewd.model.rows import AttemptRow, MessageRow, OperationRow, TaskRow, UndeliveredMessage
from crewd.model.statuses import TASK_LIVE, AttemptStatus, TaskStatus
from crewd.model.wall_times import WallTimes
from crewd.protocol import reports as rp
from crewd.store.messages import LiveRun
from crewd.supervisor.attempt.mailbox import Mail, Mailbox
from crewd.supervisor.attempt.phases import (
    Cancelling,
    Finished,
    OverLimit,
    Phase,
    Said,
    Sought,
    Spawned,
    Stopping,
    Working,
)
from crewd.supervisor.attempt.state import Attempt, Contact, Messages, Observed, OpenOperation, OpenQuestion, Work
from crewd.supervisor.run.events import AttemptOver
from crewd.supervisor.run.phases import AT_REST, InBackoff, IsClaimed, IsLive, IsOver, IsParked, IsQueued, TaskPhase, digest_of
from crewd.supervisor.run.state import Run, Task, new_run
from crewd.supervisor.run.tries import Tried

Ago = Callable[[float], float]
"""How many seconds ago a time of the wall clock was."""
AS_THE_CLOCK_SAYS = WallTimes()
_OF_TASKS = {NoticeKind.PARKED, NoticeKind.DEAD_LETTER}
"""Notices of a task; the others are of an attempt."""


def run_of(
    live: LiveRun, wall: float, now: float, *, execution: bool = True, times: WallTimes = AS_THE_CLOCK_SAYS
) -> Run:  # fmt: skip
    """The state of a run. `wall` and `now` (monotonic) are the same instant. `execution`: see `new_run`."""
    ago = partial(times.ago, wall=wall, now=now)
    unsettled = [row for row in live.messages if not row.receipt.settled]
    fresh = new_run(live.run.id, live.run.workflow, execution=execution)
    rows = {row.id: row for row in live.tasks}
    notices = {row.task: row.id for row in live.notices if row.closed_at is None and row.kind in _OF_TASKS}
    spent = _used(live)
    below = {child: used for child, used in live.run.below.items() if used != Used()}
    tasks = tuple(
        replace(
            task, phase=(phase := _task_phase(task, row, _last_end(live, row), notices.get(task.id, ""), wall, now, ago)),
            epoch=row.epoch, cancel=row.cancel, held_back=row.held_back,
            held=_box(unsettled, task.id, wall, now, ago) if isinstance(phase, AT_REST) else Mailbox(),
            tried=Tried(row.tries_from, _ends(live, row, now, ago), row.in_a_row),
            used=spent.get((task.id, row.epoch), Used()),
        )
        for task in fresh.tasks for row in (rows[task.id],)
    )  # fmt: skip
    started = live.run.reopened_at or live.run.started_at
    used = 0.0 if started is None else min(ago(started), fresh.max_seconds)
    deadline = None if not fresh.max_seconds or started is None else now + fresh.max_seconds - used
    return replace(
        fresh.with_tasks(fresh.workflow, tasks), status=live.run.status, cancel=live.run.cancel, now=now, deadline=deadline,
        undelivered=tuple(_undelivered(live.messages, live.run.reopened_at or 0.0)), openings=live.run.openings,
        blocks=live.run.blocks, approved=live.run.approved, orders=live.run.orders,
    ).with_used(sum(spent.values(), start=Used()), below)  # fmt: skip


def _used(live: LiveRun) -> dict[tuple[str, int], Used]:
    """What each attempt has used, if the run has a budget."""
    rows = live.attempts if live.run.workflow.budget.bounded else ()
    return {(row.task, row.epoch): Used(row.turns, row.tokens, row.cost) for row in rows}


def mail_of(row: MessageRow, wall: float, now: float, times: WallTimes = AS_THE_CLOCK_SAYS) -> Mail:
    """The message of a row."""
    return _mail(row, wall, now, partial(times.ago, wall=wall, now=now))


def _mail(row: MessageRow, wall: float, now: float, ago: Ago) -> Mail:
    receipt, expires = row.receipt, None
    if row.deadline_at is not None:
        accepted = receipt.accepted_at or wall
        expires = now + (row.deadline_at - accepted) - ago(accepted)
    return Mail(
        receipt.id, kind_named(receipt.kind), row.seq, row.text, row.ask, receipt.level, expires, terms=row.terms,
        sender=row.sender,
    )  # fmt: skip


def _box(rows: list[MessageRow], task: str, wall: float, now: float, ago: Ago) -> Mailbox:
    return Mailbox(tuple(_mail(row, wall, now, ago) for row in rows if row.receipt.task == task))


def _undelivered(rows: tuple[MessageRow, ...], opened_at: float) -> list[UndeliveredMessage]:
    """What has been accepted since the run was opened and was never applied. Without an effect it was refused at the door."""
    return [
        UndeliveredMessage(r.receipt.id, r.receipt.kind, r.receipt.task, r.receipt.outcome or "", r.receipt.reason)
        for r in rows
        if r.receipt.effect
        and r.receipt.applied_at is None
        and r.receipt.outcome not in {None, Outcome.DONE}
        and (r.receipt.settled_at or 0.0) >= opened_at
    ]


def _last_end(live: LiveRun, task: TaskRow) -> float | None:
    """When an attempt of the task ended last, by the wall clock."""
    return max((row.ended_at for row in live.attempts if row.task == task.id and row.ended_at is not None), default=None)


def _ends(live: LiveRun, task: TaskRow, now: float, ago: Ago) -> tuple[float, ...]:
    """When the attempts of a task ended, for the window of restarts; one whose end the task has not heard of comes later."""
    last = task.epoch - 1 if task.status in TASK_LIVE else task.epoch
    return tuple(
        now - ago(row.ended_at)
        for row in live.attempts
        if row.task == task.id and task.tries_from < row.epoch <= last and row.ended_at is not None
    )


def _task_phase(
    task: Task, row: TaskRow, ended: float | None, notice: str, wall: float, now: float, ago: Ago
) -> TaskPhase:  # fmt: skip
    """The phase that a row tells of. A wall clock that was set makes no wait longer than it can be."""
    match row.status:
        case TaskStatus.CLAIMED if row.claim is not None:
            seconds = row.claim.seconds
            left = seconds - ago(row.claim.until - seconds) if seconds else min(row.claim.until - wall, LEASE_SECONDS_MAX)
            return IsClaimed(row.claim, now + max(0.0, left))
        case TaskStatus.BACKOFF:
            due = wall if row.retry_at is None else row.retry_at
            left = max(0.0, due - wall if ended is None else due - ended - ago(ended))
            return InBackoff(now + min(left, 1.3 * max(task.retry.cap_seconds, task.restart.cap_seconds)))
        case TaskStatus.PARKED:
            return IsParked(notice)
        case TaskStatus.RUNNING | TaskStatus.WAITING:
            return IsLive(waiting=row.status is TaskStatus.WAITING)
        case TaskStatus.QUEUED | TaskStatus.CLAIMED:
            return IsQueued()
        case _:
            held = row.claim if row.status in {TaskStatus.COMPLETED, TaskStatus.FAILED} else None
            said = digest_of(row.result, row.error) if held is not None else ""
            return IsOver(row.status, notice, row.claim, said)


def over_of(attempt: AttemptRow) -> AttemptOver:
    """What a run has to hear of an attempt that is over."""
    ended = AttemptEnded(
        status=attempt.status, reason=attempt.reason, error=attempt.error, survivors=attempt.survivors, exit=attempt.exit,
        error_class=attempt.error_class,
    )  # fmt: skip
    return AttemptOver(
        attempt.task, ended, result=attempt.result, result_path=attempt.result_path,
        lived=max(0.0, (attempt.ended_at or 0.0) - (attempt.started_at or attempt.ended_at or 0.0)),
        ended_at=attempt.ended_at or 0.0,
        observed=attempt.operations > 0 or attempt.tokens > 0 or attempt.cost > 0,
        used=Used(attempt.turns, attempt.tokens, attempt.cost),
    )  # fmt: skip


def attempt_of(
    live: LiveRun, row: AttemptRow, wall: float, now: float, times: WallTimes = AS_THE_CLOCK_SAYS
) -> Attempt:  # fmt: skip
    """The machine's state as the rows tell it."""
    ago = partial(times.ago, wall=wall, now=now)
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
    asks = tuple(
        OpenQuestion(ask.id, answers.get(ask.id, ""), ask.kind, ask.choices)
        for ask in live.asks
        if ask.task == row.task and ask.epoch == row.epoch and ask.closed_at is None
    )
    told = [n for n in live.notices if n.task == row.task and n.epoch == row.epoch and n.kind not in _OF_TASKS]
    return Attempt(
        row.task,
        row.epoch,
        _phase_of(row, outcome),
        contact=Contact(
            capabilities=row.capabilities if row.ready_at is not None else None,
            reports=row.reports,
            pid=row.pid if row.host_pid is None else row.host_pid or None,
            command=row.pid or 0 if row.host_pid is not None else 0,
        ),
        inbox=Messages(
            box=_box(unsettled, row.task, wall, now, ago),
            unread=_box(unread, row.task, wall, now, ago).mails[-MAILBOX_MAX:],
        ),
        work=Work(
            asks=asks,
            operations=tuple(
                _operation(each, now, ago)
                for each in live.operations
                if each.task == row.task and each.epoch == row.epoch and each.closed_at is None
            ),
            failures=row.failures,
            ended_operations=row.operations,
            turn=row.turn,
            usage=(row.turns, row.tokens, row.cost),
            checkpoint=row.checkpoint,
            finishing=row.finishing,
        ),
        observed=Observed(
            level=Liveness(row.liveness),
            began=None if row.started_at is None else now - ago(row.started_at),
            active_at=now,
            heard_at=now,
            notices=tuple(n.kind for n in told if n.closed_at is None),
            told=tuple(n.kind for n in told),
        ),
    )


def _phase_of(row: AttemptRow, outcome: rp.Outcome | None) -> Phase:
    said = None if outcome is None else Said(outcome)
    match row.status:
        case AttemptStatus.RESERVED:
            return Sought(row.cancel)
        case AttemptStatus.STARTING:
            return Spawned()
        case AttemptStatus.ENDING if row.cancel is not None:
            return Cancelling(row.cancel, row.limit, said)
        case AttemptStatus.ENDING if row.limit:
            return OverLimit(row.limit, row.error, said)
        case AttemptStatus.ENDING if said is not None:
            return Stopping(said)
        case AttemptStatus.RUNNING | AttemptStatus.WAITING | AttemptStatus.ENDING:
            return Working()
        case _:
            return Finished(row.status, outcome)


def _operation(row: OperationRow, now: float, ago: Ago) -> OpenOperation:
    if row.started_at is None:
        return OpenOperation(row.id, row.seconds, queued=True)
    due = now + row.seconds - ago(row.started_at) if row.seconds else None
    return OpenOperation(row.id, row.seconds, waits=row.kind == rp.WAIT, due=due)
