from __future__ import annotations

from crewd.agents import acts as do
from crewd.agents.unanswered import GO_ON, Unanswered


def test_what_was_not_answered_is_told_again_in_order() -> None:
    told = Unanswered()
    for key in ("", "m1", "m2", "m3"):
        told.give(key, f"text {key}")
    told.note(do.Applied("m1"))
    told.note(do.Refused("m2", "by_worker"))
    told.give("m4", "text m4")
    assert told.again("the task", goes_on=True) == [("m3", "text m3"), ("m4", "text m4")]
    assert told.again("the task", goes_on=False) == [("", "the task"), ("m3", "text m3"), ("m4", "text m4")]


def test_an_agent_that_knows_what_was_said_is_told_to_go_on() -> None:
    told = Unanswered()
    told.give("", "the task")
    assert told.again("the task", goes_on=True) == [("~go-on", GO_ON)]
    assert told.again("", goes_on=False) == [("", GO_ON)]


def test_what_was_answered_is_done_when_the_next_agent_stops_and_only_once() -> None:
    told = Unanswered()
    for key in ("", "m1", "m2"):
        told.give(key, key)
        told.note(do.Applied(key))
    told.note(do.Done("m2"))
    assert told.stopped() == [do.Done("m1")]
    assert told.stopped() == []
