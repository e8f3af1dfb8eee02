from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.agents.models import asked_of, candidates, split_level, why_not
from crewd.model.agent import Agent, AgentRuntime

OFFERED = ["acme/opus-4.1", "acme/opus-4", "bmf/opus-4", "acme/sonnet-4", "Gemini-3-Pro"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("acme/opus-4", ["acme/opus-4"]),
        ("gemini-3-pro", ["Gemini-3-Pro"]),
        ("sonnet-4", ["acme/sonnet-4"]),
        ("opus-4", ["acme/opus-4", "bmf/opus-4"]),
        ("4 sonnet", ["acme/sonnet-4"]),
        ("opus-4.1", ["acme/opus-4.1"]),
        ("pro gemini", ["Gemini-3-Pro"]),
        ("sonnet", ["acme/sonnet-4"]),
        ("opus", ["acme/opus-4.1", "acme/opus-4", "bmf/opus-4"]),
        ("bmf opus", ["bmf/opus-4"]),
        ("son", []),
        ("haiku", []),
        ("", []),
        ("/", []),
    ],
)
def test_a_name_means_a_model_by_the_first_rule_that_finds_one(wanted: str, found: list[str]) -> None:
    assert candidates(wanted, OFFERED) == found


@given(st.lists(st.text(max_size=12), max_size=8), st.text(max_size=12))
def test_what_is_offered_by_this_very_name_is_meant(offered: list[str], wanted: str) -> None:
    found = candidates(wanted, offered)
    assert set(found) <= set(offered)
    assert (found == [wanted]) or wanted not in offered


def test_a_model_of_the_same_words_goes_before_one_with_more() -> None:
    assert candidates("gpt 5", ["gpt-5-mini", "acme/gpt-5"]) == ["acme/gpt-5"]
    assert candidates("opus-4", ["open/acme/opus-4", "open/acme/opus-4-1"]) == ["open/acme/opus-4"]


def test_people_are_told_what_they_could_have_meant() -> None:
    assert why_not("opus", OFFERED[:2], OFFERED) == "'opus' may be any of acme/opus-4.1, acme/opus-4: name one of them"
    assert why_not("x", [], OFFERED).startswith("the agent offers no model 'x', but acme/opus-4.1")
    assert why_not("x", [], [str(number) for number in range(9)]).endswith("4 and 4 more")
    assert why_not("x", [], []) == "the agent offers no model 'x'"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("opus:high", ("opus", "high")),
        ("acme/opus-4:off", ("acme/opus-4", "off")),
        ("qwen:30b", ("qwen:30b", "")),
        (":high", (":high", "")),
        ("opus", ("opus", "")),
    ],
)
def test_a_level_of_thinking_may_follow_a_name(name: str, parts: tuple[str, str]) -> None:
    assert split_level(name) == parts


def test_a_level_at_the_model_goes_before_the_agents_own() -> None:
    def asked(runtime: AgentRuntime, model: str) -> tuple[str, str]:
        return asked_of(Agent(runtime, ("x",), model=model, thinking="low"))

    assert asked("claude", "opus:high") == ("opus", "high")
    assert asked("codex", "gpt") == ("gpt", "low")
    assert asked("pi", "opus:high") == ("opus:high", "low"), "pi splits it by itself"
    assert asked("claude", "opus:off") == ("opus:off", "low"), "it knows no such level"
