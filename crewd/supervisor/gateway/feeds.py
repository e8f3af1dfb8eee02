"""Who follows what.

A feed is live while its subscriber keeps up; one that lags, or begins in the past, is refilled from the store until it has
caught up. Nothing is skipped: seqs of one feed only grow, without a hole.
"""

from __future__ import annotations

from dataclasses import dataclass

from crewd.protocol.errors import Busy
from crewd.supervisor.commands import Caller

FEEDS_MAX = 1_000
"""Subscriptions at once."""
REFILL_SECONDS = 0.1
"""After a subscriber's queue was full, until the next try."""


@dataclass(slots=True)
class Feed:
    """One subscription. `after` is the seq of the last event handed to the wire; `rewind_to` waits for a read to come back."""

    caller: Caller
    run: str
    after: int
    progress: bool
    live: bool = False
    reading: bool = False
    read_at: int = 0
    rewind_to: int | None = None

    def wants(self, run: str, seq: int) -> bool:
        """Whether a live event is for this feed."""
        return self.live and seq > self.after and (not self.run or self.run == run)


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

    def get(self, caller: Caller) -> Feed | None:
        """The subscription that this request made."""
        return self._feeds.get((caller.identity, caller.request))

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
