"""How an agent is started: its command line, and its variables. Prompts never stand on a command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from crewd.agents.acp import Acp
from crewd.agents.claude import Claude
from crewd.agents.codex import Codex
from crewd.agents.pi import Pi

if TYPE_CHECKING:
    from crewd.agents.acts import Machine, Task
    from crewd.model.agent import Agent, AgentRuntime

_NOT_TAKEN: Mapping[AgentRuntime, tuple[str, ...]] = {
    "pi": (),
    "omp": (),
    "claude": (),
    "codex": ("tools",),
    "acp": ("thinking", "tools", "configDir"),
}


def command_of(agent: Agent, prompt_file: str, session: str) -> list[str]:
    """What is executed. `prompt_file` holds the system prompt (empty: there is none); `session` is to be gone on with."""
    argv = list(agent.command)
    replaces = agent.system_prompt_mode == "replace"
    match agent.runtime:
        case "pi" | "omp":
            argv += ["--mode", "rpc"]
            argv += _given("--model", agent.model) + _given("--thinking", agent.thinking)
            argv += _given("--tools", ",".join(agent.tools)) + _given("--session", session)
            argv += _given("--system-prompt" if replaces else "--append-system-prompt", prompt_file)
        case "claude":
            argv += ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"]
            argv += ["--permission-prompt-tool", "stdio", "--replay-user-messages"]
            argv += _given("--model", agent.model) + _given("--effort", agent.thinking)
            argv += _given("--fallback-model", ",".join(agent.fallback_models))
            argv += _given("--allowedTools", ",".join(agent.tools)) + _given("--resume", session)
            argv += _given("--system-prompt-file" if replaces else "--append-system-prompt-file", prompt_file)
        case "codex":
            argv += ["app-server"]
            argv += _given("-c", f"model_reasoning_effort={agent.thinking}" if agent.thinking else "")
        case "acp":
            pass
    return argv


def variables_of(agent: Agent) -> dict[str, str]:
    """What is set for it, besides the step's own variables."""
    directories = {
        "pi": "PI_CODING_AGENT_DIR",
        "omp": "PI_CODING_AGENT_DIR",
        "claude": "CLAUDE_CONFIG_DIR",
        "codex": "CODEX_HOME",
    }
    found = {}
    if agent.config_dir and agent.runtime in directories:
        found[directories[agent.runtime]] = agent.config_dir
    if agent.runtime == "claude":
        found["CLAUDE_CODE_SDK_READS_SESSION_STATE"] = "1"  # else nothing says that it has come to rest
    return found


def ignored_by(agent: Agent) -> tuple[str, ...]:
    """Fields that are given and that its runtime has no way to take."""
    given = {"thinking": agent.thinking, "tools": agent.tools, "configDir": agent.config_dir}
    return tuple(name for name, value in given.items() if value and name in _NOT_TAKEN[agent.runtime])


def machine_of(agent: Agent, task: Task) -> Machine:
    """The machine for what it speaks."""
    match agent.runtime:
        case "pi":
            return Pi(task)
        case "omp":
            return Pi(task, settles=False)
        case "claude":
            return Claude(task)
        case "codex":
            return Codex(task)
        case "acp":
            return Acp(task)


def takes_prompt_file(agent: Agent) -> bool:
    """Whether its system prompt is given in a file; the others are told it over their protocol."""
    return agent.runtime in {"pi", "omp", "claude"}


def _given(option: str, value: str) -> list[str]:
    return [option, value] if value else []
