"""What a sender can want of a message, and what cannot be wanted together."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from crewd.model.errors import UsageError
from crewd.model.message_kinds import MessageKind
from crewd.model.receipts import Level, Receipt
from crewd.model.rows import MessageRow
from crewd.model.terms import USUAL, Terms, check_terms


@pytest.mark.parametrize(
    ("kind", "priority", "mode"),
    [("steer", "urgent", "interrupt"), ("follow_up", "normal", "next_turn"), ("response", "normal", "interrupt")],
)
def test_what_is_left_out_is_usual_for_the_kind(kind: MessageKind, priority: str, mode: str) -> None:
    terms = check_terms(kind, USUAL)
    assert (terms.priority, terms.mode, terms.on_idle) == (priority, mode, "queue")
    assert check_terms(kind, terms if kind != "response" else USUAL) == terms, "said twice it is the same"


def test_what_is_said_stays() -> None:
    terms = check_terms("steer", Terms(priority="low", mode="next_turn", epoch=2, turn=3))
    assert terms == Terms(priority="low", mode="next_turn", on_idle="queue", epoch=2, turn=3)
    assert check_terms("follow_up", Terms(if_running=True)).on_idle == "refuse"


@pytest.mark.parametrize(
    ("kind", "terms"),
    [
        ("steer", Terms(epoch=-1)),
        ("steer", Terms(turn=-1)),
        ("follow_up", Terms(now=True)),
        ("steer", Terms(now=True, mode="next_turn")),
        ("steer", Terms(if_running=True, on_idle="start")),
        ("steer", Terms(if_running=True, on_idle="queue")),
        ("steer", Terms(on_idle="start", epoch=1)),
        ("follow_up", Terms(on_idle="start", turn=1)),
        ("response", Terms(on_idle="start")),
        ("response", Terms(turn=1)),
        ("steer", Terms(reply_seconds=-1.0)),
        ("steer", Terms(reply_seconds=1e9)),
    ],
)
def test_what_contradicts_itself_is_refused_with_what_to_do(kind: MessageKind, terms: Terms) -> None:
    with pytest.raises(UsageError) as caught:
        check_terms(kind, terms)
    assert caught.value.info.hint


def test_a_sender_that_waits_too_long_for_a_reply_is_shown_so() -> None:
    receipt = Receipt(id="m", kind="message", run="r", task="r/a", epoch=1, level=Level.SETTLED, accepted_at=100.0)
    waiting = MessageRow(receipt=receipt, terms=Terms(reply_seconds=5.0))
    assert [waiting.reply_overdue(at) for at in (104.0, 106.0)] == [False, True]
    assert not replace(waiting, replied="m2").reply_overdue(106.0)
    assert not MessageRow(receipt=receipt).reply_overdue(1e9)
