"""What the machine of a run has done: its effects, and the decision that holds them.

Tests: tests/supervisor/run/test_tries.py, tests/supervisor/run/test_decide.py.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from crewd.model.events import Body
from crewd.model.rows import CancelInfo
from crewd.supervisor.attempt.mailbox import Mail


class StartAttempt(msgspec.Struct, frozen=True):
    """Reserve a controller for the next attempt of a task; it takes over the held messages."""

    task: str
    epoch: int
    mails: tuple[Mail, ...]


class CancelAttempt(msgspec.Struct, frozen=True):
    """Let the task's controller end its attempt. `urgent`: also when the disk refuses."""

    task: str
    epoch: int
    cancel: CancelInfo


class Leave(msgspec.Struct, frozen=True):
    """The run is over and durable."""


class AlarmAt(msgspec.Struct, frozen=True):
    """Say `Due` at this (monotonic) time."""

    at: float


RunEffect: TypeAlias = StartAttempt | CancelAttempt | AlarmAt | Leave


class Recorded(msgspec.Struct, frozen=True):
    """An event of the run or of one of its tasks."""

    body: Body
    task: str = ""


class Decision(msgspec.Struct, frozen=True):
    """What to record and what to do then."""

    events: tuple[Recorded, ...] = ()
    effects: tuple[RunEffect, ...] = ()


NOTHING = Decision()
