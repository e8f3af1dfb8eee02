"""What a service manager wants to know (sd_notify), and what pid 1 has to do. Nothing of it happens elsewhere.

Tests: tests/test_lifecycle.py.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from crewd.actors import Actor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


SAY_SECONDS = 0.5
"""How long a service manager that does not read is waited for, unless it is a beat that it would not read: that is left out."""
BEAT = "WATCHDOG=1"


class ServiceManager:
    """The other end of `NOTIFY_SOCKET`. Every method is harmless where there is none, or one that does not read."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environment.get("WATCHDOG_USEC", "0")
        self.beat_seconds = int(usec) / 2e6 if ours and usec.isdigit() else 0.0
        """Between two signs of life; 0 if nobody waits for any."""

    def say(self, text: str) -> None:
        """`READY=1`, `STOPPING=1`, `WATCHDOG=1`."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
            link.settimeout(0.0 if text == BEAT else SAY_SECONDS)
            link.sendto(text.encode(), address)


class ServiceBeat(Actor[None]):
    """Calls `beat` at once and then every so many seconds, on the brain's thread.

    A brain that is stuck does not beat: a service manager that waits for it starts crewd again.
    """

    def __init__(self, seconds: float, beat: Callable[[], None]) -> None:
        super().__init__()
        self._seconds = seconds
        self._beat = beat

    def on_start(self) -> None:
        """The first beat."""
        self.receive(None)

    def receive(self, message: None) -> None:  # noqa: ARG002 (there is only one)
        """One beat, and then the next."""
        self._beat()
        self.context.after(self._seconds, None)
