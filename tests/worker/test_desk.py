"""What a worker says of its messages, and how little of it is enough."""

from __future__ import annotations

import threading

import pytest

from crewd.clock import SystemClock
from crewd.model.errors import UsageError
from crewd.protocol.reports import Applied, Asked, Deliver, Delivered, Report, Settled, Told
from crewd.testing.daemon import wait_until
from crewd.worker.desk import Desk
from crewd.worker.token import CancellationToken


def desk() -> Desk:
    return Desk(CancellationToken(SystemClock()), lambda: None)


def steer(key: str) -> Deliver:
    return Deliver(id=key, kind="steer", order=1, text="x", mode="interrupt")


def take(of: Desk, key: str, note: str = "") -> None:
    message = of.next_steer()
    assert message is not None
    assert message.id == key
    of.report(Applied(id=key))
    of.report(Settled(id=key, outcome="done", note=note))


def test_what_was_not_sent_yet_is_said_in_one_report() -> None:
    said = desk()
    said.heard_message(steer("m1"))
    take(said, "m1", "ok")
    assert said.unsent() == [Report(1, Settled("m1", "done", note="ok", applied=True))]


def test_what_was_sent_once_is_never_changed_also_when_it_is_sent_again() -> None:
    said = desk()
    said.heard_message(steer("m1"))
    assert said.unsent() == [Report(1, Delivered("m1"))]
    said.heard_welcome(0)  # a new connection: crewd has not stored it, but it may have heard it
    take(said, "m1")
    assert said.unsent() == [Report(1, Delivered("m1")), Report(2, Settled("m1", "done", applied=True))]
    said.heard_welcome(2)
    assert said.unsent() == []


def test_reports_of_two_messages_stay_two_and_in_order() -> None:
    said = desk()
    said.heard_message(steer("m1"))
    said.heard_message(steer("m2"))
    take(said, "m1")
    take(said, "m2")
    assert [report.body for report in said.unsent()] == [
        Delivered("m1"), Delivered("m2"), Settled("m1", "done", applied=True), Settled("m2", "done", applied=True),
    ]  # fmt: skip


def test_an_effect_is_said_also_if_the_message_was_taken() -> None:
    said = desk()
    said.interruptible = lambda _: True
    said.heard_message(Deliver(id="m1", kind="steer", order=1, text="x", mode="interrupt", now=True))
    take(said, "m1")
    bodies = [report.body for report in said.unsent()]
    assert bodies == [Delivered("m1", effect="interrupted"), Settled("m1", "done", applied=True)]


def test_a_refusal_says_whether_the_code_had_taken_the_message() -> None:
    said = desk()
    said.heard_message(steer("m1"))
    said.unsent()
    said.report(Settled("m1", "refused", reason="stdin_closed"))
    assert said.unsent() == [Report(2, Settled("m1", "refused", reason="stdin_closed"))]


def test_code_that_waits_for_a_steer_takes_it_without_a_word_before() -> None:
    said = desk()
    taken: list[Deliver | None] = []
    code = threading.Thread(target=lambda: taken.append(said.next_steer(60.0)))
    code.start()
    wait_until(lambda: said._at_safe_point, "the code to wait")
    said.heard_message(steer("m1"))
    code.join(60.0)
    assert [message and message.id for message in taken] == ["m1"]
    assert said.unsent() == []
    said.heard_message(steer("m2"))
    assert said.unsent() == [Report(1, Delivered("m2"))], "nobody waits now"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (Asked(id="q_" + "a" * 26, question="n?", choices=(1, 2)), "Expected `str`, got `int`"),  # type: ignore[arg-type]
        (Asked(id="q_" + "a" * 26, question="n?", default=True), "got `bool`"),  # type: ignore[arg-type]
        (Told("x", priority="high"), "Invalid enum value"),  # type: ignore[arg-type]
        (Told("x", reply_to=5), "got `int`"),  # type: ignore[arg-type]
        (Told("\ud800"), "surrogates"),
        (Told("x" * 600_000), "has 600,0"),
    ],
    ids=["choices", "default", "priority", "id", "text", "large"],
)
def test_what_crewd_would_not_take_is_refused_where_it_is_said(body: Asked | Told, says: str) -> None:
    said = desk()
    with pytest.raises(UsageError, match="this cannot be sent") as refused:
        said.report(body)
    assert says in refused.value.message
    said.report(Told("fine"))
    assert [each.body for each in said.unsent()] == [Told("fine")]
