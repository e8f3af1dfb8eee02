"""The machine of one run: decide(run, event) -> (run, decision). Pure; time arrives inside the event.

Rule 1: what starts and what is skipped is decided in `schedule`, after every event.
Rule 2: a cancel is final: nothing starts after it. The run ends when nothing is live, with one terminal event.
Rule 3: a retry is a new attempt of the same task; while it waits for it, the task is in backoff and counts against no limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.budget import BUDGET_END_SECONDS, Used
from crewd.model.limits import GRACE_SECONDS_SHORT, ORDERS_MAX
from crewd.model.reasons import BlockReason, CancelReason, FailureReason, NoticeKind
from crewd.model.receipts import Outcome
from crewd.model.rows import CancelInfo, faster
from crewd.model.statuses import AttemptStatus, TaskStatus
from crewd.supervisor.attempt.mailbox import Mail, Mailbox
from crewd.supervisor.run import again, blocks, planned, tries
from crewd.supervisor.run import events as heard
from crewd.supervisor.run.claims import lapse
from crewd.supervisor.run.effects import NOTHING, AlarmAt, CancelAttempt, Decision, Recorded, RunEffect
from crewd.supervisor.run.phases import InBackoff, IsLive, IsOver, IsParked, IsQueued
from crewd.supervisor.run.schedule import end_at_rest, go_on
from crewd.supervisor.run.state import Next, Run, Task

_TASK_END: Mapping[AttemptStatus, TaskStatus] = {
    AttemptStatus.COMPLETED: TaskStatus.COMPLETED,
    AttemptStatus.FAILED: TaskStatus.FAILED,
    AttemptStatus.LOST: TaskStatus.FAILED,
    AttemptStatus.CANCELLED: TaskStatus.CANCELLED,
    AttemptStatus.CANCEL_INCOMPLETE: TaskStatus.CANCEL_INCOMPLETE,
}
_Ordered = heard.Dismiss | heard.Reopen | heard.Approve | heard.CancelRun


def decide(run: Run, event: heard.RunEvent) -> Next:
    """The run after `event`, and the decision."""
    run, decision = _once(run, event) if isinstance(event, _Ordered) else _decide(run, event)
    if run.over or run.cancel is not None or run.budget_due is not None or not run.budget_used:
        return run, decision
    # Nothing starts any more, and soon the run is cancelled: who was at its end has its result by then.
    due = run.now + BUDGET_END_SECONDS
    return replace(run, budget_due=due), replace(decision, effects=(*decision.effects, AlarmAt(due)))


def _once(run: Run, event: _Ordered) -> Next:
    """What somebody wants, with the request's id if it has one: the same request again changes nothing."""
    if event.order and event.order in run.orders:
        return run, NOTHING
    run, decision = _decide(run, event)
    if not event.order or not decision.events:
        return run, decision
    key, _, asked = event.order.partition(" ")
    done = ev.RunOrderDone(key, asked)
    run = replace(run, orders=(*run.orders, done.order)[-ORDERS_MAX:])
    return run, replace(decision, events=(*decision.events, Recorded(done)))


def _decide(run: Run, event: heard.RunEvent) -> Next:
    match event:
        case heard.Dismiss():
            return again.dismiss(run, event)
        case heard.Reopen():
            return again.reopen(run, event)
        case heard.StartFor():
            return again.start_for(run, event)
        case heard.ChildUsed(child, used, at):
            return _counted_below(run.at(at), child, used)
        case heard.TooLate(key, mail):
            return again.refused(run, key, mail)
        case _ if run.over:
            return run, NOTHING
        case heard.Proceed(at):
            return go_on(run.at(at), [])
        case heard.Approve(at, requester, intent, _):
            return _approve(run.at(at), requester, intent)
        case heard.Due(at, wall):
            return _due(run.at(at), wall)
        case heard.AttemptOver():
            return _attempt_over(run, event)
        case heard.CancelRun(cancel, _):
            return _cancel_run(run, cancel)
        case heard.CancelTask(task, cancel):
            return _cancel_task(run, task, cancel)
        case heard.Hold(key, mail):
            return _hold(run, key, mail)
        case heard.Waits(key, waiting, at):
            asker = run.task(key)
            if asker is None or not asker.live:
                return run, NOTHING
            return go_on(run.with_task(asker.become(IsLive(waiting))).at(at), [])
        case heard.Spent(key, epoch, used, at):
            spender = run.task(key)
            return (run if spender is None or spender.epoch != epoch else _counted(run, spender, used)).at(at), NOTHING
        case heard.TakeBack(key, message):
            return _take_back(run, key, message)
        case _:
            assert_never(event)


