"""A simulated client: the production conversation on a simulated link.

Tests: tests/testing/world/test_world.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crewd.client.conversation import HELLO_SECONDS, Conversation
from crewd.model.receipts import Level
from crewd.model.rights import KEY_CHARS
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.supervisor.gateway.wire import Side
from crewd.testing.world.network import SimLink

if TYPE_CHECKING:
    from collections.abc import Callable

    from crewd.clock import Clock
    from crewd.model.ids import IdSource
    from crewd.testing.world.laws import Laws


def key_of(name: str) -> str:
    """The key of a simulated client."""
    return f"the key of {name}".ljust(KEY_CHARS[0], ".")


class SimClient:
    """Asks and remembers. `asked` has every request by its key, `answers` every reply (of a subscription: the first).

    `told` are the news that it heard and then said that it has seen, `repeated` those that came again all the same.
    `asked_again` counts the events that a feed should have had before the one that came.
    `took` has the seconds until the reply of each request that waits for nothing but crewd, asked while it was connected
    and all parts of crewd had begun (`begun`; outside of this world they have before it hears anybody).
    """

    def __init__(self, name: str, clock: Clock, ids: IdSource, laws: Laws, begun: Callable[[], bool]) -> None:
        self.name = name
        self._clock = clock
        self._begun = begun
        self._laws = laws
        self._live_then: dict[str, int | None] = {}
        self.talk = Conversation(name, key_of(name), "simulated", ids)
        self.link = SimLink(Side.CLIENTS, name, self)
        self.asked: dict[str, rq.Request] = {}
        self.answers: dict[str, rl.Reply] = {}
        self.seen: dict[str, list[int]] = {}
        self.took: dict[str, float] = {}
        self.told: set[int] = set()
        self.repeated: list[int] = []
        self.asked_again = 0
        self._noted = 0
        self._noted_before: dict[str, int] = {}
        self._prompt: dict[str, float] = {}
        self._next_hello = 0.0

    def ask(self, request: rq.Request) -> str:
        """Ask; the reply will be in `answers` under the key."""
        key, frames = self.talk.ask(request)
        self.asked[key] = request
        self._live_then[key] = self._laws.live_at(request)
        if isinstance(request, rq.Subscribe):
            self.seen[key] = []
        connected = self.link.up and self.talk.incarnation and self._begun()
        if self.link.send(frames) and connected and not _waits(request):
            self._prompt[key] = self._clock.monotonic()
        return key

    def waiting(self) -> list[str]:
        """Keys of requests that have no reply."""
        return [key for key in self.asked if key not in self.answers]

    # -- the link (see `network.Peer`) --------------------------------------------------------------------------

    def connected(self) -> None:
        """See `Peer`."""
        self._next_hello = self._clock.monotonic()

    def disconnected(self) -> None:
        """See `Peer`. What was asked of a crewd that has ended is answered by the next one, whenever that is started."""
        self._prompt.clear()

    def heard(self, frames: list[bytes]) -> None:
        """See `Peer`."""
        for each in self.talk.feed(frames):
            self.link.send(each)
            self.asked_again += isinstance(codec.replies.decode(frames).body, rl.EventNote)
        for key in self.waiting():
            reply = self.talk.take(key)
            if reply is not None:
                self.answers[key] = reply
                self._laws.told_of_an_end(self.asked[key], reply, self._live_then[key])
                self._laws.order_answered(self.asked[key], reply)
                self._news(key, reply)
                if key in self._prompt:
                    self.took[key] = self._clock.monotonic() - self._prompt.pop(key)
        for key, seen in self.seen.items():
            notes = self.talk.notes.get(key)
            while notes:
                note = notes.popleft()
                if isinstance(note, rl.EventNote):
                    seen.append(note.event.seq)
                    for each in self.talk.read(key, note.event.seq):
                        self.link.send(each)

    def read_news(self) -> None:
        """Ask what is new; what comes is noted as seen."""
        self._noted_before[self.ask(rq.ListNews())] = self._noted

    def _news(self, key: str, reply: rl.Reply) -> None:
        request = self.asked[key]
        if isinstance(reply, rl.NewsReply):
            self.repeated += [item.seq for item in reply.items if item.seq <= self._noted_before[key]]
            self.told.update(item.seq for item in reply.items)
            self.ask(rq.SeenNews(upto=reply.upto))
        if isinstance(request, rq.SeenNews) and isinstance(reply, rl.Done):
            self._noted = max(self._noted, request.upto)

    # -- time ---------------------------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """When to say hello again."""
        return self._next_hello if self.link.up and self.waiting() else None

    def tick(self) -> None:
        """Say hello, as a client does that waits."""
        self._next_hello = self._clock.monotonic() + HELLO_SECONDS
        for frames in self.talk.beat():
            self.link.send(frames)


def _waits(request: rq.Request) -> bool:
    """Whether the reply waits for something that happens in a run."""
    if isinstance(request, rq.Send):
        return request.wait is not Level.ACCEPTED
    return isinstance(request, rq.AwaitEnd | rq.Withdraw) or (isinstance(request, rq.Cancel) and request.wait)
