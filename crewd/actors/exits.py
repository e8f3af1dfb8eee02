"""How actors end, as values, and the errors of this room.

Tests: tests/actors/test_pykka_pitfalls.py, tests/actors/test_runtime.py.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ExitKind(StrEnum):
    """Why an actor ended. `killed`: it did not stop in time; `stuck`: nor could it be killed, for its thread is busy."""

    NORMAL = "normal"
    SHUTDOWN = "shutdown"
    CRASHED = "crashed"
    INTENSITY = "intensity"
    LINKED = "linked"
    KILLED = "killed"
    STUCK = "stuck"


class ExitReason(msgspec.Struct, frozen=True):
    """The kind and, for a crash, what was raised."""

    kind: ExitKind
    error: BaseException | None = None

    @property
    def abnormal(self) -> bool:
        """Whether a transient child is restarted after it."""
        return self.kind not in {ExitKind.NORMAL, ExitKind.SHUTDOWN}

    def __str__(self) -> str:
        return f"{self.kind}: {self.error!r}" if self.error is not None else str(self.kind)


NORMAL = ExitReason(ExitKind.NORMAL)
SHUTDOWN = ExitReason(ExitKind.SHUTDOWN)
KILLED = ExitReason(ExitKind.KILLED)
STUCK = ExitReason(ExitKind.STUCK)


class ActorDead(Exception):
    """The inbox is closed: the message was not taken and never will be."""


class InboxFull(Exception):
    """The data lane is at its bound: the message was not taken; the sender copes."""


class BlockingAsk(RuntimeError):
    """An actor tried to wait for another one."""


class StartFailed(Exception):
    """An actor's `on_start` raised; the cause is chained."""
