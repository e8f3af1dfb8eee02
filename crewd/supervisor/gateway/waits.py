"""Who waits for what: a receipt's level, or the end of a run or task. A table; it neither reads nor sends.

Rule 1: a wait is entered before the thing is asked for, so no news can fall between the question and the waiting.
Rule 2: news end a wait only when its request was answered. Until then they may be of another message with the same id, or of
the end of a run that was opened again before the wait began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from crewd.model.errors import Busy
from crewd.model.receipts import Level, Receipt
from crewd.supervisor.gateway.standing import RunStanding, run_of

if TYPE_CHECKING:
    from crewd.protocol.replies import CancelReply, EndReply
    from crewd.store.messages import StandingRow
    from crewd.supervisor.caller import Caller

LOOK_SECONDS = 5.0
"""How much longer a wait waits for the answer to its first request: is its message accepted, how does its run stand."""
WAITS_MAX = 20_000
"""Waits at once; the next one is refused as busy."""


@dataclass(frozen=True, slots=True, eq=False)
class LevelWait:
    """A caller waits until a message's receipt reaches `level` (or settles). One is equal to itself alone."""

    caller: Caller
    message: str
    level: Level
    give_up_at: float

    def met(self, receipt: Receipt) -> bool:
        """Whether this receipt ends the wait."""
        return receipt.reached(self.level)


@dataclass(frozen=True, slots=True, eq=False)
class EndWait:
    """A caller waits until a run (or a task of it) has ended; with `cancel`, the answer says what became of its cancel.

    One is equal to itself alone.
    """

    caller: Caller
    run: str
    task: str
    or_waiting: bool
    cancel: bool
    give_up_at: float


W = TypeVar("W", LevelWait, EndWait)


