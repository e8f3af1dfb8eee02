"""Pages of events, for iterators of both clients: what to ask for, and what to hand over of each reply. No socket, no waiting.

Tests: tests/client/test_api.py, tests/test_follow.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from crewd.client import shapes
from crewd.client.calls import Ask, Call
from crewd.model.errors import DeadlineExceeded, UsageError
from crewd.model.events import Event
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq


class Pages:
    """The events of a request, page by page: `ask` while not `over`, `hear` each reply and get its events.

    `last`: only so many, the newest; they come at once, when all pages were heard.
    """

    def __init__(
        self, target: str, after: int, types: Sequence[str], labels: Mapping[str, str] | None, last: int, epoch: int,
        since: float, until: float,
    ) -> None:  # fmt: skip
        self._request = rq.ListEvents(
            target=target, after=after, types=tuple(types), labels=dict(labels or {}), epoch=epoch, since=since, until=until,
            before=1 << 62 if last else 0,
        )  # fmt: skip
        self._last = last
        self._found: tuple[Event, ...] = ()
        self.over = False

    def ask(self) -> rq.ListEvents:
        """What to ask for."""
        if not self._last:
            return self._request
        return msgspec.structs.replace(self._request, limit=self._last - len(self._found))

    def hear(self, reply: rl.Reply) -> tuple[Event, ...]:
        """The events to hand over now."""
        page = shapes.expect(reply, rl.EventsReply)
        if not self._last:
            self.over = not page.more
            self._request = msgspec.structs.replace(self._request, after=page.upto)
            return page.events
        self._found = (*page.events, *self._found)
        self.over = not page.upto or len(self._found) >= self._last
        self._request = msgspec.structs.replace(self._request, before=page.upto)
        return self._found if self.over else ()


def check_followed(*, follow: bool, last: int, epoch: int, since: float, until: float) -> None:
    """UsageError for bounds that do not go with following or with each other, and for less than none."""
    if last < 0:
        raise UsageError(f"last is {last}, which is too small", hint="0 is all of them")
    if since and until and since > until:
        raise UsageError("since is later than until: no event is between them", hint="exchange them")
    if follow and (last or epoch or since or until):
        raise UsageError("--follow goes with --after, and with no other bound", hint="leave out --follow, or the other bounds")


def ended_at(target: str) -> Call[float | None]:
    """When a run or task ended, in seconds of the wall clock; None if it has not."""
    try:
        reply = shapes.expect((yield Ask(rq.AwaitEnd(target=target, timeout_seconds=0))), rl.EndReply)
    except DeadlineExceeded:
        return None
    return (reply.task or reply.run).ended_at


def has_ended(target: str, last: str, after: int) -> Call[bool]:
    """Whether a run or task has ended, and its last event of the type `last` is none after `after`."""
    if (yield from ended_at(target)) is None:
        return False
    pages, newest = Pages(target, 0, (last,), None, 1, 0, 0.0, 0.0), 0
    while not pages.over:
        newest = max([newest, *(event.seq for event in pages.hear((yield Ask(pages.ask()))))])
    return newest <= after
