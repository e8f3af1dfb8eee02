"""Hands events to whoever follows them: live ones as they are published, others by reading the store again.

It has no socket of its own: `send` hands a reply to the wire, `read` asks the reader and `refilled` hears its answer, `later`
calls `refill` for a caller whose queue was full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from crewd.protocol import events as ev
from crewd.protocol import requests as rq
from crewd.protocol.errors import UsageError
from crewd.protocol.kinds import KIND_OF, types_named
from crewd.protocol.rows import Progress, RunRow
from crewd.supervisor.commands import Caller
from crewd.supervisor.gateway.feeds import FEEDS_MAX, Feed, Feeds
from crewd.supervisor.gateway.wire import Sent

CREDIT_MAX = 100_000
"""Events that may be on the way to one subscriber."""


class Publisher:
    """See the module's text. `rows` are the living runs."""

    def __init__(
        self,
        rows: Mapping[str, RunRow],
        send: Callable[[Caller, rq.Reply], Sent],
        read: Callable[[Caller, rq.ListEvents], None],
        later: Callable[[Caller], None],
    ) -> None:
        self._rows = rows
        self._send = send
        self._read = read
        self._later = later
        self._feeds = Feeds()
        self._labels: dict[str, Mapping[str, str]] = {}
        self.seq = 0

    def __len__(self) -> int:
        return len(self._feeds)

    # -- what subscribers ask -----------------------------------------------------------------------------------

    def known(self, caller: Caller, after: int) -> bool:
        """Whether this request has made a subscription before: then it goes on after `after`.

        The subscriber has seen less than was sent (a connection broke in between), or it is only asking again.
        """
        feed = self._feeds.named(caller.identity, caller.request)
        if feed is None:
            return False
        self._send(caller, rq.Subscribed(seq=self.seq))
        feed.live = False
        feed.rewind_to = min(after, feed.after if feed.rewind_to is None else feed.rewind_to)
        self._refill(feed)
        return True

    def subscribe(self, caller: Caller, request: rq.Subscribe, run: str, task: str) -> None:
        """A new subscription, to a run or a task or (with empty ones) to everything. Raises UsageError, Busy."""
        if not 0 <= request.credit <= CREDIT_MAX:
            raise UsageError(f"a credit of {request.credit} is not possible", hint=f"1 to {CREDIT_MAX}, or 0 for no bound")
        if len(self._feeds) >= FEEDS_MAX:
            for stale in self._feeds.all():  # who is gone is noticed when something is sent
                self._send(stale.caller, rq.Subscribed(seq=self.seq))
        after = max(0, request.after)
        feed = Feed(
            caller, run, after, request.progress, task=task, types=types_named(request.types), labels=request.labels,
            credit=request.credit, sent=after,
        )  # fmt: skip
        self._feeds.add(feed)
        self._send(caller, rq.Subscribed(seq=self.seq))
        self._refill(feed)

    def credit(self, identity: bytes, request: str, upto: int) -> None:
        """The subscriber has dealt with events."""
        feed = self._feeds.named(identity, request)
        if feed is not None:
            feed.dealt(upto)
            self._refill(feed)

    def remove(self, identity: bytes, request: str) -> None:
        """The subscription is over."""
        self._feeds.remove(identity, request)

    def drop(self, identity: bytes) -> None:
        """The client is gone."""
        self._feeds.drop(identity)

    # -- what happens -------------------------------------------------------------------------------------------

    def progress(self, progress: Progress) -> None:
        """A sample: for whoever keeps up."""
        run = progress.task.partition("/")[0]
        note, labels = rq.ProgressNote(progress=progress), self._labels_of(run)
        for feed in self._feeds.all():
            if feed.progress and feed.live and feed.concerns(run, progress.task, labels or {}):
                self._send(feed.caller, note)

    def publish(self, events: Sequence[ev.Event]) -> None:
        """These events were committed; if there is a gap before them, feeds read what is missing."""
        gap = events[0].seq > self.seq + 1 and self.seq > 0
        self.seq = max(self.seq, events[-1].seq)
        for event in events:
            if isinstance(event.body, ev.RunCreated) and event.body.workflow.labels:
                self._labels[event.run] = event.body.workflow.labels
        for feed in self._feeds.all():
            if gap and feed.live:
                feed.live = False
                self._refill(feed)
            for event in events:
                if feed.live and event.seq > feed.after:
                    self._offer(feed, event)
        for event in events:
            if isinstance(event.body, ev.RunEnded):
                self._labels.pop(event.run, None)

    def refill(self, caller: Caller) -> None:
        """Try again."""
        feed = self._feeds.named(caller.identity, caller.request)
        if feed is not None:
            self._refill(feed)

    def failed(self, caller: Caller) -> None:
        """It could not be read; it is tried again."""
        feed = self._feeds.named(caller.identity, caller.request)
        if feed is not None:
            feed.reading = False
            self._later(caller)

    def refilled(self, caller: Caller, found: rq.EventsReply) -> None:
        """What was read for this caller's subscription."""
        feed = self._feeds.named(caller.identity, caller.request)
        if feed is None:
            return
        feed.reading = False
        if feed.rewind_to is not None:
            self._refill(feed)
            return
        for event in found.events:
            if not self._hand(feed, event):
                return
        feed.after = max(feed.after, found.upto)
        if found.more or self.seq > max(feed.read_at, found.upto):
            self._refill(feed)
        else:
            feed.live = True

    # -- inside -------------------------------------------------------------------------------------------------

    def _labels_of(self, run: str) -> Mapping[str, str] | None:
        """The labels of a living run; None of one that is not known here."""
        row = self._rows.get(run)
        return self._labels.get(run) if row is None else row.workflow.labels

    def _offer(self, feed: Feed, event: ev.Event) -> None:
        """A live event, for a feed that has come so far."""
        labels = self._labels_of(event.run) if feed.labels and event.run else {}
        if labels is None:  # of a run that has ended: the reader knows
            feed.live = False
            self._refill(feed)
        elif feed.takes(event, labels):
            self._hand(feed, event)
        else:
            feed.after = event.seq

    def _hand(self, feed: Feed, event: ev.Event) -> bool:
        if feed.spent:
            feed.live = False
            return False
        sent = self._send(feed.caller, rq.EventNote(event=event, previous=feed.sent, kind=KIND_OF[type(event.body)]))
        if sent is Sent.OK:
            feed.went(event.seq)
            return True
        if sent is Sent.BUSY:
            feed.live = False
            self._later(feed.caller)
        return False

    def _refill(self, feed: Feed) -> None:
        if feed.reading or feed.live:
            return
        feed.rewind()
        if feed.spent:
            return
        chosen = rq.ListEvents(
            target=feed.task or feed.run, after=feed.after, types=tuple(feed.types), labels=dict(feed.labels)
        )  # fmt: skip
        feed.reading, feed.read_at = True, self.seq
        self._read(feed.caller, chosen)
