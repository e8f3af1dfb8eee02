"""Whether a task whose attempt has ended is tried again, started again, parked or over. Pure.

Rule 1: a cancel beats every retry and restart. Rule 2: what is hopeless is not tried again.
Rule 3: the window of restarts counts every end, also of a worker that died just after it had become healthy.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from crewd.model.policy import Restarts, Retry
from crewd.model.reasons import FailureReason
from crewd.model.statuses import AttemptStatus

HOPELESS = frozenset({FailureReason.SPAWN_FAILED})
"""Reasons after which another try would end the same way."""
START_TRIES = 4
"""A worker that could not be started for want of something (a busy file, memory, descriptors) has done nothing yet, so it is
tried again, also if no retries were asked for."""


class AttemptEnd(msgspec.Struct, frozen=True):
    """How an attempt ended, having lived for `lived` seconds; `chance` is for the jitter.

    It is heard of at `at` (monotonic), `ago` seconds after it: crewd may have been away.
    """

    status: AttemptStatus
    reason: str = ""
    error_class: str = ""
    exit_code: int | None = None
    error: str = ""
    at: float = 0.0
    lived: float = 0.0
    chance: float = 0.5
    ago: float = 0.0


class TryAgain(msgspec.Struct, frozen=True):
    """Another attempt at `due` (monotonic)."""

    kind: Literal["retry", "restart"]
    due: float


class Park(msgspec.Struct, frozen=True):
    """Too many ends: wait for somebody."""

    text: str


class NoMore(msgspec.Struct, frozen=True):
    """No more attempts."""


class Tried(msgspec.Struct, frozen=True):
    """What is remembered of earlier tries, until the task is queued again.

    `since` is the last epoch that does not count, `ends` are the times (monotonic) of the ends in the window of restarts,
    `quick` counts restarts in a row of workers that were not healthy for long.
    """

    since: int = 0
    ends: tuple[float, ...] = ()
    quick: int = 0


def after(
    end: AttemptEnd, epoch: int, tried: Tried, retry: Retry, restarts: Restarts
) -> tuple[TryAgain | Park | NoMore, Tried]:
    """What follows the end of the attempt with this epoch, and what is remembered of it."""
    failed = end.status in {AttemptStatus.FAILED, AttemptStatus.LOST}
    if restarts.policy == "permanent" or (restarts.policy == "transient" and failed):
        if end.status not in {AttemptStatus.FAILED, AttemptStatus.LOST, AttemptStatus.COMPLETED}:
            return NoMore(), tried
        ends = tuple(t for t in (*tried.ends, end.at - end.ago) if t > end.at - restarts.period_seconds)
        tried = Tried(tried.since, ends, 1 if end.lived >= restarts.healthy_seconds else tried.quick + 1)
        if len(ends) > restarts.restarts_max:
            return Park(f"it ended {len(ends)} times within {restarts.period_seconds:g} s"), tried
        return TryAgain("restart", end.at + restarts.wait_seconds(tried.quick, end.chance)), tried
    hopeless = end.reason in HOPELESS or retry.hopeless(end.error_class, end.exit_code, end.error)
    allowed = max(retry.attempts, START_TRIES) if end.reason == FailureReason.START_BUSY else retry.attempts
    tries = epoch - tried.since
    if failed and tries < allowed and not hopeless:
        return TryAgain("retry", end.at + retry.wait_seconds(tries, end.chance)), tried
    return NoMore(), tried
