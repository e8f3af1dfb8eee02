"""Where a client may be used: in the process that has connected it, by one thread at a time, until it is closed.

A forked process has a copy of the sockets, but not the threads that serve them. Nothing answers a request through such a copy.
A socket that two threads use at the same time mixes up their messages, or crashes the process (zmq_socket(3)).

Tests: tests/client/test_api.py.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from crewd.model.errors import UsageError

LEFT_SECONDS = 5.0
"""A call that waits for an answer looks about every second whether its client was closed."""


class Place:
    """Of one client. Made where it is connected."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._closed = False
        self._lock = threading.Lock()

    @property
    def usable(self) -> bool:
        """Whether the client can be used here and now."""
        return not self._closed and os.getpid() == self._pid

    def check(self) -> None:
        """Raises UsageError where the client cannot be used."""
        if self._closed:
            raise UsageError("this client is closed", hint="connect another one")
        if os.getpid() != self._pid:
            raise UsageError(
                "this client belongs to the process that forked this one", hint="connect another one in this process"
            )

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """The sockets are this thread's until the end. Raises UsageError where the client cannot be used."""
        self.check()
        if not self._lock.acquire(blocking=False):
            raise UsageError("another thread is using this client", hint="connect another one in each thread")
        try:
            yield
        finally:
            self._lock.release()

    def leave(self) -> bool:
        """It is closed. Whether that ends a connection: not the second time, and not in a fork.

        A thread that uses it notices within `LEFT_SECONDS`, and this waits for it.
        """
        first = not self._closed and os.getpid() == self._pid
        self._closed = True
        return first and self._lock.acquire(timeout=LEFT_SECONDS)
