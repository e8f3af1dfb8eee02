"""What the gateway, the front, runs, controllers and the guardian link say to each other inside crewd.

Tests: tests/supervisor/gateway/test_questions.py.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from crewd.actors import Lane, Ref
from crewd.model.budget import Used
from crewd.model.errors import CrewdError
from crewd.model.reasons import CancelReason
from crewd.model.rows import CancelInfo
from crewd.protocol import guardian as gd
from crewd.protocol import replies as rl
from crewd.protocol import reports as rp
from crewd.protocol import requests as rq
from crewd.store.messages import AttemptIs, Echo, Flushed, Journaled, LiveRun, LiveRuns, NoRun, Overfull
from crewd.supervisor.attempt.mailbox import Mail
from crewd.supervisor.caller import Caller
from crewd.supervisor.run.events import AttemptOver


class CancelRecorded(msgspec.Struct, frozen=True):
    """The cancel is durable. An end after the event `after` is the one that the caller waits for."""

    after: int


class HasEnded(msgspec.Struct, frozen=True):
    """What was to be cancelled had ended before."""


Reply = rl.Reply | rq.GetReceipt | rq.Show | CancelRecorded | HasEnded | CrewdError
"""What a command leads to. A `GetReceipt` or a `Show` is a question that the gateway asks the reader on the caller's behalf."""


class Command(msgspec.Struct, frozen=True):
    """A client's command with its target resolved (`run`, and `task` if one was named; neither for one about crewd itself).

    `note` is what is known of the question that a response is for, if it is over.
    """

    caller: Caller
    request: rq.Commanded
    run: str = ""
    task: str = ""
    digest: str = ""
    note: str = ""

    @property
    def lane(self) -> Lane:
        """A cancel goes ahead of other messages in every inbox."""
        return Lane.CONTROL if isinstance(self.request, rq.Cancel) else Lane.DATA


class Post(msgspec.Struct, frozen=True):
    """A control message on its way to the controller of an attempt."""

    mail: Mail
    sender: str
    digest: str
    deadline_at: float | None
    caller: Caller
    command: Command


class Waits(msgspec.Struct, frozen=True):
    """The worker of this task only waits, or does so no more."""

    task: str
    waiting: bool


class TakeBack(msgspec.Struct, frozen=True):
    """A withdrawal on its way to the controller."""

    id: str
    caller: Caller
    command: Command


class SendSignal(msgspec.Struct, frozen=True):
    """A signal on its way to the controller."""

    number: int
    tree: bool
    caller: Caller
    command: Command


class Hand(msgspec.Struct, frozen=True):
    """A message that the run admitted before the attempt began, on its way to the controller."""

    mail: Mail


class Spent(msgspec.Struct, frozen=True):
    """What the worker of this attempt has used so far."""

    task: str
    epoch: int
    used: Used


class ChildUsed(msgspec.Struct, frozen=True):
    """What the workers of a run below this one have used so far."""

    child: str
    used: Used


class HandBack(msgspec.Struct, frozen=True):
    """The attempt had ended before the message reached its controller."""

    task: str
    mail: Mail


class EndAttempt(msgspec.Struct, frozen=True):
    """A cancel on its way to the controller."""

    cancel: CancelInfo


class HitLimit(msgspec.Struct, frozen=True):
    """A bound of the whole run is reached: for the controller of each of its attempts."""

    limit: str
    text: str


class CancelAll(msgspec.Struct, frozen=True):
    """End every run (the daemon stops)."""

    cancel: CancelInfo


class ParentEnded(msgspec.Struct, frozen=True):
    """This attempt has ended: so do the runs that its worker started, unless they are to be kept."""

    task: str
    epoch: int
    status: str


class StartSoon(msgspec.Struct, frozen=True):
    """The time to look again whether a run can be started: `command` is its start, and not looked at again after `until`."""

    command: Command
    until: float


class ChildLives(msgspec.Struct, frozen=True):
    """This run was started by a worker, the attempt `parent`."""

    run: str
    parent: str
    on_parent: str


class Stop(msgspec.Struct, frozen=True):
    """The daemon is to stop: `drain` waits for what is live, `end` (with the cancel) ends it, `keep` leaves it alone."""

    mode: Literal["drain", "end", "keep"]
    cancel: CancelInfo


