"""The table of who waits: what is entered comes out once, and asking again gives nobody more time."""

from __future__ import annotations

from crewd.model.receipts import Level, Outcome, Receipt
from crewd.supervisor.caller import Caller
from crewd.supervisor.gateway.waits import LOOK_SECONDS, EndWait, LevelWait, WaitTable

ME = Caller(b"me", "q1", "somebody")


def level(at: float = 10.0, caller: Caller = ME) -> LevelWait:
    return LevelWait(caller, "m", Level.APPLIED, at)


def end(at: float = 10.0) -> EndWait:
    return EndWait(ME, "r", "", or_waiting=False, cancel=False, give_up_at=at)


def test_asking_again_gives_no_more_time() -> None:
    waits = WaitTable()
    assert waits.add(end(10.0)).give_up_at == 10.0
    for later in (20.0, 30.0):
        waits.begin_anew(ME)
        assert waits.add(end(later)).give_up_at == 10.0
    assert len(waits) == 1
    assert list(waits.late(10.0)) == [], "how the run stands was not heard yet"
    (late,) = waits.late(10.0 + LOOK_SECONDS)
    assert waits.next_due is None
    assert not waits.remove(late)
    assert waits.add(end(40.0)).give_up_at == 40.0, "a wait that is over has no time left to hand on"


def test_a_receipt_ends_the_waits_that_it_reaches() -> None:
    waits = WaitTable()
    mine, yours = level(), level(caller=Caller(b"you", "q1", "else"))
    waits.add(mine)
    waits.add(yours)
    delivered = Receipt("m", "steer", "r", "r/a", Level.DELIVERED)
    for wait in (mine, yours):
        assert waits.answered(delivered, wait.caller) is None
    assert waits.for_receipt(delivered) == []
    settled = Receipt("m", "steer", "r", "r/a", Level.SETTLED, outcome=Outcome.REFUSED)
    assert waits.for_receipt(settled) == [mine, yours]
    assert waits.for_receipt(settled) == []


def test_news_of_a_message_are_for_a_wait_only_when_its_request_was_answered() -> None:
    """Somebody uses an id again for another message: the news of the first one are no answer, the conflict is."""
    waits = WaitTable()
    waits.add(level())
    settled = Receipt("m", "steer", "r", "r/a", Level.SETTLED, outcome=Outcome.DONE)
    assert waits.for_receipt(settled) == []
    accepted = Receipt("m", "steer", "r", "r/a", Level.ACCEPTED)
    assert waits.answered(accepted, ME) == settled, "it is the same message: what was heard meanwhile counts"
    assert len(waits) == 0
    assert waits.answered(accepted, ME) == accepted, "nobody waits for more"


def test_a_client_that_is_gone_waits_for_nothing() -> None:
    waits = WaitTable()
    waits.add(level())
    waits.add(end())
    waits.begin_anew(ME)
    waits.add(level())
    waits.drop(b"me")
    assert len(waits) == 0
    assert waits.add(level(50.0)).give_up_at == 50.0
