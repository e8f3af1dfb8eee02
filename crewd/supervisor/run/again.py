"""What begins again: tasks that are taken up once more, a worker that is started for a message, and dead letters. Pure.

Tests: tests/supervisor/run/test_tries.py.
"""

from __future__ import annotations

from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.reasons import RefusalReason
from crewd.model.receipts import Outcome
from crewd.model.statuses import TASK_REQUEUES, RunStatus, TaskStatus
from crewd.supervisor.attempt.mailbox import Mail, Mailbox
from crewd.supervisor.run import events as heard
from crewd.supervisor.run.effects import NOTHING, AlarmAt, Decision, Recorded
from crewd.supervisor.run.phases import IsOver, IsQueued
from crewd.supervisor.run.schedule import go_on
from crewd.supervisor.run.state import Next, Run, Task
from crewd.supervisor.run.tries import Tried


def reopen(run: Run, order: heard.Reopen) -> Next:
    """Queue what failed (and what was skipped for it), or all that is not completed."""
    wanted = TASK_REQUEUES if order.kind == "resume" else {TaskStatus.FAILED, TaskStatus.PARKED}
    chosen = {task.id for task in run.tasks if task.status in wanted and order.task in {"", task.id}}
    if order.kind == "retry" and chosen:
        chosen |= _skipped_for(run, chosen)
    if not chosen or run.bars is not None:
        return run, NOTHING
    run, events = _opened(run.at(order.at), order.kind, order.requester, order.intent)
    for task in run.tasks:
        if task.id in chosen:
            run, more = _queued_again(run, task)
            events += more
    run, decision = go_on(run, events)
    return run, _with_alarms(run, decision)


def to_do_before(run: Run, key: str) -> Task | None:
    """A task on which this one depends, and that has not ended well: queued again alone, this one would be skipped at once."""
    task = run.task(key)
    found = map(run.task, task.depends_on if task is not None and task.over else ())
    return next((each for each in found if each is not None and each.over and not each.completed), None)


def refused(run: Run, task: str, mail: Mail) -> Next:
    """A message that came too late. It is listed with the end of the run, if that is still to come."""
    reason = RefusalReason.CANCELLED if run.cancel is not None else RefusalReason.ENDED
    reason = RefusalReason.BUDGET_USED if run.budget_used else reason
    box, settled = Mailbox((mail,)).settle(task, [mail.id], Outcome.REFUSED, reason)
    if not run.over:
        run = replace(run, undelivered=(*run.undelivered, *box.undelivered))
    return run, Decision(tuple(Recorded(body, task) for body in settled))


def start_for(run: Run, order: heard.StartFor) -> Next:
    """Queue the task again, with the message for its next attempt; what its earlier attempts left stays as it is."""
    task, mail = run.task(order.task), order.mail
    again = task is not None and (task.status in TASK_REQUEUES or task.completed)
    if task is None or not again or run.bars is not None:
        return refused(run, order.task, mail)
    run, events = _opened(run.at(order.at), "message", order.requester, "")
    run, more = _queued_again(run, task, mail)
    run, decision = go_on(run, [*events, *more])
    return run, _with_alarms(run, decision, mail)


def dismiss(run: Run, order: heard.Dismiss) -> Next:
    """Dead letters have been seen."""
    events: list[Recorded] = []
    for task in run.tasks:
        phase = task.phase
        if isinstance(phase, IsOver) and phase.notice and order.task in {"", task.id}:
            events.append(Recorded(ev.TaskDismissed(requester=order.requester, intent=order.intent), task.id))
            events.append(Recorded(ev.NoticeClosed(id=phase.notice), task.id))
            run = run.with_task(task.become(replace(phase, notice="")))
    return run, Decision(tuple(events))


def _opened(run: Run, kind: str, requester: str, intent: str) -> tuple[Run, list[Recorded]]:
    if not run.over:
        return run, []
    deadline = run.now + run.max_seconds if run.max_seconds else None
    run = replace(run, status=RunStatus.RUNNING, cancel=None, undelivered=(), deadline=deadline, openings=run.openings + 1)
    return run, [Recorded(ev.RunReopened(kind=kind, requester=requester, intent=intent))]


def _queued_again(run: Run, task: Task, mail: Mail | None = None) -> tuple[Run, list[Recorded]]:
    events = [Recorded(ev.TaskRequeued(message="" if mail is None else mail.id, tries_from=task.epoch), task.id)]
    if task.notice:
        events.append(Recorded(ev.NoticeClosed(id=task.notice), task.id))
    held = task.held if mail is None else task.held.add(mail)
    return run.with_task(replace(task, phase=IsQueued(), cancel=None, tried=Tried(since=task.epoch), held=held)), events


def _with_alarms(run: Run, decision: Decision, *mails: Mail) -> Decision:
    dues = [run.deadline, *(mail.expires_at for mail in mails)]
    return replace(decision, effects=(*decision.effects, *(AlarmAt(due) for due in dues if due is not None)))


def _skipped_for(run: Run, chosen: set[str]) -> set[str]:
    """Tasks that were skipped because of these, directly or not."""
    found: set[str] = set()
    while True:
        more = {
            task.id
            for task in run.tasks
            if task.status is TaskStatus.SKIPPED and task.id not in found and (chosen | found).intersection(task.depends_on)
        }
        if not more:
            return found
        found |= more
