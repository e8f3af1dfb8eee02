"""Child specs: what a supervisor is told about a child, in OTP's words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crewd.actors.actor import Actor


class Strategy(StrEnum):
    """Who is restarted with a child that ended."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


class Restart(StrEnum):
    """When a child is restarted: always, after an abnormal end, never."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


@dataclass(frozen=True, slots=True)
class Intensity:
    """More than `restarts_max` restarts within `period_seconds` end the supervisor too. OTP's default is 1 in 5 s."""

    restarts_max: int = 3
    period_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """The n-th restart in a row waits `first_seconds * 2**(n-1)`, at most `cap_seconds` (R9)."""

    first_seconds: float = 0.05
    cap_seconds: float = 5.0

    def seconds(self, restarts: int) -> float:
        """The wait before the next restart when `restarts` happened within the period."""
        return min(self.cap_seconds, self.first_seconds * 2.0 ** max(0, restarts - 1)) if restarts else 0.0


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to make a child and what to do when it ends. `pinned` children get a thread of their own."""

    name: str
    factory: Callable[[], Actor]
    restart: Restart = Restart.PERMANENT
    shutdown_seconds: float = 5.0
    pinned: bool = False
