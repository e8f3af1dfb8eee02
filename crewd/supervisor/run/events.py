"""What the machine of a run hears: its events.

Tests: tests/supervisor/run/test_tries.py, tests/supervisor/run/test_phases.py.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from crewd.model.budget import Used
from crewd.model.events import AttemptEnded
from crewd.model.rows import CancelInfo, UndeliveredMessage
from crewd.supervisor.attempt.mailbox import Mail


class Proceed(msgspec.Struct, frozen=True):
    """Start what is ready (after admission, or after crewd came back)."""

    at: float = 0.0


class Due(msgspec.Struct, frozen=True):
    """Time has passed: a task in backoff may start, or the run has taken too long."""

    at: float
    wall: float


class Reopen(msgspec.Struct, frozen=True):
    """Do again what is chosen by `kind`; only this task if one is named.

    `order`: the request's id, if it has one, and what it asks (see `RunOrderDone.order`).
    """

    kind: str
    at: float
    task: str = ""
    requester: str = ""
    intent: str = ""
    order: str = ""


class Dismiss(msgspec.Struct, frozen=True):
    """A dead letter (all of the run's, without a task) has been seen."""

    task: str = ""
    requester: str = ""
    intent: str = ""
    order: str = ""


class Approve(msgspec.Struct, frozen=True):
    """Somebody wants a blocked run to go on."""

    at: float
    requester: str = ""
    intent: str = ""
    order: str = ""


class AttemptOver(msgspec.Struct, frozen=True):
    """The terminal event of an attempt is durable. `at` and `wall` are now, it lived for `lived` seconds.

    `ended_at` (wall-clock) is when it ended, if that is heard of later: crewd was away in between. 0: now. `observed`: crewd
    has seen something of its work, an operation that has ended or tokens. `used`: what its worker has used, all in all.
    """

    task: str
    ended: AttemptEnded
    error: str = ""
    result: object = None
    result_path: str = ""
    undelivered: tuple[UndeliveredMessage, ...] = ()
    at: float = 0.0
    wall: float = 0.0
    lived: float = 0.0
    ended_at: float = 0.0
    chance: float = 0.5
    observed: bool = True
    checkpoint: object = None
    used: Used | None = None


class CancelRun(msgspec.Struct, frozen=True):
    """End the whole run. `order`: see `Reopen`."""

    cancel: CancelInfo
    order: str = ""


class CancelTask(msgspec.Struct, frozen=True):
    """End one task."""

    task: str
    cancel: CancelInfo


class Hold(msgspec.Struct, frozen=True):
    """A message for a task that has not started."""

    task: str
    mail: Mail


class TooLate(msgspec.Struct, frozen=True):
    """A message whose task, or run, is over: nobody takes it."""

    task: str
    mail: Mail


class StartFor(msgspec.Struct, frozen=True):
    """A durable message wants the worker to be started again for it, whatever became of the worker."""

    task: str
    mail: Mail
    at: float
    requester: str = ""


class Waits(msgspec.Struct, frozen=True):
    """The worker of a task only waits, or no more. One that waits does not count against `max_concurrency`."""

    task: str
    waiting: bool
    at: float


class Spent(msgspec.Struct, frozen=True):
    """The worker of an attempt has said what it has used so far."""

    task: str
    epoch: int
    used: Used
    at: float


class ChildUsed(msgspec.Struct, frozen=True):
    """The workers of a run below this one have used so much so far."""

    child: str
    used: Used
    at: float


class TakeBack(msgspec.Struct, frozen=True):
    """A held message is withdrawn."""

    task: str
    id: str


RunEvent: TypeAlias = (
    Proceed
    | Due
    | Approve
    | AttemptOver
    | Reopen
    | StartFor
    | Dismiss
    | CancelRun
    | CancelTask
    | Hold
    | TooLate
    | Waits
    | Spent
    | ChildUsed
    | TakeBack
)
