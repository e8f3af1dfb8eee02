"""What one says to the store's actors and what they answer.

Tests: tests/store/test_store.py, tests/supervisor/gateway/test_waiting.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from crewd.actors import Ref
    from crewd.model.budget import Used
    from crewd.model.errors import CrewdError
    from crewd.model.events import Draft, Event
    from crewd.model.receipts import Receipt
    from crewd.model.rows import AskRow, AttemptRow, MessageRow, NoticeRow, OperationRow, RunRow, TaskRow
    from crewd.protocol.keeping import KeepRequest
    from crewd.protocol.replies import Reply
    from crewd.protocol.requests import Doctor, Request


StandingRow: TypeAlias = "RunRow | TaskRow | AskRow | AttemptRow"
"""A row that says how a run stands."""


class NewMessage(msgspec.Struct, frozen=True):
    """Append only if this message id is new; the digest tells a repeat from a conflict."""

    id: str
    digest: str


class NewRun(msgspec.Struct, frozen=True):
    """Append only if this request id is new and the run's name is free.

    With a `refusal` nothing is appended: the answer is the run of the request id, if it has one, else the refusal.
    """

    request_id: str
    digest: str
    name: str = ""
    refusal: CrewdError | None = None


class NewHooks(msgspec.Struct, frozen=True):
    """Append only if the run keeps no hooks that were told of by this request. Not an admission."""

    run: str
    id: str


class NewAttempt(msgspec.Struct, frozen=True):
    """Append only if neither the run nor the task was cancelled: nothing starts after a tombstone.

    Not an admission: when the disk is full, it waits. Refused with the cancel's reason in the error's values.
    """

    run: str
    task: str


class Removal(msgspec.Struct, frozen=True):
    """Append only if the run has ended, exists, and nothing was recorded of it after `last_seq`."""

    run: str
    last_seq: int
    archive: bool = False


class Arrival(msgspec.Struct, frozen=True):
    """Append only if no run has this id or this name, and none of this id was forgotten.

    If it `replaces` the run that is here under both, it is a `Removal` of that one.
    """

    run: str
    name: str
    replaces: bool = False
    last_seq: int = 0


Guard = NewMessage | NewRun | NewAttempt | NewHooks | Removal | Arrival


class Append(msgspec.Struct, frozen=True):
    """Make these events durable, all or none. A `guard` for a message or run marks new work, refused when the disk is full.

    Samples (`events.SAMPLES`) alone wait for what is written next, or for their window.
    """

    drafts: tuple[Draft, ...]
    reply_to: Ref[Journaled]
    token: int
    guard: Guard | None = None


class Committed(msgspec.Struct, frozen=True):
    """The events are on disk; readers that ask for a `Flush` see them.

    `receipt` is of the message that the guard named; `live` are the rows of the run that it admitted.
    """

    token: int
    events: tuple[Event, ...]
    receipt: Receipt | None = None
    live: LiveRun | None = None


class Known(msgspec.Struct, frozen=True):
    """The guard found the same thing made before; nothing was written."""

    token: int
    row: MessageRow | RunRow


class Rejected(msgspec.Struct, frozen=True):
    """Nothing was written and nothing will be."""

    token: int
    error: CrewdError


class Delayed(msgspec.Struct, frozen=True):
    """The disk refuses; the store keeps the events and goes on trying. `Committed` follows, or the store's own end."""

    token: int


Journaled: TypeAlias = Committed | Known | Rejected | Delayed
"""The store's answers to an `Append`."""


class Put(msgspec.Struct, frozen=True):
    """A coalesced value; None deletes the key. It is on disk with the next flush, or when its window closes."""

    key: str
    value: bytes | None
    window_seconds: float = 0.05


class Flush(msgspec.Struct, frozen=True):
    """Write into the tables what is committed, so that it can be read. `Flushed` follows."""

    reply_to: Ref[Flushed]


class Flushed(msgspec.Struct, frozen=True):
    """Answers `Flush`: what was committed before can be read. `stale`: it cannot, the disk refuses."""

    stale: bool = False


class Published(msgspec.Struct, frozen=True):
    """Events just committed, and what they changed that somebody may wait for, as it is after them. For the gateway.

    `rows` are runs, tasks, questions and attempts that have ended, or do not go on by themselves, or were begun again.
    """

    events: tuple[Event, ...]
    receipts: tuple[Receipt, ...] = ()
    rows: tuple[StandingRow, ...] = ()


