"""The laws about budgets: what is used up starts nothing, and what runs below a run counts.

Tests: tests/testing/world/test_world.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from crewd.model import events as ev
from crewd.model.budget import Used
from crewd.store.fold import attempt_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from crewd.model.rows import RunRow

USED_UP = "a used budget starts nothing"
BELOW = "what is below a run counts"


class Hold(Protocol):
    """See `Laws.hold`."""

    def __call__(self, law: str, truth: object, what: str) -> None:
        """The law is looked at."""


class BudgetLaws:
    """It sees each event once, in their order, and each run when the world is at rest."""

    def __init__(self, hold: Hold, run_row: Callable[[str], RunRow | None]) -> None:
        self._hold, self._run_row = hold, run_row
        self._used: dict[str, dict[str, Used]] = {}
        self._reached: dict[str, tuple[str, int]] = {}
        """By run: the task whose report used the budget up, and the event."""
        self._last_start: dict[str, int] = {}
        self._run_ends: dict[str, int] = {}

    def event(self, event: ev.Event) -> None:
        """An event was committed."""
        match event.body:
            case ev.UsageReported(turns=turns):
                self._spent(event, attempt_key(event.task, event.epoch), Used(turns))
            case ev.RunChildUsed(child, used):
                self._spent(event, child, used)
            case ev.RunReopened():
                self._hold(USED_UP, event.run not in self._reached, f"{event.run} was opened again")
            case ev.RunEnded():
                self._run_ends[event.run] = event.seq
            case ev.AttemptReserved():
                spender, _ = self._reached.get(event.run, ("", 0))
                self._hold(USED_UP, event.task != spender, f"{attempt_key(event.task, event.epoch)} was reserved")
                self._last_start[event.run] = event.seq
            case _:
                pass

    def at_rest(self, run: RunRow, seq: int) -> None:
        """The run has ended, and so has everything; `seq` is the last event."""
        _, reached = self._reached.get(run.id, ("", seq))
        within = run.cancel is not None or self._last_start.get(run.id, 0) < reached
        self._hold(USED_UP, within, f"run {run.id} went on")
        self._counts_below(run, seq)

    def _spent(self, event: ev.Event, by: str, amount: Used) -> None:
        run = self._run_row(event.run)
        used = self._used.setdefault(event.run, {})
        used[by] = amount
        if run is not None and run.workflow.budget.reached(sum(used.values(), start=Used())):
            self._reached.setdefault(event.run, (event.task, event.seq))

    def _counts_below(self, child: RunRow, seq: int) -> None:
        """A run that has ended has told all that it has used to each run above it that has ended later."""
        used = self._used.get(child.id, {})
        own = sum((amount for key, amount in used.items() if key.startswith(f"{child.id}/")), start=Used())
        for above in filter(None, map(self._run_row, child.above)):
            self._hold(BELOW, child.id in above.below, f"{above.id} does not know of {child.id}")
            if self._run_ends.get(child.id, seq) < self._run_ends.get(above.id, 0):
                told = above.below.get(child.id)
                self._hold(BELOW, told == own, f"{child.id} has used {own}, {above.id} knows of {told}")
