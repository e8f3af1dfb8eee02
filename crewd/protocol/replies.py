"""What clients hear: one struct per kind of reply, and the table of them.

Every request is answered by exactly one reply with the request's id; a subscription's notes carry the id of its request.

Tests: tests/protocol/test_wire_page.py, tests/witness/test_witness.py.
"""

from __future__ import annotations

import msgspec

from crewd.model.errors import ErrorInfo
from crewd.model.events import Event
from crewd.model.news import NewsItem
from crewd.model.receipts import Receipt
from crewd.model.rows import (
    ArtifactRow,
    AskRow,
    AttemptRow,
    Backlog,
    MessageRow,
    NoticeRow,
    OperationRow,
    Progress,
    RunRow,
    Survivor,
    TaskRow,
    Usage,
)
from crewd.protocol.keeping import KEEP_REPLIES, KeepReply


class Welcome(msgspec.Struct, frozen=True):
    """The answer to `Hello`: the client may speak now.

    `incarnation` changes when the gateway was restarted: what was asked of the one before is not answered any more, and
    its subscriptions are gone. Ask again, with the same ids. `owner` is whom crewd takes the client for. One that is
    `draining` takes no new work.
    """

    daemon: str
    incarnation: str
    software: str
    role: int
    seq: int
    owner: str = ""
    draining: bool = False


class RunReply(msgspec.Struct, frozen=True):
    """A run; `existing` if the request id was known already."""

    run: RunRow
    existing: bool = False


class ClaimReply(msgspec.Struct, frozen=True):
    """The claim stands until `until` (wall-clock seconds)."""

    task: str
    until: float


class ReceiptReply(msgspec.Struct, frozen=True):
    """A receipt."""

    receipt: Receipt


class CancelReply(msgspec.Struct, frozen=True):
    """What became of a cancel: the status reached and who survived.

    `unowned` are processes of unknown owner that were there then: they came from this worker or from another one.
    """

    run: str
    status: str
    verified: bool
    task: str = ""
    survivors: tuple[Survivor, ...] = ()
    unowned: tuple[Survivor, ...] = ()


class EndReply(msgspec.Struct, frozen=True):
    """The run and, if one was asked for, the task that has ended, or for whose `attention` it does not go on."""

    run: RunRow
    task: TaskRow | None = None
    attention: str = ""


class RunsReply(msgspec.Struct, frozen=True):
    """Runs with their tasks and their tasks' latest progress. `stale`: see `ShowReply`.

    Runs are without their steps, variables and hooks, goals have their first 2,048 characters, and tasks are without their
    results. `before`: there may be older runs than these, and a request `runs` with it asks for them. Empty: there are none.
    """

    runs: tuple[RunRow, ...]
    tasks: tuple[TaskRow, ...]
    progress: tuple[Progress, ...] = ()
    usage: tuple[Usage, ...] = ()
    notices: tuple[NoticeRow, ...] = ()
    backlogs: tuple[Backlog, ...] = ()
    stale: bool = False
    before: str = ""


class ShowReply(msgspec.Struct, frozen=True):
    """Everything of one run. `seq` is the last event that this answer contains: subscribe from there.

    `events` and `bytes` are what was ever written for the run: events, and the bytes of events and artifacts.
    `stale`: the disk refuses writes, and this is the last state that was written; what was answered as durable is so.
    An answer is one frame. `left_out`: the ids of tasks whose results, and of artifacts whose bytes, did not fit: ask for a
    result with `await_end`. `shortened`: of these fields only the newest rows are here.
    """

    run: RunRow
    tasks: tuple[TaskRow, ...]
    attempts: tuple[AttemptRow, ...]
    messages: tuple[MessageRow, ...]
    asks: tuple[AskRow, ...]
    operations: tuple[OperationRow, ...]
    artifacts: tuple[ArtifactRow, ...]
    progress: tuple[Progress, ...]
    seq: int
    usage: tuple[Usage, ...] = ()
    notices: tuple[NoticeRow, ...] = ()
    backlogs: tuple[Backlog, ...] = ()
    events: int = 0
    bytes: int = 0
    stale: bool = False
    left_out: tuple[str, ...] = ()
    shortened: tuple[str, ...] = ()


class DeadReply(msgspec.Struct, frozen=True):
    """Dead letters, each with its final attempt. `more`: there are others, which come when these are dismissed or retried."""

    tasks: tuple[TaskRow, ...]
    attempts: tuple[AttemptRow, ...]
    more: bool = False


class MessagesReply(msgspec.Struct, frozen=True):
    """Messages with their receipts; there may be others before `before`, if it is not 0."""

    messages: tuple[MessageRow, ...]
    before: int = 0


