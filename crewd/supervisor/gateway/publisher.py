"""Hands events to the clients that follow them: live ones as they are published, others by reading the store again.

It has no socket of its own: `send` hands a reply to the wire, `read` asks the reader and `refilled` hears its answer, `later`
calls `go_on` after some seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from crewd.model import events as ev
from crewd.model.errors import UsageError
from crewd.model.kinds import KIND_OF, types_named
from crewd.model.rows import Progress, RunRow
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.protocol.requests import CREDIT_MAX
from crewd.supervisor.caller import Caller
from crewd.supervisor.gateway.feeds import FEEDS_MAX, Feed, Feeds
from crewd.supervisor.gateway.refills import Refills
from crewd.supervisor.gateway.wire import Sent

SENT_AT_ONCE_MAX = 64
"""Notes that are sent in one turn, as events happen; a feed that comes after that is refilled like one that lags."""


class Publisher:
    """See the module's text. `rows` are the living runs."""

    def __init__(
        self,
        rows: Mapping[str, RunRow],
        send: Callable[[Caller, rl.Reply], Sent],
        read: Callable[[Feed, rq.ListEvents], None],
        later: Callable[[float], object],
        now: Callable[[], float],
    ) -> None:
        self._rows = rows
        self._send = send
        self._now = now
        self._feeds = Feeds()
        self._read = read
        self._refills = Refills(self._begin, later, now)
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
        self._send(caller, rl.Subscribed(seq=self.seq))
        self._feeds.lapse(feed)
        after = max(after, feed.dealt_upto)  # the request may be older than what it has said since
        feed.rewind_to = min(after, feed.after if feed.rewind_to is None else feed.rewind_to)
        self._refills.want(feed)
        return True

    def subscribe(self, caller: Caller, request: rq.Subscribe, run: str, task: str) -> None:
        """A new subscription, to a run or a task or (with empty ones) to everything. Raises UsageError, Busy."""
        if not 1 <= request.credit <= CREDIT_MAX:
            raise UsageError(f"a credit of {request.credit} is not possible", hint=f"1 to {CREDIT_MAX}")
        if len(self._feeds) >= FEEDS_MAX:
            one_of_each = {feed.caller.identity: feed.caller for feed in self._feeds.all()}
            for other in one_of_each.values():  # a client that is gone is noticed when it is sent something
                self._send(other, rl.Subscribed(seq=self.seq))
        after = max(0, request.after)
        feed = Feed(
            caller, run, after, request.progress, request.credit, task=task, types=types_named(request.types),
            labels=request.labels, sent=after,
        )  # fmt: skip
        self._feeds.add(feed)
        self._send(caller, rl.Subscribed(seq=self.seq))
        self._refills.want(feed)

    def credit(self, identity: bytes, request: str, upto: int) -> None:
        """The subscriber has dealt with events."""
        feed = self._feeds.named(identity, request)
        if feed is not None:
            feed.dealt(upto)
            self._refills.want(feed)

    def remove(self, identity: bytes, request: str) -> None:
        """The subscription is over."""
        self._feeds.remove(identity, request)

    def drop(self, identity: bytes) -> None:
        """The client is gone."""
        self._feeds.drop(identity)

    # -- what happens -------------------------------------------------------------------------------------------

    def progress(self, progress: Progress) -> None:
        """A sample: only for clients that keep up."""
        run = progress.task.partition("/")[0]
        note, labels = rl.ProgressNote(progress=progress), self._labels_of(run)
        left = SENT_AT_ONCE_MAX
        for feed in self._feeds.live_for(run):
            if feed.progress and feed.concerns(run, progress.task, labels or {}):
                self._send(feed.caller, note)
                left -= 1
                if not left:
                    break  # it is a sample: the next one says more

    def publish(self, events: Sequence[ev.Event]) -> None:
        """These events were committed."""
        self.seq = max(self.seq, events[-1].seq)
        for event in events:
            if isinstance(event.body, ev.RunCreated) and event.body.workflow.labels:
                self._labels[event.run] = event.body.workflow.labels
        left = SENT_AT_ONCE_MAX
        for event in events:
            for feed in self._feeds.live_for(event.run):
                if event.seq > feed.after:
                    left -= self._offer(feed, event, enough=left <= 0)
        for event in events:
            if isinstance(event.body, ev.RunEnded):
                self._labels.pop(event.run, None)

    def missed(self, upto: int) -> None:
        """Events up to this one were committed, and some were not told: feeds read what is missing."""
        self.seq = max(self.seq, upto)
        for feed in self._feeds.all():
            if feed.live:
                self._lags(feed)

    def go_on(self) -> None:
        """The time has come to refill somebody."""
        self._refills.go_on()

    def failed(self, feed: Feed) -> None:
        """It could not be read; it is tried again."""
        self._refills.failed(feed)

    def refilled(self, feed: Feed, found: rl.EventsReply) -> None:
        """What was read for this subscription."""
        began, sent = self._now(), 0
        blocked = False
        if feed.rewind_to is None and not feed.gone:
            for event in found.events:
                if not self._hand(feed, event):
                    blocked = True
                    break
                sent += 1
            else:
                feed.after = max(feed.after, found.upto)
        self._refills.done(feed, took=self._now() - began)
        if feed.gone:
            return
        if blocked:
            if not feed.spent:
                self._refills.pause(feed, took_any=sent > 0)
        elif feed.rewind_to is not None or found.more or self.seq > max(feed.read_at, found.upto):
            self._refills.want(feed)
        else:
            self._feeds.go_live(feed)

    # -- inside -------------------------------------------------------------------------------------------------

    def _begin(self, feed: Feed, request: rq.ListEvents) -> None:
        feed.read_at = self.seq
        self._read(feed, request)

    def _lags(self, feed: Feed) -> None:
        self._feeds.lapse(feed)
        self._refills.want(feed)

    def _labels_of(self, run: str) -> Mapping[str, str] | None:
        """The labels of a living run; None of one that is not known here."""
        row = self._rows.get(run)
        return self._labels.get(run) if row is None else row.workflow.labels

    def _offer(self, feed: Feed, event: ev.Event, *, enough: bool) -> bool:
        """A live event, for a feed that has come so far; whether it was sent. `enough`: of the events of this turn."""
        labels = self._labels_of(event.run) if feed.labels and event.run else {}
        if labels is None:  # of a run that has ended: the reader knows
            self._lags(feed)
        elif not feed.takes(event, labels):
            feed.after = event.seq
        elif enough:
            self._lags(feed)
        else:
            if not self._hand(feed, event) and not feed.gone:
                self._feeds.lapse(feed)
                if not feed.spent:
                    self._refills.pause(feed, took_any=False)
            return True
        return False

    def _hand(self, feed: Feed, event: ev.Event) -> bool:
        if feed.spent:
            return False
        sent = self._send(feed.caller, rl.EventNote(event=event, previous=feed.sent, kind=KIND_OF[type(event.body)]))
        if sent is not Sent.OK:
            return False
        feed.went(event.seq)
        feed.pause = 0.0
        return True
