"""Which rows say how a run stands: the run, its tasks, its questions, and attempts that left processes.

Tests: tests/supervisor/gateway/test_standing.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from crewd.model import events as ev
from crewd.model.ids import task_id
from crewd.model.limits import ROWS_MAX
from crewd.model.receipts import Outcome
from crewd.model.rows import AskRow, AttemptRow, MessageRow, RunRow, TaskRow
from crewd.store.fold import Table, attempt_key

if TYPE_CHECKING:
    from crewd.store.messages import StandingRow

CHANGES_RUN = (ev.RunEnded, ev.RunReopened, ev.RunBlocked, ev.RunUnblocked)
CHANGES_TASK = (
    ev.TaskEnded, ev.TaskParked, ev.TaskRequeued, ev.TaskRetrying, ev.TaskDismissed, ev.TaskClaimed, ev.TaskUnclaimed,
    ev.AskOpened, ev.AskClosed,
)  # fmt: skip


def left_something(attempt: AttemptRow) -> bool:
    """Whether a process was left when it ended, or one was seen that nobody owns."""
    return bool(attempt.survivors or attempt.exit.unowned)


def standing_rows(events: Sequence[ev.Event], table: Table) -> Iterator[StandingRow]:
    """The rows that these events changed, of those that say how a run stands, as they are in `table` now.

    Of a task that has ended its last `ROWS_MAX` attempts are looked at, as many as the reader shows.
    """
    runs, tasks = dict[str, None](), dict[str, None]()
    for event in events:
        match event.body:
            case ev.AskOpened(key) | ev.AskClosed(key) | ev.MessageAccepted(ask=key) if key:
                ask = table.get(AskRow, key)
                if ask is not None:
                    yield ask
            case ev.MessageSettled(id=message, outcome=outcome) if outcome != Outcome.DONE:
                answer = table.get(MessageRow, message)
                ask = table.get(AskRow, answer.ask) if answer is not None and answer.ask else None
                if ask is not None:
                    yield ask
        if isinstance(event.body, CHANGES_TASK):
            tasks[event.task] = None
        if isinstance(event.body, CHANGES_RUN):
            runs[event.run] = None
    for key in runs:
        run = table.get(RunRow, key)
        if run is not None:
            yield run
            if run.cancel is not None:  # the answer to its cancel names every process that is left
                tasks.update((task_id(run.id, step.id), None) for step in run.workflow.steps)
    for key in tasks:
        task = table.get(TaskRow, key)
        if task is None:
            continue
        yield task
        for epoch in range(max(1, task.epoch - ROWS_MAX + 1), task.epoch + 1) if task.ended_at is not None else ():
            attempt = table.get(AttemptRow, attempt_key(key, epoch))
            if attempt is not None and left_something(attempt):
                yield attempt
