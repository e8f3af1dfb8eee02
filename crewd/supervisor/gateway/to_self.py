"""What the gateway tells itself: that something can be read, and that a time has come.

Tests: tests/supervisor/gateway/test_waiting.py.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from crewd.supervisor.gateway.wire import Side


class Readable(msgspec.Struct, frozen=True):
    """A socket has something."""

    side: Side


class Due(msgspec.Struct, frozen=True):
    """It is time to do this."""

    act: Callable[[], None]
