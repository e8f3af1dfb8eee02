"""The store's actor: group commit. It takes what is in its inbox, commits once, answers all.

Rule 1: `Committed` is sent after the commit returned, never before. Rule 2: no delay is added when the inbox is empty, and
under load a batch grows by itself; samples and coalesced values wait for what is durable, or for their window.
Rule 3: when the disk refuses, admissions are refused, facts are kept and retried, and a reserve is given up for them.
Rule 4: an append that cannot be folded is answered so and changes nothing; those beside it are committed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crewd.actors import Actor, Lane, Ref
from crewd.protocol.errors import Busy, Conflict, InvariantError, Refused, StoreDamaged, StoreUnavailable
from crewd.protocol.events import SAMPLES, Draft, Event, RunArchived, RunCreated, RunForgotten
from crewd.protocol.receipts import Level
from crewd.protocol.rows import AskRow, AttemptRow, ForgottenRow, MessageRow, NoticeRow, OperationRow, RunRow, TaskRow
from crewd.protocol.statuses import RUN_TERMINAL
from crewd.store.cache import Cache
from crewd.store.fold import attempt_key, fold
from crewd.store.messages import (
    Append,
    Arrival,
    AttemptIs,
    Committed,
    Delayed,
    Guard,
    Known,
    LiveRun,
    LiveRuns,
    Load,
    LoadAttempt,
    LoadLive,
    NewAttempt,
    NewMessage,
    NewRun,
    NoRun,
    Published,
    Put,
    Rejected,
    Removal,
)
from crewd.store.overlay import FLUSH_SECONDS, Overlay
from crewd.store.places import Places

if TYPE_CHECKING:
    from crewd.actors.timers import Timer
    from crewd.clock import Clock
    from crewd.store.ports import Reading, Writing

RETRY_SECONDS = 0.5
"""Between two tries on a disk that refuses."""
PENDING_MAX = 20_000
"""Appends kept while the disk refuses; one more ends this actor (its supervisor starts it again, crewd says so)."""
LOAD_MAX = 1_000_000
"""Rows of one kind read at once; more than a run can have."""
SWEEP_ROWS = 500
"""Deleted at a time of a run that was forgotten: some milliseconds, so that nobody waits for it noticeably."""
SWEEP_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class _Flush:
    pass


@dataclass(frozen=True, slots=True)
class _Sweep:
    pass


class StoreActor(Actor):
    """Owns the writing connection. `listener` hears every committed event."""

    data_max = 100_000
    batch_max = 1_024
    turn_seconds = 0.02

    def __init__(
        self,
        open_database: Callable[[], Writing],
        open_reader: Callable[[], Reading],
        clock: Clock,
        overlay: Overlay,
        listener: Callable[[], Ref[Any] | None],
    ) -> None:
        super().__init__()
        self._open = open_database
        self._open_reader = open_reader
        self._loads: list[Load | LoadLive | LoadAttempt] = []
        self._clock = clock
        self._overlay = overlay
        self._listener = listener
        self._batch: list[Append] = []
        self._hurry = False  # somebody waits for what is in the batch
        self._failing = False
        self._low = False  # the reserve is used up: no new work until there is room for another one
        self._told = 0  # how many of the batch have been told that they are delayed
        self._flush: Timer | None = None
        self._flush_at = 0.0
        self._sweeping = False
        self._touched: set[str] = set()  # runs of which the batch that is being folded has events,
        self._removed: set[str] = set()  # and those that it takes away

    def on_start(self) -> None:
        """Open the database; raises StoreUnavailable if that fails."""
        self._database = self._open()
        self._reader = self._open_reader()
        self._cache = Cache(self._database)
        self._places = Places(self._database, self._cache)
        self._seq = self._database.last_seq()
        self._low = not self._database.restock()
        if self._low:
            self._flush_within(RETRY_SECONDS)
        self._sweep_soon()

    def on_stop(self) -> None:
        """Write what waits and close."""
        database = getattr(self, "_database", None)
        if database is None:
            return
        try:
            if not self._failing:
                self._commit()
        finally:
            self._reader.close()
            database.close()

    def receive(self, message: Any) -> None:
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
            case _Flush():
                self._flush = None
                self._hurry = True
                self._low = self._low and not self._database.restock()  # not at each turn: to try takes room that others need
            case _Sweep():
                self._sweeping = False
                try:
                    if self._database.sweep(SWEEP_ROWS):
                        self._sweep_soon(SWEEP_SECONDS)
                except StoreUnavailable:
                    self._sweep_soon(RETRY_SECONDS)
            case _:
                raise TypeError(f"the store does not know {message!r}")

    def _sweep_soon(self, seconds: float = SWEEP_SECONDS) -> None:
        if not self._sweeping:
            self._sweeping = True
            self.context.after(seconds, _Sweep())

    def _flush_within(self, seconds: float) -> None:
        """A flush comes at the latest then: the shortest window of what waits counts. One that is due is never put off."""
        due_at = self.context.now() + seconds
        if self._flush is not None and (self._failing or self._flush_at <= due_at):
            return
        if self._flush is not None:
            self._flush.cancel()
        self._flush, self._flush_at = self.context.after(seconds, _Flush()), due_at

    def on_turn_end(self) -> None:
        """Commit the batch, if somebody waits for it."""
        waits = self._failing and self._flush is not None  # for the next look at a disk that refuses
        if self._hurry and not waits:
            self._hurry = False
            self._commit()
        elif waits:
            self._refuse_admissions()
        self._answer_loads()

    def _answer_loads(self) -> None:
        """Reading needs no disk that takes writes; but a run whose events wait for it would be read as it was before them."""
        waiting = {draft.run for append in self._batch for draft in append.drafts}
        loads, self._loads = self._loads, []
        for load in loads:
            if isinstance(load, Load) and load.run in waiting:
                self._loads.append(load)
            else:
                self._answer(load)

    def _answer(self, load: Load | LoadLive | LoadAttempt) -> None:
        if isinstance(load, LoadAttempt):
            attempt = self._reader.row(AttemptRow, attempt_key(load.task, load.epoch))
            load.reply_to.offer(AttemptIs(load.task, load.epoch, attempt), lane=Lane.CONTROL)
            return
        if isinstance(load, LoadLive):
            found = [run.id for run in reversed(self._reader.runs(ended=False, limit=LOAD_MAX))]
            levels = [level for level in Level if level is not Level.SETTLED]
            mails = [row for level in levels for row in self._reader.rows_with(MessageRow, level, LOAD_MAX)]
            found += [row.receipt.run for row in mails if row.receipt.run]  # one that has ended must still answer these
            load.reply_to.offer(LiveRuns(tuple(dict.fromkeys(found))), lane=Lane.CONTROL)
            return
        run, rows = self._reader.row(RunRow, load.run), self._reader.rows_of
        if run is None or run.archived:
            load.reply_to.offer(NoRun(load.run), lane=Lane.CONTROL)
        else:
            live = LiveRun(
                run=run,
                tasks=tuple(rows(TaskRow, run.id, LOAD_MAX)),
                attempts=tuple(rows(AttemptRow, run.id, LOAD_MAX)),
                messages=tuple(rows(MessageRow, run.id, LOAD_MAX)),
                asks=tuple(rows(AskRow, run.id, LOAD_MAX)),
                operations=tuple(rows(OperationRow, run.id, LOAD_MAX)),
                notices=tuple(rows(NoticeRow, run.id, LOAD_MAX)),
            )
            load.reply_to.offer(live, lane=Lane.CONTROL)

    def _refuse_admissions(self) -> None:
        kept: list[Append] = []
        for append in self._batch:
            if not isinstance(append.guard, NewMessage | NewRun):
                kept.append(append)
            else:
                error = StoreUnavailable("the disk is full or failing: no new work is admitted", hint="free disk space")
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
        answers: list[tuple[Ref[Any], Committed | Known | Rejected]] = []
        events: list[Event] = []
        requests: list[tuple[str, bytes | None]] = []
        self._touched.clear()
        self._removed.clear()
        self._cache.look_for([append.guard.id for append in self._batch if isinstance(append.guard, NewMessage)])
        for append in self._batch:
            refused = self._check(append.guard, requests)
            if refused is not None:
                answers.append((append.reply_to, _with_token(refused, append.token)))
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
            self._touched.update(event.run for event in mine)
            self._removed.update(event.run for event in mine if isinstance(event.body, RunForgotten | RunArchived))
            row = self._cache.get(MessageRow, append.guard.id) if isinstance(append.guard, NewMessage) else None
            answers.append((append.reply_to, Committed(append.token, tuple(mine), row.receipt if row else None)))
        try:
            if events or self._overlay.waiting:
                self._database.commit(events, self._cache.changed(), [*self._overlay.take(), *requests])
        except StoreDamaged:
            raise
        except StoreUnavailable:
            self._keep_trying()
            return
        self._overlay.written()
        receipts = tuple(row.receipt for _, _, row in self._cache.changed() if isinstance(row, MessageRow))
        self._cache.settle()
        self._places.keep()
        self._failing, self._batch, self._told, self._seq = False, [], 0, self._seq + len(events)
        if self._low and self._flush is None:
            self._flush_within(RETRY_SECONDS)
        if any(isinstance(event.body, RunForgotten | RunArchived) for event in events):
            self._sweep_soon()
        for reply_to, answer in answers:
            reply_to.offer(answer, lane=Lane.CONTROL)
        listener = self._listener()
        if events and listener is not None:
            listener.offer(Published(tuple(events), receipts))

    def _keep_trying(self) -> None:
        """Nothing was written: forget what was folded, keep the facts, refuse the admissions.

        The reserve makes room for the facts, at once; without one they are tried again soon.
        """
        self._cache.clear()
        self._places.forget()
        if self._database.relieve():
            self._low = True
            self._commit()
            return
        self._failing = True
        self._refuse_admissions()
        self._flush_within(RETRY_SECONDS)

    def _fold(self, append: Append, seq: int) -> list[Event]:
        """The events of an append, folded. Raises InvariantError if they cannot follow what is there; then nothing changed."""
        events: list[Event] = []
        self._cache.begin()
        self._places.begin()
        try:
            for draft in append.drafts:
                seq += 1
                self._check_run(draft)
                parent, correlation = self._places.place(draft, seq)
                event = Event(
                    seq=seq, event_id=f"{self._database.store_id}-{seq}", parent=parent, run=draft.run, task=draft.task,
                    epoch=draft.epoch, causation=draft.causation, correlation=correlation, provenance=draft.provenance,
                    at=self._clock.wall(), body=draft.body,
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
        row = self._cache.get(RunRow, draft.run) if draft.run not in self._removed else None
        if row is None or row.archived:
            raise InvariantError(f"run {draft.run} is not here (any more)")

    def _check(self, guard: Guard | None, requests: list[tuple[str, bytes | None]]) -> Known | Rejected | None:
        match guard:
            case None:
                return None
            case NewAttempt(run, task):
                run_row, task_row = self._cache.get(RunRow, run), self._cache.get(TaskRow, task)
                cancel = (run_row and run_row.cancel) or (task_row and task_row.cancel)
                return Rejected(0, Refused("the run was cancelled", reason=cancel.reason)) if cancel else None
            case Removal(run, last_seq, archive):
                there = self._cache.get(RunRow, run)
                if there is None or there.status not in RUN_TERMINAL or run in self._touched:
                    return Rejected(0, Refused(f"run {run} is not over, or is gone", reason="live"))
                if archive and there.archived:
                    return Rejected(0, Refused(f"run {run} is archived already", reason="archived"))
                if self._database.last_seq_of_run(run) != last_seq:
                    return Rejected(0, Busy("something was just recorded of the run", hint="try again"))
                return None
            case Arrival(run, name, replaces, last_seq):
                there, gone = self._cache.get(RunRow, run), self._cache.get(ForgottenRow, run)
                if replaces and there is not None and there.name == name and gone is None:
                    return self._check(Removal(run, last_seq), requests)
                if there is not None or gone is not None or self._is_taken(name):
                    return Rejected(0, Conflict(f"a run of the id {run} or the name {name} is or was here", name=name))
                return None
            case NewMessage(key, digest):
                row = self._cache.get(MessageRow, key)
                if row is None:
                    return None
                if row.digest == digest:
                    return Known(0, row)
                return Rejected(
                    0, Conflict(f"message id {key} was used for another message", hint="use a new id", message_id=key)
                )
            case NewRun(request_id, digest, name):
                made = next((value for key, value in requests if key == f"request:{request_id}"), None)
                if made is None and request_id:
                    made = self._database.latest(f"request:{request_id}")
                if made is not None:
                    return self._known_run(made.decode(), digest)
                if self._is_taken(name):
                    return Rejected(0, Conflict(f"a run named {name} exists", hint="choose another --name", name=name))
                return None

    def _is_taken(self, name: str) -> bool:
        changed = (row for _, _, row in self._cache.changed())
        return self._database.run_named(name) or any(isinstance(row, RunRow) and row.name == name for row in changed)

    def _known_run(self, made: str, digest: str) -> Known | Rejected:
        run, _, made_digest = made.partition(" ")
        row = self._cache.get(RunRow, run)
        if row is None:
            return Rejected(0, Refused(f"this request made run {run}, which was forgotten", hint="use a new request id"))
        if made_digest == digest:
            return Known(0, row)
        return Rejected(0, Conflict(f"the request id of run {row.name} was used for another run", hint="use a new request id"))


def _with_token(answer: Known | Rejected, token: int) -> Known | Rejected:
    match answer:
        case Known(_, row):
            return Known(token, row)
        case Rejected(_, error):
            return Rejected(token, error)
