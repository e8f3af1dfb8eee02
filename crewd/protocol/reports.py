"""What workers say (reports) and hear (orders).

A worker numbers its reports 1, 2, 3 …; crewd answers `Ack(upto)` when they are durable, and the worker keeps what is not
acknowledged across reconnects. crewd sends a message again on every new connection until the worker has reported it
delivered; the worker knows a message by its id and takes it once.

A worker's requests carry ids, too: it asks again on every new connection until it has the reply.

Tests: tests/supervisor/attempt/test_decide.py, tests/worker/test_desk.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from crewd.model.errors import ErrorInfo
from crewd.model.hooks import HookRun
from crewd.model.message_kinds import MessageKind, Mode
from crewd.model.numbers import COUNT_MAX, Amount, Cost, Count, Seconds
from crewd.model.questions import QuestionKind
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq

OWN_KINDS = "crewd."
"""How kinds of operations begin that mean something to crewd."""
WAIT = f"{OWN_KINDS}wait"
"""The kind of an operation in which the worker only waits for others. Meanwhile it counts against no limit on workers."""


class WorkerHello(msgspec.Struct, frozen=True):
    """The first frame of a worker on every connection. `token` proves that it is who it says.

    `command` is the process of the command that it runs, if it runs one: what people see as the worker's pid.
    """

    task: str
    epoch: Count
    token: str
    pid: Count
    capabilities: tuple[str, ...] = ()
    software: str = ""
    command: Count = 0


class Heartbeat(msgspec.Struct, frozen=True):
    """The process lives; `beats` counts signs of life of the worker's own code (hung is not dead)."""

    beats: Count = 0


class ProgressReport(msgspec.Struct, frozen=True):
    """Progress: sampled, not numbered, the last one wins."""

    done: Amount | None = None
    total: Amount | None = None
    note: str = ""
    beats: Count = 0
    phase: str = ""


class Delivered(msgspec.Struct, frozen=True, tag="delivered"):
    """The runtime has the message. `effect` says if it did more than that: `interrupted`."""

    id: str
    effect: str = ""


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """The worker's code took the message. It was delivered, too, which need not have been reported."""

    id: str


class Settled(msgspec.Struct, frozen=True, tag="settled"):
    """The worker's code is done with the message, or refuses it. `applied`: it took it before, which was not reported."""

    id: str
    outcome: Literal["done", "refused"]
    reason: str = ""
    note: str = ""
    applied: bool = False


OF_MESSAGES = (Delivered, Applied, Settled)
"""Reports that say only how far a message came. They are many, and no worker waits for them to be durable."""


class Returned(msgspec.Struct, frozen=True, tag="returned"):
    """The runtime gives back a message that was recalled: the code never had it and never will."""

    id: str
    outcome: Literal["withdrawn", "expired"]


class Told(msgspec.Struct, frozen=True, tag="told"):
    """The worker has something to say to people: it goes into the mailbox of its task."""

    text: str
    priority: Literal["urgent", "normal", "low"] = "normal"
    reply_to: str = ""


class Read(msgspec.Struct, frozen=True, tag="read"):
    """The worker's code has read a message of its mailbox."""

    id: str


class Asked(msgspec.Struct, frozen=True, tag="asked"):
    """The worker waits for an answer. `default` is the one that it takes when `timeout_seconds` bring none.

    The worker makes the `id`: `q_` and 26 characters, as the other ids of crewd.
    """

    id: Annotated[str, msgspec.Meta(pattern="^q_[0-9a-z]{26}$")]
    question: str
    kind: QuestionKind = "text"
    choices: tuple[str, ...] = ()
    timeout_seconds: Seconds | None = None
    schema: object = None
    default: str | None = None


class AskOver(msgspec.Struct, frozen=True, tag="ask_over"):
    """The worker waits no more: `answered`, `expired`, `defaulted` or `cancelled`."""

    id: str
    outcome: Literal["answered", "expired", "defaulted", "cancelled"]
    answered_by: str = ""


class OpOpened(msgspec.Struct, frozen=True, tag="op_opened"):
    """An operation began. It may take `seconds` (0: as long as the worker's limits let every operation take).

    One that is `queued` has not begun yet: `OpStarted` says so, or it is closed as `skipped`.
    """

    id: str
    kind: str
    name: str
    seconds: Seconds = 0.0
    queued: bool = False
    priority: Literal["normal", "low"] = "normal"


class OpStarted(msgspec.Struct, frozen=True, tag="op_started"):
    """An operation that was queued has begun."""

    id: str


class OpClosed(msgspec.Struct, frozen=True, tag="op_closed"):
    """An operation ended: `done`, `failed` or `cancelled`; or `skipped`, if it was queued and never began."""

    id: str
    outcome: Literal["done", "failed", "cancelled", "skipped"]
    reason: str = ""


class Artifact(msgspec.Struct, frozen=True, tag="artifact"):
    """A file was left; `path` is inside the attempt's directory."""

    id: str
    name: str
    path: str
    sha256: str
    size: Count
    mime: str = ""
    data: bytes = b""
    source: str = ""
    redacted: bool = False
    retention: str = "run"


