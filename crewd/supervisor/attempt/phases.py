"""The named states of an attempt, with the data that each of them has, and which event leads from which to which. Pure.

`TRANSITIONS` says it all: an event that a phase does not name leaves the attempt in that phase. A test walks through the
machine and finds no other transition, and each of these; docs/lifecycle.md draws them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeAlias

import msgspec

from crewd.model.events import AttemptStarted
from crewd.model.rows import CancelInfo
from crewd.model.statuses import AttemptStatus
from crewd.protocol.reports import Outcome
from crewd.supervisor.attempt import events as heard


class Reserving(msgspec.Struct, frozen=True):
    """The reservation is on its way to the disk. A cancel waits until it is known whether the attempt exists."""

    words: ClassVar[str] = "being reserved"
    cancel: CancelInfo | None = None


class Queued(msgspec.Struct, frozen=True):
    """The attempt is in the log. It waits for a slot on the machine, and has no worker."""

    words: ClassVar[str] = "waiting for a slot on the machine"


class Sought(msgspec.Struct, frozen=True):
    """crewd is back, and the log has the reservation only. An order to spawn may have left before crewd died.

    The guardian says whether there is, or was, a worker. A cancel waits for that.
    """

    words: ClassVar[str] = "reserved, and the guardian is asked whether it has a worker"
    cancel: CancelInfo | None = None


class Spawned(msgspec.Struct, frozen=True):
    """The order to spawn is given, and the worker has not said hello.

    `hello_by` is when its silence is looked at (monotonic; none before the first look is set), `cpu_seconds` what it had
    used at the last such look. `process` is what the guardian said of it; it is recorded with the worker's first word, or at
    `process_by`.
    """

    words: ClassVar[str] = "starting"
    hello_by: float | None = None
    cpu_seconds: float = 0.0
    process: AttemptStarted | None = None
    process_by: float = 0.0


class Working(msgspec.Struct, frozen=True):
    """The worker has said hello."""

    words: ClassVar[str] = "at work"


class Said(msgspec.Struct, frozen=True):
    """What the worker itself said of its end. `drained`: it is helped to go, because it gives no sign any more."""

    outcome: Outcome
    drained: bool = False


class Stopping(msgspec.Struct, frozen=True):
    """The worker has said how it ended. Its processes go by themselves, and are ended if they do not."""

    words: ClassVar[str] = "ending, as its worker has said how it ended"
    said: Said


class OverLimit(msgspec.Struct, frozen=True):
    """The worker has reached a limit and is being ended. `said` is what the worker has reported about its end."""

    words: ClassVar[str] = "ending, as it has reached a limit"
    limit: str
    text: str
    said: Said | None = None


class StartTimedOut(msgspec.Struct, frozen=True):
    """The worker was silent for too long after its start, for `waited` seconds: it is ended."""

    words: ClassVar[str] = "ending, as its worker never said hello"
    said: Said | None = None
    waited: float = 0.0


class Cancelling(msgspec.Struct, frozen=True):
    """Somebody has cancelled it: the worker is ended. `limit` is what it had reached before, empty for none."""

    words: ClassVar[str] = "being cancelled"
    cancel: CancelInfo
    limit: str = ""
    said: Said | None = None


class Finished(msgspec.Struct, frozen=True):
    """The terminal event is decided. Nothing changes any more; callers are still answered."""

    words: ClassVar[str] = "over"
    status: AttemptStatus
    outcome: Outcome | None = None


Phase: TypeAlias = (
    Reserving | Queued | Sought | Spawned | Working | Stopping | OverLimit | StartTimedOut | Cancelling | Finished
)
LEAVING = (Stopping, OverLimit, StartTimedOut, Cancelling)
"""The worker is on its way out; each knows what the worker said of that, if it did."""

Transitions: TypeAlias = Mapping[type[heard.AttemptEvent], tuple[type[Phase], ...]]
_ENDED: Transitions = {heard.Ended: (Finished,), heard.Unknown: (Finished,)}
"""The guardian knows how the worker ended, or has no such worker (any more)."""

TRANSITIONS: Mapping[type[Phase], Transitions] = {
    Reserving: {heard.Reserved: (Queued, Finished), heard.NotReserved: (Finished,), heard.Resume: (Sought,)},
    Queued: {
        heard.SlotGranted: (Spawned,), heard.Cancel: (Finished,), heard.Resume: (Sought,), heard.Started: (Spawned,),
        heard.Connected: (Working,), heard.Reported: (Spawned, Stopping), heard.Ended: (Finished,),
    },
    Sought: {
        heard.Started: (Spawned, Cancelling), heard.Connected: (Working, Cancelling),
        heard.Reported: (Spawned, Stopping, Cancelling), heard.Ended: (Finished,), heard.Unknown: (Queued, Finished),
    },
    Spawned: {
        heard.Connected: (Working, OverLimit), heard.Reported: (Stopping,), heard.Cancel: (Cancelling,),
        heard.Due: (StartTimedOut,), **_ENDED,
    },
    Working: {
        heard.Reported: (Stopping, OverLimit), heard.Cancel: (Cancelling,), heard.HitLimit: (OverLimit,),
        heard.Due: (OverLimit,), heard.Alive: (OverLimit,), heard.Measured: (OverLimit,), heard.Connected: (OverLimit,),
        heard.Resume: (OverLimit,), **_ENDED,
    },
    Stopping: _ENDED,
    OverLimit: {heard.Cancel: (Cancelling,), **_ENDED},
    StartTimedOut: {heard.Cancel: (Cancelling,), **_ENDED},
    Cancelling: _ENDED,
    Finished: {},
}  # fmt: skip
"""From each phase, by which event, to which other phases. What is not here stays where it is."""

_STATUS: dict[type[Phase], AttemptStatus] = {
    Reserving: AttemptStatus.RESERVED, Queued: AttemptStatus.RESERVED, Sought: AttemptStatus.RESERVED,
    Spawned: AttemptStatus.STARTING, Working: AttemptStatus.RUNNING,
    **dict.fromkeys(LEAVING, AttemptStatus.ENDING),
}  # fmt: skip


def status_of(phase: Phase) -> AttemptStatus:
    """The status that people see."""
    return phase.status if isinstance(phase, Finished) else _STATUS[type(phase)]


def with_outcome(phase: Phase, outcome: Outcome) -> Phase:
    """The phase once the worker has said how it ended: who ends it for another reason goes on with that."""
    match phase:
        case OverLimit() | StartTimedOut() | Cancelling():
            return msgspec.structs.replace(phase, said=Said(outcome))
        case _:
            return Stopping(Said(outcome))
