"""The brain's idle function: one ZeroMQ poller over both ROUTERs, the guardian's socket, and a pipe that wakes it.

Tests: tests/testing/world/test_ports.py.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from typing import Any

import zmq


class ZmqPoller:
    """See `actors.dispatch.Poller`. All but `wake` belong to the brain's thread."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._callbacks: dict[Any, Callable[[], None]] = {}
        self._woken = False
        self._reading, self._writing = os.pipe()
        for descriptor in (self._reading, self._writing):
            os.set_blocking(descriptor, False)
            os.set_inheritable(descriptor, False)
        self.register(self._reading, self._drain)

    def register(self, readable: zmq.Socket[bytes] | int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `readable` (a socket or a descriptor) has something."""
        self._poller.register(readable, zmq.POLLIN)
        self._callbacks[readable] = callback

    def watch_writable(self, descriptor: int, *, writable: bool) -> None:
        """Also (or no longer) call a registered descriptor's callback when it can be written."""
        self._poller.modify(descriptor, zmq.POLLIN | (zmq.POLLOUT if writable else 0))

    def unregister(self, readable: zmq.Socket[bytes] | int) -> None:
        """Forget it. Safe to repeat."""
        if self._callbacks.pop(readable, None) is not None:
            self._poller.unregister(readable)

    def poll(self, timeout: float | None) -> None:
        """See `Poller`."""
        milliseconds = None if timeout is None else math.ceil(timeout * 1000)
        for readable, _ in self._poller.poll(milliseconds):
            callback = self._callbacks.get(readable)
            if callback is not None:
                callback()

    def wake(self) -> None:
        """See `Poller`."""
        if self._woken:  # the byte that ends this poll, or the next one, is in the pipe
            return
        self._woken = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._writing, b"!")

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._reading, 65_536)
        # After the read: whoever comes later writes again, whoever came before is seen when this poll is over.
        self._woken = False

    def close(self) -> None:
        """Give everything back; waits for the sockets' linger, half a second at most."""
        self.context.term()
        os.close(self._reading)
        os.close(self._writing)
