"""The simulated wire: two ROUTERs, and the links of the peers that connect to them.

What ZeroMQ promises is kept: order within a link, whole messages, nothing lost while a connection stands. What it does not
promise is left to faults: a connection that breaks loses what is in flight both ways, and a peer that does not read fills
its queue up to the high-water mark.

Tests: tests/testing/world/test_ports.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from crewd.supervisor.gateway.wire import Sent, Side

HIGH_WATER_MARKS = {Side.CLIENTS: 12, Side.WORKERS: 64}
"""Small, so that they are reached. A worker's holds all that may be in its mailbox here, as the real one does."""
Frames = Sequence[bytes]


class Peer(Protocol):
    """The far end of a link: a client or a worker."""

    def connected(self) -> None:
        """The handshake is through."""
        ...

    def disconnected(self) -> None:
        """The connection is gone."""
        ...

    def heard(self, frames: list[bytes]) -> None:
        """A message has arrived."""
        ...


class SimLink:
    """One peer's connection, with the identity that crewd's ROUTER gave it last; `name` is who the peer is.

    `up` while it stands; nothing moves to crewd before `held_until`, to the peer `stalled_until`.
    """

    __slots__ = (
        "held_until",
        "identity",
        "name",
        "overflowed",
        "peer",
        "side",
        "stalled_until",
        "to_crewd",
        "to_peer",
        "up",
        "wanted",
    )

    def __init__(self, side: Side, name: str, peer: Peer) -> None:
        self.side = side
        self.name = name
        self.identity = b""
        self.peer = peer
        self.up = False
        self.wanted = True
        self.to_crewd: deque[list[bytes]] = deque()
        self.to_peer: deque[list[bytes]] = deque()
        self.overflowed = False
        self.held_until = 0.0
        self.stalled_until = 0.0

    def send(self, frames: Frames) -> bool:
        """From the peer; False if there is no connection (IMMEDIATE) or its queue is full."""
        if not self.up or len(self.to_crewd) >= HIGH_WATER_MARKS[self.side]:
            return False
        self.to_crewd.append(list(frames))
        return True

    def cut(self) -> None:
        """The connection breaks."""
        if self.up:
            self.up = False
            self.to_crewd.clear()
            self.to_peer.clear()
            self.peer.disconnected()


class SimWire:
    """See `gateway.wire.Wire`. `permitted` says whether this crewd still lives; `sending` sees every message that leaves."""

    def __init__(self, permitted: Callable[[], bool], sending: Callable[[Side, str, list[bytes]], None]) -> None:
        self._permitted = permitted
        self._sending = sending
        self._arrived: dict[Side, deque[list[bytes]]] = {side: deque() for side in Side}
        self._on_readable: Callable[[Side], None] | None = None
        self.links: dict[tuple[Side, bytes], SimLink] = {}
        self._connections = 0

    @property
    def bound(self) -> bool:
        """Whether peers can connect."""
        return self._on_readable is not None

    def open(self, on_readable: Callable[[Side], None]) -> None:
        """See `Wire`."""
        if self._permitted():
            self._on_readable = on_readable

    def receive(self, side: Side) -> list[bytes] | None:
        """See `Wire`."""
        if not self._permitted() or not self._arrived[side]:
            return None
        return self._arrived[side].popleft()

    def send(self, side: Side, frames: Frames) -> Sent:
        """See `Wire`."""
        if not self._permitted():
            return Sent.OK
        link = self.links.get((side, frames[0]))
        if link is None or not link.up:
            return Sent.GONE
        if len(link.to_peer) >= HIGH_WATER_MARKS[side]:
            link.overflowed = True
            return Sent.BUSY
        body = list(frames[1:])
        self._sending(side, link.name, body)
        link.to_peer.append(body)
        return Sent.OK

    def close(self) -> None:
        """See `Wire`."""
        if self._permitted():
            self.unbind()

    # -- the world's side ---------------------------------------------------------------------------------------

    def unbind(self) -> None:
        """The sockets are gone, in order or not: so are all connections."""
        self._on_readable = None
        for queue in self._arrived.values():
            queue.clear()
        for link in list(self.links.values()):
            link.cut()

    def connect(self, link: SimLink) -> None:
        """A handshake goes through. A ROUTER gives each connection an identity that none before had."""
        if self.links.get((link.side, link.identity)) is link:
            del self.links[link.side, link.identity]
        self._connections += 1
        link.identity = b"\0%d" % self._connections
        self.links[link.side, link.identity] = link
        link.up = True
        link.peer.connected()

    def arrive(self, link: SimLink) -> None:
        """The oldest message of a peer reaches its ROUTER."""
        frames = link.to_crewd.popleft()
        self.put(link, frames)

    def put(self, link: SimLink, frames: list[bytes]) -> None:
        """A message reaches its ROUTER."""
        if self._on_readable is not None:
            self._arrived[link.side].append([link.identity, *frames])
            self._on_readable(link.side)

    def nudge(self) -> None:
        """Level-triggered, as a poller is: whatever still waits is announced again."""
        for side, queue in self._arrived.items():
            if queue and self._on_readable is not None:
                self._on_readable(side)

    @property
    def waiting(self) -> bool:
        """Whether a message has arrived that the gateway has not read."""
        return any(self._arrived.values())
