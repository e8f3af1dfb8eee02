"""Tools have one name for all programs, and it is known what keeps one away."""

from __future__ import annotations

import pytest

from crewd.agents.launch import command_of
from crewd.agents.tools import TOOLS, has_tool, keeps_away, names_for, near_tool, runtimes_of, tool_id
from crewd.model.agent import Agent, AgentRuntime


def test_a_tool_has_one_name_whatever_its_program_calls_it() -> None:
    assert tool_id("Bash(git *)") == tool_id("bash") == "bash"
    assert runtimes_of("bash") == ("pi", "omp", "claude")
    assert runtimes_of("webfetch") == ("claude",)
    assert runtimes_of("nothing") == ()
    agent = Agent("claude", ("claude",), tools=("Bash(git *)", "Read"))
    assert has_tool(agent, "bash") and not has_tool(agent, "edit")
    assert names_for(agent, ["bash", "notebookedit", tool_id("mcp__a__createIssue")]) == (
        "Bash",
        "NotebookEdit",
        "mcp__a__createIssue",
    )
    own = Agent("claude", ("claude",), tools=("mcp__a__createissue",))
    assert has_tool(own, "mcp__a__createIssue"), "who asks for it in other letters may get it"


@pytest.mark.parametrize(
    ("name", "near"),
    [("Raed", "read"), ("bsah(git *)", "bash"), ("Read", ""), ("mcp__a__raed", ""), ("deploy", ""), ("", "")],
)
def test_a_misspelt_tool_is_found(name: str, near: str) -> None:
    assert near_tool(name) == near


@pytest.mark.parametrize(
    ("runtime", "tools", "kept"),
    [
        ("pi", (), False), ("pi", ("read",), True), ("omp", ("read",), True), ("claude", (), True), ("codex", ("read",), False),
        ("acp", ("read",), False),
    ],
)  # fmt: skip
def test_only_some_programs_keep_a_tool_away(runtime: AgentRuntime, tools: tuple[str, ...], kept: bool) -> None:
    assert keeps_away(Agent(runtime, (runtime,), tools=tools)) is kept


def test_claude_is_told_which_tools_it_has_not() -> None:
    argv = command_of(Agent("claude", ("claude",), without_tools=("Bash", "WebFetch")), "", "")
    assert argv[argv.index("--disallowedTools") + 1] == "Bash,WebFetch"
    assert "--disallowedTools" not in command_of(Agent("claude", ("claude",)), "", "")
    assert all(tool_id(name) for names in TOOLS.values() for name in names)
