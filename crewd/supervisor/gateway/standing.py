"""How a run stands that somebody waits for: its rows as far as they are known here, and what they say to each wait. Pure.

Rule: of two states of one row, the one after the later event counts, whichever is heard of first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from crewd.model.claimable import to_claim
from crewd.model.rows import AskRow, AttemptRow, RunRow, TaskRow
from crewd.model.statuses import RUN_TERMINAL, TASK_TERMINAL, TaskStatus
from crewd.protocol.replies import CancelReply, EndReply
from crewd.store.messages import StandingRow

T = TypeVar("T", RunRow, TaskRow, AskRow, AttemptRow)


def run_of(row: StandingRow) -> str:
    """The run that a row belongs to."""
    match row:
        case RunRow():
            return row.id
        case AttemptRow():
            return row.task.partition("/")[0]
        case _:
            return row.run


class RunStanding:
    """The rows of one run, by the event after which they are so."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], tuple[int, StandingRow]] = {}

    def note(self, rows: Iterable[StandingRow], seq: int) -> None:
        """These rows are so after the event `seq`."""
        for row in rows:
            key = (type(row).__name__, f"{row.task}#{row.epoch}" if isinstance(row, AttemptRow) else row.id)
            known = self._rows.get(key)
            if known is None or known[0] <= seq:
                self._rows[key] = (seq, row)

    def end(self, run: str, task: str, *, or_waiting: bool) -> EndReply | None:
        """The answer to a wait for the end of the run (or of a task), once it can be given."""
        of = self._get(RunRow, run)
        one = self._get(TaskRow, task) if task else None
        if of is None or (task and one is None):
            return None
        attention = self.attention(of, one) if or_waiting else ""
        over = of.status in RUN_TERMINAL if one is None else one.status in TASK_TERMINAL
        return EndReply(run=of, task=one, attention=attention) if over or attention else None

    def cancelled(self, run: str, task: str, *, after: int) -> CancelReply | None:
        """What became of a cancel, if the run (or the task) has ended, and it ended after the event `after`."""
        seq, of = self._rows.get(("TaskRow", task) if task else ("RunRow", run), (0, None))
        if not isinstance(of, RunRow | TaskRow) or seq <= after or of.status not in {*RUN_TERMINAL, *TASK_TERMINAL}:
            return None
        attempts = [each for each in self._all(AttemptRow) if task in {"", each.task}]
        survivors = tuple(each for attempt in attempts for each in attempt.survivors)
        return CancelReply(
            run=run,
            task=task,
            status=of.status.value,
            verified=not survivors,
            survivors=survivors,
            unowned=tuple({each.pid: each for attempt in attempts for each in attempt.exit.unowned}.values()),
        )

    def attention(self, run: RunRow, task: TaskRow | None) -> str:
        """What somebody must do before the task (or one of the run) goes on; nothing if it goes on by itself."""
        if run.blocks:
            return f"{run.name} is blocked: {run.blocks[0].text}"
        tasks = {each.id: each for each in self._all(TaskRow)}
        looked_at = list(tasks.values()) if task is None else [task]
        for each in looked_at:
            if each.status is TaskStatus.PARKED:
                return f"{each.step} is parked: {each.reason}"
            if each.status is TaskStatus.WAITING:
                asks = [ask for ask in self._all(AskRow) if ask.task == each.id and ask.closed_at is None]
                if not asks:
                    return "it waits"
                to_answer = next((ask for ask in asks if ask.unanswered), None)
                if to_answer is not None:
                    return f"{each.step} asks: {to_answer.question} ({to_answer.id})"
        for each in to_claim(tasks.values()):
            if task is None or each.id == task.id:
                return f"{each.step} waits for somebody to claim it (crew claim {run.name}/{each.step})"
        return ""

    def _get(self, kind: type[T], key: str) -> T | None:
        found = self._rows.get((kind.__name__, key))
        return found[1] if found is not None and isinstance(found[1], kind) else None

    def _all(self, kind: type[T]) -> Iterator[T]:
        return (row for _, row in self._rows.values() if isinstance(row, kind))
