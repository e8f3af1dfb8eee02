"""The store's actor: group commit. It takes what is in its inbox, commits once, answers all.

Rule 1: `Committed` is sent after the commit returned, never before. Rule 2: no delay is added when the inbox is empty, and
under load a batch grows by itself. Rule 3: when the disk refuses, admissions are refused and facts are kept and retried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crewd.actors import Actor, Lane, Ref
from crewd.protocol.errors import Conflict, InvariantError, Refused, StoreUnavailable
from crewd.protocol.events import Draft, Event, RunCreated
from crewd.protocol.receipts import Level
from crewd.protocol.rows import AskRow, AttemptRow, MessageRow, NoticeRow, OperationRow, RunRow, TaskRow
from crewd.store.cache import Cache
from crewd.store.fold import attempt_key, fold
from crewd.store.messages import (
    Append,
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
    Published,
    Put,
    Rejected,
)
from crewd.store.overlay import FLUSH_SECONDS, Overlay

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
SEQS_MAX = 10_000
"""Runs whose last seq is remembered; beyond it the memory is emptied and filled again from the database."""


@dataclass(frozen=True, slots=True)
class _Flush:
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
        self._failing = False
        self._told = 0  # how many of the batch have been told that they are delayed
        self._flush: Timer | None = None
        self._seqs: dict[str, tuple[int, str]] = {}

    def on_start(self) -> None:
        """Open the database; raises StoreUnavailable if that fails."""
        self._database = self._open()
        self._reader = self._open_reader()
        self._cache = Cache(self._database)
        self._seq = self._database.last_seq()

    def on_stop(self) -> None:
        """Write what waits and close."""
        database = getattr(self, "_database", None)
        if database is None:
            return
        try:
            if self._overlay.waiting:
                database.commit((), (), self._overlay.take())
                self._overlay.written()
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
            case Load() | LoadLive() | LoadAttempt():
                self._loads.append(message)
            case Put(key, value):
                self._overlay.put(key, value)
                if self._flush is None:
                    self._flush = self.context.after(FLUSH_SECONDS, _Flush())
            case _Flush():
                self._flush = None
            case _:
                raise TypeError(f"the store does not know {message!r}")

    def on_turn_end(self) -> None:
        """Commit the batch."""
        if self._failing and self._flush is not None:
            self._refuse_admissions()
            self._answer_loads()
            return
        if self._batch or (self._flush is None and self._overlay.waiting):
            self._commit()
        elif self._flush is None:
            self._failing = False  # whatever was refused, nothing waits for this disk any more
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
        if run is not None:
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
        for append in kept[self._told :]:
            append.reply_to.offer(Delayed(append.token), lane=Lane.CONTROL)
        self._told = len(kept)

    def _commit(self) -> None:
        answers: list[tuple[Ref[Any], Committed | Known | Rejected]] = []
        events: list[Event] = []
        seq = self._seq
        requests: list[tuple[str, bytes | None]] = []
        seqs: dict[str, tuple[int, str]] = {}
        self._cache.look_for([append.guard.id for append in self._batch if isinstance(append.guard, NewMessage)])
        for append in self._batch:
            refused = self._check(append.guard, requests)
            if refused is not None:
                answers.append((append.reply_to, _with_token(refused, append.token)))
                continue
            mine = []
            for draft in append.drafts:
                seq += 1
                event = self._place(draft, seq, seqs)
                fold(self._cache, event)
                mine.append(event)
                if isinstance(append.guard, NewRun) and append.guard.request_id and isinstance(draft.body, RunCreated):
                    made = f"{draft.run} {append.guard.digest}"
                    requests.append((f"request:{append.guard.request_id}", made.encode()))
            events += mine
            row = self._cache.get(MessageRow, append.guard.id) if isinstance(append.guard, NewMessage) else None
            answers.append((append.reply_to, Committed(append.token, tuple(mine), row.receipt if row else None)))
        try:
            if events or self._overlay.waiting:
                self._database.commit(events, self._cache.changed(), [*self._overlay.take(), *requests])
        except StoreUnavailable:
            self._keep_trying()
            return
        self._overlay.written()
        receipts = tuple(row.receipt for _, _, row in self._cache.changed() if isinstance(row, MessageRow))
        self._cache.settle()
        self._failing, self._batch, self._told, self._seq = False, [], 0, seq
        self._seqs.update(seqs)
        if len(self._seqs) > SEQS_MAX:
            self._seqs.clear()
        for reply_to, answer in answers:
            reply_to.offer(answer, lane=Lane.CONTROL)
        listener = self._listener()
        if events and listener is not None:
            listener.offer(Published(tuple(events), receipts))

    def _keep_trying(self) -> None:
        """Nothing was written: forget what was folded, keep the facts, refuse the admissions, come back soon."""
        self._failing = True
        self._cache.clear()
        self._refuse_admissions()
        if self._flush is None:
            self._flush = self.context.after(RETRY_SECONDS, _Flush())

    def _place(self, draft: Draft, seq: int, seqs: dict[str, tuple[int, str]]) -> Event:
        run = draft.run
        known = seqs.get(run) or self._seqs.get(run)
        if isinstance(draft.body, RunCreated):
            known = (0, draft.body.request_id)
        elif known is None:
            row = self._cache.get(RunRow, run) if run else None
            known = (self._database.last_seq_of(run) if run else 0, row.request_id if row else "")
        parent, correlation = known
        seqs[run] = (seq, correlation)
        return Event(
            seq=seq, event_id=f"{self._database.store_id}-{seq}", parent=parent, run=run, task=draft.task,
            epoch=draft.epoch, causation=draft.causation, correlation=correlation, provenance=draft.provenance,
            at=self._clock.wall(), body=draft.body,
        )  # fmt: skip

    def _check(self, guard: Guard | None, requests: list[tuple[str, bytes | None]]) -> Known | Rejected | None:
        match guard:
            case None:
                return None
            case NewAttempt(run, task):
                run_row, task_row = self._cache.get(RunRow, run), self._cache.get(TaskRow, task)
                cancel = (run_row and run_row.cancel) or (task_row and task_row.cancel)
                return Rejected(0, Refused("the run was cancelled", reason=cancel.reason)) if cancel else None
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
                taken = self._database.run_named(name) or any(
                    isinstance(row, RunRow) and row.name == name for _, _, row in self._cache.changed()
                )
                if taken:
                    return Rejected(0, Conflict(f"a run named {name} exists", hint="choose another --name", name=name))
                return None

    def _known_run(self, made: str, digest: str) -> Known | Rejected:
        run, _, made_digest = made.partition(" ")
        row = self._cache.get(RunRow, run)
        if row is None:
            raise InvariantError(f"request names run {run}, which does not exist")
        if made_digest == digest:
            return Known(0, row)
        return Rejected(0, Conflict(f"the request id of run {row.name} was used for another run", hint="use a new request id"))


def _with_token(answer: Known | Rejected, token: int) -> Known | Rejected:
    match answer:
        case Known(_, row):
            return Known(token, row)
        case Rejected(_, error):
            return Rejected(token, error)
