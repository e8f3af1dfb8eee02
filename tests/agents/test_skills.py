"""Skills: which an agent gets, and what it is told of them."""

from __future__ import annotations

import pytest

from crewd.agents.skills import ALL_CHARS_MAX, CHARS_MAX, NONE, Skill, fitting, names_of, parse_skill
from crewd.model.agent import GivenSkill
from crewd.model.errors import UsageError


def test_a_skill_is_its_text() -> None:
    assert parse_skill("---\ndescription: d\n---\nDo this.\n", "s") == Skill("s", "d", "Do this.")
    for text, said in (
        ("---\nname: s\n---\n", "says nothing"),
        ("---\nuse: x\n---\nDo.\n", "line 2"),
        ("---\n- a\n---\nDo.\n", "no list"),
    ):
        with pytest.raises(UsageError, match=said):
            parse_skill(text, "s")


def test_levels_add_up_and_false_begins_anew() -> None:
    assert names_of(("a", "b"), ("b", "c"), (), ("d",)) == ("a", "b", "c", "d")
    assert names_of(("a", "b"), NONE, ("c",)) == ("c",)
    assert names_of(("a",), (), NONE) == ()


def test_what_an_agent_is_told_has_bounds_and_says_what_is_missing() -> None:
    assert fitting([Skill("a", "", "Do this.")]) == ((GivenSkill("a", "Do this."),), ())
    (cut,), _ = fitting([Skill("a", "", "x" * (CHARS_MAX + 1))])
    assert cut.text.endswith("x …")
    given, left_out = fitting([Skill(f"s{number}", "", "x" * CHARS_MAX) for number in range(6)])
    assert sum(len(each.text) for each in given) <= ALL_CHARS_MAX
    assert left_out == ("s4", "s5")
    assert fitting([]) == ((), ())
    many = fitting([Skill(f"s{number}", "", "x") for number in range(40)])
    assert len(many[1]) == 8
