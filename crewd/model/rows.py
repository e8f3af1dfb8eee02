"""What is known now, as values: the folded state of runs, tasks, attempts, messages, asks, operations, artifacts.

Rows are made by `store.fold` from events and by nothing else; clients get them as they are. Times are wall-clock seconds.

Tests: tests/store/test_store.py, tests/supervisor/gateway/test_standing.py.
"""

from __future__ import annotations

import msgspec

from crewd.model.budget import Used
from crewd.model.hooks import HookRun
from crewd.model.message_kinds import MAILBOX_KINDS
from crewd.model.receipts import Receipt
from crewd.model.statuses import AttemptStatus, RunStatus, TaskStatus
from crewd.model.terms import Terms
from crewd.model.workflow import Workflow


class Survivor(msgspec.Struct, frozen=True):
    """A process that a cancel could not end."""

    pid: int
    command: str
    age_seconds: float
    state: str = ""


class CancelInfo(msgspec.Struct, frozen=True):
    """Who asked for a cancel, why and how."""

    reason: str
    mode: str = "graceful"
    grace_seconds: float = 0.0
    intent: str = ""
    requester: str = ""
    requested_at: float = 0.0


def faster(new: CancelInfo, old: CancelInfo) -> bool:
    """Whether a second cancel makes the end come sooner: that is all it can do."""
    seconds = {"now": -1.0}
    return seconds.get(new.mode, new.grace_seconds) < seconds.get(old.mode, old.grace_seconds)


class UndeliveredMessage(msgspec.Struct, frozen=True):
    """A message that was accepted and never applied, as the run's terminal event lists it."""

    id: str
    kind: str
    task: str
    outcome: str
    reason: str


class Progress(msgspec.Struct, frozen=True):
    """The last progress of a worker (coalesced; some of it is in the log, see `ProgressSampled`)."""

    task: str
    epoch: int
    done: float | None = None
    total: float | None = None
    note: str = ""
    beats: int = 0
    at: float = 0.0
    phase: str = ""


class Usage(msgspec.Struct, frozen=True):
    """What a worker's process tree uses, as its guardian last measured it (coalesced, not in the log)."""

    task: str
    epoch: int
    memory_bytes: int = 0
    cpu_seconds: float = 0.0
    processes: int = 0
    output_bytes: int = 0
    at: float = 0.0


class ExitStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a worker's processes ended. `code` and `signal` are of the first process.

    `killed`: something of it needed KILL; `timed_out`: a limit ended it, and which; `drain_seconds`: from the order to end
    (or the end of the first process) to the proof that nothing is left; `cleanup_errors`: what could not be tidied up.
    `unowned`: processes that came from some worker, nobody can say from which; they were there when this one had ended.
    """

    code: int | None = None
    signal: int | None = None
    cancelled: bool = False
    timed_out: str = ""
    killed: bool = False
    drain_seconds: float = 0.0
    cleanup_errors: tuple[str, ...] = ()
    memory_peak_bytes: int = 0
    cpu_seconds: float = 0.0
    unowned: tuple[Survivor, ...] = ()


class BlockInfo(msgspec.Struct, frozen=True):
    """Why a run starts nothing more (see `BlockReason`). `task` is the one that it is about; `notice` tells people of it."""

    reason: str
    text: str
    notice: str
    task: str = ""


class RunRow(msgspec.Struct, frozen=True):
    """One run. `parent` is the attempt (`task#epoch`) whose worker started it, `depth` how many such steps up it goes.

    `archived` names the bundle that holds everything else of it; such a run is only read. `env` are variables of its caller
    that its workers get; `secrets` and `passed` are the names of others, whose values are nowhere kept. Without the value of
    one that is `passed` a worker starts all the same, with the variable of crewd's own environment, if `env_pass` names it.
    `blocks`: why it starts nothing more. `approved`: the attempts (`task#epoch`) whose plans somebody has approved of. `hooks`:
    the latest that were asked about the run itself (docs/hooks.md). `above`: the runs with a budget in which this one
    counts: that of the worker that has started it, and so on upwards. `below`: what the workers of each run that counts in this
    one have used, by its id. `orders`: the latest requests that were carried out, each by its id and what it asked (see
    `RunOrderDone`).
    """

    id: str
    name: str
    status: RunStatus
    goal: str
    cwd: str
    workflow: Workflow
    owner: str = ""
    request_id: str = ""
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    reason: str = ""
    cancel: CancelInfo | None = None
    undelivered: tuple[UndeliveredMessage, ...] = ()
    parent: str = ""
    on_parent: str = "end"
    depth: int = 0
    openings: int = 1
    reopened_at: float | None = None
    archived: str = ""
    env: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    inputs: dict[str, str] = {}
    blocks: tuple[BlockInfo, ...] = ()
    approved: tuple[str, ...] = ()
    hooks: tuple[HookRun, ...] = ()
    above: tuple[str, ...] = ()
    below: dict[str, Used] = {}
    orders: tuple[str, ...] = ()


class ForgottenRow(msgspec.Struct, frozen=True):
    """A run that was forgotten: that it was there, who wanted it gone, and why. Nothing revives it."""

    id: str
    name: str
    owner: str
    by: str
    intent: str
    at: float
    events: int


class ClaimInfo(msgspec.Struct, frozen=True):
    """Who carries out a task that crewd does not: the owner id, the digest of the token, when the lease runs out.

    `seconds` is how long the lease was (0: as long as one may be).
    """

    owner: str
    digest: str
    until: float
    seconds: float = 0.0


class TaskRow(msgspec.Struct, frozen=True):
    """One task; its id is also the id of its worker.

    `tries_from` is the epoch before the first try that counts (a retry by hand counts from the start), `retry_at` when the
    next try is due; `in_a_row` counts restarts after short lives, one after the other; `dead` says what became of it as a
    dead letter: `open`, `requeued`, `dismissed`. `claim` is the last one. `held_back`: it could start, and waits for others
    of its conflict key.
    """

    id: str
    run: str
    step: str
    status: TaskStatus
    runtime: str
    depends_on: tuple[str, ...] = ()
    epoch: int = 0
    reason: str = ""
    error: str = ""
    result: object = None
    result_path: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    cancel: CancelInfo | None = None
    tries_from: int = 0
    retry_at: float | None = None
    dead: str = ""
    claim: ClaimInfo | None = None
    in_a_row: int = 0
    held_back: bool = False


class AttemptRow(msgspec.Struct, frozen=True):
    """One try of a task: its process and how it ended. `turns`, `tokens` and `cost` are what its worker reported.

    `turn` counts from 1: each message that the worker takes where it would stop begins another one. `pid` is the process of the
    command, or of the callable; `host_pid`, for a command, the worker process that waits for it (0: not known yet).
    `asks` counts its open questions, `failures` operations that failed in a row, `operations` those that have ended. `hooks`
    are those that were asked, in this order.
    """

    task: str
    epoch: int
    status: AttemptStatus
    directory: str = ""
    pid: int | None = None
    start_time: float | None = None
    boot_id: str = ""
    capabilities: tuple[str, ...] = ()
    reserved_at: float = 0.0
    ready_at: float | None = None
    finishing: bool = False
    outcome: str = ""
    reason: str = ""
    error: str = ""
    result: object = None
    result_path: str = ""
    cancel: CancelInfo | None = None
    reports: int = 0
    survivors: tuple[Survivor, ...] = ()
    ended_at: float | None = None
    started_at: float | None = None
    exit: ExitStatus = ExitStatus()
    error_class: str = ""
    liveness: str = "healthy"
    limit: str = ""
    turns: int = 0
    tokens: int = 0
    cost: float = 0.0
    checkpoint: object = None
    turn: int = 1
    host_pid: int | None = None
    warnings: tuple[str, ...] = ()
    asks: int = 0
    failures: int = 0
    operations: int = 0
    hooks: tuple[HookRun, ...] = ()


class NoticeRow(msgspec.Struct, frozen=True):
    """Something that people should look at; closed when it is over or somebody has dealt with it."""

    id: str
    run: str
    task: str
    epoch: int
    kind: str
    text: str
    opened_at: float = 0.0
    closed_at: float | None = None


JOIN_ACK_SECONDS = 300.0
"""A joined message should be acknowledged within this."""


class ClientRow(msgspec.Struct, frozen=True):
    """What crewd remembers of an owner: the seq up to which it has seen the news, and when it said so."""

    owner: str
    seen: int = 0
    seen_at: float = 0.0


class MessageRow(msgspec.Struct, frozen=True):
    """A message and its receipt. `replied` is the message that answered it.

    `direction`: `in` is for a worker or its run, `out` from a worker for people. One of the kind `message` is done
    when it is in the mailbox; `acknowledged_by` has read it.
    """

    receipt: Receipt
    text: str = ""
    ask: str = ""
    sender: str = ""
    digest: str = ""
    deadline_at: float | None = None
    seq: int = 0
    terms: Terms = Terms()
    replied: str = ""
    replied_at: float | None = None
    direction: str = "in"
    acknowledged_by: str = ""
    acknowledged_at: float | None = None

    @property
    def unread(self) -> bool:
        """Whether it lies in a mailbox and nobody has said that it was read."""
        return self.receipt.kind in MAILBOX_KINDS and not self.acknowledged_by

    def reply_overdue(self, now: float) -> bool:
        """Whether its sender has waited for a reply for longer than it wanted to: people are shown that."""
        within = self.terms.reply_seconds
        return bool(within) and not self.replied and now - self.receipt.accepted_at > within

    def overdue(self, now: float) -> bool:
        """Whether it is a joined message that nobody has acknowledged in time: people are shown that."""
        return self.receipt.kind == "group_join" and self.unread and now - self.receipt.accepted_at > JOIN_ACK_SECONDS


class Backlog(msgspec.Struct, frozen=True):
    """What waits for one task, apart by what it is: messages accepted and not taken by the worker's code, mail not read."""

    task: str
    steers: int = 0
    follow_ups: int = 0
    responses: int = 0
    unread: int = 0


