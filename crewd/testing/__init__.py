"""For tests of crewd and of what is built on it: a scripted scheduler, a simulated world, real daemons, stress for workers.

This room may import any other; no other room imports it. What stands here is loaded when it is used, because pytest loads
`crewd.testing.plugin` in every project where crewd is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crewd.testing.daemon import Daemon
    from crewd.testing.scheduler import Scheduler, VirtualClock

__all__ = ["Daemon", "Scheduler", "VirtualClock"]
_PLACES = {"Daemon": "daemon", "Scheduler": "scheduler", "VirtualClock": "scheduler"}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{place}"), name)
