"""The state of one attempt, and the alphabet of its machine: what it hears (events) and what it has done (effects)."""

from __future__ import annotations

import msgspec

from crewd.model import events as ev
from crewd.model.policy import Limits
from crewd.model.reasons import Liveness
from crewd.model.rows import CancelInfo
from crewd.model.statuses import ATTEMPT_TERMINAL, AttemptStatus
from crewd.protocol import reports as rp
from crewd.protocol.guardian import Exited
from crewd.supervisor.attempt.mailbox import Mail, Mailbox
from crewd.supervisor.caller import Caller


class Gradient(msgspec.Struct, frozen=True):
    """After how much silence a worker is at which level."""

    warn_seconds: float = 30.0
    stale_seconds: float = 60.0
    dead_seconds: float = 300.0


class Ask(msgspec.Struct, frozen=True):
    """An open question; `answer` is the message that was admitted for it."""

    id: str
    answer: str = ""
    kind: str = "text"
    choices: tuple[str, ...] = ()


class Attempt(msgspec.Struct, frozen=True):
    """The state.

    `spawned` is set with the order to the guardian, `recorded` if that is in the log or on its way there. `process` is what was
    heard of and waits for the worker's first word, to be recorded with it: until `process_by` at most. `outcome` is set when
    the worker itself has said how it ended.
    `pending` are messages whose acceptance is on its way to the disk: until then nothing else is recorded about them.
    `operations` are those at work, `queued` those that have not begun, with the seconds that each may take, `waits` those at
    work in which the worker waits for others.
    `withdrawals` are (message, caller) that wait for the worker to give the message back, or to have taken it. `letters` are
    messages of the mailbox that the worker has not read.

    `command` is the process of the command that the worker runs (0: none). `cpu_seconds` is what was measured last, `start_cpu`
    what it was when the start was last looked at.

    From `runtime` on it is what `watch` looks at: `limit` is the bound that was reached; `began`, `active_at`, `heard_at` and
    `look_at` are monotonic times; `notices` are the kinds that are open, `told` all that were ever raised, `cooldowns` until
    when one is not raised again; `failures` counts operations that failed in a row.
    """

    task: str
    epoch: int
    status: AttemptStatus = AttemptStatus.RESERVED
    reserved: bool = False
    spawned: bool = False
    recorded: bool = False
    process: ev.AttemptStarted | None = None
    process_by: float = 0.0
    connected: bool = False
    connection: int = 0
    capabilities: tuple[str, ...] | None = None
    finishing: bool = False
    mailbox: Mailbox = msgspec.field(default_factory=Mailbox)
    pending: tuple[Mail, ...] = ()
    withdrawals: tuple[tuple[str, Caller | None], ...] = ()
    letters: tuple[Mail, ...] = ()
    asks: tuple[Ask, ...] = ()
    operations: tuple[str, ...] = ()
    queued: tuple[tuple[str, float], ...] = ()
    waits: tuple[str, ...] = ()
    reports: int = 0
    cancel: CancelInfo | None = None
    outcome: rp.Outcome | None = None
    start_by: float | None = None
    start_failed: bool = False
    pid: int | None = None
    questions: int = 0
    questions_before_spawn: int = 0
    runtime: str = "call"
    limits: Limits = msgspec.field(default_factory=Limits)
    gradient: Gradient = msgspec.field(default_factory=Gradient)
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
    turn: int = 1
    checkpoint: object = None
    output_bytes: int = 0
    cpu_seconds: float = 0.0
    start_cpu: float = 0.0
    command: int = 0
    beats: int = 0
    notices: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    cooldowns: tuple[tuple[str, float], ...] = ()

    @property
    def over(self) -> bool:
        """Whether the terminal event is decided."""
        return self.status in ATTEMPT_TERMINAL

    @property
    def waiting(self) -> bool:
        """Whether the worker does nothing but wait, for people or for other workers."""
        return bool(self.asks or self.waits)


# -- events ---------------------------------------------------------------------------------------------------------


