"""Feeds without a socket: what is sent to whom, what is read again, who is gone, and what all of them may cost."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crewd.model import events as ev
from crewd.model.errors import Busy, UsageError
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.supervisor.caller import Caller
from crewd.supervisor.gateway.feeds import FEEDS_MAX, Feed
from crewd.supervisor.gateway.publisher import SENT_AT_ONCE_MAX, Publisher
from crewd.supervisor.gateway.refills import AT_ONCE, EVENTS_MAX, PAUSE_SECONDS_MAX, REST
from crewd.supervisor.gateway.wire import Sent


def event(seq: int) -> ev.Event:
    return ev.Event(seq, f"s-{seq}", seq - 1, "", "", 0, "", "", "crewd", 0.0, ev.DaemonStarted(pid=1, version="0"))


class World:
    """A clock, a store with events 1 to `last`, and clients whose queues hold so many events."""

    def __init__(self, cost: float = 0.0) -> None:
        self.sent: list[tuple[bytes, rl.Reply]] = []
        self.reads: deque[tuple[Feed, rq.ListEvents]] = deque()
        self.alarms: list[float] = []
        self.gone: set[bytes] = set()
        self.full: set[bytes] = set()
        self.now = 0.0
        self.cost = cost
        self.last = 0
        self.publisher = Publisher({}, self.send, lambda *read: self.reads.append(read), self.later, lambda: self.now)

    def later(self, seconds: float) -> None:
        self.alarms.append(self.now + seconds)

    def send(self, caller: Caller, reply: rl.Reply) -> Sent:
        if caller.identity in self.gone:
            self.publisher.drop(caller.identity)
            return Sent.GONE
        if isinstance(reply, rl.EventNote):
            if caller.identity in self.full:
                return Sent.BUSY
            self.now += self.cost
        self.sent.append((caller.identity, reply))
        return Sent.OK

    def subscribe(self, identity: bytes = b"me", credit: int = rq.CREDIT_MAX) -> Caller:
        caller = Caller(identity, "s", "o")
        self.publisher.subscribe(caller, rq.Subscribe(credit=credit), "", "")
        return caller

    def publish(self, count: int = 1) -> None:
        self.last += count
        self.publisher.publish([event(seq) for seq in range(self.last - count + 1, self.last + 1)])

    def answer(self) -> None:
        """The store answers the oldest question."""
        feed, request = self.reads.popleft()
        upto = min(self.last, request.after + request.limit)
        events = tuple(event(seq) for seq in range(request.after + 1, upto + 1))
        self.publisher.refilled(feed, rl.EventsReply(events=events, more=upto < self.last, upto=upto))

    def alarm(self) -> None:
        """The time of the next alarm comes."""
        at = min(self.alarms)
        self.alarms.remove(at)
        self.now = max(self.now, at)
        self.publisher.go_on()

    def rest(self) -> None:
        """Until nothing more happens by itself."""
        while self.reads or self.alarms:
            if self.reads:
                self.answer()
            else:
                self.alarm()

    def seqs(self, identity: bytes = b"me") -> list[int]:
        return [reply.event.seq for who, reply in self.sent if who == identity and isinstance(reply, rl.EventNote)]


def test_who_is_gone_makes_room_for_who_comes() -> None:
    world = World()
    for number in range(FEEDS_MAX):
        world.subscribe(f"client{number}".encode())
    with pytest.raises(Busy):
        world.subscribe()
    world.gone = {b"client7"}
    world.subscribe()
    assert len(world.publisher) == FEEDS_MAX


def test_a_client_with_all_the_room_there_is_is_looked_for_once() -> None:
    world = World()
    for number in range(FEEDS_MAX):
        world.publisher.subscribe(Caller(b"me", f"s{number}", "o"), rq.Subscribe(), "", "")
    before = len(world.sent)
    with pytest.raises(Busy):
        world.subscribe(b"you")
    assert len(world.sent) == before + 1


def test_a_credit_has_bounds() -> None:
    for credit in (0, -1, rq.CREDIT_MAX + 1):
        with pytest.raises(UsageError):
            World().subscribe(credit=credit)


def test_what_could_not_be_read_is_read_again_and_nothing_is_skipped() -> None:
    world = World()
    world.subscribe()
    world.publish()
    world.publisher.failed(world.reads.popleft()[0])
    world.publish()
    world.rest()
    world.publish()
    assert world.seqs() == [1, 2, 3]


def test_events_that_were_lost_on_the_way_to_the_gateway_are_read() -> None:
    world = World()
    world.subscribe()
    world.rest()
    world.publish()
    world.last += 2
    world.publisher.missed(world.last)
    world.rest()
    world.publish()
    assert world.seqs() == [1, 2, 3, 4]


def test_a_full_queue_and_a_spent_credit_are_made_up_for_from_the_store() -> None:
    world = World()
    caller = world.subscribe(credit=2)
    world.rest()
    world.full = {b"me"}
    world.publish()
    world.full = set()
    world.publish(2)
    world.rest()
    assert world.seqs() == [1, 2]
    world.publish()
    assert not world.reads, "nothing is read for who cannot take it"
    world.publisher.credit(caller.identity, caller.request, 2)
    world.rest()
    assert world.seqs() == [1, 2, 3, 4]
    assert [reply.previous for _, reply in world.sent if isinstance(reply, rl.EventNote)] == [0, 1, 2, 3]
    assert world.publisher.known(caller, 1), "a connection broke, and this was asked before it"
    world.rest()
    assert world.seqs()[4:] == [3, 4], "what it has dealt with is not sent again"


def test_a_credit_that_comes_while_events_are_read_again_counts() -> None:
    world = World()
    caller = world.subscribe(credit=2)
    world.publish(6)
    world.rest()
    assert world.seqs() == [1, 2]
    world.publisher.known(caller, 0)  # it asks again as it says hello, and gets the events in the same moment
    world.publisher.credit(caller.identity, caller.request, 2)
    world.rest()
    assert [seq for seq in world.seqs()[2:] if seq > 2] == [3, 4], "it says of no event twice that it has dealt with it"


def test_who_takes_nothing_is_tried_more_and_more_rarely() -> None:
    world = World()
    world.subscribe()
    world.rest()
    world.full = {b"me"}
    world.publish(5)
    pauses = []
    for _ in range(20):
        before = world.now
        world.alarm()
        pauses.append(world.now - before)
        world.answer()
    assert pauses[:3] == pytest.approx([0.1, 0.2, 0.4])
    assert pauses[-1] == PAUSE_SECONDS_MAX
    world.full = set()
    world.rest()
    assert world.seqs() == [1, 2, 3, 4, 5]


def test_however_many_lag_they_take_a_fixed_part_of_the_time() -> None:
    world = World(cost=0.001)
    for number in range(FEEDS_MAX):
        world.subscribe(b"%d" % number, credit=10)
    world.rest()
    began = world.now
    world.publish(50)
    assert world.now - began == pytest.approx(SENT_AT_ONCE_MAX * world.cost), "the turn in which it happens is short"
    alone = 0.0
    while world.reads or world.alarms:
        assert len(world.reads) <= AT_ONCE
        if world.reads:
            before = world.now
            world.answer()
            assert world.now - before <= EVENTS_MAX * world.cost
            alone += world.now - before
        else:
            world.alarm()
    assert world.now - began >= REST * 0.9 * alone
    assert all(len(world.seqs(b"%d" % number)) == 10 for number in range(0, FEEDS_MAX, 50)), "each has as much as it may have"
    before_more = world.now
    world.publish(20)
    assert world.now == before_more, "who has used up the credit costs nothing"


@given(
    st.lists(
        st.sampled_from(["publish", "many", "answer", "alarm", "read", "stuff", "drain", "fail", "again", "leave"]), max_size=60
    ),
    st.integers(1, 4),
)
@example(["answer", "publish", "publish"], 1)  # it keeps up until its credit is used up
@example(["answer", "many"], 2)
def test_nothing_is_skipped_or_doubled_whatever_happens(moves: list[str], credit: int) -> None:
    world, read = World(cost=0.001), 0
    caller = world.subscribe(credit=credit)
    for move in moves:
        seqs = world.seqs()
        if move == "publish":
            world.publish()
        elif move == "many":
            world.publish(7)
        elif move == "answer" and world.reads:
            world.answer()
        elif move == "alarm" and world.alarms:
            world.alarm()
        elif move == "read" and seqs:
            read = seqs[-1]
            world.publisher.credit(caller.identity, caller.request, read)
        elif move == "stuff":
            world.full = {b"me"}
        elif move == "drain":
            world.full = set()
        elif move == "fail" and world.reads:
            world.publisher.failed(world.reads.popleft()[0])
        elif move == "again":
            world.publisher.known(caller, read)
            world.sent = [pair for pair in world.sent if not isinstance(pair[1], rl.EventNote) or pair[1].event.seq <= read]
        elif move == "leave":
            world.publisher.remove(caller.identity, caller.request)
            world.sent, read = [], 0
            caller = world.subscribe(credit=credit)
        assert len([seq for seq in world.seqs() if seq > read]) <= credit
    world.full = set()
    while True:
        world.rest()
        seqs = world.seqs()
        if not seqs or seqs[-1] == read:
            break
        read = seqs[-1]
        world.publisher.credit(caller.identity, caller.request, read)
    assert world.seqs() == list(range(1, world.last + 1))
