"""The worker's line to crewd: one DEALER socket on one thread. Reconnects by itself; nothing is lost in between.

The socket may lose what was queued when crewd dies. That is no loss: on every new connection the worker says hello, hears
which of its reports are durable, and sends the others again.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

import zmq
from zmq.utils.monitor import recv_monitor_message

import crewd
from crewd.protocol import codec
from crewd.protocol.errors import PeerError
from crewd.protocol.limits import FRAME_BYTES_MAX
from crewd.protocol.reports import (
    Ack,
    CancelOrder,
    Deliver,
    FromWorker,
    Heartbeat,
    ProgressReport,
    StopDeferred,
    StopGranted,
    ToWorker,
    WorkerError,
    WorkerHello,
    WorkerWelcome,
)

if TYPE_CHECKING:
    from crewd.clock import Clock
    from crewd.protocol.hands import Bootstrap
    from crewd.worker.desk import Desk

HELLO_SECONDS = 0.5
HELLOS_PER_CONNECTION = 10
"""After this many without an answer the connection is made anew: a ROUTER that still holds an old connection of this
identity ignores a newer one for ever."""
"""Between two hellos while nobody has answered."""
PROGRESS_SECONDS = 0.1
"""Progress is sampled: what comes faster is merged, the last one wins (C9)."""
ZMTP_HEARTBEAT_MS = 2_000
ZMTP_TIMEOUT_MS = 8_000


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


class Link:
    """See the module's text. `start` once, `stop` once."""

    def __init__(self, bootstrap: Bootstrap, capabilities: tuple[str, ...], clock: Clock, waker: Waker) -> None:
        self._bootstrap = bootstrap
        self._hello = WorkerHello(
            task=bootstrap.task, epoch=bootstrap.epoch, token=bootstrap.token, pid=os.getpid(),
            capabilities=capabilities, software=f"python/{crewd.__version__}",
        )  # fmt: skip
        self._clock = clock
        self._waker = waker
        self._desk: Desk | None = None
        self._thread = threading.Thread(target=self._run, name="crewd-link", daemon=True)
        self._stopping = False
        self._welcomed = False
        self._refused = False
        self._progress: ProgressReport | None = None
        self._beats = 0
        self._heartbeat_seconds = 2.0
        self._next_hello = 0.0
        self._hellos = 0
        self._next_beat = 0.0
        self._next_progress = 0.0

    def start(self, desk: Desk) -> None:
        """Connect and serve `desk`."""
        self._desk = desk
        self._thread.start()

    def stop(self) -> None:
        """Hang up. What is not durable by now stays in the desk."""
        self._stopping = True
        self._waker.wake()
        self._thread.join(timeout=2.0)

    def progress(self, report: ProgressReport) -> None:
        """Send this sample soon. From the code's thread."""
        self._progress = report
        self._beats = report.beats
        self._waker.wake()

    def beat(self, beats: int) -> None:
        """The code gave a sign of life."""
        self._beats = beats

    def _run(self) -> None:
        context = zmq.Context()
        socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IDENTITY, f"{self._bootstrap.task}#{self._bootstrap.epoch}".encode())
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, ZMTP_HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, ZMTP_TIMEOUT_MS)
        events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        monitor: zmq.Socket[Any] = socket.get_monitor_socket(events)
        poller = zmq.Poller()
        for readable in (socket, monitor, self._waker.reading):
            poller.register(readable, zmq.POLLIN)
        try:
            socket.connect(self._bootstrap.endpoint)
            while not self._stopping:
                ready = dict(poller.poll(self._timeout_ms()))
                self._waker.clear()
                if monitor in ready:
                    self._hear_monitor(monitor)
                if socket in ready:
                    self._hear(socket)
                self._speak(socket)
        finally:
            socket.disable_monitor()
            monitor.close(0)
            socket.close(0)
            context.term()

    def _timeout_ms(self) -> int:
        now = self._clock.monotonic()
        due = self._next_beat if self._welcomed else self._next_hello
        if self._welcomed and self._progress is not None:
            due = min(due, self._next_progress)
        return max(0, int((due - now) * 1000) + 1)

    def _hear_monitor(self, monitor: zmq.Socket[Any]) -> None:
        while monitor.poll(0):
            event = recv_monitor_message(monitor)["event"]
            if event == zmq.EVENT_DISCONNECTED:
                self._welcomed = False
            else:
                self._next_hello = 0.0

    def _hear(self, socket: zmq.Socket[bytes]) -> None:
        while socket.poll(0):
            frames = socket.recv_multipart()
            try:
                order = codec.to_worker.decode(frames).body
            except PeerError:
                continue  # a newer crewd may say things that this worker does not know
            self._obey(order)

    def _obey(self, order: ToWorker) -> None:
        if self._desk is None:
            return
        match order:
            case WorkerWelcome(reports, heartbeat_seconds):
                self._welcomed = True
                self._heartbeat_seconds = heartbeat_seconds
                self._next_beat = self._clock.monotonic() + heartbeat_seconds
                self._desk.heard_welcome(reports)
            case Deliver():
                self._desk.heard_message(order)
            case Ack(upto):
                self._desk.heard_ack(upto)
            case StopGranted():
                self._desk.heard_verdict(granted=True)
            case StopDeferred():
                self._desk.heard_verdict(granted=False)
            case CancelOrder():
                self._desk.heard_cancel(order)
            case WorkerError(error):
                if error.code == "not_permitted":
                    self._refused = True
                    self._desk.token.cancel("not_permitted", 0.0)
                else:
                    self._welcomed = False
                    self._next_hello = 0.0

    def _speak(self, socket: zmq.Socket[bytes]) -> None:
        now = self._clock.monotonic()
        if self._desk is None or self._refused:
            return
        if not self._welcomed:
            if now >= self._next_hello:
                self._next_hello = now + HELLO_SECONDS
                self._hellos += 1
                if self._hellos % HELLOS_PER_CONNECTION == 0:
                    socket.disconnect(self._bootstrap.endpoint)
                    socket.connect(self._bootstrap.endpoint)
                self._send(socket, self._hello)
            return
        self._hellos = 0
        for report in self._desk.unsent():
            if not self._send(socket, report):
                self._welcomed = False  # say hello again: what is not durable is sent again after it
                return
        if self._progress is not None and now >= self._next_progress:
            progress, self._progress = self._progress, None
            self._next_progress = now + PROGRESS_SECONDS
            self._next_beat = now + self._heartbeat_seconds
            self._send(socket, progress)
        if now >= self._next_beat:
            self._next_beat = now + self._heartbeat_seconds
            self._send(socket, Heartbeat(beats=self._beats))

    def _send(self, socket: zmq.Socket[bytes], body: FromWorker) -> bool:
        try:
            socket.send_multipart(codec.from_worker.encode("", body), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True
