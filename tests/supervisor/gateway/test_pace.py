"""A client that sends more than is admitted waits for itself, and nobody else waits for it."""

from __future__ import annotations

import pytest

from crewd.model.errors import Busy
from crewd.protocol.requests import Send
from crewd.supervisor.caller import Caller
from crewd.supervisor.gateway.pace import FORGET_SECONDS, OPEN_MAX, QUEUE_MAX, Pace


def caller(request: int, identity: bytes = b"greedy") -> Caller:
    return Caller(identity, str(request), "o")


def send(request: int) -> Send:
    return Send(id=str(request), kind="steer")


def test_what_is_too_much_waits_in_order_and_one_goes_on_for_each_that_is_answered() -> None:
    pace = Pace()
    let_in = [pace.enter(caller(number), send(number), 0.0) is not None for number in range(OPEN_MAX + 2)]
    assert let_in == [True] * OPEN_MAX + [False] * 2
    assert pace.enter(caller(3), send(3), 0.0)  # asked again: the same one
    assert pace.enter(caller(OPEN_MAX), send(OPEN_MAX), 0.0) is None
    assert pace.enter(caller(0, b"modest"), send(0), 0.0)
    assert pace.leave(caller(5), 1.0) == (caller(OPEN_MAX), send(OPEN_MAX))
    assert pace.leave(caller(5), 1.0) is None  # answered twice: only one goes on
    assert pace.leave(caller(OPEN_MAX), 1.0) == (caller(OPEN_MAX + 1), send(OPEN_MAX + 1))
    assert pace.leave(caller(0), 1.0) is None


def test_the_queue_of_one_client_has_a_bound_and_the_others_do_not_feel_it() -> None:
    pace = Pace()
    for number in range(OPEN_MAX + QUEUE_MAX):
        pace.check(b"greedy", str(number))
        pace.enter(caller(number), send(number), 0.0)
    with pytest.raises(Busy):
        pace.check(b"greedy", "another")
    for known in (0, OPEN_MAX):
        pace.check(b"greedy", str(known))  # asked again: it will be answered
    pace.check(b"modest", "another")
    pace.leave(caller(0), 0.0)
    pace.check(b"greedy", "another")
    pace.drop(b"greedy")
    assert pace.enter(caller(1), send(1), 0.0)


def test_what_nobody_answers_does_not_shut_a_client_out_for_ever() -> None:
    pace = Pace()
    for number in range(OPEN_MAX + 1):
        pace.enter(caller(number), send(number), 0.0)
    waiting = caller(OPEN_MAX), send(OPEN_MAX)
    assert pace.enter(caller(99), send(99), FORGET_SECONDS) == waiting, "who waits for longer is next"
