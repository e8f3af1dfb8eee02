"""The machine of one run: ready-queue scheduling over its tasks. Pure.

Rule 1: a task starts when every task that it depends on is completed and a place is free (no wave barrier).
Rule 2: a task that ends otherwise skips its descendants with the reason; independent ones go on.
Rule 3: a cancel is a tombstone: nothing starts after it. The run ends when nothing is live, with one terminal event.
Rule 4: a retry is a new attempt of the same task; while it waits for it, the task is in `backoff` and takes no place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

import msgspec
from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.ids import task_id
from crewd.model.limits import GRACE_SECONDS_SHORT, TEXT_CHARS_MAX
from crewd.model.policy import Restarts, Retry
from crewd.model.reasons import CancelReason, NoticeKind, RefusalReason, SkipReason
from crewd.model.receipts import Effect, Outcome
from crewd.model.redact import clip
from crewd.model.rows import CancelInfo, ClaimInfo, Undelivered, faster
from crewd.model.runtimes import RUNTIMES, By
from crewd.model.statuses import TASK_LIVE, TASK_REQUEUES, TASK_TERMINAL, AttemptStatus, RunStatus, TaskStatus
from crewd.model.workflow import Workflow
from crewd.supervisor.admission import Idle
from crewd.supervisor.attempt.mailbox import Mail, Mailbox
from crewd.supervisor.run import tries

CONCURRENCY_DEFAULT = 8
"""Live tasks of a run without a limit of its own."""

WAITING = frozenset({TaskStatus.QUEUED, TaskStatus.BACKOFF, TaskStatus.PARKED, TaskStatus.CLAIMED})
"""Tasks of which nothing lives here: messages for them are held, and a cancel ends them at once."""
_TASK_END: Mapping[AttemptStatus, TaskStatus] = {
    AttemptStatus.COMPLETED: TaskStatus.COMPLETED,
    AttemptStatus.FAILED: TaskStatus.FAILED,
    AttemptStatus.LOST: TaskStatus.FAILED,
    AttemptStatus.CANCELLED: TaskStatus.CANCELLED,
    AttemptStatus.CANCEL_INCOMPLETE: TaskStatus.CANCEL_INCOMPLETE,
}


class Task(msgspec.Struct, frozen=True):
    """A task as the run sees it. `held` are messages that wait for its next attempt.

    `tries_from`, `in_a_row` and `claim`: see `TaskRow`. `due` is when a task in backoff starts, or when the lease of one that
    is claimed runs out (monotonic); one that is `outside` is never started here. `ends` and `in_a_row` are what `tries.after`
    remembers; `notice` is the id of its open notice, if there is one.
    """

    id: str
    depends_on: tuple[str, ...]
    status: TaskStatus = TaskStatus.QUEUED
    epoch: int = 0
    held: Mailbox = msgspec.field(default_factory=Mailbox)
    cancel: CancelInfo | None = None
    retry: Retry = msgspec.field(default_factory=Retry)
    restart: Restarts = msgspec.field(default_factory=Restarts)
    tries_from: int = 0
    due: float | None = None
    ends: tuple[float, ...] = ()
    in_a_row: int = 0
    notice: str = ""
    claim: ClaimInfo | None = None
    outside: bool = False


class Run(msgspec.Struct, frozen=True):
    """The state. `now` is the latest (monotonic) time that it has heard of, `deadline` when its minutes are over.

    `index` says where a task stands, and `linked` whether any task depends on another: neither ever changes. `working`
    and `unfinished` count tasks: a run of a thousand is told of each end, and must not look through all of them. `joins`:
    see `Workflow.join`; each of the `openings` has a message of its own.
    """

    id: str
    tasks: tuple[Task, ...]
    concurrency: int = CONCURRENCY_DEFAULT
    status: RunStatus = RunStatus.QUEUED
    cancel: CancelInfo | None = None
    undelivered: tuple[Undelivered, ...] = ()
    max_seconds: float = 0.0
    deadline: float | None = None
    now: float = 0.0
    index: Mapping[str, int] = {}
    linked: bool = False
    working: int = 0
    unfinished: int = 0
    joins: bool = False
    openings: int = 1

    @classmethod
    def of(cls, run: str, tasks: tuple[Task, ...], **more: Any) -> Run:
        """A run with these tasks; `more` are fields."""
        return cls(
            run, tasks, index={task.id: place for place, task in enumerate(tasks)},
            linked=any(task.depends_on for task in tasks), working=sum(task.status is TaskStatus.RUNNING for task in tasks),
            unfinished=sum(task.status not in TASK_TERMINAL for task in tasks), **more,
        )  # fmt: skip

    def task(self, key: str) -> Task | None:
        """The task of this id."""
        place = self.index.get(key)
        return None if place is None else self.tasks[place]

    def with_task(self, changed: Task) -> Run:
        """With the task in its new state."""
        place = self.index[changed.id]
        before = self.tasks[place].status
        return replace(
            self,
            tasks=(*self.tasks[:place], changed, *self.tasks[place + 1 :]),
            working=self.working + (changed.status is TaskStatus.RUNNING) - (before is TaskStatus.RUNNING),
            unfinished=self.unfinished + (before in TASK_TERMINAL) - (changed.status in TASK_TERMINAL),
        )

    @property
    def over(self) -> bool:
        """Whether the terminal event is decided."""
        return self.status not in {RunStatus.QUEUED, RunStatus.RUNNING}


def new_run(run: str, workflow: Workflow) -> Run:
    """The state of a run that was just admitted."""
    return Run.of(
        run,
        tuple(
            Task(
                task_id(run, step.id), tuple(task_id(run, name) for name in step.depends_on), retry=step.worker.retry,
                restart=step.worker.restart, outside=RUNTIMES[step.worker.runtime].by is By.OUTSIDE,
            )
            for step in workflow.steps
        ),
        concurrency=workflow.max_concurrency or CONCURRENCY_DEFAULT,
        max_seconds=workflow.max_minutes * 60, joins=workflow.joins,
    )  # fmt: skip


class Proceed(msgspec.Struct, frozen=True):
    """Start what is ready (after admission, or after crewd came back)."""

    at: float = 0.0


class Due(msgspec.Struct, frozen=True):
    """Time has passed: a task in backoff may start, or the run has taken too long."""

    at: float
    wall: float


class Reopen(msgspec.Struct, frozen=True):
    """Do again what is chosen by `kind`; only this task if one is named."""

    kind: str
    at: float
    task: str = ""
    requester: str = ""
    intent: str = ""


class Dismiss(msgspec.Struct, frozen=True):
    """A dead letter (all of the run's, without a task) has been seen."""

    task: str = ""
    requester: str = ""
    intent: str = ""


class AttemptOver(msgspec.Struct, frozen=True):
    """The terminal event of an attempt is durable. `at` and `wall` are now, it lived for `lived` seconds."""

    task: str
    ended: ev.AttemptEnded
    error: str = ""
    result: object = None
    result_path: str = ""
    undelivered: tuple[Undelivered, ...] = ()
    at: float = 0.0
    wall: float = 0.0
    lived: float = 0.0
    chance: float = 0.5
    checkpoint: object = None


class CancelRun(msgspec.Struct, frozen=True):
    """End the whole run."""

    cancel: CancelInfo


class CancelTask(msgspec.Struct, frozen=True):
    """End one task."""

    task: str
    cancel: CancelInfo


class Hold(msgspec.Struct, frozen=True):
    """A message for a task that has not started."""

    task: str
    mail: Mail


class StartFor(msgspec.Struct, frozen=True):
    """A durable message wants the worker to be started again for it, whatever became of the worker."""

    task: str
    mail: Mail
    at: float
    requester: str = ""


class Waits(msgspec.Struct, frozen=True):
    """The worker of a task only waits, or no more. One that waits takes none of the run's places."""

    task: str
    waiting: bool
    at: float


class TakeBack(msgspec.Struct, frozen=True):
    """A held message is withdrawn."""

    task: str
    id: str


RunEvent = Proceed | Due | AttemptOver | Reopen | StartFor | Dismiss | CancelRun | CancelTask | Hold | Waits | TakeBack


class StartAttempt(msgspec.Struct, frozen=True):
    """Reserve a controller for the next attempt of a task; it takes over the held messages."""

    task: str
    epoch: int
    mails: tuple[Mail, ...]


class CancelAttempt(msgspec.Struct, frozen=True):
    """Let the task's controller end its attempt. `urgent`: also when the disk refuses."""

    task: str
    epoch: int
    cancel: CancelInfo


class Leave(msgspec.Struct, frozen=True):
    """The run is over and durable."""


class AlarmAt(msgspec.Struct, frozen=True):
    """Say `Due` at this (monotonic) time."""

    at: float


RunEffect = StartAttempt | CancelAttempt | AlarmAt | Leave


class Recorded(msgspec.Struct, frozen=True):
    """An event of the run or of one of its tasks."""

    body: ev.Body
    task: str = ""


class Decision(msgspec.Struct, frozen=True):
    """What to record and what to do then."""

    events: tuple[Recorded, ...] = ()
    effects: tuple[RunEffect, ...] = ()


NOTHING = Decision()
Next = tuple[Run, Decision]


def decide(run: Run, event: RunEvent) -> Next:
    """The run after `event`, and the decision."""
    if isinstance(event, Dismiss):
        return _dismiss(run, event)
    if isinstance(event, Reopen):
        return _reopen(run, event)
    if isinstance(event, StartFor):
        return _start_for(run, event)
    if run.over:
        return run, NOTHING
    match event:
        case Proceed(at):
            return go_on(replace(run, now=max(run.now, at)), [])
        case Due(at, wall):
            return _due(replace(run, now=max(run.now, at)), wall)
        case AttemptOver():
            return _attempt_over(run, event)
        case CancelRun(cancel):
            return _cancel_run(run, cancel)
        case CancelTask(task, cancel):
            return _cancel_task(run, task, cancel)
        case Hold(key, mail):
            held = run.task(key)
            if held is None:
                return run, NOTHING
            alarms = () if mail.expires_at is None else (AlarmAt(mail.expires_at),)
            return run.with_task(replace(held, held=held.held.add(mail))), Decision(effects=alarms)
        case Waits(key, waiting, at):
            asker = run.task(key)
            if asker is None or asker.status not in TASK_LIVE:
                return run, NOTHING
            run = run.with_task(replace(asker, status=TaskStatus.WAITING if waiting else TaskStatus.RUNNING))
            return go_on(replace(run, now=max(run.now, at)), [])
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
    if task is None or task.status not in TASK_LIVE:
        return run, NOTHING
    ended = over.ended
    error = ended.error or over.error
    run = replace(run, now=max(run.now, over.at), undelivered=(*run.undelivered, *over.undelivered))
    end = tries.End(
        ended.status, ended.reason, ended.error_class, ended.exit.code, error, over.at, over.lived, over.chance
    )  # fmt: skip
    count = task.epoch - task.tries_from
    verdict, ends, in_a_row = tries.after(end, count, task.ends, task.in_a_row, task.retry, task.restart)
    task = replace(task, ends=ends, in_a_row=in_a_row)
    if run.cancel is None and task.cancel is None:
        match verdict:
            case tries.Again(kind, due):
                retrying = ev.TaskRetrying(
                    kind=kind, due_at=over.wall + (due - over.at), reason=ended.reason, error=error, in_a_row=in_a_row
                )
                run = run.with_task(replace(task, status=TaskStatus.BACKOFF, due=due))
                run, decision = go_on(run, [Recorded(retrying, task.id)])
                return run, replace(decision, effects=(*decision.effects, AlarmAt(due)))
            case tries.Park(text):
                notice = f"{task.id}#{task.epoch}:{NoticeKind.PARKED}"
                run = run.with_task(replace(task, status=TaskStatus.PARKED, notice=notice))
                why = f"{text}; last: {ended.reason} {error}".strip()
                raised = ev.NoticeRaised(id=notice, kind=NoticeKind.PARKED, text=why)
                return go_on(run, [Recorded(ev.TaskParked(reason=text, error=error), task.id), Recorded(raised, task.id)])
            case tries.Over():
                pass
    status = _TASK_END[ended.status]
    last = ev.TaskEnded(
        status=status, reason=ended.reason, error=error, result=over.result, result_path=over.result_path
    )  # fmt: skip
    events = [Recorded(last, task.id)]
    if status is TaskStatus.FAILED:
        notice = f"{task.id}#{task.epoch}:{NoticeKind.DEAD_LETTER}"
        count = task.epoch - task.tries_from
        text = f"{ended.reason or 'failed'} after {count} {'try' if count == 1 else 'tries'}: {error}"
        events.append(Recorded(ev.NoticeRaised(id=notice, kind=NoticeKind.DEAD_LETTER, text=text), task.id))
        task = replace(task, notice=notice)
    return go_on(run.with_task(replace(task, status=status)), events)


def idle(run: Run, task: Task, *, takes: tuple[str, ...] | None, held: int) -> Idle:
    """A task without a living attempt, as a message finds it."""
    return Idle(
        epoch=task.epoch, cancelled=run.cancel is not None and not run.over, waiting=task.status in WAITING,
        parked=task.status is TaskStatus.PARKED, takes=takes, held=held,
    )  # fmt: skip


def _expire(run: Run) -> tuple[Run, list[Recorded]]:
    """Messages whose time passes while they wait for a worker were certainly never taken."""
    events: list[Recorded] = []
    for task in run.tasks:
        late = task.held.expired(run.now) if task.held.mails else []
        if late:
            held, settled = task.held.settle(task.id, late, Outcome.EXPIRED, "deadline")
            run = replace(
                run.with_task(replace(task, held=replace(held, undelivered=()))),
                undelivered=(*run.undelivered, *held.undelivered),
            )
            events += [Recorded(body, task.id) for body in settled]
    return run, events


def unclaimed(run: Run, keys: list[str], reason: str) -> Next:
    """Queue claimed tasks again: they were given back, or their leases have run out."""
    for key in keys:
        task = run.task(key)
        if task is not None:
            run = run.with_task(replace(task, status=TaskStatus.QUEUED, claim=None, due=None))
    return go_on(run, [Recorded(ev.TaskUnclaimed(reason=reason), key) for key in keys])


def _due(run: Run, wall: float) -> Next:
    run, expired = _expire(run)
    lapsed = [t.id for t in run.tasks if t.status is TaskStatus.CLAIMED and t.due is not None and t.due <= run.now]
    if lapsed:
        run, decision = unclaimed(run, lapsed, "expired")
        run, more = _due(run, wall)
        before = (*expired, *decision.events)
        return run, replace(more, events=(*before, *more.events), effects=(*decision.effects, *more.effects))
    if run.deadline is None or run.now < run.deadline or run.cancel is not None:
        return go_on(run, expired)
    cancel = CancelInfo(
        reason=CancelReason.RUN_TIMEOUT, grace_seconds=GRACE_SECONDS_SHORT, requester="crewd", requested_at=wall,
        intent=f"the run may take {run.max_seconds / 60:g} minutes",
    )  # fmt: skip
    run, decision = _cancel_run(run, cancel)
    return run, replace(decision, events=(*expired, *decision.events))


def _start_for(run: Run, order: StartFor) -> Next:
    """Queue the task again, with the message for its next attempt; what its earlier attempts left stays as it is."""
    task, mail = run.task(order.task), order.mail
    again = task is not None and (task.status in TASK_REQUEUES or task.status is TaskStatus.COMPLETED)
    if task is None or not again or run.status is RunStatus.CANCEL_INCOMPLETE or (run.cancel is not None and not run.over):
        reason = RefusalReason.CANCELLED if run.cancel is not None else RefusalReason.ENDED
        settled = ev.MessageSettled(id=mail.id, outcome=Outcome.REFUSED, reason=reason)
        return run, Decision((Recorded(settled, order.task),))
    run, events = _opened(replace(run, now=max(run.now, order.at)), "message", order.requester, "")
    run, more = _queued_again(run, task, mail)
    run, decision = go_on(run, [*events, *more])
    return run, _with_alarms(run, decision, mail)


def _with_alarms(run: Run, decision: Decision, *mails: Mail) -> Decision:
    dues = [run.deadline, *(mail.expires_at for mail in mails)]
    return replace(decision, effects=(*decision.effects, *(AlarmAt(due) for due in dues if due is not None)))


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
    queued = replace(
        task, status=TaskStatus.QUEUED, cancel=None, tries_from=task.epoch, due=None, ends=(), in_a_row=0, notice="",
        claim=None, held=task.held if mail is None else task.held.add(mail),
    )  # fmt: skip
    return run.with_task(queued), events


def _reopen(run: Run, order: Reopen) -> Next:
    """Queue what failed (and what was skipped for it), or all that is not completed."""
    wanted = TASK_REQUEUES if order.kind == "resume" else {TaskStatus.FAILED, TaskStatus.PARKED}
    chosen = {task.id for task in run.tasks if task.status in wanted and order.task in {"", task.id}}
    if order.kind == "retry" and chosen:
        chosen |= _skipped_for(run, chosen)
    if not chosen or run.status is RunStatus.CANCEL_INCOMPLETE or (run.cancel is not None and not run.over):
        return run, NOTHING
    run, events = _opened(replace(run, now=max(run.now, order.at)), order.kind, order.requester, order.intent)
    for task in run.tasks:
        if task.id in chosen:
            run, more = _queued_again(run, task)
            events += more
    run, decision = go_on(run, events)
    return run, _with_alarms(run, decision)


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


def _dismiss(run: Run, order: Dismiss) -> Next:
    events: list[Recorded] = []
    for task in run.tasks:
        if task.status is TaskStatus.FAILED and task.notice and order.task in {"", task.id}:
            events.append(Recorded(ev.TaskDismissed(requester=order.requester, intent=order.intent), task.id))
            events.append(Recorded(ev.NoticeClosed(id=task.notice), task.id))
            run = run.with_task(replace(task, notice=""))
    return run, Decision(tuple(events))


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
        elif task.status in WAITING:
            run, ended = _end_queued(run, task, TaskStatus.CANCELLED, cancel.reason)
            events += ended
    run, decision = go_on(run, events)
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
    return go_on(run, [*events, *ended])


def _end_queued(run: Run, task: Task, status: TaskStatus, reason: str) -> tuple[Run, list[Recorded]]:
    closed = [Recorded(ev.NoticeClosed(id=task.notice), task.id)] if task.notice else []
    run, settled = ended(run, task, status)
    return run, [*settled, *closed, Recorded(ev.TaskEnded(status=status, reason=reason), task.id)]


def ended(run: Run, task: Task, status: TaskStatus, notice: str = "") -> tuple[Run, list[Recorded]]:
    """A task of which nothing lives here has ended so: what becomes of the messages that were held for it."""
    held, settled = task.held.settle_rest(task.id, cancelled=status is TaskStatus.CANCELLED, heard_out=True)
    run = run.with_task(replace(task, status=status, held=Mailbox(), due=None, notice=notice))
    run = replace(run, undelivered=(*run.undelivered, *held.undelivered))
    return run, [Recorded(body, task.id) for body in settled]


def begun(run: Run) -> tuple[Run, list[Recorded], list[RunEffect]]:
    """The run has begun, if it had not."""
    if run.status is not RunStatus.QUEUED:
        return run, [], []
    run = replace(run, status=RunStatus.RUNNING)
    if not run.max_seconds:
        return run, [Recorded(ev.RunStarted())], []
    run = replace(run, deadline=run.now + run.max_seconds)
    return run, [Recorded(ev.RunStarted())], [AlarmAt(run.now + run.max_seconds)]


def go_on(run: Run, events: list[Recorded]) -> Next:
    """Skip what can never start, start what is ready, and end the run when nothing is left."""
    if run.linked:
        run, skipped = _skip_blocked(run)
        events += skipped
    effects: list[RunEffect] = []
    if run.cancel is None and run.working < run.concurrency:
        done = {task.id for task in run.tasks if task.status is TaskStatus.COMPLETED} if run.linked else set()
        for task in run.tasks:
            if task.outside or (task.status is not TaskStatus.QUEUED and task.status is not TaskStatus.BACKOFF):
                continue
            if run.working >= run.concurrency:
                break
            # What is tried again has had what it depends on, whatever became of that since.
            met = task.status is TaskStatus.BACKOFF or done.issuperset(task.depends_on)
            if (task.due is None or task.due <= run.now) and met:
                run, started, alarms = begun(run)
                events += started
                effects += alarms
                effects.append(StartAttempt(task.id, task.epoch + 1, task.held.mails))
                run = run.with_task(replace(task, status=TaskStatus.RUNNING, epoch=task.epoch + 1, held=Mailbox(), due=None))
    if not run.unfinished:
        status, reason = _verdict(run)
        run = replace(run, status=status)
        events += _joined(run, status, reason)
        events.append(Recorded(ev.RunEnded(status=status, reason=reason, undelivered=run.undelivered)))
        effects.append(Leave())
    return run, Decision(tuple(events), tuple(effects))


def _joined(run: Run, status: RunStatus, reason: str) -> list[Recorded]:
    """One message for whoever started the run: what became of each of its tasks."""
    if not run.joins:
        return []
    key = f"{run.id}:join{run.openings}"
    lines = [f"{status}{f' ({reason})' if reason else ''}", *(f"{t.id.partition('/')[2]}: {t.status}" for t in run.tasks)]
    text = clip("\n".join(lines), TEXT_CHARS_MAX)
    accepted = ev.MessageAccepted(
        id=key, kind="group_join", text=text, sender=run.id, effect=Effect.MAILBOX, direction="out"
    )  # fmt: skip
    return [Recorded(accepted), Recorded(ev.MessageSettled(id=key, outcome=Outcome.DONE))]


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
