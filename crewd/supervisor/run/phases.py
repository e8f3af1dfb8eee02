"""The named states of a task, with the data that each of them has. Pure.

`TASK_MOVES` (crewd.model.statuses) says which follows which, by the statuses that people see.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import msgspec

from crewd.model.rows import ClaimInfo
from crewd.model.statuses import TaskStatus


class IsQueued(msgspec.Struct, frozen=True):
    """It waits for the tasks that it depends on, and until `max_concurrency` allows one more."""


class InBackoff(msgspec.Struct, frozen=True):
    """An attempt has ended and another one is made at `due` (monotonic)."""

    due: float


class IsParked(msgspec.Struct, frozen=True):
    """It ended too often: it waits until somebody takes it up again. `notice` is the id of what people are told."""

    notice: str


class IsClaimed(msgspec.Struct, frozen=True):
    """Somebody else carries it out, until the lease runs out at `due` (monotonic)."""

    claim: ClaimInfo
    due: float


class IsLive(msgspec.Struct, frozen=True):
    """An attempt of it lives. One whose worker only waits does not count against `max_concurrency`."""

    waiting: bool = False


class IsOver(msgspec.Struct, frozen=True):
    """It has ended with this status. `claim` is that of its holder, if somebody else has carried it out.

    `said` is what that one has said of the end, as a digest.
    `notice` is the id of its dead letter, until somebody has seen that.
    """

    status: TaskStatus
    notice: str = ""
    claim: ClaimInfo | None = None
    said: str = ""


def digest_of(result: object, error: str) -> str:
    """What somebody says of the end of a task, to know it again."""
    return hashlib.sha256(msgspec.msgpack.encode([result, error])).hexdigest()


TaskPhase: TypeAlias = IsQueued | InBackoff | IsParked | IsClaimed | IsLive | IsOver
AT_REST = (IsQueued, InBackoff, IsParked, IsClaimed)
"""Nothing of it lives here: messages for it are held, and a cancel ends it at once."""


def status_of(phase: TaskPhase) -> TaskStatus:
    """The status that people see."""
    match phase:
        case IsQueued():
            return TaskStatus.QUEUED
        case InBackoff():
            return TaskStatus.BACKOFF
        case IsParked():
            return TaskStatus.PARKED
        case IsClaimed():
            return TaskStatus.CLAIMED
        case IsLive(waiting):
            return TaskStatus.WAITING if waiting else TaskStatus.RUNNING
        case IsOver(status):
            return status
