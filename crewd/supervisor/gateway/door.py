"""A socket's door: it counts the connections that ZeroMQ accepts, and hangs up on those that are too many.

ZeroMQ has no bound of its own. To unbind the socket for a while would cut off everybody who is connected.

Tests: tests/hostile/test_descriptors.py.
"""

from __future__ import annotations

import contextlib
import os
import socket as sockets
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

if TYPE_CHECKING:
    from crewd.supervisor.poller import ZmqPoller

_EVENT = struct.Struct("=HI")
_NOW = int(zmq.NOBLOCK)
ROOM_AGAIN = 0.9
"""There is room again when no more than this part of the connections stand."""


class Door:
    """`most` connections may stand."""

    def __init__(self, endpoint: str, most: int) -> None:
        self.endpoint = endpoint
        self.most = most
        self.full = False
        self._connections: set[int] = set()
        self._monitor: zmq.Socket[Any] | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def open(self, socket: zmq.Socket[bytes], poller: ZmqPoller, changed: Callable[[], object]) -> None:
        """Bind the socket, and watch who comes; `changed` is called whenever it has become full, or has room again."""
        self._monitor = socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        poller.register(self._monitor, lambda: self._watch(changed))
        socket.bind(self.endpoint)

    def open_again(self, socket: zmq.Socket[bytes]) -> None:
        """Bind again if the file that others connect to was removed, as cleaners of /tmp do. Who is connected stays so."""
        path = Path(self.endpoint.removeprefix("ipc://"))
        if not path.exists():
            with contextlib.suppress(OSError):
                path.parent.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(zmq.ZMQError):  # the next look tries again
                socket.bind(self.endpoint)

    def close(self, socket: zmq.Socket[bytes], poller: ZmqPoller) -> None:
        """Watch no more."""
        if self._monitor is not None:
            poller.unregister(self._monitor)
            socket.disable_monitor()
            self._monitor.close(linger=0)
            self._monitor = None

    def _watch(self, changed: Callable[[], object]) -> None:
        was_full = self.full
        while self._monitor is not None:
            try:
                event, descriptor = _EVENT.unpack(self._monitor.recv_multipart(_NOW)[0])
            except zmq.Again:
                break
            if event != zmq.EVENT_ACCEPTED:
                self._connections.discard(descriptor)
                continue
            self._connections.add(descriptor)
            if len(self._connections) > self.most:
                self.full = True
                hang_up(descriptor)
        self.full = self.full and len(self._connections) > ROOM_AGAIN * self.most
        if self.full != was_full:
            changed()


def hang_up(descriptor: int) -> None:
    """End a connection that ZeroMQ holds: it notices, and gives the descriptor back itself."""
    with contextlib.suppress(OSError):  # it has gone by itself
        copy = sockets.socket(fileno=os.dup(descriptor))
        try:
            copy.shutdown(sockets.SHUT_RDWR)
        finally:
            copy.close()
