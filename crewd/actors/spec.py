"""Child specs: what a supervisor is told about a child, in OTP's words.

Tests: tests/actors/test_otp_conformance.py.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, Never, TypeAlias, TypeVar

import msgspec

if TYPE_CHECKING:
    from crewd.actors.actor import Actor


M_contra = TypeVar("M_contra", contravariant=True)


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


class AutoShutdown(StrEnum):
    """When a supervisor ends because its significant children have ended: never, after the first, after the last of them."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


class Intensity(msgspec.Struct, frozen=True):
    """More than `restarts_max` restarts or abnormal ends within `period_seconds` end the supervisor too (OTP: 1 in 5 s).

    The window slides on the monotonic clock. Limits of nested supervisors multiply.
    """

    restarts_max: int = 3
    period_seconds: float = 5.0


class Backoff(msgspec.Struct, frozen=True):
    """A child's n-th restart in a row waits `first_seconds * 2**(n-1)` ± `jitter`, at most `cap_seconds`.

    A child that was up for `healthy_seconds` begins a new row.
    """

    first_seconds: float = 0.05
    cap_seconds: float = 5.0
    jitter: float = 0.25
    healthy_seconds: float = 30.0

    def seconds(self, row: int, roll: float = 0.5) -> float:
        """The wait before restart number `row` of a row. `roll` in [0, 1) is the chance that the jitter takes."""
        plain = min(self.cap_seconds, self.first_seconds * 2.0 ** min(max(0, row - 1), 64))
        return min(self.cap_seconds, plain * (1.0 + self.jitter * (2.0 * roll - 1.0)))


class ChildSpec(msgspec.Struct, Generic[M_contra], frozen=True):
    """How to make a child and what to do when it ends. `pinned` children get a thread of their own.

    `shutdown_seconds` is how long the child may take to stop before it is killed (0: kill at once), `start_seconds` how
    long its `on_start` may take. The end of a `significant` child can end its supervisor (`AutoShutdown`).
    """

    name: str
    factory: Callable[[], Actor[M_contra]]
    restart: Restart = Restart.PERMANENT
    shutdown_seconds: float = 5.0
    start_seconds: float = 30.0
    pinned: bool = False
    significant: bool = False

    def __post_init__(self) -> None:
        if self.significant and self.restart is Restart.PERMANENT:
            raise ValueError(f"{self.name} is permanent: it is always restarted and cannot be significant")


AnySpec: TypeAlias = ChildSpec[Never]
"""The spec of any child."""
