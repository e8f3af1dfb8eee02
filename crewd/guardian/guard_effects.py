"""What the guardian's decisions say and hear: their effects beside those of one worker (`care`), and the facts they rest on.

Tests: tests/guardian/test_guard.py.
"""

from __future__ import annotations

import msgspec

from crewd.guardian.care import Effect
from crewd.guardian.tree import Key, Proc
from crewd.protocol import guardian as gd
from crewd.protocol.bootstrap import Bootstrap


class Fork(msgspec.Struct, frozen=True):
    """Have the zygote fork this worker, whose processes have `number`."""

    bootstrap: Bootstrap
    number: int


class Inspect(msgspec.Struct, frozen=True):
    """Look whether the directory of a worker that nobody knows is there, and for reports in it; `inspected` hears of it."""

    key: Key
    number: int | None


class Prepare(msgspec.Struct, frozen=True):
    """A worker will be ordered: do ahead what can be done."""

    order: gd.Expect


class LeaveFile(msgspec.Struct, frozen=True):
    """Write an output file of a step."""

    order: gd.LeaveFile


class Examine(msgspec.Struct, frozen=True):
    """Say what is on the machine."""

    number: int


class Pong(msgspec.Struct, frozen=True):
    """Answer that the guardian lives, with what is known of the zygote."""


class Greet(msgspec.Struct, frozen=True):
    """Crewd has been told everything."""

    workers: int


class ForgetRecord(msgspec.Struct, frozen=True):
    """Remove the record of a worker that is over from the disk."""

    key: Key


class ForgetExit(msgspec.Struct, frozen=True):
    """Remove the exit record of a worker from the disk."""

    key: Key


class WatchProcess(msgspec.Struct, frozen=True):
    """Tell when this process, which is not the guardian's child, has ended: `first_ended`."""

    key: Key
    pid: int


GuardEffect = Effect | Fork | Inspect | Prepare | LeaveFile | Pong | Examine | Greet | ForgetRecord | ForgetExit | WatchProcess


class Mark(msgspec.Struct, frozen=True):
    """What marks a process: the worker that its environment names, and the number in its resource limit.

    `key` is ("", 0) for a marker of this home that names no possible worker.
    """

    key: Key | None = None
    number: int | None = None


class ChildEnded(msgspec.Struct, frozen=True):
    """A child of the guardian has ended. `last` and `number` are what was still to be seen of it, if it was looked at."""

    pid: int
    code: int | None
    signal: int | None
    last: Proc | None = None
    number: int | None = None
    looked_at: bool = True
