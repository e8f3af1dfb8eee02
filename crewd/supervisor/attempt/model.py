"""The state of one attempt, and the alphabet of its machine: what it hears (events) and what it has done (effects)."""

from __future__ import annotations

from dataclasses import dataclass, field

from crewd.protocol import events as ev
from crewd.protocol import reports as rp
from crewd.protocol.hands import Exited
from crewd.protocol.policy import Limits
from crewd.protocol.reasons import Liveness
from crewd.protocol.rows import CancelInfo
from crewd.protocol.statuses import ATTEMPT_TERMINAL, AttemptStatus
from crewd.supervisor.attempt.mailbox import Mail, Mailbox


@dataclass(frozen=True, slots=True)
class Gradient:
    """After how much silence a worker is at which level (system.md I5)."""

    warn_seconds: float = 30.0
    stale_seconds: float = 60.0
    dead_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Ask:
    """An open question; `answer` is the message that was admitted for it."""

    id: str
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The state. `spawned` is set with the order to the guardian, `outcome` when the worker itself has said how it ended.

    `pending` are messages whose acceptance is on its way to the disk: until then nothing else is recorded about them.
    `withdrawals` are (message, caller) that wait for the worker to give the message back, or to have taken it.

    From `runtime` on it is what `watch` looks at: `limit` is the bound that was reached; `began`, `active_at`, `heard_at` and
    `look_at` are monotonic times; `notices` are the kinds that are open, `told` all that were ever raised, `hushed` until
    when one is not raised again; `failures` counts operations that failed in a row.
    """

    task: str
    epoch: int
    status: AttemptStatus = AttemptStatus.RESERVED
    reserved: bool = False
    spawned: bool = False
    connected: bool = False
    connection: int = 0
    capabilities: tuple[str, ...] | None = None
    finishing: bool = False
    mailbox: Mailbox = field(default_factory=Mailbox)
    pending: tuple[Mail, ...] = ()
    withdrawals: tuple[tuple[str, object], ...] = ()
    asks: tuple[Ask, ...] = ()
    operations: tuple[str, ...] = ()
    reports: int = 0
    cancel: CancelInfo | None = None
    outcome: rp.Outcome | None = None
    start_by: float | None = None
    start_failed: bool = False
    pid: int | None = None
    questions: int = 0
    questions_before_spawn: int = 0
    runtime: str = "call"
    limits: Limits = field(default_factory=Limits)
    gradient: Gradient = field(default_factory=Gradient)
    drained: bool = False
    limit: str = ""
    limit_text: str = ""
    level: Liveness = Liveness.HEALTHY
    began: float | None = None
    active_at: float = 0.0
    heard_at: float = 0.0
    look_at: float | None = None
    operation_dues: tuple[tuple[str, float], ...] = ()
    failures: int = 0
    usage: tuple[int, int, float] = (0, 0, 0.0)
    checkpoint: object = None
    output_bytes: int = 0
    beats: int = 0
    notices: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    hushed: tuple[tuple[str, float], ...] = ()

    @property
    def over(self) -> bool:
        """Whether the terminal event is decided."""
        return self.status in ATTEMPT_TERMINAL


# -- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reserve:
    """The controller exists; nothing is durable yet."""

    directory: str


@dataclass(frozen=True, slots=True)
class Reserved:
    """The reservation is durable: a worker may be spawned when there is a place for it."""


@dataclass(frozen=True, slots=True)
class SlotGranted:
    """The machine has a place for one more worker."""

    at: float


@dataclass(frozen=True, slots=True)
class Alive:
    """The worker's process was heard of; `beats` counts the signs of its code."""

    at: float
    beats: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The guardian has measured the worker: it lives, and has written so many bytes."""

    at: float
    output_bytes: int


@dataclass(frozen=True, slots=True)
class NotReserved:
    """The run was cancelled before the reservation was durable: the attempt does not exist."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """crewd is back and this attempt was not over; the guardian will say what it knows."""

    at: float


@dataclass(frozen=True, slots=True)
class GuardianBack:
    """A guardian is attached, perhaps a new one."""


@dataclass(frozen=True, slots=True)
class Send:
    """A control message was asked for. `mail.order` is a number of the shell's, growing."""

    mail: Mail
    sender: str
    digest: str
    deadline_at: float | None
    caller: object


