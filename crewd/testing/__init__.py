"""For tests of crewd and of what is built on it: actors under a scripted scheduler, and a daemon in a home of its own.

This room may import any other; no other room imports it.
"""

from crewd.testing.daemon import Daemon
from crewd.testing.scheduler import Scheduler, VirtualClock

__all__ = ["Daemon", "Scheduler", "VirtualClock"]
