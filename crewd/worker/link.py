"""The worker's line to crewd: one DEALER socket on one thread round a `Session`. Reconnects by itself.

Tests: tests/testing/world/test_ports.py.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

import zmq
from zmq.utils.monitor import recv_monitor_message

import crewd
from crewd.model.limits import FRAME_BYTES_MAX
from crewd.protocol import codec
from crewd.protocol.reports import FromWorker, ProgressReport, WorkerHello
from crewd.worker.session import Session

if TYPE_CHECKING:
    from crewd.clock import Clock
    from crewd.protocol.bootstrap import Bootstrap
    from crewd.worker.desk import Desk


class Waker:
    """Ends another thread's poll. A pipe, because it is the same everywhere; one byte at most waits in it."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()
        os.set_blocking(self.reading, False)
        os.set_blocking(self._writing, False)

    def wake(self) -> None:
        """From any thread."""
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._writing, b"!")

    def clear(self) -> None:
        """On the polling thread."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.reading, 4096)

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self.reading)
        os.close(self._writing)


class WorkerSocket:
    """The sockets of a link, before anything is said on them. A warm process makes them while it waits for its work.

    The connection is made on a thread of ZeroMQ's: while the worker loads its code, or waits for it. Whose worker this is,
    its hello says.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
        events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        self.monitor: zmq.Socket[Any] = self.socket.get_monitor_socket(events)
        self.poller = zmq.Poller()
        for readable in (self.socket, self.monitor):
            self.poller.register(readable, zmq.POLLIN)
        self.socket.connect(endpoint)

    def connect_anew(self) -> None:
        """Hang up, and call once more."""
        self.socket.disconnect(self.endpoint)
        self.socket.connect(self.endpoint)

    def close(self) -> None:
        """Hang up; what was not sent is not sent."""
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(0)
        self.context.term()


class Link:
    """See the module's text. `start` once, `stop` once. `line`: it is connected, or will be."""

    def __init__(
        self, bootstrap: Bootstrap, capabilities: tuple[str, ...], desk: Desk, clock: Clock, waker: Waker, line: WorkerSocket,
        command: int = 0,
    ) -> None:  # fmt: skip
        self._line = line
        hello = WorkerHello(
            task=bootstrap.task, epoch=bootstrap.epoch, token=bootstrap.token, pid=os.getpid(),
            capabilities=capabilities, software=f"python/{crewd.__version__}", command=command,
        )  # fmt: skip
        self._desk = desk
        self._session = Session(hello, desk, clock)
        self._clock = clock
        self._waker = waker
        self._thread = threading.Thread(target=self._run, name="crewd-link", daemon=True)
        self._stopping = False

    def start(self) -> None:
        """Say hello if the connection stands already, and serve the desk."""
        self._hear_monitor()
        self._session.speak(self._send)
        self._thread.start()

    def stop(self) -> None:
        """Hang up. What is not durable by now stays in the desk."""
        self._stopping = True
        self._waker.wake()
        self._thread.join(timeout=2.0)

    def progress(self, report: ProgressReport) -> None:
        """Send this sample soon. From the code's thread."""
        self._session.progress(report)
        self._waker.wake()

    def beat(self, beats: int) -> None:
        """The code gave a sign of life."""
        self._session.beat(beats)

    def _run(self) -> None:
        line = self._line
        socket, poller = line.socket, line.poller
        poller.register(self._waker.reading, zmq.POLLIN)
        try:
            while True:
                due = self._session.next_due() - self._clock.monotonic()
                ready = dict(poller.poll(max(0, int(due * 1000) + 1)))
                if self._waker.reading in ready:
                    self._waker.clear()
                if line.monitor in ready:
                    self._hear_monitor()
                if socket in ready:
                    self._hear_all()
                if self._session.wants_connection():
                    line.connect_anew()
                self._session.speak(self._send)
                if self._stopping:
                    break
        except BaseException:  # its code would wait for ever for what nobody sends
            self._desk.refused("unavailable")
            raise
        finally:
            line.close()

    def _hear_all(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                self._session.hear(self._line.socket.recv_multipart(zmq.NOBLOCK))

    def _send(self, body: FromWorker, key: str) -> bool:
        try:
            self._line.socket.send_multipart(codec.from_worker.encode(key, body), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _hear_monitor(self) -> None:
        monitor = self._line.monitor
        while monitor.poll(0):
            if recv_monitor_message(monitor)["event"] == zmq.EVENT_DISCONNECTED:
                self._session.disconnected()
            else:
                self._session.connected()
