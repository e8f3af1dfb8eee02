"""What the machine of an attempt hears: its events.

Tests: tests/supervisor/attempt/test_decide.py, tests/supervisor/attempt/test_watch.py.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from crewd.model.events import AttemptStarted
from crewd.model.rows import CancelInfo
from crewd.protocol import reports as rp
from crewd.protocol.guardian import Exited
from crewd.supervisor.attempt.mailbox import Mail
from crewd.supervisor.caller import Caller


class Reserve(msgspec.Struct, frozen=True):
    """The controller exists; nothing is durable yet."""

    directory: str


class Reserved(msgspec.Struct, frozen=True):
    """The reservation is durable: a worker may be spawned when there is a slot for it."""


class SlotGranted(msgspec.Struct, frozen=True):
    """The machine has a slot for one more worker."""

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

    body: AttemptStarted
    at: float


class Ended(msgspec.Struct, frozen=True):
    """The guardian's verified word on the worker's end, with the reports that the worker left behind."""

    exited: Exited
    unsent_reports: tuple[rp.Report, ...]
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


AttemptEvent: TypeAlias = (
    Reserve | Reserved | SlotGranted | Alive | Measured | HitLimit | Signal
    | NotReserved | Resume | GuardianBack | Send | NotAdmitted | Admitted | Handed | Withdraw | Cancel
    | Connected | Disconnected | Reported | Started | Ended | Unknown | Due
)  # fmt: skip
