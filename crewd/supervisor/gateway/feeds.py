"""Who follows what.

A feed is live while its subscriber keeps up; one that lags, begins in the past or has used up its credit is refilled from the
store until it has caught up. Nothing is skipped: seqs of one feed only grow, and each note names the one before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from crewd.protocol.errors import Busy
from crewd.protocol.events import Event
from crewd.supervisor.commands import Caller

FEEDS_MAX = 1_000
"""Subscriptions at once."""
REFILL_SECONDS = 0.1
"""After a subscriber's queue was full, until the next try."""


@dataclass(slots=True)
class Feed:
    """One subscription.

    `after` is how far it has come, `sent` the seq of the last event handed to the wire; `rewind_to` waits for a read to come
    back. With a `credit`, `unread` are the seqs that were sent and that the subscriber has not dealt with.
    """

    caller: Caller
    run: str
    after: int
    progress: bool
    task: str = ""
    types: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    credit: int = 0
    sent: int = 0
    unread: deque[int] = field(default_factory=deque)
    live: bool = False
    reading: bool = False
    read_at: int = 0
    rewind_to: int | None = None

    def concerns(self, run: str, task: str, labels: Mapping[str, str]) -> bool:
        """Whether what happens to this task of this run is for the feed."""
        return self.run in {"", run} and self.task in {"", task} and self.labels.items() <= labels.items()

    def takes(self, event: Event, labels: Mapping[str, str]) -> bool:
        """Whether the event, of a run with these labels, is for the feed."""
        return (not self.types or event.type in self.types) and self.concerns(event.run, event.task, labels)

    @property
    def spent(self) -> bool:
        """Whether nothing more may be sent until the subscriber has dealt with some of it."""
        return bool(self.credit) and len(self.unread) >= self.credit

    def went(self, seq: int) -> None:
        """The event was handed to the wire."""
        self.after = self.sent = seq
        if self.credit:
            self.unread.append(seq)

    def dealt(self, upto: int) -> None:
        """The subscriber has dealt with the events up to here."""
        while self.unread and self.unread[0] <= upto:
            self.unread.popleft()

    def rewind(self) -> None:
        """Begin again where it was asked for, if it was."""
        if self.rewind_to is not None:
            self.after, self.rewind_to = self.rewind_to, None
            self.sent = self.after
            while self.unread and self.unread[-1] > self.after:
                self.unread.pop()


class Feeds:
    """All subscriptions, by client and request id."""

    def __init__(self) -> None:
        self._feeds: dict[tuple[bytes, str], Feed] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    def add(self, feed: Feed) -> None:
        """Enter a subscription. Raises Busy at the bound."""
        if len(self._feeds) >= FEEDS_MAX:
            raise Busy(f"{FEEDS_MAX} subscriptions stand already", hint="end some")
        self._feeds[feed.caller.identity, feed.caller.request] = feed

    def named(self, identity: bytes, request: str) -> Feed | None:
        """The subscription of this client with this id."""
        return self._feeds.get((identity, request))

    def remove(self, identity: bytes, request: str) -> bool:
        """End a subscription; False if there was none."""
        return self._feeds.pop((identity, request), None) is not None

    def drop(self, identity: bytes) -> None:
        """A client is gone: so are its subscriptions."""
        for key in [key for key in self._feeds if key[0] == identity]:
            del self._feeds[key]

    def all(self) -> list[Feed]:
        """Every subscription."""
        return list(self._feeds.values())
