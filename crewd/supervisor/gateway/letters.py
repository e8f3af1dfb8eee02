"""What the gateway tells itself: that something can be read, that a time has come, and what a question is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crewd.protocol import requests as rq
from crewd.supervisor.commands import Caller
from crewd.supervisor.gateway.wire import Side


@dataclass(frozen=True, slots=True)
class Readable:
    """A socket has something."""

    side: Side


@dataclass(frozen=True, slots=True)
class Look:
    """Time to look at waits."""


@dataclass(frozen=True, slots=True)
class Refill:
    """Time to go on with the feeds that lag."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to the reader, and what its answer is for."""

    caller: Caller
    request: rq.Request
    purpose: str
    extra: Any = None


@dataclass(frozen=True, slots=True)
class Again:
    """Time to ask the reader what it could not take before."""

    asked: Asked


@dataclass(frozen=True, slots=True)
class Late:
    """The reader should have answered this question by now."""

    token: int
