"""How much one client may have under way: a table; it neither reads nor sends.

Rule 1: some messages of each client are admitted at a time, the others wait in the order in which they came. So a client
that sends much waits for itself, and not everybody else for it (ZeroMQ, too, takes from its peers in turn).
Rule 2: the queue has a bound; a client that sends more gets `Busy` at once, before its message is looked at.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crewd.model.errors import Busy

if TYPE_CHECKING:
    from crewd.protocol.requests import Send
    from crewd.supervisor.caller import Caller

OPEN_MAX = 8
"""Messages of one client that are being admitted."""
QUEUE_MAX = 256
"""Messages of one client that wait for that."""
FORGET_SECONDS = 5.0
"""One that was not answered for so long will not be: the actor that was to answer has crashed, and the client asks again."""


@dataclass(slots=True)
class _Client:
    """What is being admitted, and since when; what waits, by request."""

    open: dict[str, float] = field(default_factory=dict)
    queue: deque[tuple[Caller, Send]] = field(default_factory=deque)
    queued: set[str] = field(default_factory=set)


class Pace:
    """The messages of each client that are not accepted yet."""

    def __init__(self) -> None:
        self._clients: dict[bytes, _Client] = {}

    def check(self, identity: bytes, request: str) -> None:
        """Raises Busy if no more of this client's messages can wait; one that is in already may be said again."""
        client = self._clients.get(identity)
        known = client is not None and (request in client.open or request in client.queued)
        if client is not None and len(client.queue) >= QUEUE_MAX and not known:
            raise Busy(f"{QUEUE_MAX} messages of this client wait to be admitted", hint="send it again, with the same id")

    def enter(self, caller: Caller, send: Send, at: float) -> tuple[Caller, Send] | None:
        """The message that may go on now: this one, or one that waits for longer; the others are given back by `leave`.

        Said again, it counts once.
        """
        client = self._clients.setdefault(caller.identity, _Client())
        if caller.request in client.queued:
            return None
        if client.open.pop(caller.request, None) is not None:
            client.open[caller.request] = at
            return caller, send
        client.queue.append((caller, send))
        client.queued.add(caller.request)
        if len(client.open) >= OPEN_MAX:
            oldest = next(iter(client.open))
            if at - client.open[oldest] < FORGET_SECONDS:
                return None
            del client.open[oldest]
        return self._next(client, at)

    def _next(self, client: _Client, at: float) -> tuple[Caller, Send]:
        following = client.queue.popleft()
        client.queued.discard(following[0].request)
        client.open[following[0].request] = at
        return following

    def leave(self, caller: Caller, at: float) -> tuple[Caller, Send] | None:
        """It was answered: the message that goes on in its place, if one waits."""
        client = self._clients.get(caller.identity)
        if client is None or client.open.pop(caller.request, None) is None:
            return None
        if client.queue:
            return self._next(client, at)
        if not client.open:
            del self._clients[caller.identity]
        return None

    def drop(self, identity: bytes) -> None:
        """The client is gone; what it sent was not accepted, so nothing is lost that was promised."""
        self._clients.pop(identity, None)
