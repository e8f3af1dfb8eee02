from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.agents.recommend import parts_of, recommend
from crewd.agents.team import Team, parse_team
from crewd.model.errors import UsageError

TEAMS = (
    Team("implementation", triggers=("add", "implement", "new feature")),
    Team("review", triggers=("review", "audit"), avoid_when=("implement",)),
    Team("fast-fix", triggers=("typo",), use_when=("one line",)),
    Team("default"),
)


@pytest.mark.parametrize(
    ("goal", "team"),
    [
        ("Add a rate limit", "implementation"),
        ("we are adding limits", "implementation"),
        ("a new feature with a typo", "implementation"),
        ("fix this one line", "fast-fix"),
        ("REVIEW: src/", "review"),
        ("review what we implement", "implementation"),
        ("make it faster", "default"),
        ("address the addressee", "default"),
    ],
)
def test_the_words_of_a_goal_choose_the_team(goal: str, team: str) -> None:
    assert recommend(goal, TEAMS, changes=lambda _: False).team == team


def test_what_was_chosen_and_left_out_is_explained() -> None:
    found = recommend("review and implement a new feature, and the typo", TEAMS, changes=lambda _: False)
    assert found.why == "the goal says 'implement', 'new feature'"
    assert [(fit.team, fit.words, fit.avoided) for fit in found.others] == [
        ("fast-fix", ("typo",), ()), ("review", ("review",), ("implement",)),
    ]  # fmt: skip
    assert recommend("make it faster", TEAMS[:2], changes=lambda _: True).team == ""


def test_a_list_is_several_goals_that_need_a_directory_each_if_something_is_changed() -> None:
    goal = "Please:\n- add a limit\n  * add a flag\n3. write tests\nThank you"
    found = recommend(goal, TEAMS, changes=lambda name: name == "implementation")
    assert found.parts == ("add a limit", "add a flag", "write tests")
    assert found.worktrees
    assert not recommend(goal, TEAMS, changes=lambda _: False).worktrees
    assert parts_of("- only one") == ()
    assert len(parts_of("\n".join(f"- {number}" for number in range(100)))) == 20


@given(
    st.text(), st.lists(st.builds(Team, st.sampled_from("abcd"), triggers=st.lists(st.text(max_size=4)).map(tuple)), max_size=5)
)
def test_any_goal_is_for_one_of_the_teams_or_for_none_in_any_order(goal: str, teams: list[Team]) -> None:
    found = recommend(goal, teams, changes=lambda _: True)
    assert found.team in {"", *(team.name for team in teams)}
    named = {team.name: team for team in teams}
    assert recommend(goal, named.values(), changes=lambda _: True) == recommend(
        goal, [*named.values()][::-1], changes=lambda _: True
    )


def test_words_are_a_list_or_stand_between_commas() -> None:
    head = "---\ntriggers: review, look at\nuseWhen: [a, 3]\n---\n- a: agent=b\n"
    team = parse_team(head, "t")
    assert (team.triggers, team.use_when, team.unused) == (("review", "look at"), ("a", "3"), ())
    with pytest.raises(UsageError, match="line 2: triggers is no list of words"):
        parse_team("---\ntriggers: {a: b}\n---\n- a: agent=b\n", "t")