class AskRow(msgspec.Struct, frozen=True):
    """A worker's question. At `deadline_at` it takes the `default`, or goes on without an answer.

    `answer` is the message that was accepted for it, and that its worker has not taken yet.
    """

    id: str
    run: str
    task: str
    epoch: int
    question: str
    kind: str = "text"
    choices: tuple[str, ...] = ()
    opened_at: float = 0.0
    deadline_at: float | None = None
    closed_at: float | None = None
    outcome: str = ""
    answered_by: str = ""
    schema: object = None
    default: str | None = None
    answer: str = ""

    @property
    def unanswered(self) -> bool:
        """Whether somebody is to answer it."""
        return self.closed_at is None and not self.answer


class OperationRow(msgspec.Struct, frozen=True):
    """Something a worker does inside its attempt (a tool, a model call), with its one terminal record.

    `seconds` is how long it may take; 0 if there is no bound. `started_at` is None while it is queued.
    """

    id: str
    run: str
    task: str
    epoch: int
    kind: str
    name: str
    opened_at: float = 0.0
    seconds: float = 0.0
    closed_at: float | None = None
    outcome: str = ""
    reason: str = ""
    synthetic: bool = False
    started_at: float | None = None
    priority: str = "normal"


class ArtifactRow(msgspec.Struct, frozen=True):
    """A file that a worker left on purpose; `sha256` is of the bytes that are stored, after secrets were masked (`redacted`).

    `data`: these bytes, if they are few; else there is a blob of this hash. `source`: the file that it was made from.
    `retention`: `run` keeps it as long as its run; a `temporary` one is not put into bundles.
    """

    id: str
    run: str
    task: str
    epoch: int
    name: str
    path: str
    sha256: str
    size: int
    mime: str = ""
    recorded_at: float = 0.0
    data: bytes = b""
    source: str = ""
    redacted: bool = False
    retention: str = "run"
