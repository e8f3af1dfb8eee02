"""Files that define teams: text in, a value or an error with its line out."""

from __future__ import annotations

import pytest

from crewd.agents.team import Team, TeamRole, parse_team
from crewd.model.errors import UsageError

TEXT = """---
description: two of them
defaultWorkflow: duo
maxConcurrency: 2
triggers: where is
---
A word about it.

- looker: agent=scout model=opus reads
- fixer: agent=executor skills=a,b changes it
"""


def test_a_team_is_its_roles() -> None:
    assert parse_team(TEXT, "duo") == Team(
        "duo", "two of them", "duo", 2,
        {"looker": TeamRole("scout", "opus", "reads"), "fixer": TeamRole("executor", "", "changes it", ("a", "b"))},
        (),
        triggers=("where is",),
    )  # fmt: skip


def test_a_model_may_be_left_to_the_agent() -> None:
    assert parse_team("---\nname: a\n---\n- x: agent=y model=false\n", "t").roles["x"].model == ""


def test_an_empty_head_says_nothing() -> None:
    assert parse_team("---\n---\n- x: agent=y\n", "t") == Team("t", roles={"x": TeamRole("y")})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\ndescription: x\n---\n", "no roles"),
        ("---\nworkflow: x\n---\n- a: agent=b\n", "line 2: there is no field 'workflow'"),
        ("---\nbudget: {dollars: 1}\n---\n- a: agent=b\n", "line 2: budget is wrong"),
        ("---\nmaxConcurrency: many\n---\n- a: agent=b\n", "line 2: maxConcurrency"),
        ("---\nmaxConcurrency: 0\n---\n- a: agent=b\n", "line 2: maxConcurrency '0' is not a number of steps"),
        ("---\ndescription: {a: b}\n---\n- a: agent=b\n", "line 2: description is one value"),
        ("---\nname: [a]\n---\n- a: agent=b\n", "line 2: name is one value"),
        ("---\nname: t\n---\n- a: agent=b\n- a: agent=c\n", "line 5: role a stands twice"),
        ("---\nname: t\n---\n- a: agent=b model=\n", "line 4: role a: model= has no value"),
        ("---\nname: t\n---\n- a: model=b\n", "line 4: role a: which agent"),
        ("---\nname: t\n---\n- a: agent=\n", "line 4: role a: agent="),
        ("---\nname: t\n---\n- a: agnt=b\n", "did you mean agent"),
        ("---\nname: t\n---\n- a/b: agent=b\n", "line 4"),
        ("---\n- a\n---\n- a: agent=b\n", "no list of fields"),
        ("---\nname: t\n---\n" + "".join(f"- r{n}: agent=b\n" for n in range(33)), "32 roles at most"),
    ],
)
def test_what_is_wrong_has_its_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_team(text, "t")
    assert said in f"{error.value} {error.value.hint}"