class InboxReply(msgspec.Struct, frozen=True):
    """Open questions, notices, and what workers said that nobody has read. `stale`: see `ShowReply`.

    `more`: there are others, which come when the oldest are answered, closed or read.
    """

    asks: tuple[AskRow, ...]
    notices: tuple[NoticeRow, ...] = ()
    messages: tuple[MessageRow, ...] = ()
    stale: bool = False
    more: bool = False


class EventsReply(msgspec.Struct, frozen=True):
    """Events in order; `more` if the limit cut the answer. `upto` is how far the log was looked through.

    Of a request with `before`, `upto` is where to go on before, and 0 if there is nothing before it.
    """

    events: tuple[Event, ...]
    more: bool = False
    upto: int = 0


class NewsReply(msgspec.Struct, frozen=True):
    """News, oldest first; `upto` is how far the log was looked through, `more` if there may be others after it."""

    items: tuple[NewsItem, ...]
    upto: int
    more: bool = False


class Subscribed(msgspec.Struct, frozen=True):
    """The subscription stands; `seq` is the last event at this moment."""

    seq: int


class EventNote(msgspec.Struct, frozen=True):
    """An event of a subscription and its kind. `previous` is the seq of the event of this subscription before it.

    Seqs only grow; if `previous` was not heard, a frame was lost: subscribe again after what was.
    """

    event: Event
    previous: int = 0
    kind: str = ""


class ProgressNote(msgspec.Struct, frozen=True):
    """A sample of progress: not durable, the last one wins."""

    progress: Progress


class LogReply(msgspec.Struct, frozen=True):
    """Bytes of a log. `next` is the offset after them, `size` the log's end now, `ended` if nothing will follow.

    `offset` is where they begin: later than was asked for when the bytes before it are not kept any more. `epoch` is the
    attempt that they are of; if none was asked for, more may follow as long as the task is not over. `times` are marks
    (offset, wall-clock time): what stands before the offset, and not before the mark before it, was written by then.
    """

    data: bytes
    offset: int
    next: int
    size: int
    ended: bool
    epoch: int = 0
    times: tuple[tuple[int, float], ...] = ()


class ActorsOfClass(msgspec.Struct, frozen=True):
    """What the actors of one class do now and have done since crewd started.

    `depth` and `age_seconds` are of the control and the data lane: messages waiting, and for how long the oldest one has.
    `refused` counts messages that a full lane did not take, `peak` is the longest a lane has been.
    """

    name: str
    alive: int
    made: int
    restarts: int
    crashes: int
    depth: tuple[int, int]
    age_seconds: tuple[float, float]
    peak: int
    refused: int
    turns: int
    messages: int
    busy_seconds: float
    longest_turn_seconds: float


class BusyActor(msgspec.Struct, frozen=True):
    """A turn that took longer than the watchdog likes, and where it was when it was seen."""

    actor: str
    seconds: float
    stack: str


class DoctorReply(msgspec.Struct, frozen=True):
    """Findings in words and counts; `healthy` is the verdict. The rest is there if it was asked for."""

    healthy: bool
    findings: tuple[str, ...]
    counts: dict[str, int | float | str]
    actors: tuple[ActorsOfClass, ...] = ()
    busy: tuple[BusyActor, ...] = ()


class Reloaded(msgspec.Struct, frozen=True):
    """The keys of `crewd.toml` that have changed: `live` hold from now on, `waiting` when crewd starts again."""

    live: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


class Done(msgspec.Struct, frozen=True):
    """Carried out; there is nothing more to say."""


class ErrorReply(msgspec.Struct, frozen=True):
    """The request changed nothing. `receipt` says how far a message came when its wait ended."""

    error: ErrorInfo
    receipt: Receipt | None = None


Reply = (
    Welcome | RunReply | ClaimReply | ReceiptReply | CancelReply | EndReply | RunsReply | ShowReply | DeadReply
    | MessagesReply | InboxReply | EventsReply | NewsReply | Subscribed | EventNote | ProgressNote | LogReply | DoctorReply
    | Reloaded | Done | ErrorReply | KeepReply
)  # fmt: skip

REPLIES: dict[str, type[Reply]] = {
    "welcome": Welcome,
    "run": RunReply,
    "claimed": ClaimReply,
    "receipt": ReceiptReply,
    "cancelled": CancelReply,
    "ended": EndReply,
    "runs": RunsReply,
    "shown": ShowReply,
    "dead": DeadReply,
    "messages": MessagesReply,
    "inbox": InboxReply,
    "events": EventsReply,
    "news": NewsReply,
    "subscribed": Subscribed,
    "event": EventNote,
    "progress": ProgressNote,
    "log": LogReply,
    "doctor": DoctorReply,
    "reloaded": Reloaded,
    "done": Done,
    "error": ErrorReply,
    **KEEP_REPLIES,
}
