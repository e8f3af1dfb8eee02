"""Nobody uses what is disabled: neither who names it, nor who may have it by default."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from crewd.agents.given import inventory_text, items_in
from crewd.client.agents import agent_named
from crewd.client.chosen import Wish, choose
from crewd.client.disabled import disabled
from crewd.client.inventory import disable, enable, inventory
from crewd.client.usable import check_usable, is_usable
from crewd.model.agent import Agent
from crewd.model.errors import Refused, UsageError
from crewd.model.hooks import Hook


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without files, in an empty project, on a machine without agents and keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: tmp_path / "config")
    return tmp_path / "config"


def define(name: str, head: str) -> None:
    folder = Path(".crew", "agents")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(f"---\nname: {name}\n{head}---\nWork.\n")


def agent_for(name: str) -> Agent:
    agent = choose(Wish(agent=name), installed=False).workflow.steps[0].worker.agent
    assert agent is not None
    return agent


def test_who_names_a_disabled_tool_is_refused_and_who_cannot_have_it_is_not() -> None:
    define("shell", "runtime: pi\ntools: [read, Bash]\n")
    define("reader", "runtime: pi\ntools: [read, grep]\n")
    assert disable("tool:BASH", "no shell today") == "tool:bash"
    with pytest.raises(Refused, match="tool bash is disabled: no shell today") as error:
        agent_for("shell")
    assert error.value.hint == "crew enable tool:bash"
    assert agent_for("reader").tools == ("read", "grep")
    assert enable("tool:Bash")
    assert agent_for("shell").tools == ("read", "Bash")


@pytest.mark.parametrize("program", ["pi", "codex", "opencode"])
def test_who_may_have_a_disabled_tool_without_a_word_is_refused(program: str) -> None:
    disable("tool:bash", "no shell today")
    with pytest.raises(Refused, match=f"agent {program} may use tool bash, which is disabled: no shell today") as error:
        agent_for(program)
    assert ("tools: read, grep" in error.value.hint) == (program == "pi")
    assert not is_usable(agent_named(program))
    assert is_usable(agent_named("claude"))


def test_a_program_that_can_be_told_so_is_run_without_the_tool() -> None:
    disable("tool:bash", "no shell today")
    disable("tool:mcp__files__move", "it moves too much")
    assert agent_for("claude").without_tools == ("Bash", "mcp__files__move")


def test_a_model_of_a_disabled_provider_is_not_used_and_one_of_nobody_neither() -> None:
    define("cheap", "runtime: pi\nmodel: groq/small\nfallbackModels: [openai/large]\n")
    disable("provider:openai", "the bill")
    for name, says in (("cheap", "provider openai is disabled: the bill"), ("codex", "provider openai is disabled"),
                       ("pi", "does not say whose model it uses")):  # fmt: skip
        with pytest.raises(Refused, match=says):
            agent_for(name)
    with pytest.raises(Refused, match="is disabled"):
        check_usable(agent_named("pi"), "openai/large")
    check_usable(agent_named("pi"), "groq/small")
    check_usable(agent_named("claude"), "")


def test_tools_and_providers_are_items_with_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "x")
    disable("tool:mcp__files__move", "it moves too much")
    disable("provider:ollama", "too slow")
    found = {item.id: item for item in inventory()}
    assert (found["tool:bash"].state, found["tool:bash"].source) == ("active", "pi, omp, claude")
    assert (found["tool:mcp__files__move"].state, found["tool:mcp__files__move"].reason) == ("disabled", "it moves too much")
    assert (found["provider:groq"].state, found["provider:ollama"].state) == ("active", "disabled")
    assert found["provider:openai"].state == "missing" and "OPENAI_API_KEY" in found["provider:openai"].reason


@pytest.mark.parametrize("key", ["tool:", "tool:a b", "provider:../x", f"provider:{'x' * 200}"])
def test_what_can_be_no_tool_and_no_provider_is_not_disabled(key: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a"):
        disable(key, "why")
    assert disabled() == {}


def test_an_agent_keeps_what_it_is_given() -> None:
    define("one", "runtime: claude\nmodel: opus\ntools: [Read, 'Bash(git *)']\nskills: [hook-design]\n")
    agent = agent_for("one")
    given = items_in(inventory_text(agent, [Hook("guard", "before_task_start", "true", source="user")]))
    assert [(item.id, item.source) for item in given] == [
        ("agent:one", "project"), ("runtime:claude", "crewd"), ("skill:hook-design", "builtin"), ("tool:read", "agent one"),
        ("tool:bash", "agent one"), ("provider:anthropic", "crewd"), ("hook:guard", "user"),
    ]  # fmt: skip
    reviewed = choose(Wish(team="review", program="claude"), installed=False).workflow.steps[0].worker.agent
    assert reviewed is not None and ("team:review", "builtin") in [(item.id, item.source) for item in reviewed.inventory]
