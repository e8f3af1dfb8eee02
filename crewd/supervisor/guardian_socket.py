"""crewd's end of the guardian's unix socket: connects to a guardian, starts one, and reads and writes without waiting.

Tests: tests/testing/world/test_ports.py.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import signal
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from crewd.clock import SystemClock
from crewd.guardian import marker, processes
from crewd.guardian.entry import guardian_main
from crewd.guardian.program import Settings, made_as
from crewd.guardian.tree import Proc
from crewd.protocol import guardian as gd

if TYPE_CHECKING:
    from crewd.model.config import Config
    from crewd.model.home import Home
    from crewd.supervisor.poller import ZmqPoller

RETRY_SECONDS = 0.05
"""Between two tries to reach a guardian that is starting."""


class GuardianSocket(Protocol):
    """The port: a byte stream to a guardian, and the means to make one."""

    def connect(self, on_ready: Callable[[], None]) -> bool:
        """Try to reach a guardian; `on_ready` is called whenever there is something to read or room to write."""
        ...

    @property
    def made_as(self) -> str:
        """What a guardian that is started now says that it was made as, see `protocol.guardian.Attached`."""
        ...

    def start_guardian(self) -> None:
        """Start a guardian process; `connect` will succeed some time later."""
        ...

    def start_failed(self) -> bool:
        """Whether the guardian that was started last has ended already (and not because another one holds the home)."""
        ...

    def is_at_work(self) -> bool:
        """Whether the guardian at the other end runs, or waits for a processor."""
        ...

    def kill(self) -> bool:
        """KILL to the guardian at the other end; False if that is not possible."""
        ...

    def read(self) -> bytes | None:
        """What the guardian said; empty when the connection is over, None when there is nothing."""
        ...

    def write(self, data: bytes) -> int:
        """How many bytes were taken; the rest must be offered again. -1 when the connection is over."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class UnixGuardianSocket:
    """The real body: a unix socket, and multiprocessing for the guardian's process.

    `open_files` is the soft limit that workers get; crewd and the guardian have raised theirs.
    """

    def __init__(self, home: Home, config: Config, poller: ZmqPoller, open_files: int) -> None:
        self._home = home
        self._config = config
        self._open_files = open_files
        self._poller = poller
        self._socket: socket.socket | None = None
        self._process: multiprocessing.process.BaseProcess | None = None
        self._reached = False
        self._peer: Proc | None = None

    def connect(self, on_ready: Callable[[], None]) -> bool:
        """See `GuardianSocket`."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)  # a guardian that hangs lets nobody in
        try:
            connection.connect(str(self._home.guardian_socket))
        except OSError:
            connection.close()
            return False
        self._peer = _peer_of(connection)
        multiprocessing.active_children()  # reaps a guardian that was still dying when its successor was started
        self._socket, self._reached = connection, True
        self._poller.register(connection.fileno(), on_ready)
        return True

    def start_guardian(self) -> None:
        """See `GuardianSocket`. The environment of the guardian carries the place where its workers' markers are written."""
        if self._process is not None:
            self._process.join(0)
        config = self._config
        os.environ[marker.VARIABLE] = marker.placeholder(self._home.key)
        try:
            process = multiprocessing.get_context("spawn").Process(
                target=guardian_main,
                args=(str(self._home.root), _settings(config, self._open_files)),
                name="crewd-guardian",
            )
            process.start()
        finally:
            del os.environ[marker.VARIABLE]
        self._process, self._reached = process, False

    @property
    def made_as(self) -> str:
        """See `GuardianSocket`."""
        return made_as(_settings(self._config, self._open_files))

    @property
    def guardian(self) -> int | None:
        """The guardian that this process has started, if it has."""
        return None if self._process is None else self._process.pid

    def start_failed(self) -> bool:
        """See `GuardianSocket`."""
        return self._process is not None and self._process.exitcode not in {None, 0}

    def is_at_work(self) -> bool:
        """See `GuardianSocket`."""
        return self._peer is not None and processes.is_at_work(self._peer.pid)

    def kill(self) -> bool:
        """See `GuardianSocket`."""
        return self._peer is not None and processes.send(self._peer, signal.SIGKILL)

    def read(self) -> bytes | None:
        """See `GuardianSocket`."""
        if self._socket is None:
            return b""
        try:
            return self._socket.recv(1 << 16)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def write(self, data: bytes) -> int:
        """See `GuardianSocket`."""
        if self._socket is None:
            return -1
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return -1
        self._poller.watch_writable(self._socket.fileno(), writable=sent < len(data))
        return sent

    def close(self) -> None:
        """See `GuardianSocket`."""
        if self._socket is not None:
            self._poller.unregister(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def retire(self, seconds: float) -> None:
        """Wait for a guardian that was told to retire; one that could not be reached before is told now."""
        clock = SystemClock()
        deadline = clock.monotonic() + seconds
        while self._process is not None and self._process.exitcode is None and clock.monotonic() < deadline:
            self._poller.poll(RETRY_SECONDS)  # not `Process.join`: the guardian closes what that would wait for
            if not self._reached and self.connect(lambda: None):
                orders: gd.StreamCodec[gd.Order] = gd.StreamCodec(gd.ORDERS)
                self.write(orders.encode(gd.Attach(home_key=self._home.key)) + orders.encode(gd.Retire()))
                self.close()


def _peer_of(connection: socket.socket) -> Proc | None:
    """Who listens at the other end, where the system tells."""
    if not processes.LINUX:
        return None
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return processes.look(struct.unpack("3i", raw)[0])


def _settings(config: Config, open_files: int) -> Settings:
    return Settings(config.preload, config.env_pass, config.warm, config.cgroups, config.run_output_bytes, open_files)
