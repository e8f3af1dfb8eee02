"""What the machine of an attempt has done: its effects, and the decision that holds them.

Tests: tests/supervisor/attempt/test_decide.py, tests/supervisor/attempt/test_watch.py.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from crewd.model.budget import Used
from crewd.model.events import AttemptEnded, Body
from crewd.protocol import reports as rp
from crewd.supervisor.attempt.events import AttemptEvent, Send
from crewd.supervisor.caller import Caller


class AskSlot(msgspec.Struct, frozen=True):
    """Ask for a slot on the machine; `SlotGranted` follows."""


class TakeSlot(msgspec.Struct, frozen=True):
    """It has a slot on the machine already: its worker lives."""


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


class TellSpent(msgspec.Struct, frozen=True):
    """Let the run know what the worker has used so far."""

    used: Used


class Admit(msgspec.Struct, frozen=True):
    """Feed `Admitted` back: the message's acceptance is durable."""

    id: str


class FeedAgain(msgspec.Struct, frozen=True):
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

    ended: AttemptEnded


class TellWrong(msgspec.Struct, frozen=True):
    """The answer does not fit its question: nothing is recorded of it."""

    caller: Caller | None
    text: str
    hint: str


class TellWaiting(msgspec.Struct, frozen=True):
    """Tell the run whether the worker waits: then it does not count against the run's `max_concurrency`."""

    waiting: bool


class Lend(msgspec.Struct, frozen=True):
    """Lend the worker's slot to the workers that it waits for, or take it back."""

    lent: bool


class ShowCheckpoint(msgspec.Struct, frozen=True):
    """Let runs that the worker starts find its session, if it is an agent."""

    value: object


class ReserveDone(msgspec.Struct, frozen=True):
    """Feed `Reserved` back."""


AttemptEffect: TypeAlias = (
    AskSlot | TakeSlot
    | SpawnWorker | AskGuardian | EndWorker | Say | TellReceipt | TellBusy | TellCannotWithdraw | AlarmAt | Confirm | TellRun
    | TellWrong | TellDone | TellRefused | SignalWorker | TellWaiting | Lend | ReserveDone | TellSpent | ShowCheckpoint
    | Admit | FeedAgain | Deliver
)  # fmt: skip


Effects: TypeAlias = tuple[AttemptEffect, ...]


class Decision(msgspec.Struct, frozen=True):
    """What to record and what to do then. `admits` names a message whose id must be new for any of it to happen.

    `prompt`: what rests on something that is durable already, and is done while `events` become so.
    """

    events: tuple[Body, ...] = ()
    effects: tuple[AttemptEffect, ...] = ()
    prompt: tuple[AttemptEffect, ...] = ()
    admits: Send | None = None
    causation: str = ""


NOTHING = Decision()
