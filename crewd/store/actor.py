"""The store's actor: group commit. It takes what is in its inbox, commits once, answers all.

Rule 1: `Committed` is sent after the commit returned, never before. Rule 2: no delay is added when the inbox is empty, and
under load a batch grows by itself; samples wait for what is durable, or for their window. Only the commit log is written at
once: rows, indexes and coalesced values are flushed within `ROWS_SECONDS`, or as soon as somebody wants to read.
Rule 3: when the disk refuses, admissions are refused, facts are kept and retried, and a reserve is given up for them.
Rule 4: an append that cannot be folded is answered so and changes nothing; those beside it are committed.

Tests: tests/store/test_store.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from crewd.actors import Actor, Lane, Ref
from crewd.model.errors import InvariantError, StoreDamaged, StoreUnavailable
from crewd.model.events import (
    SAMPLES,
    Draft,
    Event,
    MessageAccepted,
    MessageApplied,
    MessageDelivered,
    MessageSettled,
    RunArchived,
    RunCreated,
    RunForgotten,
)
from crewd.model.receipts import Receipt
from crewd.model.rows import MessageRow, RunRow
from crewd.store.cache import Cache
from crewd.store.fold import fold
from crewd.store.guards import Guards
from crewd.store.loads import Loads
from crewd.store.messages import (
    Append,
    Arrival,
    Committed,
    Delayed,
    Flush,
    Flushed,
    Journaled,
    Known,
    Load,
    LoadAttempt,
    LoadLive,
    Missed,
    NewMessage,
    NewRun,
    Overfull,
    Published,
    Put,
    Rejected,
    Removal,
    ToStore,
)
from crewd.store.overlay import FLUSH_SECONDS, Overlay
from crewd.store.places import Branches
from crewd.store.ports import FREE_SPACE
from crewd.store.standing import standing_rows
from crewd.store.unflushed import Unflushed

if TYPE_CHECKING:
    from crewd.actors.timers import Timer
    from crewd.clock import Clock
    from crewd.store.ports import Reading, Writing

ROWS_SECONDS = 0.25
"""What is committed is in the tables at the latest after this: long enough that most rows are written once for many events."""
FLUSH_EVENTS = 1_024
"""Or when it is so much: a flush of these takes some 15 ms, in which nothing is committed. Per event it costs a third less than
one of 256, because many rows change several times in between."""
RETRY_SECONDS = 0.5
"""Between two tries on a disk that refuses."""
PENDING_MAX = 20_000
"""Appends kept while the disk refuses; one more ends this actor (its supervisor starts it again, crewd says so)."""
SWEEP_ROWS = 500
"""Deleted at a time of a run that was forgotten: some milliseconds, so that nobody waits for it noticeably."""
SWEEP_SECONDS = 0.02
_RECEIPT_CHANGES = (MessageAccepted, MessageDelivered, MessageApplied, MessageSettled)


class _Flush(msgspec.Struct, frozen=True):
    pass


class _Sweep(msgspec.Struct, frozen=True):
    pass


class StoreActor(Actor["ToStore | _Flush | _Sweep"]):
    """Owns the writing connection. `listener` hears every committed event.

    `quota`: bytes that one run may have written; `run_of` finds who must hear that it has written more (0: no bound).
    """

    data_max = 100_000
    batch_max = 1_024
    turn_seconds = 0.02

    def __init__(
        self,
        open_database: Callable[[], Writing],
        open_reader: Callable[[], Reading],
        clock: Clock,
        overlay: Overlay,
        listener: Callable[[], Ref[Published | Missed] | None],
        quota: int = 0,
        run_of: Callable[[str], Ref[Overfull] | None] = lambda _: None,
    ) -> None:
        super().__init__()
        self._open = open_database
        self._open_reader = open_reader
        self._loads: list[Load | LoadLive | LoadAttempt] = []
        self._clock = clock
        self._overlay = overlay
        self._listener = listener
        self._quota = quota
        self._run_of = run_of
        self._batch: list[Append] = []
        self._hurry = False  # somebody waits for what is in the batch
        self._whole = False  # the rows in memory are the fold of what is committed, and of nothing more
        self._failing = ""  # why nothing can be written
        self._remedy = FREE_SPACE
        self._low = ""  # why the reserve is used up: no new work until there is room for another one
        self._told = 0  # how many of the batch have been told that they are delayed
        self._timer: Timer | None = None
        self._flush_at = 0.0
        self._due = False  # a flush must follow this turn,
        self._wait_for_flush: list[Ref[Flushed]] = []  # for these or for others
        self._unflushed = Unflushed()
        self._missed = False  # the gateway was not told of everything
        self._sweeping = False

    def on_start(self) -> None:
        """Open the database, and flush what a crash has left. Raises StoreUnavailable if it cannot be opened."""
        self._overlay.behind = True
        self._database = self._open()
        self._reader = self._open_reader()
        self._cache = Cache(self._database)
        self._places = Branches(self._database, self._cache)
        self._guards = Guards(self._cache, self._database, self._unflushed, self._quota)
        self._answers = Loads(self._cache, self._reader, self._unflushed)
        self._seq = self._database.last_seq()
        for event in self._database.unflushed():
            self._places.remember(event)
        self._fold_unflushed()
        self._low = self._database.restock()
        self._write_tables()
        if self._low:
            self._flush_within(RETRY_SECONDS)
        self._overlay.refuses(self._low)
        self._sweep_soon()

    def on_stop(self) -> None:
        """Write what waits and close."""
        database = getattr(self, "_database", None)
        if database is None:
            return
        try:
            if not self._failing and self._whole:
                self._commit()
            if self._whole:
                self._write_tables()
        finally:
            self._reader.close()
            database.close()

    def receive(self, message: ToStore | _Flush | _Sweep) -> None:
        """Collect; `on_turn_end` commits."""
        match message:
            case Append():
                if len(self._batch) >= PENDING_MAX:
                    raise StoreUnavailable("the disk refuses writes and too much waits for it")
                self._batch.append(message)
                if message.guard is None and all(isinstance(draft.body, SAMPLES) for draft in message.drafts):
                    self._flush_within(FLUSH_SECONDS)
                else:
                    self._hurry = True
            case Load() | LoadLive() | LoadAttempt():
                self._loads.append(message)
                self._hurry = True
            case Put(key, value, window_seconds):
                self._overlay.put(key, value)
                self._flush_within(window_seconds)
            case Flush(reply_to):
                self._wait_for_flush.append(reply_to)
                self._hurry = self._due = True
            case _Flush():
                self._timer = None
                self._hurry = self._due = True
                self._low = self._low and self._database.restock()  # not at each turn: to try takes room that others need
            case _Sweep():
                self._sweeping = False
                try:
                    if self._database.sweep(SWEEP_ROWS):
                        self._sweep_soon(SWEEP_SECONDS)
                except StoreUnavailable:
                    self._sweep_soon(RETRY_SECONDS)
            case _:
                self.unexpected(message)

    def _sweep_soon(self, seconds: float = SWEEP_SECONDS) -> None:
        if not self._sweeping:
            self._sweeping = True
            self.context.after(seconds, _Sweep())

    def _flush_within(self, seconds: float) -> None:
        """A flush comes at the latest then: the shortest window of what waits counts. One that is due is never put off."""
        due_at = self.context.now() + seconds
        if self._timer is not None and (self._failing or self._flush_at <= due_at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._flush_at = self.context.after(seconds, _Flush()), due_at

    def on_turn_end(self) -> None:
        """Commit the batch, if somebody waits for it; flush, if it is time or somebody wants to read."""
        waits = bool(self._failing) and self._timer is not None  # for the next look at a disk that refuses
        if self._hurry and not waits:
            self._hurry = False
            self._commit()
        elif waits:
            self._refuse_admissions()
        if self._due:
            self._due = False
            self._write_tables()
        self._overlay.waits = bool(self._failing and self._batch)
        for reader in self._wait_for_flush:
            reader.offer(Flushed(stale=self._overlay.behind or self._overlay.waits), lane=Lane.CONTROL)
        self._wait_for_flush.clear()
        self._answer_loads()
        self._overlay.refuses(self._failing or self._low)

    def _answer_loads(self) -> None:
        """Reading needs no disk that takes writes; but a run whose events wait for it would be read as it was before them."""
        waiting = {draft.run for append in self._batch for draft in append.drafts}
        loads, self._loads = self._loads, []
        for load in loads:
            if isinstance(load, Load) and load.run in waiting:
                self._loads.append(load)
            else:
                self._answers.answer(load)

    def _refuse_admissions(self) -> None:
        kept: list[Append] = []
        for append in self._batch:
            if not isinstance(append.guard, NewMessage | NewRun):
                kept.append(append)
            else:
                said = f"the disk is full or failing ({self._failing or self._low}): no new work is admitted"
                error = StoreUnavailable(said, hint=self._remedy)
                append.reply_to.offer(Rejected(append.token, error), lane=Lane.CONTROL)
        self._batch = kept
        if not self._failing:
            return
        for append in kept[self._told :]:
            append.reply_to.offer(Delayed(append.token), lane=Lane.CONTROL)
        self._told = len(kept)

    def _commit(self) -> None:
        if self._low:
            self._refuse_admissions()
        if any(isinstance(append.guard, Removal | Arrival) for append in self._batch):
            self._write_tables()  # these look at what is in the tables
        answers: list[tuple[Ref[Journaled], Committed | Known | Rejected]] = []
        events: list[Event] = []
        requests: list[tuple[str, bytes | None]] = []
        self._whole = False
        self._cache.look_for([append.guard.id for append in self._batch if isinstance(append.guard, NewMessage)])
        for append in self._batch:
            refused = self._guards.refuse(append, requests)
            if refused is not None:
                answers.append((append.reply_to, refused))
                continue
            try:
                mine = self._fold(append, self._seq + len(events))
            except InvariantError as error:
                answers.append((append.reply_to, Rejected(append.token, error)))
                continue
            if isinstance(append.guard, NewRun) and append.guard.request_id:
                made = next(draft.run for draft in append.drafts if isinstance(draft.body, RunCreated))
                requests.append((f"request:{append.guard.request_id}", f"{made} {append.guard.digest}".encode()))
            events += mine
            self._unflushed.note(mine)
            answers.append((append.reply_to, self._committed(append, mine)))
        if events:
            try:
                self._database.commit(events, requests)
            except StoreDamaged:
                raise
            except StoreUnavailable as error:
                self._keep_trying(error)
                return
            self._overlay.behind = True
            self._unflushed.count += len(events)
            self._flush_within(ROWS_SECONDS)
        self._whole = True
        self._places.keep()
        self._failing, self._batch, self._told, self._seq = "", [], 0, self._seq + len(events)
        if self._low:
            self._flush_within(RETRY_SECONDS)
        if any(isinstance(event.body, RunForgotten | RunArchived) for event in events):
            self._write_tables()  # before anybody hears that the run is gone
        self._due = self._due or self._unflushed.count >= FLUSH_EVENTS
        for reply_to, answer in answers:
            reply_to.offer(answer, lane=Lane.CONTROL)
        if events:
            self._publish(events)

    def _committed(self, append: Append, events: Sequence[Event]) -> Committed:
        """The answer to an append whose events were folded, with what its sender wants to know next."""
        match append.guard:
            case NewMessage(key):
                row = self._cache.get(MessageRow, key)
                return Committed(append.token, tuple(events), row.receipt if row else None)
            case NewRun():
                return Committed(append.token, tuple(events), live=self._answers.live(events[0].run, in_tables=False))
            case _:
                return Committed(append.token, tuple(events))

    def _publish(self, events: Sequence[Event]) -> None:
        """Tell the gateway; if its inbox is full, tell it later that it has missed something."""
        listener = self._listener()
        if listener is None:  # a new one begins with nothing
            self._missed = False
        elif self._tell_of_missed(listener):
            published = Published(tuple(events), self._receipts(events), tuple(standing_rows(events, self._cache)))
            self._missed = not listener.offer(published)

    def _tell_of_missed(self, listener: Ref[Published | Missed]) -> bool:
        """Whether the gateway knows, or was told now, that it has missed something."""
        self._missed = self._missed and not listener.offer(Missed(self._seq))
        return not self._missed

    def _receipts(self, events: Sequence[Event]) -> tuple[Receipt, ...]:
        """The receipts that these events have changed, as they are now."""
        changed = {event.body.id: None for event in events if isinstance(event.body, _RECEIPT_CHANGES)}
        rows = (self._cache.get(MessageRow, key) for key in changed)
        return tuple(row.receipt for row in rows if row is not None)

    def _write_tables(self) -> None:
        """Flush. A disk that refuses this, too, must have room before there is new work; what is committed stays so."""
        listener = self._listener()
        if listener is not None and not self._tell_of_missed(listener):
            self._flush_within(RETRY_SECONDS)
        if not self._unflushed.count and not self._overlay.waiting:
            self._overlay.behind = False
            return
        try:
            written = self._database.flush(self._cache.changed(), self._overlay.take())
        except StoreDamaged:
            raise
        except StoreUnavailable as error:
            self._low = str(error)
            if self._database.relieve():
                self._write_tables()
            else:
                self._flush_within(RETRY_SECONDS)
            return
        self._overlay.written()
        self._overlay.behind = False
        self._cache.settle()
        self._places.trim()
        if self._unflushed.removed:
            self._sweep_soon()
        self._unflushed.clear()
        for run, size in written.items() if self._quota else ():
            if size > self._quota:
                self._guards.overfull.add(run)
                owner = self._run_of(run)
                if owner is not None:
                    owner.offer(Overfull(size, self._quota), lane=Lane.CONTROL)
            else:
                self._guards.overfull.discard(run)

    def _keep_trying(self, error: StoreUnavailable) -> None:
        """Nothing was written: forget what was folded, keep the facts, refuse the admissions.

        The reserve makes room for the facts, at once; without one they are tried again soon.
        """
        self._places.forget()
        self._fold_unflushed()
        self._remedy = error.hint
        if self._database.relieve():
            self._low = error.message
            self._commit()
            return
        self._failing = error.message
        self._refuse_admissions()
        self._flush_within(RETRY_SECONDS)

    def _fold_unflushed(self) -> None:
        """Make those rows again that were changed by what is committed and not flushed."""
        self._cache.clear()
        self._unflushed.clear()
        events = self._database.unflushed()
        for event in events:
            self._cache.begin()
            fold(self._cache, event)
        self._unflushed.note(events)
        self._unflushed.count, self._whole = len(events), True

    def _fold(self, append: Append, seq: int) -> list[Event]:
        """The events of an append, folded. Raises InvariantError if they cannot follow what is there; then nothing changed."""
        events: list[Event] = []
        store_id, at, run = self._database.store_id, self._clock.wall(), ""
        self._cache.begin()
        self._places.begin()
        try:
            for draft in append.drafts:
                seq += 1
                if draft.run != run:
                    run = draft.run
                    self._check_run(draft)
                parent, correlation = self._places.place(draft, seq)
                event = Event(
                    seq=seq, event_id=f"{store_id}-{seq}", parent=parent, run=run, task=draft.task, epoch=draft.epoch,
                    causation=draft.causation, correlation=correlation, provenance=draft.provenance, at=at, body=draft.body,
                )  # fmt: skip
                fold(self._cache, event)
                events.append(event)
        except InvariantError:
            self._cache.take_back()
            self._places.take_back()
            raise
        return events

    def _check_run(self, draft: Draft) -> None:
        """Late news never revives a run that was forgotten or archived."""
        if not draft.run or isinstance(draft.body, RunCreated | RunArchived | RunForgotten):
            return
        row = None if draft.run in self._unflushed.removed else self._cache.get(RunRow, draft.run)
        if row is None or row.archived:
            raise InvariantError(f"run {draft.run} is not here (any more)")