class Sampled(msgspec.Struct, frozen=True, tag="sampled"):
    """The `count`-th sign of progress, for the history."""

    count: Count
    done: Amount | None = None
    total: Amount | None = None
    note: str = ""
    phase: str = ""


class HookAsked(msgspec.Struct, frozen=True, tag="hook"):
    """A hook has answered, or has not."""

    run: HookRun


class UsageReport(msgspec.Struct, frozen=True, tag="usage"):
    """What the worker has used up so far, in all: turns, tokens, cost."""

    turns: Count = 0
    tokens: Count = 0
    cost: Cost = 0.0


class Checkpoint(msgspec.Struct, frozen=True, tag="checkpoint"):
    """Where the next attempt may go on; replaces the one before it."""

    value: object


class StopProposed(msgspec.Struct, frozen=True, tag="stop_proposed"):
    """The worker would stop now: is anything waiting for it? Answered by `StopGranted` or by more messages."""


RESULT_FILES = frozenset({"result.json", "stdout"})
"""In its directory an attempt leaves a result that is too large to be sent: the second is that of a command."""


class Outcome(msgspec.Struct, frozen=True, tag="outcome"):
    """How the worker's code ended; it is the worker's last report.

    `exit_code` is that of a command; if a signal has ended it, minus the signal's number. `warnings` are sentences about what
    was unusual, though it is no failure.
    """

    outcome: Literal["completed", "failed", "cancelled"]
    error: str = ""
    reason: str = ""
    result: object = None
    result_path: str = ""
    error_class: str = ""
    exit_code: Annotated[int, msgspec.Meta(ge=-COUNT_MAX, le=COUNT_MAX)] | None = None
    warnings: tuple[str, ...] = ()


ReportBody = (
    Delivered | Applied | Settled | Returned | Told | Read | Asked | AskOver | OpOpened | OpStarted | OpClosed | Artifact
    | Sampled | HookAsked | UsageReport | Checkpoint | StopProposed | Outcome
)  # fmt: skip


class Report(msgspec.Struct, frozen=True):
    """A numbered report. crewd takes each number once."""

    number: Count
    body: ReportBody


class Reports(msgspec.Struct, frozen=True):
    """Reports in the order of their numbers."""

    reports: tuple[Report, ...]


FromWorker = WorkerHello | Heartbeat | ProgressReport | Reports | rq.Send | rq.AwaitEnd | rq.GetReceipt
"""The last three are requests as a client makes them, for other workers; the id of the message is the request's."""


class WorkerWelcome(msgspec.Struct, frozen=True):
    """The worker is known; `reports` is the last report that is durable here.

    A worker says every `heartbeat_seconds` that it lives; one whose code has given no sign since may say so only every
    `idle_seconds` (0: no less often).
    """

    reports: int
    heartbeat_seconds: float = 2.0
    idle_seconds: float = 0.0


class Deliver(msgspec.Struct, frozen=True):
    """A control message for the worker. `order` grows: messages of one worker are applied in it.

    `sender` is the owner id of a client, or a worker as `TASK#EPOCH`. `turn`: refuse it in every other turn (0: any).
    `mode`, `now`, `eof` and `typed`: see `Terms`.
    """

    id: str
    kind: MessageKind
    order: int
    text: str = ""
    ask: str = ""
    mode: Mode = "interrupt"
    turn: int = 0
    now: bool = False
    sender: str = ""
    eof: bool = False
    typed: str = ""


class Recall(msgspec.Struct, frozen=True):
    """Give this message back, with `Returned`, if the code has not taken it; if it has, its reports say so."""

    id: str
    outcome: Literal["withdrawn", "expired"]


class Ack(msgspec.Struct, frozen=True):
    """Reports up to this number are durable."""

    upto: int


class StopGranted(msgspec.Struct, frozen=True):
    """Nothing waits and nothing will be accepted any more: stop."""


class StopDeferred(msgspec.Struct, frozen=True):
    """Messages wait: take them and propose again."""


class CancelOrder(msgspec.Struct, frozen=True):
    """Stop within `grace_seconds`; after that the guardian ends the process."""

    reason: str
    mode: Literal["graceful", "now"]
    grace_seconds: float
    intent: str = ""


class WorkerError(msgspec.Struct, frozen=True):
    """The frame changed nothing. After `not_permitted` the worker must not try again."""

    error: ErrorInfo


ToWorker = (
    WorkerWelcome | Deliver | Recall | Ack | StopGranted | StopDeferred | CancelOrder | WorkerError | rl.ReceiptReply
    | rl.EndReply | rl.ErrorReply
)  # fmt: skip

FROM_WORKER: dict[str, type[FromWorker]] = {
    "hello": WorkerHello,
    "heartbeat": Heartbeat,
    "progress": ProgressReport,
    "reports": Reports,
    "send": rq.Send,
    "await_end": rq.AwaitEnd,
    "receipt": rq.GetReceipt,
}
TO_WORKER: dict[str, type[ToWorker]] = {
    "welcome": WorkerWelcome,
    "deliver": Deliver,
    "recall": Recall,
    "ack": Ack,
    "stop_granted": StopGranted,
    "stop_deferred": StopDeferred,
    "cancel": CancelOrder,
    "error": WorkerError,
    "replied": rl.ReceiptReply,
    "ended": rl.EndReply,
    "refused": rl.ErrorReply,
}
