"""The event log's vocabulary: every fact that crewd records, as one tagged union.

Rule 1: names are past tense. Rule 2: an event carries what its fold needs and nothing that can be derived.
Rule 3: a body is redacted (`redact`) by whoever drafts it, or at the door, before it is stored (docs/decisions/0004).

Tests: tests/supervisor/attempt/test_decide.py, tests/store/test_store.py.
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from crewd.model.adaptive import AddedStep
from crewd.model.budget import Used
from crewd.model.hooks import HookRun
from crewd.model.inventory import Item
from crewd.model.rows import BlockInfo, CancelInfo, ClaimInfo, ExitStatus, RunRow, Survivor, UndeliveredMessage
from crewd.model.statuses import AttemptStatus, RunStatus, TaskStatus
from crewd.model.terms import Terms
from crewd.model.workflow import Workflow


class RunCreated(msgspec.Struct, frozen=True, tag="run.created"):
    """A run was admitted; its tasks are the workflow's steps.

    `env` are variables of its caller that its workers get; `secrets` and `passed` are the names of others, whose values are
    nowhere kept. Of them, those that are `passed` may be missing when it is resumed. `above`: see `RunRow`.
    """

    name: str
    goal: str
    cwd: str
    workflow: Workflow
    owner: str = ""
    request_id: str = ""
    parent: str = ""
    on_parent: str = "end"
    depth: int = 0
    env: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    inputs: dict[str, str] = {}
    above: tuple[str, ...] = ()


class RunStarted(msgspec.Struct, frozen=True, tag="run.started"):
    """The first task of the run is about to start."""


class RunCancelRequested(msgspec.Struct, frozen=True, tag="run.cancel_requested"):
    """The tombstone of a run: nothing of it starts after this event."""

    cancel: CancelInfo


class RunEnded(msgspec.Struct, frozen=True, tag="run.ended"):
    """The one terminal event of a run."""

    status: RunStatus
    reason: str = ""
    undelivered: tuple[UndeliveredMessage, ...] = ()


class RunInventory(msgspec.Struct, frozen=True, tag="run.inventory"):
    """What there was to run with when the run was started, as its client saw it (`crew capabilities --run`)."""

    items: tuple[Item, ...]


class RunConcurrency(msgspec.Struct, frozen=True, tag="run.concurrency"):
    """The run asked for more steps at once (`asked`) than a run usually may.

    It has `at_once` of them: what is allowed, or all, since its workflow says that it is unbounded.
    """

    asked: int
    at_once: int


class RunBlocked(msgspec.Struct, frozen=True, tag="run.blocked"):
    """The run starts nothing more until somebody approves of it or rejects it. `block` says why."""

    block: BlockInfo


class RunUnblocked(msgspec.Struct, frozen=True, tag="run.unblocked"):
    """The run goes on: `requester` has approved of it, or what has blocked it is over (then it is `crewd`).

    `reasons` are those of the blocks that are lifted; none means all of them. With `task` only its own are. `approved`: see
    `RunRow`.
    """

    requester: str = ""
    intent: str = ""
    reasons: tuple[str, ...] = ()
    approved: tuple[str, ...] = ()
    task: str = ""

    def lifts(self, reason: str, task: str) -> bool:
        """Whether a block of this reason, about this task, is lifted."""
        return (not self.reasons or reason in self.reasons) and self.task in {"", task}


class TaskAdded(msgspec.Struct, frozen=True, tag="task.added"):
    """A plan has added a step to its run: that of the attempt `plan` (task#epoch) of the adaptive step `adaptive`."""

    step: AddedStep
    adaptive: str
    plan: str


class TaskTurn(msgspec.Struct, frozen=True, tag="task.turn"):
    """A step that declares its access starts. `batch` are the steps of its run with the same conflict key.

    `index` says how many of them have started by now, with this one; `total` how many there are.
    """

    access: str
    batch: str
    index: int
    total: int


class TaskHeldBack(msgspec.Struct, frozen=True, tag="task.held_back"):
    """A step could start, and waits for others of its conflict key: `behind` are their tasks."""

    batch: str
    behind: tuple[str, ...]


class RunReopened(msgspec.Struct, frozen=True, tag="run.reopened"):
    """Somebody wants what failed (`retry`) or was not finished (`resume`) to be done after all."""

    kind: str
    requester: str = ""
    intent: str = ""


class TaskRequeued(msgspec.Struct, frozen=True, tag="task.requeued"):
    """The task waits for its next attempt, as if it had never been tried; its attempts stay what they are.

    `message` is the one that it is started again for; then it may have been completed. Attempts after `tries_from` count as
    tries (None, in older logs: those after the last one that is recorded). `barred`: a hook has ended its attempt.
    """

    message: str = ""
    tries_from: int | None = None
    barred: bool = False


class TaskRetrying(msgspec.Struct, frozen=True, tag="task.retrying"):
    """The attempt has ended, and another one follows at `due_at`: a `retry` or a `restart`.

    `in_a_row`: so many lives before it were short, one after the other; the wait grows with it.
    """

    kind: str
    due_at: float
    reason: str = ""
    error: str = ""
    in_a_row: int = 0


class TaskParked(msgspec.Struct, frozen=True, tag="task.parked"):
    """The worker has ended too often; it is not started again until somebody says so (`crew retry`)."""

    reason: str
    error: str = ""


class TaskClaimed(msgspec.Struct, frozen=True, tag="task.claimed"):
    """Somebody else carries out the task, or goes on doing so; crewd does not start it until the lease has run out."""

    claim: ClaimInfo


class TaskUnclaimed(msgspec.Struct, frozen=True, tag="task.unclaimed"):
    """The task is queued again: it was `released`, or the lease has `expired`."""

    reason: str


class TaskDismissed(msgspec.Struct, frozen=True, tag="task.dismissed"):
    """Somebody has seen the dead letter and wants no more of it."""

    requester: str = ""
    intent: str = ""


class TaskCancelRequested(msgspec.Struct, frozen=True, tag="task.cancel_requested"):
    """The tombstone of a task."""

    cancel: CancelInfo


class TaskEnded(msgspec.Struct, frozen=True, tag="task.ended"):
    """The one terminal event of a task."""

    status: TaskStatus
    reason: str = ""
    error: str = ""
    result: object = None
    result_path: str = ""


class AttemptReserved(msgspec.Struct, frozen=True, tag="attempt.reserved"):
    """A controller exists for this attempt; no process does yet."""

    directory: str


class AttemptStarting(msgspec.Struct, frozen=True, tag="attempt.starting"):
    """The guardian is about to be asked for a process."""


class AttemptStarted(msgspec.Struct, frozen=True, tag="attempt.started"):
    """The guardian has started (or adopted) the worker's process."""

    pid: int
    start_time: float
    boot_id: str
    adopted: bool = False


class AttemptReady(msgspec.Struct, frozen=True, tag="attempt.ready"):
    """The worker's runtime has connected and named what it supports. `command`: the process of the command that it runs."""

    capabilities: tuple[str, ...] = ()
    command: int = 0


class AttemptFinishing(msgspec.Struct, frozen=True, tag="attempt.finishing"):
    """The worker was granted its natural stop: no message is accepted for it any more."""

    report: int = 0


class ReportTaken(msgspec.Struct, frozen=True, tag="attempt.report_taken"):
    """A report that changed nothing else was taken: its number must not be asked for again."""

    report: int = 0


class AttemptCancelRequested(msgspec.Struct, frozen=True, tag="attempt.cancel_requested"):
    """A cancel reached the attempt's controller; later steers are refused."""

    cancel: CancelInfo


class AttemptLimitHit(msgspec.Struct, frozen=True, tag="attempt.limit_hit"):
    """The attempt is ended because it reached a bound (`limit` is its name, or `unresponsive`)."""

    limit: str
    text: str


class AttemptLiveness(msgspec.Struct, frozen=True, tag="attempt.liveness"):
    """How long the worker has given no sign, as a level; recorded when it changes."""

    level: str


class UsageReported(msgspec.Struct, frozen=True, tag="attempt.usage"):
    """What the worker says that it has used up so far."""

    turns: int = 0
    tokens: int = 0
    cost: float = 0.0
    report: int = 0


class CheckpointSaved(msgspec.Struct, frozen=True, tag="attempt.checkpoint"):
    """Where the next attempt of the task may go on."""

    value: object
    report: int = 0


class NoticeRaised(msgspec.Struct, frozen=True, tag="notice.raised"):
    """People should look at something."""

    id: str
    kind: str
    text: str


class NoticeClosed(msgspec.Struct, frozen=True, tag="notice.closed"):
    """It is over, or somebody has dealt with it."""

    id: str


class AttemptSignalled(msgspec.Struct, frozen=True, tag="attempt.signalled"):
    """Somebody had a signal sent to the worker's process, or (`tree`) to all that it has started."""

    number: int
    tree: bool = False
    by: str = ""


class AttemptOutcome(msgspec.Struct, frozen=True, tag="attempt.outcome"):
    """What the worker itself says of its end; the attempt ends when its processes are gone."""

    outcome: str
    error: str = ""
    reason: str = ""
    result: object = None
    result_path: str = ""
    report: int = 0
    error_class: str = ""
    exit_code: int | None = None
    warnings: tuple[str, ...] = ()


class AttemptEnded(msgspec.Struct, frozen=True, tag="attempt.ended"):
    """The one terminal event of an attempt, written when the guardian has verified what is left."""

    status: AttemptStatus
    reason: str = ""
    error: str = ""
    survivors: tuple[Survivor, ...] = ()
    exit: ExitStatus = ExitStatus()
    error_class: str = ""


class MessageAccepted(msgspec.Struct, frozen=True, tag="message.accepted"):
    """A control message was admitted; it will settle. `effect`: see `Receipt`; `direction`: see `MessageRow`."""

    id: str
    kind: str
    text: str = ""
    ask: str = ""
    sender: str = ""
    digest: str = ""
    deadline_at: float | None = None
    terms: Terms = Terms()
    effect: str = ""
    direction: str = "in"


class MessageAcknowledged(msgspec.Struct, frozen=True, tag="message.acknowledged"):
    """Somebody (a client's key, or a worker as `TASK#EPOCH`) has read the message of a mailbox."""

    id: str
    by: str
    report: int = 0


class MessageDelivered(msgspec.Struct, frozen=True, tag="message.delivered"):
    """The worker's runtime has it. `effect`, if there is one, is what it really did."""

    id: str
    report: int = 0
    effect: str = ""


class MessageApplied(msgspec.Struct, frozen=True, tag="message.applied"):
    """The worker's code took it. There need not be a `message.delivered` before."""

    id: str
    report: int = 0


class MessageSettled(msgspec.Struct, frozen=True, tag="message.settled"):
    """Nothing more will happen to it. `applied`: the worker's code took it, and there is no event of its own for that."""

    id: str
    outcome: str
    reason: str = ""
    note: str = ""
    report: int = 0
    applied: bool = False


class AskOpened(msgspec.Struct, frozen=True, tag="ask.opened"):
    """A worker waits for an answer."""

    id: str
    question: str
    kind: str = "text"
    choices: tuple[str, ...] = ()
    deadline_at: float | None = None
    report: int = 0
    schema: object = None
    default: str | None = None


class AskClosed(msgspec.Struct, frozen=True, tag="ask.closed"):
    """The question is over: `answered`, `expired`, `defaulted`, or `cancelled`."""

    id: str
    outcome: str
    answered_by: str = ""
    report: int = 0


class OperationOpened(msgspec.Struct, frozen=True, tag="operation.opened"):
    """A worker began an operation, or put it into its queue."""

    id: str
    kind: str
    name: str
    report: int = 0
    seconds: float = 0.0
    queued: bool = False
    priority: str = "normal"


class OperationStarted(msgspec.Struct, frozen=True, tag="operation.started"):
    """A queued operation has begun."""

    id: str
    report: int = 0


class OperationClosed(msgspec.Struct, frozen=True, tag="operation.closed"):
    """The one terminal record of an operation; synthetic if crewd wrote it for a worker that is gone."""

    id: str
    outcome: str
    reason: str = ""
    synthetic: bool = False
    report: int = 0


class HookRan(msgspec.Struct, frozen=True, tag="hook.ran"):
    """A hook of the step was asked, and this came of it. See `AttemptRow.hooks`."""

    run: HookRun
    report: int = 0


class RunHookRan(msgspec.Struct, frozen=True, tag="run.hook_ran"):
    """A hook was asked about something that somebody wants of the run, and this came of it. See `RunRow.hooks`."""

    run: HookRun
    requester: str = ""


class RunChildUsed(msgspec.Struct, frozen=True, tag="run.child_used"):
    """What the workers of a run below this one have used so far. See `RunRow.below`."""

    child: str
    used: Used = Used()


class RunOrderDone(msgspec.Struct, frozen=True, tag="run.order_done"):
    """The request `id` was carried out: an approval of the run, a retry, a resume, or that dead letters were dismissed.

    `asked` is what it was: `approve`, `reject`, `retry`, `resume` or `dismiss`, with the task if it was for one.
    It is empty in events of an older crewd.
    """

    id: str
    asked: str = ""

    @property
    def order(self) -> str:
        """The request as its run remembers it: its id, and what it asked."""
        return f"{self.id} {self.asked}".rstrip()


class ArtifactRecorded(msgspec.Struct, frozen=True, tag="artifact.recorded"):
    """A worker left a file on purpose. `data`: a small one; of others there is a blob. See `ArtifactRow`."""

    id: str
    name: str
    path: str
    sha256: str
    size: int
    mime: str = ""
    report: int = 0
    data: bytes = b""
    source: str = ""
    redacted: bool = False
    retention: str = "run"


class NewsSeen(msgspec.Struct, frozen=True, tag="news.seen"):
    """A client has told its owner all news up to this seq."""

    owner: str
    upto: int


class ProgressSampled(msgspec.Struct, frozen=True, tag="progress.sampled"):
    """One of many signs of progress. It was the `count`-th of its attempt."""

    count: int
    done: float | None = None
    total: float | None = None
    note: str = ""
    phase: str = ""
    report: int = 0


class RunForgotten(msgspec.Struct, frozen=True, tag="run.forgotten"):
    """The tombstone of a run of which nothing else is kept: not its events before this one, not its rows."""

    name: str
    owner: str
    by: str
    intent: str
    events: int


class RunArchived(msgspec.Struct, frozen=True, tag="run.archived"):
    """An ended run whose events and rows are in a bundle now, whose name and hash these are. `events`: how many left the log.

    It is 0 for an imported run, which is archived from the start.
    """

    row: RunRow
    bundle: str
    sha256: str
    events: int
    by: str = ""
    intent: str = ""


class Salvaged(msgspec.Struct, frozen=True, tag="crewd.salvaged"):
    """The database was damaged: so many events could not be read again. What is left of it is in the quarantine."""

    lost: int
    quarantine: str


class Foreign(msgspec.Struct, frozen=True, tag="crewd.foreign"):
    """An event of a type that this crewd does not know, of a newer one. It is kept and shown, and changes no row."""

    name: str
    data: dict[str, Any]


class GuardianLost(msgspec.Struct, frozen=True, tag="guardian.lost"):
    """The guardian process ended unasked; another one adopts what it left. `why`, if crewd has ended it."""

    why: str = ""


class DaemonStarted(msgspec.Struct, frozen=True, tag="daemon.started"):
    """A crewd began to serve this home."""

    pid: int
    version: str


Body = (
    RunCreated | RunStarted | RunCancelRequested | RunEnded | RunReopened | RunConcurrency | RunBlocked | RunUnblocked
    | TaskAdded | TaskTurn | TaskHeldBack | TaskCancelRequested | TaskEnded | TaskRequeued
    | TaskRetrying | TaskParked | TaskClaimed | TaskUnclaimed | TaskDismissed | AttemptReserved | AttemptStarting
    | AttemptStarted | AttemptReady | AttemptFinishing | AttemptCancelRequested | AttemptSignalled | AttemptOutcome
    | AttemptEnded | AttemptLimitHit | AttemptLiveness | UsageReported | CheckpointSaved | ReportTaken | NoticeRaised
    | NoticeClosed | MessageAccepted | MessageDelivered | MessageApplied | MessageSettled | MessageAcknowledged
    | AskOpened | AskClosed | OperationOpened | OperationStarted | OperationClosed | ArtifactRecorded | ProgressSampled
    | HookRan
    | RunHookRan | RunChildUsed | RunOrderDone | RunInventory
    | NewsSeen | GuardianLost | DaemonStarted | RunForgotten | RunArchived | Salvaged | Foreign
)  # fmt: skip


@functools.cache
def _decoder() -> msgspec.msgpack.Decoder[Body]:
    """Made when it is needed: that takes longer than many a command."""
    return msgspec.msgpack.Decoder(Body)


def body_of(data: bytes) -> Body:
    """The body in `data`; one of a type that this crewd does not know is `Foreign`. Unknown fields are ignored."""
    try:
        return _decoder().decode(data)
    except msgspec.ValidationError:
        body: Body = msgspec.convert(_foreign(msgspec.msgpack.decode(data)), Body)
        return body


def with_foreign(value: Any) -> Any:
    """A decoded message in which each event of an unknown type is a foreign one, so that the others can be read."""
    if isinstance(value, list):
        return [with_foreign(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: _foreign(each) if key == "body" else with_foreign(each) for key, each in value.items()}


def _foreign(body: Any) -> Any:
    name = body.get("type") if isinstance(body, dict) else None
    if not isinstance(name, str) or name in EVENT_TYPES:
        return body
    return {"type": type_of_class(Foreign), "name": name, "data": {key: each for key, each in body.items() if key != "type"}}


class Draft(msgspec.Struct, frozen=True):
    """An event before the store has given it its place."""

    body: Body
    run: str = ""
    task: str = ""
    epoch: int = 0
    causation: str = ""
    provenance: str = ""


class Event(msgspec.Struct, frozen=True):
    """A fact with its place in the log.

    `seq` grows by one per event of a home. `parent` is the seq of the event that this one follows in the tree of its run (0:
    none), in which each attempt is a branch. `causation` is the id of the message or report that caused it, `correlation`
    the run's request id, `provenance` who says so.
    """

    seq: int
    event_id: str
    parent: int
    run: str
    task: str
    epoch: int
    causation: str
    correlation: str
    provenance: str
    at: float
    body: Body

    @property
    def type(self) -> str:
        """The event's type, such as `run.created`."""
        return type_of(self.body)

    @property
    def branch(self) -> str:
        """The branch of the run's tree: `STEP#EPOCH` for an attempt, `STEP` for the task around it, else empty."""
        step = self.task.partition("/")[2]
        return f"{step}#{self.epoch}" if self.epoch else step


def type_of(body: Body) -> str:
    """The type under which a body travels."""
    return type_of_class(type(body))


def type_of_class(body: type[Body]) -> str:
    """The same, of a class."""
    return str(body.__struct_config__.tag)


EVENT_TYPES: tuple[str, ...] = tuple(type_of_class(kind) for kind in Body.__args__)
SAMPLES = (ProgressSampled,)
"""Bodies that are written together with the next commit, within moments: losing the last few does no harm."""