class Echo(msgspec.Struct, frozen=True):
    """For the gateway, which sends it back: what came before it has gone to clients then."""

    reply_to: Ref[Echo]


class Missed(msgspec.Struct, frozen=True):
    """For the gateway, as soon as it takes messages again.

    Some `Published` up to the event `upto` were lost to a full inbox.
    """

    upto: int


class Stand(msgspec.Struct, frozen=True):
    """How does this run stand? `Standing` answers it.

    `attempts`: with its attempts that left a process, or saw one that nobody owns.
    """

    run: str
    attempts: bool
    reply_to: Ref[Answer]
    token: int


class Standing(msgspec.Struct, frozen=True):
    """A run with its tasks, its open questions and what else was asked for, as they are after the event `upto`."""

    rows: tuple[StandingRow, ...]
    upto: int


class Overfull(msgspec.Struct, frozen=True):
    """A run has written more into the store than it may. For the run; told again as long as it goes on writing."""

    size: int
    most: int


class Read(msgspec.Struct, frozen=True):
    """Answer a client's question from the read-only side. `owner` is who asks.

    `stale_ok`: an answer that says that it is stale is better than none.
    """

    request: Request
    reply_to: Ref[Answer]
    token: int
    owner: str = ""
    stale_ok: bool = False


class Keep(msgspec.Struct, frozen=True):
    """Something to be done by the keeper, for `owner`; `force`: it may also be done with what others own."""

    request: KeepRequest | Doctor
    reply_to: Ref[Answer]
    token: int
    owner: str
    force: bool = False


class ScrubOutput(msgspec.Struct, frozen=True):
    """An attempt is over: its output loses what secrets it holds, and these `values`. For the keeper."""

    task: str
    epoch: int
    values: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """The answer to a `Read`, a `Keep`, a `Resolve` or a `Stand`."""

    token: int
    reply: Reply | Resolved | Standing | CrewdError


class Resolve(msgspec.Struct, frozen=True):
    """What a selector means: an id, a unique prefix or ending, a name, each with or without `/STEP`."""

    selector: str
    reply_to: Ref[Answer]
    token: int


class Resolved(msgspec.Struct, frozen=True):
    """A run and, if the selector named one, a task. `note` says what became of a question that is answered or over."""

    run: RunRow
    task: str
    note: str = ""


class LoadLive(msgspec.Struct, frozen=True):
    """The ids of all runs that have not ended, or have messages that have not settled: what a start begins with.

    For the store.
    """

    reply_to: Ref[LiveRuns]


class LiveRuns(msgspec.Struct, frozen=True):
    """Answers `LoadLive`. `attempts` are those that have not ended, as task and epoch."""

    runs: tuple[str, ...]
    attempts: tuple[tuple[str, int], ...] = ()


class Load(msgspec.Struct, frozen=True):
    """All rows of one run, as they are after everything that was told to the store before. For the store."""

    run: str
    reply_to: Ref[LiveRun | NoRun]


class NoRun(msgspec.Struct, frozen=True):
    """Answers `Load` of a run that is not here any more: it was forgotten, or is archived."""

    run: str


class LoadAttempt(msgspec.Struct, frozen=True):
    """The row of one attempt, as it is after everything that was told to the store before. For the store."""

    task: str
    epoch: int
    reply_to: Ref[AttemptIs]


class AttemptIs(msgspec.Struct, frozen=True):
    """Answers `LoadAttempt`; no row: there never was such an attempt."""

    task: str
    epoch: int
    row: AttemptRow | None


class LiveRun(msgspec.Struct, frozen=True):
    """Answers `Load`. `below`: what the workers of each run of `RunRow.below` have used by that run's own rows."""

    run: RunRow
    tasks: tuple[TaskRow, ...]
    attempts: tuple[AttemptRow, ...]
    messages: tuple[MessageRow, ...]
    asks: tuple[AskRow, ...]
    operations: tuple[OperationRow, ...]
    notices: tuple[NoticeRow, ...] = ()
    below: dict[str, Used] = {}


ToStore: TypeAlias = Append | Put | Flush | Load | LoadLive | LoadAttempt
"""What the store takes from others."""
ToReader: TypeAlias = Read | Resolve | Stand
"""What the reader takes from others."""
ToKeeper: TypeAlias = Keep | ScrubOutput
"""What the keeper takes from others."""