class Reserve(msgspec.Struct, frozen=True):
    """The controller exists; nothing is durable yet."""

    directory: str


class Reserved(msgspec.Struct, frozen=True):
    """The reservation is durable: a worker may be spawned when there is a place for it."""


class SlotGranted(msgspec.Struct, frozen=True):
    """The machine has a place for one more worker."""

    at: float


class Alive(msgspec.Struct, frozen=True):
    """The worker's process was heard of; `beats` counts the signs of its code."""

    at: float
    beats: int


class Measured(msgspec.Struct, frozen=True):
    """The guardian has measured the worker: it lives, has written so many bytes, and has used so much processor time."""

    at: float
    output_bytes: int
    cpu_seconds: float = 0.0


class Signal(msgspec.Struct, frozen=True):
    """Somebody wants to send a signal to the worker's own process, or (`tree`) to all that it has started."""

    number: int
    tree: bool
    requester: str
    caller: Caller | None


class HitLimit(msgspec.Struct, frozen=True):
    """A bound of the whole run is reached."""

    limit: str
    text: str


class NotReserved(msgspec.Struct, frozen=True):
    """The run was cancelled before the reservation was durable: the attempt does not exist."""

    reason: str


class Resume(msgspec.Struct, frozen=True):
    """crewd is back and this attempt was not over; the guardian will say what it knows."""

    at: float


class GuardianBack(msgspec.Struct, frozen=True):
    """A guardian is attached, perhaps a new one."""


class Send(msgspec.Struct, frozen=True):
    """A message was asked for. `mail.order` is a number of the shell's, growing; `note` goes with a refusal at the door."""

    mail: Mail
    sender: str
    digest: str
    deadline_at: float | None
    caller: Caller | None
    note: str = ""


class NotAdmitted(msgspec.Struct, frozen=True):
    """The store knew the message's id or refused new work: it never entered the mailbox."""

    id: str


class Admitted(msgspec.Struct, frozen=True):
    """The message is durable: it enters the mailbox now, or is settled if the attempt has ended meanwhile."""

    id: str


class Handed(msgspec.Struct, frozen=True):
    """The run hands over a message that it had admitted for a task that was not started yet."""

    mail: Mail


class Withdraw(msgspec.Struct, frozen=True):
    """Take a message back if the worker's code has not taken it."""

    id: str
    caller: Caller | None


class Cancel(msgspec.Struct, frozen=True):
    """End the attempt."""

    cancel: CancelInfo


class Connected(msgspec.Struct, frozen=True):
    """The worker said hello on a connection."""

    hello: rp.WorkerHello
    at: float = 0.0


class Disconnected(msgspec.Struct, frozen=True):
    """The worker's connection is gone."""


class Reported(msgspec.Struct, frozen=True):
    """A numbered report, at `at` (monotonic)."""

    report: rp.Report
    wall: float
    at: float = 0.0


class Started(msgspec.Struct, frozen=True):
    """The guardian has started or adopted the process."""

    body: ev.AttemptStarted
    at: float


class Ended(msgspec.Struct, frozen=True):
    """The guardian's verified word on the worker's end, with the reports that the worker left behind."""

    exited: Exited
    last_words: tuple[rp.Report, ...]
    wall: float


class Unknown(msgspec.Struct, frozen=True):
    """The guardian knows no such worker and no process carries its marker. `number`: of the question, if it answers one.

    `unborn`: no order to start it was ever carried out.
    """

    number: int | None = None
    unborn: bool = False


class Due(msgspec.Struct, frozen=True):
    """Time has passed."""

    at: float


AttemptEvent = (
    Reserve | Reserved | SlotGranted | Alive | Measured | HitLimit | Signal
    | NotReserved | Resume | GuardianBack | Send | NotAdmitted | Admitted | Handed | Withdraw | Cancel
    | Connected | Disconnected | Reported | Started | Ended | Unknown | Due
)  # fmt: skip

# -- effects --------------------------------------------------------------------------------------------------------


class AskSlot(msgspec.Struct, frozen=True):
    """Ask for a place on the machine; `SlotGranted` follows."""