def stop(mode: Literal["drain", "end", "keep"], grace_seconds: float, wall: float, how: str = "graceful") -> Stop:
    """The order to stop, given at `wall`, with the cancel that ends every run if it comes to that."""
    cancel = CancelInfo(
        reason=CancelReason.SHUTDOWN, mode=how, grace_seconds=grace_seconds, requester="crewd", requested_at=wall
    )  # fmt: skip
    return Stop(mode, cancel)


class WorkerConnected(msgspec.Struct, frozen=True):
    """A worker said hello, and its token was right."""

    hello: rp.WorkerHello


class WorkerDisconnected(msgspec.Struct, frozen=True):
    """A worker's connection cannot be reached."""


class WorkerAlive(msgspec.Struct, frozen=True):
    """A heartbeat or progress of a worker; `beats` counts the signs of its code."""

    beats: int


class AskSlot(msgspec.Struct, frozen=True):
    """An attempt wants a slot on the machine; `SlotGranted` answers, some time. Said twice it counts once."""

    task: str
    epoch: int
    reply_to: Ref[SlotGranted]


class MayHaveSlot(msgspec.Struct, frozen=True):
    """Reserve a slot for an attempt after a restart of crewd, until it is known whether its worker is alive."""

    task: str
    epoch: int
    reply_to: Ref[SlotGranted]


class Recalled(msgspec.Struct, frozen=True):
    """The attempts (task, epoch) that lived when crewd ended: each has a slot until it says more. Heard once."""

    attempts: tuple[tuple[str, int], ...]


class TakeSlot(msgspec.Struct, frozen=True):
    """An attempt that lives already takes its place (crewd is back)."""

    task: str
    epoch: int
    reply_to: Ref[SlotGranted]


class LendSlot(msgspec.Struct, frozen=True):
    """The worker of this attempt only waits for others: its slot is theirs, until it says that it goes on."""

    task: str
    epoch: int
    lent: bool


class SlotReady(msgspec.Struct, frozen=True):
    """The worker of this attempt has said its first word: the next one may be started."""

    task: str
    epoch: int


class SlotGranted(msgspec.Struct, frozen=True):
    """There is a slot: the worker may be started."""


class WorkerReported(msgspec.Struct, frozen=True):
    """Numbered reports of a worker that said hello."""

    reports: tuple[rp.Report, ...]


class ToGuardian(msgspec.Struct, frozen=True):
    """An order for the guardian link to send. A start waits for a guardian; the rest is sent again when one attaches."""

    order: gd.Order


class GuardianSays(msgspec.Struct, frozen=True):
    """A fact about one worker."""

    notice: gd.Started | gd.Exited | gd.Gone | gd.Used


class GuardianAttached(msgspec.Struct, frozen=True):
    """A guardian is there, perhaps a new one: each controller asks it about its worker."""


class RunOver(msgspec.Struct, frozen=True):
    """A run's terminal event is durable."""

    run: str


class RunBroken(msgspec.Struct, frozen=True):
    """The actor of this run has crashed too often: it is not started again before crewd is."""

    run: str


class AttemptHasEnded(msgspec.Struct, frozen=True):
    """A controller's attempt is over and durable."""

    over: AttemptOver


class Tick(msgspec.Struct, frozen=True):
    """A timer of the actor's own that is due at this time (monotonic)."""

    due: float


Shared: TypeAlias = Journaled | Tick
"""What a run and a controller take alike."""
RunMessage: TypeAlias = (
    Shared | LiveRun | NoRun | AttemptHasEnded | Waits | Spent | ChildUsed | Overfull | HandBack | Command | CancelAll
)
"""What a run takes."""
ControllerMessage: TypeAlias = (
    Shared | WorkerReported | Post | Hand | TakeBack | SendSignal | EndAttempt | SlotGranted | WorkerConnected
    | WorkerDisconnected | WorkerAlive | GuardianSays | HitLimit | GuardianAttached
)  # fmt: skip
"""What the controller of an attempt takes."""


class StopNow(msgspec.Struct, frozen=True):
    """The time for sending the last events to clients is over: stop without waiting any longer."""


FrontMessage: TypeAlias = (
    Journaled | LiveRuns | LiveRun | NoRun | Command | StartSoon | RunOver | RunBroken | ChildLives | AttemptIs | ParentEnded
    | Stop | Flushed | Echo | StopNow
)  # fmt: skip
"""What the front takes."""
SlotsMessage: TypeAlias = AskSlot | MayHaveSlot | Recalled | TakeSlot | LendSlot | SlotReady
"""What the owner of the slots takes from others."""
