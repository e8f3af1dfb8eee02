"""The law that a machine made from the rows is the machine that was: what crewd would go on with if it were killed now.

This one law looks at crewd's own memory, but only to compare it with what a restart would make of the disk.

Tests: tests/testing/world/test_world.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crewd.model.rows import AskRow, AttemptRow, MessageRow, NoticeRow, OperationRow, RunRow, TaskRow
from crewd.model.statuses import TASK_TERMINAL, TaskStatus
from crewd.store.messages import LiveRun
from crewd.supervisor.attempt.phases import Queued, Reserving, Sought, Spawned, StartTimedOut, Stopping
from crewd.supervisor.run.phases import InBackoff, IsClaimed
from crewd.supervisor.run.recall import attempt_of, run_of

if TYPE_CHECKING:
    from crewd.store.fold import Row
    from crewd.supervisor.attempt.state import Attempt
    from crewd.supervisor.run.state import Run, Task

_RESTS = {*TASK_TERMINAL, TaskStatus.PARKED}
"""Who takes up such a task again begins its count of ends again."""
_UNRECORDED = (Reserving, Queued, Sought, StartTimedOut, Spawned)
"""Phases that the log does not tell apart: what the guardian says leads on from there."""
TIME_SECONDS = 0.01
"""So exact are times that were written down as wall time and read back as monotonic time."""


def live_of(rows: Mapping[tuple[type[Row], str], Row], run: str) -> LiveRun | None:
    """All rows of a run, as the store gives them to the run's actor."""

    def of(kind: type[Any]) -> tuple[Any, ...]:
        found = [row for (each, _), row in rows.items() if each is kind and _run(row) == run]
        return tuple(sorted(found, key=_order))

    row = rows.get((RunRow, run))
    if not isinstance(row, RunRow):
        return None
    return LiveRun(row, of(TaskRow), of(AttemptRow), of(MessageRow), of(AskRow), of(OperationRow), of(NoticeRow))


def _run(row: Any) -> str:
    if isinstance(row, MessageRow):
        return row.receipt.run
    return str(getattr(row, "run", "") or getattr(row, "task", "").partition("/")[0])


def _order(row: Any) -> Any:
    return getattr(row, "seq", 0), getattr(row, "epoch", 0), getattr(row, "id", "")


def run_differs(state: Run, live: LiveRun, wall: float, now: float) -> str:
    """In what the machine of a run is another one than the one that a restart would make; empty if in nothing."""
    recalled = run_of(live, wall, now)
    same = True
    for before, after in zip(state.tasks, recalled.tasks, strict=True):
        unreserved = before.epoch > after.epoch and all((a.task, a.epoch) != (before.id, before.epoch) for a in live.attempts)
        if unreserved or before.live != after.live:
            same = False  # its controller has not reserved the attempt (yet), or the run has not heard of its end
            continue
        found = _first(_of_task(before, now), _of_task(after, now))
        if found and not state.over:
            return f"{before.id}: {found}"
    # The simulated clock stands still: of what was settled in the instant of a reopening nobody can tell what came first.
    tied = {each.receipt.id for each in live.messages if each.receipt.settled_at == live.run.reopened_at}
    return _first(_of_run(state, tied), _of_run(recalled, tied)) if same else ""


def attempt_differs(state: Attempt, live: LiveRun, wall: float, now: float) -> str:
    """The same for an attempt."""
    row = next((each for each in live.attempts if each.task == state.task and each.epoch == state.epoch), None)
    if row is None:
        return ""
    return _first(_of_attempt(state), _of_attempt(attempt_of(live, row, wall, now)))


def _of_run(run: Run, tied: set[str]) -> dict[str, object]:
    return {
        "status": run.status, "cancel": run.cancel, "openings": run.openings, "concurrency": run.concurrency,
        "deadline": None if run.over else run.deadline, "unfinished": run.unfinished, "blocks": run.blocks,
        "approved": run.approved, "orders": run.orders, "below": dict(run.below),
        # A controller tells the run of what is used after it was recorded.
        "used": None if any(task.live for task in run.tasks) else run.used,
        # It tells the run with its end of the messages that it has settled. What comes after a run's end is not listed.
        "undelivered": None if run.over or any(task.live for task in run.tasks) else {m.id for m in run.undelivered} - tied,
    }  # fmt: skip


def _of_task(task: Task, now: float) -> dict[str, object]:
    counted = task.restart.policy != "temporary" and task.status not in _RESTS
    due = task.phase.due if isinstance(task.phase, InBackoff | IsClaimed) else None
    claim = task.phase.claim if isinstance(task.phase, IsClaimed) else None
    return {
        # A question is recorded by the controller, which tells the run of it: until then the run says `running`.
        "status": TaskStatus.RUNNING if task.live else task.status, "epoch": task.epoch, "cancel": task.cancel,
        "since": task.tried.since, "due": None if due is None else max(due, now),  # what is due is due
        "notice": task.notice, "claim": claim, "held_back": task.held_back, "quick": task.tried.quick if counted else 0,
        "ends": sum(end > now - task.restart.period_seconds for end in task.tried.ends) if counted else 0,
        "held": [mail.id for mail in task.held.mails],
    }  # fmt: skip


def _recorded_phase(attempt: Attempt) -> str:
    """The name of the phase as far as rows tell it: nothing records that a start took too long, but an outcome is recorded."""
    if isinstance(attempt.phase, StartTimedOut) and attempt.phase.said is not None:
        return Stopping.__name__
    return "" if isinstance(attempt.phase, _UNRECORDED) else type(attempt.phase).__name__


def _of_attempt(attempt: Attempt) -> dict[str, object]:
    work = attempt.work
    return {
        "phase": _recorded_phase(attempt),
        "finishing": work.finishing, "capabilities": attempt.contact.capabilities, "asks": work.asks,
        "operations": {(each.id, each.seconds, each.queued, each.waits) for each in work.operations},
        "reports": attempt.contact.reports, "failures": work.failures, "cancel": attempt.cancel, "limit": attempt.limit,
        "turn": work.turn, "ended_operations": work.ended_operations,
        "usage": work.usage, "checkpoint": work.checkpoint, "notices": set(attempt.observed.notices),
        "outcome": None if attempt.outcome is None else attempt.outcome.outcome,
        # What comes when the attempt is over is its run's, which may start another one for it.
        "messages": set() if attempt.over else {mail.id for mail in attempt.inbox.box.mails},
    }  # fmt: skip


def _first(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    for name, value in before.items():
        other = after[name]
        if isinstance(value, float) and isinstance(other, float) and abs(value - other) <= TIME_SECONDS:
            continue
        if value != other:
            return f"{name} is {value!r}, and would be {other!r}"
    return ""
