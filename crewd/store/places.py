"""Where an event stands in the tree of its run: which event it follows.

Each attempt of a task is a branch. An event of an attempt follows the one before it on its branch; the first one of a branch
follows the last event of its task, so that a retry hangs on what it retries, and the first one of a task the run's trunk.
"""

from __future__ import annotations

from typing import Protocol

from crewd.model.events import Draft, Event, RunCreated
from crewd.model.rows import RunRow
from crewd.store.fold import R

BRANCHES_MAX = 20_000
"""Branches whose last seq is remembered; beyond it the memory is emptied and filled again from the database."""
Branch = tuple[str, str, int]
"""Run, task and epoch; -1 stands for whatever epoch was last."""


class BranchEnds(Protocol):
    """Where the ends of branches that are not remembered are looked up."""

    def last_seq_of(self, run: str, task: str, epoch: int) -> int:
        """The seq of the last event of this branch; 0 if there is none. Epoch -1: of the last epoch or of none."""
        ...


class Rows(Protocol):
    """Where a run's request id is looked up."""

    def get(self, kind: type[R], key: str) -> R | None:
        """The row, or None."""
        ...


class Branches:
    """The ends of all branches that were written to lately. What was not `kept` is as if it had never been placed."""

    def __init__(self, log: BranchEnds, rows: Rows) -> None:
        self._log = log
        self._rows = rows
        self._ends: dict[Branch, int] = {}
        self._requests: dict[str, str] = {}
        self._new_ends: dict[Branch, int] = {}
        self._new_requests: dict[str, str] = {}
        self._undo: list[tuple[Branch, int | None]] = []

    def begin(self) -> None:
        """From here on places can be taken back."""
        self._undo.clear()

    def take_back(self) -> None:
        """It is as if nothing had been placed since `begin`."""
        for branch, end in reversed(self._undo):
            if end is None:
                del self._new_ends[branch]
            else:
                self._new_ends[branch] = end
        self._undo.clear()

    def place(self, draft: Draft, seq: int) -> tuple[int, str]:
        """The parent and the correlation of the draft, which becomes event `seq`."""
        run, task, epoch = draft.run, draft.task, draft.epoch
        if isinstance(draft.body, RunCreated):
            self._new_requests[run] = draft.body.request_id
            self._extend((run, "", 0), seq)
            return 0, draft.body.request_id
        parent = self._end((run, task, epoch)) if epoch or not task else 0
        if task:
            parent = parent or self._end((run, task, -1)) or self._end((run, "", 0))
            self._extend((run, task, -1), seq)
        self._extend((run, task, epoch), seq)
        return parent, self._request(run)

    def _extend(self, branch: Branch, seq: int) -> None:
        self._undo.append((branch, self._new_ends.get(branch)))
        self._new_ends[branch] = seq

    def _end(self, branch: Branch) -> int:
        found = self._new_ends.get(branch)
        if found is None:
            found = self._ends.get(branch)
        if found is None:
            found = self._ends[branch] = self._log.last_seq_of(*branch)
        return found

    def _request(self, run: str) -> str:
        found = self._new_requests.get(run)
        if found is None:
            found = self._requests.get(run)
        if found is None:
            row = self._rows.get(RunRow, run) if run else None
            found = self._requests[run] = row.request_id if row else ""
        return found

    def keep(self) -> None:
        """What was placed is committed."""
        self._ends.update(self._new_ends)
        self._requests.update(self._new_requests)
        self.forget()

    def remember(self, event: Event) -> None:
        """An event of the commit log, placed by an earlier store actor."""
        for epoch in {event.epoch, -1} if event.task else {event.epoch}:
            self._ends[event.run, event.task, epoch] = event.seq

    def trim(self) -> None:
        """All that was kept can be looked up."""
        if len(self._ends) > BRANCHES_MAX:
            self._ends.clear()
            self._requests.clear()

    def forget(self) -> None:
        """What was placed since the last `keep` never was."""
        self._new_ends.clear()
        self._new_requests.clear()