class WaitTable:
    """The table."""

    def __init__(self) -> None:
        self._levels: dict[str, list[LevelWait]] = {}
        self._ends: dict[str, list[EndWait]] = {}
        self._standing: dict[str, RunStanding] = {}
        """How the runs stand that somebody waits for."""
        self._after: dict[EndWait, int] = {}
        """Waits whose request was answered, and the event after which an end is meant."""
        self._of: dict[Caller, list[LevelWait | EndWait]] = {}
        self._until: dict[Caller, float] = {}
        self._news: dict[LevelWait, Receipt | None] = {}
        """Waits whose request was not answered yet, and the last receipt that was heard of meanwhile."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, wait: W) -> W:
        """Enter a wait. Returns it as it is entered: with less time, if it was entered before. Raises Busy at the bound."""
        if self._count >= WAITS_MAX:
            raise Busy(f"{WAITS_MAX} requests wait already", hint="wait for fewer things at once")
        until = self._until.pop(wait.caller, None)
        if until is not None and until < wait.give_up_at:
            wait = replace(wait, give_up_at=until)
        self._count += 1
        self._of.setdefault(wait.caller, []).append(wait)
        if isinstance(wait, LevelWait):
            self._levels.setdefault(wait.message, []).append(wait)
            self._news[wait] = None
        else:
            self._ends.setdefault(wait.run, []).append(wait)
            self._standing.setdefault(wait.run, RunStanding())
        return wait

    def for_receipt(self, receipt: Receipt) -> list[LevelWait]:
        """The waits that this receipt ends; they leave the table."""
        met: list[LevelWait] = []
        for wait in self._levels.get(receipt.id, []):
            if wait in self._news:
                self._news[wait] = receipt
            elif wait.met(receipt):
                met.append(wait)
        for wait in met:
            self.remove(wait)
        return met

    def answered(self, receipt: Receipt, caller: Caller) -> Receipt | None:
        """The caller's message has this receipt: what is to be sent now; None if the wait goes on."""
        wait = self.of_message(receipt.id, caller)
        if wait is None:
            return receipt
        newer = self._news.pop(wait, None)
        receipt = newer if newer is not None and newer.reached(receipt.level) else receipt
        return receipt if wait.met(receipt) and self.remove(wait) else None

    def runs(self) -> list[str]:
        """The runs that somebody waits for."""
        return list(self._ends)

    def messages(self) -> list[LevelWait]:
        """The waits for messages."""
        return [wait for waits in self._levels.values() for wait in waits]

    def news(self, rows: Iterable[StandingRow], seq: int) -> list[tuple[EndWait, EndReply | CancelReply]]:
        """These rows are so after the event `seq`: the waits that this ends, with their answers. They leave the table."""
        changed: dict[str, list[StandingRow]] = {}
        for row in rows:
            run = run_of(row)
            if run in self._ends:
                changed.setdefault(run, []).append(row)
        for run, its in changed.items():
            self._standing[run].note(its, seq)
        return [met for run in changed for met in self._met(run)]

    def stands(self, run: str, rows: Iterable[StandingRow], upto: int) -> list[tuple[EndWait, EndReply | CancelReply]]:
        """This is how the run stands after the event `upto`. The waits that this ends, as `news` returns them."""
        if run not in self._ends:
            return []
        self._standing[run].note(rows, upto)
        return self._met(run)

    def begin(self, wait: EndWait, after: int = -1) -> None:
        """Its request was answered: from here on it can be met. A cancel is met by an end after the event `after`."""
        if wait in self._ends.get(wait.run, ()):
            self._after[wait] = after

    def _met(self, run: str) -> list[tuple[EndWait, EndReply | CancelReply]]:
        stands = self._standing[run]
        met: list[tuple[EndWait, EndReply | CancelReply]] = []
        for wait in list(self._ends[run]):
            after = self._after.get(wait)
            if after is None:
                continue
            reply = (
                stands.cancelled(wait.run, wait.task, after=after)
                if wait.cancel
                else stands.end(wait.run, wait.task, or_waiting=wait.or_waiting)
            )
            if reply is not None and self.remove(wait):
                met.append((wait, reply))
        return met

    def of_message(self, message: str, caller: Caller) -> LevelWait | None:
        """The caller's wait on a message."""
        return next((wait for wait in self._levels.get(message, ()) if wait.caller == caller), None)

    def of_request(self, caller: Caller) -> list[LevelWait | EndWait]:
        """The waits that one request made."""
        return list(self._of.get(caller, ()))

    def begin_anew(self, caller: Caller) -> None:
        """The request is made again: what it waited for is entered again, with the time that it had."""
        for wait in self.of_request(caller):
            self.remove(wait)
            if len(self._until) < WAITS_MAX:
                self._until[caller] = min(wait.give_up_at, self._until.get(caller, wait.give_up_at))

    def of_workers(self) -> dict[str, list[str]]:
        """What each task whose worker waits for others waits for: runs and tasks."""
        found: dict[str, list[str]] = {}
        for waits in self._ends.values():
            for wait in waits:
                if wait.caller.worker:
                    found.setdefault(wait.caller.worker.rpartition("#")[0], []).append(wait.task or wait.run)
        return found

    def _all(self) -> list[LevelWait | EndWait]:
        return [wait for waits in self._of.values() for wait in waits]

    def remove(self, wait: LevelWait | EndWait) -> bool:
        """Take a wait out; False if it was not there."""
        if isinstance(wait, LevelWait):
            self._news.pop(wait, None)
        key, table = (wait.message, self._levels) if isinstance(wait, LevelWait) else (wait.run, self._ends)
        waits = table.get(key, [])
        if wait not in waits:
            return False
        waits.remove(wait)  # type: ignore[arg-type]  # the table's own kind
        self._count -= 1
        if not waits:
            del table[key]
        if isinstance(wait, EndWait):
            self._after.pop(wait, None)
            if not waits:
                del self._standing[wait.run]
        mine = self._of[wait.caller]
        mine.remove(wait)
        if not mine:
            del self._of[wait.caller]
        return True

    def late(self, at: float) -> Iterator[LevelWait | EndWait]:
        """The waits whose time has passed; they leave the table."""
        for wait in self._all():
            if self._due(wait) <= at:
                self.remove(wait)
                yield wait

    def _due(self, wait: LevelWait | EndWait) -> float:
        """When the wait times out. Until its request was answered, it gets some seconds more: that answer may end it."""
        looks = wait in self._news if isinstance(wait, LevelWait) else not wait.cancel and wait not in self._after
        return wait.give_up_at + (LOOK_SECONDS if looks else 0.0)

    def drop(self, identity: bytes) -> None:
        """A client is gone: so are its waits."""
        for wait in self._all():
            if wait.caller.identity == identity:
                self.remove(wait)
        self._until = {caller: until for caller, until in self._until.items() if caller.identity != identity}

    @property
    def next_due(self) -> float | None:
        """When the next wait's time passes."""
        return min((self._due(wait) for wait in self._all()), default=None)
