"""What becomes of a message, at each of the three places that it can find."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.limits import MAILBOX_MAX
from crewd.model.message_kinds import MESSAGE_KINDS, MessageKind, Purpose
from crewd.model.reasons import RefusalReason
from crewd.model.receipts import Effect
from crewd.model.terms import Terms
from crewd.supervisor.admission import Accept, AfterEnd, AtWork, Hold, Idle, Lay, Refuse, TooMany, admit
from crewd.supervisor.attempt.mailbox import Mail

WORKING = AtWork(
    epoch=2, turn=3, ending=False, over=False, running=True, capabilities=("steer",),
    asks={"a": "", "b": "m_other"}, unsettled=0, pending=0,
)  # fmt: skip
QUEUED = Idle(epoch=1, cancelled=False, waiting=True, parked=False, takes=None, held=0)


def mail(kind: MessageKind = "steer", ask: str = "", **terms: Any) -> Mail:
    return Mail("m", kind, 1, ask=ask, terms=Terms(**terms))


def but(place: Any, **changes: Any) -> Any:
    return type(place)(**{**{name: getattr(place, name) for name in place.__slots__}, **changes})


@pytest.mark.parametrize(
    ("place", "message", "expected"),
    [
        (WORKING, mail(), Accept()),
        (WORKING, mail("follow_up"), Refuse(RefusalReason.NOT_SUPPORTED)),
        (but(WORKING, capabilities=None), mail("follow_up"), Accept()),
        (WORKING, mail("response", "a"), Accept()),
        (WORKING, mail("response", "b"), Refuse(RefusalReason.ALREADY_ANSWERED)),
        (WORKING, mail("response", "c"), Refuse(RefusalReason.NO_SUCH_ASK)),
        (WORKING, mail(epoch=1), Refuse(RefusalReason.ATTEMPT_OVER)),
        (WORKING, mail(epoch=3), Refuse(RefusalReason.NO_SUCH_TURN)),
        (WORKING, mail(turn=2), Refuse(RefusalReason.TURN_OVER)),
        (but(WORKING, running=False), mail(if_running=True), Refuse(RefusalReason.NOT_RUNNING)),
        (but(WORKING, ending=True), mail(), Refuse(RefusalReason.CANCELLED)),
        (but(WORKING, over=True), mail(), Refuse(RefusalReason.ENDED)),
        (but(WORKING, over=True, ending=True), mail("message"), Lay()),
        (but(WORKING, unsettled=MAILBOX_MAX), mail(), TooMany()),
        (but(WORKING, pending=MAILBOX_MAX), mail("message"), TooMany()),
        (QUEUED, mail(), Hold(Effect.QUEUED)),
        (QUEUED, mail("message"), Lay()),
        (QUEUED, mail("response", "a"), Refuse(RefusalReason.NO_SUCH_ASK)),
        (QUEUED, mail(on_idle="refuse"), Refuse(RefusalReason.NOT_RUNNING)),
        (QUEUED, mail(epoch=2), Hold(Effect.QUEUED)),
        (QUEUED, mail(epoch=1), Refuse(RefusalReason.ATTEMPT_OVER)),
        (but(QUEUED, takes=()), mail(), Refuse(RefusalReason.NOT_SUPPORTED)),
        (but(QUEUED, held=MAILBOX_MAX), mail(), TooMany()),
        (but(QUEUED, cancelled=True), mail(), Refuse(RefusalReason.CANCELLED)),
        (but(QUEUED, waiting=False), mail(), Refuse(RefusalReason.ENDED)),
        (but(QUEUED, waiting=False), mail(on_idle="start"), Hold(Effect.STARTED)),
        (but(QUEUED, parked=True), mail(on_idle="start"), Hold(Effect.STARTED)),
        (
            but(QUEUED, waiting=False, bars=RefusalReason.BUDGET_USED), mail(on_idle="start"),
            Refuse(RefusalReason.BUDGET_USED),
        ),
        (AfterEnd(), mail(), Refuse(RefusalReason.ENDED)),
        (AfterEnd(), mail("message"), Lay()),
    ],
)  # fmt: skip
def test_what_becomes_of_a_message(place: AtWork | Idle | AfterEnd, message: Mail, expected: object) -> None:
    assert admit(place, message) == expected


PLACES = st.one_of(
    st.builds(
        AtWork, epoch=st.integers(1, 3), turn=st.integers(1, 3), ending=st.booleans(), over=st.booleans(),
        running=st.booleans(),
        capabilities=st.sampled_from([None, (), ("steer",), ("steer", "follow_up")]), asks=st.just({"a": ""}),
        unsettled=st.integers(0, MAILBOX_MAX), pending=st.integers(0, MAILBOX_MAX),
    ),
    st.builds(
        Idle, epoch=st.integers(0, 3), cancelled=st.booleans(), waiting=st.booleans(), parked=st.booleans(),
        takes=st.sampled_from([None, (), ("steer",)]), held=st.integers(0, MAILBOX_MAX),
    ),
    st.just(AfterEnd()),
)  # fmt: skip


@given(PLACES, st.sampled_from(list(MESSAGE_KINDS)), st.sampled_from(["", "queue", "start", "refuse"]), st.integers(0, 3))
def test_what_is_for_reading_is_never_refused_and_nothing_else_lies_about(
    place: AtWork | Idle | AfterEnd, kind: MessageKind, on_idle: Any, epoch: int
) -> None:
    found = admit(place, mail(kind, "a", on_idle=on_idle, epoch=epoch))
    reading = MESSAGE_KINDS[kind].purpose is Purpose.READING
    assert isinstance(found, Lay | TooMany) if reading else not isinstance(found, Lay)
    assert not isinstance(found, Accept) or isinstance(place, AtWork)
    assert not isinstance(found, Hold) or isinstance(place, Idle)
    if isinstance(place, AfterEnd):
        assert isinstance(found, Lay | Refuse), "there is always an answer that stays"
