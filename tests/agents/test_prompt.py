"""What an agent is told: parts with their sources, and the same bytes for the same values."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from crewd.agents.prompt import Prompt, prompt_of
from crewd.model.agent import Agent, GivenSkill

AGENT = Agent("pi", ("pi",), name="scout", system_prompt="You scout.", skills=(GivenSkill("brief", "Keep it short."),))


def test_the_parts_say_where_they_come_from() -> None:
    prompt = prompt_of(AGENT, text="Look around.", goal="Add a limit", reads=["/out/plan.md"])
    assert prompt.system_text == "You scout.\n\n## Skill: brief\n\nKeep it short."
    assert prompt.first_text == "Look around.\n\nAdd a limit\n\nWhat earlier steps have left for you:\n- /out/plan.md"
    assert [(each["in"], each["source"]) for each in prompt.sources] == [
        ("system", "agent:scout"), ("system", "skill:brief"), ("first", "step"), ("first", "goal"), ("first", "reads"),
    ]  # fmt: skip
    assert prompt.sources[2]["sha256"] == hashlib.sha256(b"Look around.").hexdigest()
    assert prompt.sources[2]["bytes"] == 12


def test_what_is_empty_is_left_out_and_a_goal_is_not_said_twice() -> None:
    assert prompt_of(Agent("pi", ("pi",)), text="", goal="", reads=()) == Prompt((), ())
    assert prompt_of(AGENT, text="Do this: fix it", goal="fix it", reads=()).first_text == "Do this: fix it"


@given(st.text(), st.text(), st.lists(st.text()))
def test_the_same_values_give_the_same_bytes_and_every_part_is_in_the_text(text: str, goal: str, reads: list[str]) -> None:
    prompt = prompt_of(AGENT, text=text, goal=goal, reads=reads)
    assert prompt == prompt_of(AGENT, text=text, goal=goal, reads=list(reads))
    assert all(part.text in prompt.first_text for part in prompt.first)
    assert all(part.text in prompt.system_text for part in prompt.system)