class TakeSlot(msgspec.Struct, frozen=True):
    """It has a place on the machine already: its worker lives."""


class SpawnWorker(msgspec.Struct, frozen=True):
    """Order a process from the guardian."""


class AskGuardian(msgspec.Struct, frozen=True):
    """Let the guardian say what it knows of this worker."""

    number: int


class EndWorker(msgspec.Struct, frozen=True):
    """Order the guardian's ladder. Performed even when the disk refuses (`urgent`): killing needs no promise.

    `whole`: the grace is for every process of the worker, also after its first one has ended.
    """

    grace_seconds: float
    term_seconds: float
    whole: bool = False


class SignalWorker(msgspec.Struct, frozen=True):
    """Order the guardian to send a signal to a process of the worker, or (`tree`) to all of them."""

    pid: int
    number: int
    tree: bool


class TellDone(msgspec.Struct, frozen=True):
    """Answer a caller that what it asked for is carried out."""

    caller: Caller | None


class TellRefused(msgspec.Struct, frozen=True):
    """Answer a caller that what it asked for is not possible now."""

    caller: Caller | None
    text: str
    reason: str


class Say(msgspec.Struct, frozen=True):
    """Send an order to the worker."""

    order: rp.ToWorker
    urgent: bool = False


class Deliver(msgspec.Struct, frozen=True):
    """Send a message to the worker if this is still its connection (they are counted)."""

    message: rp.Deliver
    connection: int


class Admit(msgspec.Struct, frozen=True):
    """Feed `Admitted` back: the message's acceptance is durable."""

    id: str


class Again(msgspec.Struct, frozen=True):
    """Feed this event again, now that what it has to wait for is durable or refused."""

    event: AttemptEvent


class TellReceipt(msgspec.Struct, frozen=True):
    """Answer a caller with the receipt of this message, as the store has it."""

    caller: Caller | None
    id: str


class TellBusy(msgspec.Struct, frozen=True):
    """Answer a caller that the mailbox is full."""

    caller: Caller | None


class TellCannotWithdraw(msgspec.Struct, frozen=True):
    """Answer a caller that the message is past taking back."""

    caller: Caller | None
    id: str


class AlarmAt(msgspec.Struct, frozen=True):
    """Say `Due` at this (monotonic) time."""

    at: float


class Confirm(msgspec.Struct, frozen=True):
    """Let the guardian forget the exit record."""


class TellRun(msgspec.Struct, frozen=True):
    """The attempt is over and durable: tell the run."""

    ended: ev.AttemptEnded


class TellWrong(msgspec.Struct, frozen=True):
    """The answer does not fit its question: nothing is recorded of it."""

    caller: Caller | None
    text: str
    hint: str


class TellWaiting(msgspec.Struct, frozen=True):
    """Tell the run whether the worker waits: then it takes none of the run's places."""

    waiting: bool


class Lend(msgspec.Struct, frozen=True):
    """Lend the worker's place on the machine to whoever it waits for, or take it back."""

    lent: bool


class ReserveDone(msgspec.Struct, frozen=True):
    """Feed `Reserved` back."""


AttemptEffect = (
    AskSlot | TakeSlot
    | SpawnWorker | AskGuardian | EndWorker | Say | TellReceipt | TellBusy | TellCannotWithdraw | AlarmAt | Confirm | TellRun
    | TellWrong | TellDone | TellRefused | SignalWorker | TellWaiting | Lend | ReserveDone | Admit | Again | Deliver
)  # fmt: skip


Effects = tuple[AttemptEffect, ...]


class Decision(msgspec.Struct, frozen=True):
    """What to record and what to do then. `admits` names a message whose id must be new for any of it to happen.

    `prompt`: what rests on something that is durable already, and is done while `events` become so.
    """

    events: tuple[ev.Body, ...] = ()
    effects: tuple[AttemptEffect, ...] = ()
    prompt: tuple[AttemptEffect, ...] = ()
    admits: Send | None = None
    causation: str = ""


NOTHING = Decision()
Next = tuple[Attempt, Decision]