# -- held messages ---------------------------------------------------------------------------------------------------


def _hold(run: Run, key: str, mail: Mail) -> Next:
    task = run.task(key)
    if task is None:
        return run, NOTHING
    alarms = () if mail.expires_at is None else (AlarmAt(mail.expires_at),)
    return run.with_task(replace(task, held=task.held.add(mail))), Decision(effects=alarms)


def _take_back(run: Run, key: str, message: str) -> Next:
    task = run.task(key)
    if task is None or task.held.get(message) is None:
        return run, NOTHING
    run, settled = _settle_held(run, task, [message], Outcome.WITHDRAWN, "")
    return run, Decision(tuple(settled))


def _settle_held(run: Run, task: Task, keys: list[str], outcome: Outcome, reason: str) -> tuple[Run, list[Recorded]]:
    held, settled = task.held.settle(task.id, keys, outcome, reason)
    run = run.with_task(replace(task, held=Mailbox(held.mails)))
    run = replace(run, undelivered=(*run.undelivered, *held.undelivered))
    return run, [Recorded(body, task.id) for body in settled]


def _expire(run: Run) -> tuple[Run, list[Recorded]]:
    """Messages whose time passes while they wait for a worker were certainly never taken."""
    events: list[Recorded] = []
    for task in run.tasks:
        late = task.held.expired(run.now) if task.held.mails else []
        if late:
            run, settled = _settle_held(run, task, late, Outcome.EXPIRED, "deadline")
            events += settled
    return run, events


# -- the end of an attempt -------------------------------------------------------------------------------------------


def _attempt_over(run: Run, over: heard.AttemptOver) -> Next:
    task = run.task(over.task)
    if task is None or not task.live:
        return run, NOTHING
    if over.used is not None:
        run = _counted(run, task, over.used)
        task = run.task(over.task) or task
    run = replace(run.at(over.at), undelivered=(*run.undelivered, *over.undelivered))
    ended, error = over.ended, over.ended.error or over.error
    if task.guard == "fail" and not over.observed and ended.status is AttemptStatus.COMPLETED:
        reason, error = FailureReason.INEFFECTIVE, blocks.nothing_seen(task)
        ended = replace(ended, status=AttemptStatus.FAILED, reason=reason, error=error)
        over = replace(over, ended=ended, result=None, result_path="")
    if ended.reason == FailureReason.HOOK and run.cancel is None and task.cancel is None:
        return _barred(run, task, error)
    end = tries.AttemptEnd(
        ended.status, ended.reason, ended.error_class, ended.exit.code, error, over.at, over.lived, over.chance,
        ago=max(0.0, over.wall - over.ended_at) if over.ended_at else 0.0,
    )  # fmt: skip
    verdict, tried = tries.after(end, task.epoch, task.tried, task.retry, task.restart)
    task = replace(task, tried=tried)
    match verdict:
        case tries.TryAgain(kind, due) if run.cancel is None and task.cancel is None:
            retrying = ev.TaskRetrying(
                kind=kind, due_at=over.wall + (due - over.at), reason=ended.reason, error=error, in_a_row=tried.quick
            )
            run, decision = go_on(run.with_task(task.become(InBackoff(due))), [Recorded(retrying, task.id)])
            return run, replace(decision, effects=(*decision.effects, AlarmAt(due)))
        case tries.Park(text) if run.cancel is None and task.cancel is None:
            notice = f"{task.id}#{task.epoch}:{NoticeKind.PARKED}"
            last = f"{ended.reason} {error}".strip()
            why = f"{text}; last: {last}" if last else text
            raised = ev.NoticeRaised(id=notice, kind=NoticeKind.PARKED, text=why)
            parked = [Recorded(ev.TaskParked(reason=text, error=error), task.id), Recorded(raised, task.id)]
            return go_on(run.with_task(task.become(IsParked(notice))), parked)
        case _:
            return _task_over(run, task, over, error)


def _barred(run: Run, task: Task, error: str) -> Next:
    """A hook has blocked the task. It waits for somebody to approve, and is tried again then, as if it had never been."""
    task = replace(task.become(IsQueued()), tried=tries.Tried(since=task.epoch))
    requeued = Recorded(ev.TaskRequeued(tries_from=task.epoch, barred=True), task.id)
    text = f"step {task.id.partition('/')[2]}: {error}"
    run, blocked = blocks.block(run.with_task(task), BlockReason.HOOK, text, task)
    return go_on(run, [requeued, *blocked])


