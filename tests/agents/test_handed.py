from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crewd.agents.acts import Applied, Done
from crewd.agents.handed import Handed


def test_what_was_taken_is_applied_once_and_done_at_the_stop() -> None:
    handed = Handed()
    for key, text in (("", "the task"), ("m_1", "same"), ("m_2", "same")):
        handed.give(key, text)
    handed.take_text("the task")
    assert handed.answered() == []
    handed.take_text("same")
    assert handed.answered() == [Applied("m_1")]
    assert handed.answered() == []
    assert handed.stopped() == [Done("m_1")]
    assert handed.waiting() == [("m_2", "same")]


def test_a_text_that_the_agent_has_changed_is_the_oldest_one() -> None:
    handed = Handed()
    handed.give("m_1", "@notes.md")
    handed.give("m_2", "then this")
    handed.take_text("then this")
    handed.take_text("the notes: ...")
    assert handed.waiting() == []


@given(st.lists(st.tuples(st.sampled_from(["give", "take", "answer", "stop", "drop"]), st.integers(0, 4))))
def test_no_message_is_applied_or_done_twice_nor_done_before_it_is_applied(steps: list[tuple[str, int]]) -> None:
    handed, applied, done = Handed(), [], []
    given_before: set[str] = set()
    for step, number in steps:
        key = f"m_{number}"
        match step:
            case "give" if key not in given_before:
                given_before.add(key)
                handed.give(key, key)
            case "take":
                handed.take(key)
            case "answer":
                applied += [act.id for act in handed.answered() if isinstance(act, Applied)]
            case "stop":
                done += [act.id for act in handed.stopped() if isinstance(act, Done)]
            case "drop":
                handed.drop(key)
    assert len(applied) == len(set(applied))
    assert len(done) == len(set(done))
    assert set(done) <= set(applied)
