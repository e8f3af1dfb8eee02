"""Control histories are values with a text that can be given back."""

from __future__ import annotations

import pytest
from hypothesis import given

from crewd.model.errors import UsageError
from crewd.testing.stress import Cancel, Crash, FollowUp, History, Steer, parse
from crewd.testing.stress.history import after
from crewd.testing.stress.strategies import histories


@given(histories(20))
def test_the_text_of_a_history_gives_the_history_back(history: History) -> None:
    assert parse(str(history)) == history


def test_controls_come_in_the_order_of_their_points() -> None:
    history = parse("cancel@5/0.5:shutdown steer@2:'use tabs' follow-up@3:more crash@4 answer:yes silence")
    assert history.controls == (Steer(2, "use tabs"), FollowUp(3, "more"), Crash(4), Cancel(5, 0.5, "shutdown"))
    assert history.answers == ("yes", None)


@pytest.mark.parametrize("text", ["steer", "steer@x:y", "jump@3", "cancel@0", "cancel@2/soon", "'", "crash@-1"])
def test_what_is_no_history_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.hint


def test_after_a_crash_the_rest_is_left() -> None:
    history = parse("steer@1:a steer@2:b crash@2 steer@2:c cancel@4")
    assert after(history, 2).controls == (Steer(2, "c"), Cancel(4))
