"""What the gateway tells itself: that something can be read, and that a time has come.

Tests: tests/supervisor/gateway/test_waiting.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crewd.supervisor.gateway.wire import Side


@dataclass(frozen=True, slots=True)
class Readable:
    """A socket has something."""

    side: Side


@dataclass(frozen=True, slots=True)
class Due:
    """It is time to do this."""

    act: Callable[[], None]