@dataclass(frozen=True, slots=True)
class NotAdmitted:
    """The store knew the message's id or refused new work: it never entered the mailbox."""

    id: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """The message is durable: it enters the mailbox now, or is settled if the attempt has ended meanwhile."""

    id: str


@dataclass(frozen=True, slots=True)
class Handed:
    """The run hands over a message that it had admitted for a task that was not started yet."""

    mail: Mail


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take a message back if the worker's code has not taken it."""

    id: str
    caller: object


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the attempt."""

    cancel: CancelInfo


@dataclass(frozen=True, slots=True)
class Connected:
    """The worker said hello on a connection."""

    hello: rp.WorkerHello
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The worker's connection is gone."""


@dataclass(frozen=True, slots=True)
class Reported:
    """A numbered report, at `at` (monotonic)."""

    report: rp.Report
    wall: float
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Started:
    """The guardian has started or adopted the process."""

    body: ev.AttemptStarted


@dataclass(frozen=True, slots=True)
class Ended:
    """The guardian's verified word on the worker's end, with the reports that the worker left behind."""

    exited: Exited
    last_words: tuple[rp.Report, ...]
    wall: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """The guardian knows no such worker and no process carries its marker. `number`: of the question, if it answers one."""

    number: int | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """Time has passed."""

    at: float


AttemptEvent = (
    Reserve | Reserved | SlotGranted | Alive | Measured
    | NotReserved | Resume | GuardianBack | Send | NotAdmitted | Admitted | Handed | Withdraw | Cancel
    | Connected | Disconnected | Reported | Started | Ended | Unknown | Due
)  # fmt: skip

# -- effects --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskSlot:
    """Ask for a place on the machine; `SlotGranted` follows."""


@dataclass(frozen=True, slots=True)
class SpawnWorker:
    """Order a process from the guardian."""


@dataclass(frozen=True, slots=True)
class AskGuardian:
    """Let the guardian say what it knows of this worker."""

    number: int


@dataclass(frozen=True, slots=True)
class EndWorker:
    """Order the guardian's ladder. Performed even when the disk refuses (`urgent`): killing needs no promise."""

    grace_seconds: float
    term_seconds: float


@dataclass(frozen=True, slots=True)
class Say:
    """Send an order to the worker."""

    order: rp.ToWorker
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send a message to the worker if this is still its connection (they are counted)."""

    message: rp.Deliver
    connection: int


@dataclass(frozen=True, slots=True)
class Admit:
    """Feed `Admitted` back: the message's acceptance is durable."""

    id: str


@dataclass(frozen=True, slots=True)
class Again:
    """Feed this event again, now that what it has to wait for is durable or refused."""

    event: AttemptEvent


@dataclass(frozen=True, slots=True)
class TellReceipt:
    """Answer a caller with the receipt of this message, as the store has it."""

    caller: object
    id: str


@dataclass(frozen=True, slots=True)
class TellBusy:
    """Answer a caller that the mailbox is full."""

    caller: object


@dataclass(frozen=True, slots=True)
class TellCannotWithdraw:
    """Answer a caller that the message is past taking back."""

    caller: object
    id: str


@dataclass(frozen=True, slots=True)
class AlarmAt:
    """Say `Due` at this (monotonic) time."""

    at: float


@dataclass(frozen=True, slots=True)
class Confirm:
    """Let the guardian forget the exit record."""


@dataclass(frozen=True, slots=True)
class TellRun:
    """The attempt is over and durable: tell the run."""

    ended: ev.AttemptEnded


@dataclass(frozen=True, slots=True)
class ReserveDone:
    """Feed `Reserved` back."""


AttemptEffect = (
    AskSlot
    | SpawnWorker | AskGuardian | EndWorker | Say | TellReceipt | TellBusy | TellCannotWithdraw | AlarmAt | Confirm | TellRun
    | ReserveDone | Admit | Again | Deliver
)  # fmt: skip


Effects = tuple[AttemptEffect, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to record and what to do then. `admits` names a message whose id must be new for any of it to happen."""

    events: tuple[ev.Body, ...] = ()
    effects: tuple[AttemptEffect, ...] = ()
    admits: Send | None = None
    causation: str = ""


NOTHING = Decision()
Next = tuple[Attempt, Decision]
