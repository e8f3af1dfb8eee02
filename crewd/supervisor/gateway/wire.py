"""The port to ZeroMQ: two bound ROUTERs that never block and never drop in silence.

`ROUTER_MANDATORY` turns an unknown peer into `GONE` and a full one into `BUSY`. Identity handover stays
off. A peer that chooses its own identity is refused by the gateway: after the end of another one's connection it could take
over that one's, and be known without a hello.

Tests: tests/testing/world/test_ports.py, tests/supervisor/gateway/test_publisher.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import zmq

from crewd import worker_files
from crewd.model.limits import FRAME_BYTES_MAX
from crewd.supervisor.gateway.door import Door

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crewd.model.home import Home
    from crewd.supervisor.poller import ZmqPoller

HIGH_WATER_MARK = 1_000
"""Messages queued per peer and direction. More than a mailbox holds: all of it is sent at once after a worker's hello."""
_NOW = int(zmq.NOBLOCK)
_MORE = _NOW | int(zmq.SNDMORE)
_send: Callable[..., None] = zmq.backend.Socket.send
_receive: Callable[..., zmq.Frame] = zmq.backend.Socket.recv
"""Pyzmq's inner class, with flags as numbers: its outer one puts enums together, which costs more than to send."""
OWN_IDENTITY = b"\0"
"""How the identities begin that a ROUTER makes itself, one for each connection (RFC 28 of ZeroMQ)."""
FRAMES_MAX = 5
"""Of one message, with the identity: ZeroMQ lets a peer send any number, and one more than this is enough to refuse it."""
LARGE_BYTES = 8 << 20
"""Memory is given back after one message of this size, or after so many bytes of large messages."""
LARGE_FRAME_BYTES = 64 << 10
"""A smaller message is not counted: the C library uses its memory again."""
RECEIVED_MAX = 32
"""Messages of one client that wait in crewd to be read. A message may have a mebibyte, so this bounds the memory per client.

With more waiting messages no client is served faster: 3,000 requests at once take the same time with 16, 100 or 1,000.
"""
CONNECTIONS_SPARE = 16
"""Of workers: one that connects again while its old connection still stands, and those of processes that wait for work."""
HANDSHAKE_MS = 5_000
HEARTBEAT_MS = 20_000
HEARTBEAT_TIMEOUT_MS = 60_000
"""For clients that hang: what has ended closes its connection. Workers say themselves that they live, and the timers of a
thousand of them would cost ZeroMQ more than their messages do."""


def give_memory_back() -> None:
    """Let the C library return what it has freed: what came in many large pieces would else stay this process's for ever."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)


class Side(Enum):
    """Which of the two sockets."""

    CLIENTS = "clients"
    WORKERS = "workers"


class Sent(Enum):
    """What became of a send."""

    OK = "ok"
    BUSY = "busy"
    GONE = "gone"


class Wire(Protocol):
    """What the gateway needs of the network."""

    def open(self, on_readable: Callable[[Side], None]) -> None:
        """Bind; call `on_readable` (on the brain's thread) whenever a side has something."""
        ...

    def receive(self, side: Side) -> list[bytes] | None:
        """The next message with its identity frame first; None if there is none."""
        ...

    def send(self, side: Side, frames: Sequence[bytes]) -> Sent:
        """Queue a message for the peer that the first frame names."""
        ...

    def close(self) -> None:
        """Unbind."""
        ...


class ZmqWire:
    """The real body.

    `clients` and `workers` are how many connections each side may have, about: beyond it nobody can connect until some have
    gone. ZeroMQ has no such bound, and ends the process when there is no descriptor left.
    """

    def __init__(self, home: Home, poller: ZmqPoller, clients: int, workers: int) -> None:
        self._home = home
        self._poller = poller
        self._sockets: dict[Side, zmq.Socket[bytes]] = {}
        self._large = 0
        self._doors = {
            Side.CLIENTS: Door(home.clients_endpoint, clients),
            Side.WORKERS: Door(home.workers_endpoint, workers + CONNECTIONS_SPARE),
        }

    def open(self, on_readable: Callable[[Side], None]) -> None:
        """See `Wire`. The caller holds the daemon's lock: binding a path in use would steal it."""
        self._tell_of_room()
        for side, door in self._doors.items():
            socket: zmq.Socket[bytes] = self._poller.context.socket(zmq.ROUTER)
            for option, value in (
                (zmq.ROUTER_MANDATORY, 1),
                (zmq.MAXMSGSIZE, FRAME_BYTES_MAX),
                (zmq.SNDHWM, HIGH_WATER_MARK),
                (zmq.RCVHWM, RECEIVED_MAX if side is Side.CLIENTS else HIGH_WATER_MARK),
                (zmq.LINGER, 500),
                (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
                (zmq.BACKLOG, 1_024),
                *(
                    ((zmq.HEARTBEAT_IVL, HEARTBEAT_MS), (zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS))
                    if side is Side.CLIENTS
                    else ()
                ),
            ):
                socket.setsockopt(option, value)
            filter_uid = getattr(zmq, "IPC_FILTER_UID", None)
            if filter_uid is not None:
                socket.setsockopt(filter_uid, os.getuid())
            self._sockets[side] = socket
            door.open(socket, self._poller, self._tell)
            self._poller.register(socket, lambda side=side: on_readable(side))  # type: ignore[misc]

    def _tell(self) -> None:
        """Leave a word for clients that cannot connect."""
        door = self._doors[Side.CLIENTS]
        if not door.full:
            self._tell_of_room()
            return
        words = f"crewd has {len(door)} connections of clients and takes no more\n"
        with contextlib.suppress(OSError):
            worker_files.write(self._home.run, self._home.full.name, words.encode(), rooms=1)

    def _tell_of_room(self) -> None:
        with contextlib.suppress(OSError):
            worker_files.remove(self._home.run, self._home.full.name, rooms=1)

    def open_again(self) -> None:
        """Bind what somebody has removed."""
        for side, socket in self._sockets.items():
            self._doors[side].open_again(socket)

    def receive(self, side: Side) -> list[bytes] | None:
        """See `Wire`."""
        frame: zmq.Frame
        try:
            frame = _receive(self._sockets[side], _NOW, False)
        except zmq.Again:
            if self._large > LARGE_BYTES:
                self._large = 0
                give_memory_back()
            return None
        frames, size = [frame.bytes], 0
        while frame.more:
            frame = _receive(self._sockets[side], 0, False)
            size += len(frame)
            if len(frames) <= FRAMES_MAX:
                frames.append(frame.bytes)
        if size > LARGE_BYTES:
            del frame
            give_memory_back()
        elif size > LARGE_FRAME_BYTES:
            self._large += size
        return frames

    def send(self, side: Side, frames: Sequence[bytes]) -> Sent:
        """See `Wire`."""
        try:
            socket = self._sockets[side]
            for frame in frames[:-1]:
                _send(socket, frame, _MORE)
            _send(socket, frames[-1], _NOW)
        except zmq.Again:
            return Sent.BUSY
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return Sent.GONE
            raise
        return Sent.OK

    def close(self) -> None:
        """See `Wire`."""
        for side, socket in self._sockets.items():
            self._doors[side].close(socket, self._poller)
            self._poller.unregister(socket)
            socket.close()
        self._sockets = {}
