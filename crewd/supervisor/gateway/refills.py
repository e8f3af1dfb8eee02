"""Which feeds are refilled from the store next, and when: one after the other, so that all of them together stay cheap.

Rule 1: a feed waits in line once, and only for what it may be sent.
Rule 2: after each refill there is a rest that is some times as long as the refill took: whoever lags costs the others no
more than a fixed part of the time, however many lag.
Rule 3: a feed whose subscriber takes nothing waits longer and longer.

Tests: tests/supervisor/gateway/test_publisher.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from crewd.protocol import requests as rq
from crewd.supervisor.gateway.feeds import Feed

EVENTS_MAX = 40
"""Of one refill: what is handed over in one turn."""
AT_ONCE = 2
"""Reads that are on the way: while one is handed over, the next one is read."""
REST = 4.0
"""The pause before the next refill, in multiples of the time that the last one took."""
PAUSE_SECONDS = 0.1
"""After a subscriber's queue was full, until the next try; it doubles while the subscriber takes nothing."""
PAUSE_SECONDS_MAX = 30.0


class Refills:
    """`read` asks the store, whose answer is told by `done` or `failed`; `later` calls `go_on` after some seconds."""

    def __init__(
        self, read: Callable[[Feed, rq.ListEvents], None], later: Callable[[float], object], now: Callable[[], float]
    ) -> None:
        self._read = read
        self._later = later
        self._now = now
        self._line: deque[Feed] = deque()
        self._reading = 0
        self._rest_until = 0.0
        self._alarm: float | None = None

    def want(self, feed: Feed) -> None:
        """It is to be refilled, unless it keeps up, is being refilled, or has no credit left."""
        if feed.live or feed.reading or feed.gone:
            return
        feed.rewind()
        if feed.spent:
            return
        if not feed.waiting:
            feed.waiting = True
            self._line.append(feed)
        self.go_on()

    def done(self, feed: Feed, *, took: float) -> None:
        """A refill was handed over; it took so many seconds."""
        self._reading -= 1
        feed.reading = False
        self._rest_until = max(self._rest_until, self._now()) + REST * took
        self.go_on()

    def failed(self, feed: Feed) -> None:
        """It could not be read."""
        self._reading -= 1
        feed.reading = False
        self.pause(feed, took_any=False)
        self.go_on()

    def pause(self, feed: Feed, *, took_any: bool) -> None:
        """Its subscriber takes no more now; it is tried again after a while."""
        feed.pause = PAUSE_SECONDS if took_any else min(PAUSE_SECONDS_MAX, 2 * feed.pause or PAUSE_SECONDS)
        feed.not_before = self._now() + feed.pause
        self.want(feed)

    def go_on(self) -> None:
        """Begin the refills whose time has come."""
        now = self._now()
        if self._alarm is not None and self._alarm <= now:
            self._alarm = None
        soonest: float | None = self._rest_until if self._rest_until > now else None
        for _ in range(len(self._line) if soonest is None else 0):
            if self._reading >= AT_ONCE:
                return
            feed = self._line.popleft()
            if feed.gone or feed.live:
                feed.waiting = False
            elif feed.not_before > now:
                self._line.append(feed)
                soonest = feed.not_before if soonest is None else min(soonest, feed.not_before)
            else:
                self._begin(feed)
        if soonest is not None and self._line and (self._alarm is None or soonest < self._alarm):
            self._alarm = soonest
            self._later(soonest - now)

    def _begin(self, feed: Feed) -> None:
        feed.waiting = False
        feed.rewind()
        left = feed.left
        if left == 0:
            return
        feed.reading = True
        self._reading += 1
        self._read(
            feed,
            rq.ListEvents(
                target=feed.task or feed.run, after=feed.after, types=tuple(feed.types), labels=dict(feed.labels),
                limit=min(EVENTS_MAX, left),
            ),
        )  # fmt: skip
