"""Which tasks of a run start, which are skipped, and how the run ends. Pure.

Rule 1: a task starts when every task that it depends on is completed and `max_concurrency` allows one more (no wave barrier).
Rule 2: what `blocks` the run, and steps that may not run beside each other (`turns`), let it wait.
Rule 3: a task that ends otherwise skips its descendants with the reason; independent ones go on.

Tests: tests/supervisor/run/test_decide.py.
"""

from __future__ import annotations

from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.budget import Used
from crewd.model.green import is_lower, reached, required
from crewd.model.limits import TEXT_CHARS_MAX
from crewd.model.reasons import BlockReason, SkipReason
from crewd.model.receipts import Effect, Outcome
from crewd.model.redact import clip
from crewd.model.statuses import RunStatus, TaskStatus
from crewd.supervisor.attempt.mailbox import Mailbox
from crewd.supervisor.run import blocks, planned, turns
from crewd.supervisor.run.effects import AlarmAt, Decision, Leave, Recorded, RunEffect, StartAttempt
from crewd.supervisor.run.phases import InBackoff, IsLive, IsOver, IsQueued
from crewd.supervisor.run.state import Next, Run, Task


def go_on(run: Run, events: list[Recorded]) -> Next:
    """Skip what can never start, start what is ready, and end the run when nothing is left."""
    if run.linked:
        run, skipped = _skip_dependents(run)
        events += skipped
    run, blocked = planned.not_taken(run)
    events += blocked
    run, blocked = blocks.by_itself(run)
    events += blocked
    run, started, effects = _start_ready(run)
    events += started
    if not run.unfinished and (run.cancel is not None or blocks.nothing_to_approve(run)):
        run, closed = blocks.over(run)
        status, reason = _verdict(run)
        run = replace(run, status=status)
        events += closed
        events += _joined(run, status, reason)
        events.append(Recorded(ev.RunEnded(status=status, reason=reason, undelivered=run.undelivered)))
        effects.append(Leave())
    return run, Decision(tuple(events), tuple(effects))


def _start_ready(run: Run) -> tuple[Run, list[Recorded], list[RunEffect]]:
    events: list[Recorded] = []
    effects: list[RunEffect] = []
    if run.cancel is not None or run.working >= run.concurrency or run.budget_used:
        return run, events, effects
    done = {task.id for task in run.tasks if task.completed} if run.linked else set()
    for task in run.tasks:
        if run.working >= run.concurrency:
            break
        if not _is_ready(task, done, run.now) or not blocks.may_start(run, task):
            continue
        behind = turns.in_the_way(run, task)
        if behind:
            if not task.held_back:
                events.append(turns.held_back(run, task, behind))
                run = run.with_task(replace(task, held_back=True))
            continue
        run, begins, alarms = begun(run)
        events += begins
        effects += alarms
        if not run.execution:
            run, blocked = blocks.block(run, BlockReason.EXECUTION_OFF, "crewd starts no workers (execution in crewd.toml)")
            events += blocked
            break
        events += turns.turn(run, task)
        effects.append(StartAttempt(task.id, task.epoch + 1, task.held.mails))
        live = replace(task, phase=IsLive(), epoch=task.epoch + 1, held=Mailbox(), held_back=False, used=Used())
        run = run.with_task(live)
    return run, events, effects


def _is_ready(task: Task, done: set[str], now: float) -> bool:
    match task.phase:
        case IsQueued():
            return not task.outside and done.issuperset(task.depends_on)
        case InBackoff(due):  # it has had what it depends on, whatever became of that since
            return not task.outside and due <= now
        case _:
            return False


def begun(run: Run) -> tuple[Run, list[Recorded], list[RunEffect]]:
    """The run has begun, if it had not."""
    if run.status is not RunStatus.QUEUED:
        return run, [], []
    run = replace(run, status=RunStatus.RUNNING)
    if not run.max_seconds:
        return run, [Recorded(ev.RunStarted())], []
    run = replace(run, deadline=run.now + run.max_seconds)
    return run, [Recorded(ev.RunStarted())], [AlarmAt(run.now + run.max_seconds)]


def end_at_rest(run: Run, task: Task, status: TaskStatus, reason: str) -> tuple[Run, list[Recorded]]:
    """End a task of which nothing lives."""
    closed = [Recorded(ev.NoticeClosed(id=task.notice), task.id)] if task.notice else []
    run, settled = ended(run, task, IsOver(status))
    return run, [*settled, *closed, Recorded(ev.TaskEnded(status=status, reason=reason), task.id)]


def ended(run: Run, task: Task, over: IsOver) -> tuple[Run, list[Recorded]]:
    """A task of which nothing lives is over: what becomes of the messages that were held for it."""
    held, settled = task.held.settle_rest(task.id, cancelled=over.status is TaskStatus.CANCELLED, heard_out=True)
    run = run.with_task(replace(task, phase=over, held=Mailbox()))
    run = replace(run, undelivered=(*run.undelivered, *held.undelivered))
    return run, [Recorded(body, task.id) for body in settled]


def _skip_dependents(run: Run) -> tuple[Run, list[Recorded]]:
    events: list[Recorded] = []
    bad = {task.id for task in run.tasks if task.over and not task.completed}
    changed = True
    while changed:
        changed = False
        for task in run.tasks:
            blocked = bad.intersection(task.depends_on) if isinstance(task.phase, IsQueued) else set()
            if blocked:
                because = SkipReason.RUN_CANCELLED if run.cancel else SkipReason.DEPENDENCY_FAILED
                names = ", ".join(sorted(name.partition("/")[2] for name in blocked))
                run, skipped = end_at_rest(run, task, TaskStatus.SKIPPED, f"{because}: {names}")
                events += skipped
                bad.add(task.id)
                changed = True
    return run, events


def _joined(run: Run, status: RunStatus, reason: str) -> list[Recorded]:
    """One message for the starter of the run: what became of each of its tasks."""
    if not run.joins:
        return []
    key = f"{run.id}:join{run.openings}"
    lines = [f"{status}{f' ({reason})' if reason else ''}", *(f"{t.id.partition('/')[2]}: {t.status}" for t in run.tasks)]
    text = clip("\n".join(lines), TEXT_CHARS_MAX)
    accepted = ev.MessageAccepted(
        id=key, kind="group_join", text=text, sender=run.id, effect=Effect.MAILBOX, direction="out"
    )  # fmt: skip
    return [Recorded(accepted), Recorded(ev.MessageSettled(id=key, outcome=Outcome.DONE))]


def _verdict(run: Run) -> tuple[RunStatus, str]:
    """How the run ended.

    A run that was cancelled is cancelled; one with a failed task failed. A run of which only some tasks were cancelled is
    completed if another task completed, and the reason names them. It is cancelled if it does not reach the level of
    verification that it requires.
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
    if not cancelled:
        return RunStatus.COMPLETED, ""
    wanted, is_green = required(run.workflow), reached(run.workflow.steps, by_status.get(TaskStatus.COMPLETED, ()))
    if TaskStatus.COMPLETED not in by_status:
        return RunStatus.CANCELLED, f"cancelled: {', '.join(cancelled)}"
    if is_lower(is_green, wanted):
        return RunStatus.CANCELLED, f"cancelled: {', '.join(cancelled)}; green: {is_green}, and {wanted} is required"
    return RunStatus.COMPLETED, f"without the cancelled: {', '.join(cancelled)}"
