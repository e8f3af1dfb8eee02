"""Feeds without a socket: what is sent to whom, what is read again, and who is gone."""

from __future__ import annotations

import pytest

from crewd.protocol import events as ev
from crewd.protocol import requests as rq
from crewd.protocol.errors import Busy
from crewd.supervisor.commands import Caller
from crewd.supervisor.gateway.feeds import FEEDS_MAX
from crewd.supervisor.gateway.publisher import Publisher
from crewd.supervisor.gateway.wire import Sent


def event(seq: int) -> ev.Event:
    return ev.Event(seq, f"s-{seq}", seq - 1, "", "", 0, "", "", "crewd", 0.0, ev.DaemonStarted(pid=1, version="0"))


class World:
    def __init__(self) -> None:
        self.sent: list[tuple[bytes, rq.Reply]] = []
        self.reads: list[tuple[Caller, rq.ListEvents]] = []
        self.later: list[Caller] = []
        self.gone: set[bytes] = set()
        self.busy = False
        self.publisher = Publisher({}, self.send, lambda *read: self.reads.append(read), self.later.append)

    def send(self, caller: Caller, reply: rq.Reply) -> Sent:
        if caller.identity in self.gone:
            self.publisher.drop(caller.identity)
            return Sent.GONE
        if self.busy and isinstance(reply, rq.EventNote):
            return Sent.BUSY
        self.sent.append((caller.identity, reply))
        return Sent.OK

    def subscribe(self, identity: bytes = b"me", credit: int = 0) -> Caller:
        caller = Caller(identity, "s", "o")
        self.publisher.subscribe(caller, rq.Subscribe(credit=credit), "", "")
        return caller

    def answer(self, *seqs: int, upto: int = 0) -> None:
        caller, _ = self.reads.pop(0)
        events = tuple(map(event, seqs))
        self.publisher.refilled(caller, rq.EventsReply(events=events, upto=upto or max(seqs, default=0)))

    def seqs(self) -> list[int]:
        return [reply.event.seq for _, reply in self.sent if isinstance(reply, rq.EventNote)]


def test_who_is_gone_makes_room_for_who_comes() -> None:
    world = World()
    for number in range(FEEDS_MAX):
        world.subscribe(f"client{number}".encode())
    with pytest.raises(Busy):
        world.subscribe()
    world.gone = {b"client7"}
    world.subscribe()
    assert len(world.publisher) == FEEDS_MAX


def test_what_could_not_be_read_is_read_again_and_nothing_is_skipped() -> None:
    world = World()
    caller = world.subscribe()
    world.publisher.publish([event(1)])
    world.publisher.failed(world.reads.pop()[0])
    assert world.later == [caller]
    world.publisher.refill(caller)
    world.publisher.publish([event(2)])
    world.answer(1)
    world.answer(2)
    world.publisher.publish([event(3)])
    assert world.seqs() == [1, 2, 3]


def test_a_full_queue_and_a_spent_credit_are_made_up_for_from_the_store() -> None:
    world = World()
    caller = world.subscribe(credit=2)
    world.answer()
    world.busy = True
    world.publisher.publish([event(1)])
    world.busy = False
    world.publisher.publish([event(2), event(3)])
    world.publisher.refill(world.later.pop())
    world.answer(1, 2, 3)
    assert world.seqs() == [1, 2]
    world.publisher.publish([event(4)])
    assert not world.reads, "nothing is read for who cannot take it"
    world.publisher.credit(caller.identity, caller.request, 2)
    world.answer(3, 4)
    assert world.seqs() == [1, 2, 3, 4]
    assert [reply.previous for _, reply in world.sent if isinstance(reply, rq.EventNote)] == [0, 1, 2, 3]
    assert world.publisher.known(caller, 1), "a connection broke: it has seen one of them"
    world.answer(2, 3, 4)
    assert world.seqs()[4:] == [2, 3], "as many as it may have unread"
