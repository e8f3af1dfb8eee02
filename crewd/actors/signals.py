"""What an actor hears of its system, besides the messages that others tell it.

Tests: tests/actors/test_monitors_and_metrics.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crewd.actors.exits import SHUTDOWN, ExitReason

if TYPE_CHECKING:
    from crewd.actors.ref import AnyRef


@dataclass(frozen=True, slots=True)
class StopActor:
    """Ends an actor; sent in the control lane by its supervisor. `until` (monotonic) is when all of it must be over."""

    reason: ExitReason = SHUTDOWN
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message of every actor: run `on_start`."""


@dataclass(frozen=True, slots=True)
class ActorStarted:
    """The system's word that a child's `on_start` has finished."""

    ref: AnyRef


@dataclass(frozen=True, slots=True)
class Down:
    """Exactly one of these reaches each watcher, also if the actor was dead when it began to watch."""

    ref: AnyRef
    reason: ExitReason
    incarnation: int


@dataclass(frozen=True, slots=True)
class LinkBroken:
    """The other end of a link ended abnormally. The default answer to it is to end as well (`Actor.link_broken`)."""

    ref: AnyRef
    reason: ExitReason
