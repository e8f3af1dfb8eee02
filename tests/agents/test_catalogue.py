from __future__ import annotations

import pytest

from crewd.agents.acts import Task
from crewd.agents.capabilities import Capabilities
from crewd.agents.catalogue import CATALOGUE, agent_of
from crewd.agents.launch import machine_of
from crewd.model.agent import check_agent


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_can_be_started_and_says_what_it_can_do(name: str) -> None:
    agent = agent_of(name, CATALOGUE[name])
    check_agent(name, agent)
    assert isinstance(machine_of(agent, Task("/")).capabilities, Capabilities)
    assert CATALOGUE[name].install


def test_agents_that_speak_acp_are_rows_and_nothing_more() -> None:
    assert {name for name, known in CATALOGUE.items() if known.runtime == "acp"} >= {"opencode", "gemini", "goose", "cursor"}