def _task_over(run: Run, task: Task, over: heard.AttemptOver, error: str) -> Next:
    """No more attempts: the task is over. One that has failed is a dead letter until somebody has seen it."""
    status, reason, notice = _TASK_END[over.ended.status], over.ended.reason, ""
    last = ev.TaskEnded(status=status, reason=reason, error=error, result=over.result, result_path=over.result_path)
    events = [Recorded(last, task.id)]
    if status is TaskStatus.FAILED:
        notice = f"{task.id}#{task.epoch}:{NoticeKind.DEAD_LETTER}"
        count = task.epoch - task.tried.since
        since = " since somebody retried it" if task.tried.since else ""
        text = f"{reason or 'failed'} after {count} {'try' if count == 1 else 'tries'}{since}: {error}"
        events.append(Recorded(ev.NoticeRaised(id=notice, kind=NoticeKind.DEAD_LETTER, text=text), task.id))
    run = run.with_task(task.become(IsOver(status, notice)))
    if status is TaskStatus.COMPLETED:
        run, follows = planned.after_completion(run, task, over.result, over.result_path)
        events += follows
        run, follows = blocks.after_completion(run, task, observed=over.observed)
        events += follows
    return go_on(run, events)


# -- approval, time and cancels ------------------------------------------------------------------------------------------------


def _approve(run: Run, requester: str, intent: str) -> Next:
    if not run.blocks:
        return run, NOTHING
    return go_on(*blocks.unblock(run, requester, intent))


def _due(run: Run, wall: float) -> Next:
    run, expired = _expire(run)
    run, lapsed = lapse(run)
    events = [*expired, *lapsed]
    if run.cancel is not None:
        return go_on(run, events)
    if run.deadline is not None and run.now >= run.deadline:
        reason, intent = CancelReason.RUN_TIMEOUT, f"the run may take {run.max_seconds / 60:g} minutes"
    elif run.budget_due is not None and run.now >= run.budget_due and not run.budget_used:
        return go_on(replace(run, budget_due=None), events)  # a worker has taken back what it had said
    elif run.budget_due is not None and run.now >= run.budget_due:
        reason, intent = CancelReason.BUDGET_USED, run.budget_used
    else:
        return go_on(run, events)
    cancel = CancelInfo(
        reason=reason, grace_seconds=GRACE_SECONDS_SHORT, requester="crewd", requested_at=wall, intent=intent
    )  # fmt: skip
    run, decision = _cancel_run(run, cancel)
    return run, replace(decision, events=(*events, *decision.events))


def _counted(run: Run, task: Task, used: Used) -> Run:
    """The worker of a task has used so much, all in all."""
    if not run.workflow.budget.bounded:
        return run
    return run.with_task(replace(task, used=used)).with_used(run.own + (used - task.used), run.below)


def _counted_below(run: Run, child: str, used: Used) -> Next:
    before = run.below.get(child, Used())
    if used == before or not run.workflow.budget.bounded:
        return run, NOTHING
    return run.with_used(run.own, {**run.below, child: used}), Decision((Recorded(ev.RunChildUsed(child, used)),))


def _cancel_run(run: Run, cancel: CancelInfo) -> Next:
    """A second cancel is recorded only if it is faster; the controllers hear of each (one may be new)."""
    events: list[Recorded] = []
    if run.cancel is None or faster(cancel, run.cancel):
        events.append(Recorded(ev.RunCancelRequested(cancel=cancel)))
        run = replace(run, cancel=cancel)
    else:
        cancel = run.cancel
    effects: list[RunEffect] = []
    for task in run.tasks:
        if task.live:
            effects.append(CancelAttempt(task.id, task.epoch, cancel))
        elif not task.over:
            run, ended = end_at_rest(run, task, TaskStatus.CANCELLED, cancel.reason)
            events += ended
    run, decision = go_on(run, events)
    return run, replace(decision, effects=(*effects, *decision.effects))


def _cancel_task(run: Run, key: str, cancel: CancelInfo) -> Next:
    task = run.task(key)
    if task is None or task.over:
        return run, NOTHING
    events: list[Recorded] = []
    if task.cancel is None or faster(cancel, task.cancel):
        events.append(Recorded(ev.TaskCancelRequested(cancel=cancel), task.id))
        task = replace(task, cancel=cancel)
        run = run.with_task(task)
    if task.live:
        return run, Decision(tuple(events), (CancelAttempt(task.id, task.epoch, cancel),))
    run, ended = end_at_rest(run, task, TaskStatus.CANCELLED, cancel.reason)
    return go_on(run, [*events, *ended])
