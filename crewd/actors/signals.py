"""What an actor hears of its system, besides the messages that others tell it.

Tests: tests/actors/test_monitors_and_metrics.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from crewd.actors.exits import SHUTDOWN, ExitReason

if TYPE_CHECKING:
    from crewd.actors.ref import AnyRef


class StopActor(msgspec.Struct, frozen=True):
    """Ends an actor; sent in the control lane by its supervisor. `until` (monotonic) is when all of it must be over."""

    reason: ExitReason = SHUTDOWN
    until: float | None = None


class Begin(msgspec.Struct, frozen=True):
    """The first message of every actor: run `on_start`."""


class ActorStarted(msgspec.Struct, frozen=True):
    """The system's word that a child's `on_start` has finished."""

    ref: AnyRef


class Down(msgspec.Struct, frozen=True):
    """Exactly one of these reaches each watcher, also if the actor was dead when it began to watch."""

    ref: AnyRef
    reason: ExitReason
    incarnation: int


class LinkBroken(msgspec.Struct, frozen=True):
    """The other end of a link ended abnormally. The default answer to it is to end as well (`Actor.link_broken`)."""

    ref: AnyRef
    reason: ExitReason
