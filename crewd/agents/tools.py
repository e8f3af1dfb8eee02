"""The tools of agents: which programs have which, and what keeps one away from an agent. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from crewd.model.agent import Agent, AgentRuntime

TOOLS: Final[Mapping[AgentRuntime, tuple[str, ...]]] = {
    "pi": ("read", "bash", "edit", "write", "grep", "find", "ls"),
    "omp": ("read", "bash", "edit", "write", "grep", "find"),
    "claude": (
        "Bash",
        "BashOutput",
        "Edit",
        "ExitPlanMode",
        "Glob",
        "Grep",
        "KillShell",
        "NotebookEdit",
        "Read",
        "Skill",
        "SlashCommand",
        "Task",
        "TodoWrite",
        "WebFetch",
        "WebSearch",
        "Write",
    ),
}
"""What the programs of these runtimes have by themselves, as their `--help` of 2026 says. They may have more."""

_KNOWN: Final = frozenset(name.lower() for names in TOOLS.values() for name in names)


def tool_id(name: str) -> str:
    """What a tool is called in `tool:NAME`: without the pattern in `Bash(git *)`, and a known one without large letters.

    Another one stays as it is written: its program may tell `a__createIssue` from `a__createissue`.
    """
    bare = name.partition("(")[0].strip()
    return bare.lower() if bare.lower() in _KNOWN else bare


def near_tool(name: str) -> str:
    """The known tool that an unknown one looks like, misspelt; empty if there is none."""
    bare = tool_id(name).lower()
    known = bare in _KNOWN or bare.startswith("mcp__")
    close = [] if known else difflib.get_close_matches(bare, sorted(_KNOWN), 1, 0.75)
    return close[0] if close else ""


def runtimes_of(tool: str) -> tuple[AgentRuntime, ...]:
    """The runtimes whose programs have this tool."""
    return tuple(runtime for runtime, names in TOOLS.items() if tool in map(tool_id, names))


def has_tool(agent: Agent, tool: str) -> bool:
    """Whether the agent asks for this tool by name, in whichever letters."""
    return tool.lower() in (tool_id(name).lower() for name in agent.tools)


def keeps_away(agent: Agent) -> bool:
    """Whether its program has a way not to have a tool: a list of those that it has, or one of those that it has not."""
    return agent.runtime == "claude" or (agent.runtime in {"pi", "omp"} and bool(agent.tools))


def names_for(agent: Agent, tools: Iterable[str]) -> tuple[str, ...]:
    """What its program calls these tools."""
    own = {tool_id(name): name for name in TOOLS.get(agent.runtime, ())}
    return tuple(own.get(tool, tool) for tool in tools)
