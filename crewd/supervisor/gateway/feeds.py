"""Who follows what.

A feed is live while its subscriber keeps up; one that lags, begins in the past or has used up its credit is refilled from the
store until it has caught up. Nothing is skipped: seqs of one feed only grow, and each note names the one before it.

Tests: tests/supervisor/gateway/test_publisher.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from crewd.model.errors import Busy
from crewd.model.events import Event
from crewd.supervisor.caller import Caller

FEEDS_MAX = 1_000
"""Subscriptions at once."""


@dataclass(slots=True, eq=False)
class Feed:
    """One subscription.

    `after` is how far it has come, `sent` the seq of the last event handed to the wire; `rewind_to` waits for a read to come
    back. `unread` are the seqs that were sent and that the subscriber has not dealt with, at most `credit`; it has dealt with
    all up to `dealt_upto`. `waiting`, `pause` and `not_before` are for the line of those that are refilled.
    """

    caller: Caller
    run: str
    after: int
    progress: bool
    credit: int
    task: str = ""
    types: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    sent: int = 0
    unread: deque[int] = field(default_factory=deque)
    dealt_upto: int = 0
    live: bool = False
    reading: bool = False
    read_at: int = 0
    rewind_to: int | None = None
    gone: bool = False
    waiting: bool = False
    pause: float = 0.0
    not_before: float = 0.0

    def concerns(self, run: str, task: str, labels: Mapping[str, str]) -> bool:
        """Whether what happens to this task of this run is for the feed."""
        return self.run in {"", run} and self.task in {"", task} and self.labels.items() <= labels.items()

    def takes(self, event: Event, labels: Mapping[str, str]) -> bool:
        """Whether the event, of a run with these labels, is for the feed."""
        return (not self.types or event.type in self.types) and self.concerns(event.run, event.task, labels)

    @property
    def left(self) -> int:
        """How many events may be sent before the subscriber has dealt with some."""
        return max(0, self.credit - len(self.unread))

    @property
    def spent(self) -> bool:
        """Whether nothing more may be sent until the subscriber has dealt with some of it."""
        return not self.left

    def went(self, seq: int) -> None:
        """The event was handed to the wire."""
        self.after = self.sent = seq
        if seq > self.dealt_upto:  # one that is sent again, and was dealt with meanwhile, is not answered again
            self.unread.append(seq)

    def dealt(self, upto: int) -> None:
        """The subscriber has dealt with the events up to here."""
        self.dealt_upto = max(self.dealt_upto, upto)
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
    """All subscriptions, by client and request id; those that are live also by the run that they follow."""

    def __init__(self) -> None:
        self._feeds: dict[tuple[bytes, str], Feed] = {}
        self._live: dict[str, dict[tuple[bytes, str], Feed]] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    def add(self, feed: Feed) -> None:
        """Enter a subscription. Raises Busy at the bound."""
        if len(self._feeds) >= FEEDS_MAX:
            raise Busy(f"{FEEDS_MAX} subscriptions stand already", hint="end some")
        self._feeds[_key(feed)] = feed

    def named(self, identity: bytes, request: str) -> Feed | None:
        """The subscription of this client with this id."""
        return self._feeds.get((identity, request))

    def remove(self, identity: bytes, request: str) -> bool:
        """End a subscription; False if there was none."""
        feed = self._feeds.pop((identity, request), None)
        if feed is None:
            return False
        self.lapse(feed)
        feed.gone = True
        return True

    def drop(self, identity: bytes) -> None:
        """A client is gone: so are its subscriptions."""
        for key in [key for key in self._feeds if key[0] == identity]:
            self.remove(*key)

    def go_live(self, feed: Feed) -> None:
        """It has caught up: it gets what happens as it happens."""
        feed.live = True
        self._live.setdefault(feed.run, {})[_key(feed)] = feed

    def lapse(self, feed: Feed) -> None:
        """It does not keep up any more."""
        if feed.live:
            feed.live = False
            of_run = self._live[feed.run]
            del of_run[_key(feed)]
            if not of_run:
                del self._live[feed.run]

    def live_for(self, run: str) -> list[Feed]:
        """Those that are live and follow this run, or everything."""
        found = [*self._live.get("", {}).values()]
        return [*found, *self._live.get(run, {}).values()] if run else found

    def all(self) -> list[Feed]:
        """Every subscription."""
        return list(self._feeds.values())


def _key(feed: Feed) -> tuple[bytes, str]:
    return feed.caller.identity, feed.caller.request
