"""How an agent is started: its command line, and its variables. Prompts never stand on a command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from crewd.agents.acp import Acp
from crewd.agents.claude import Claude
from crewd.agents.codex import Codex
from crewd.agents.models import THINKING, asked_of, split_level
from crewd.agents.pi import Pi

if TYPE_CHECKING:
    from crewd.agents.acts import Machine, Task
    from crewd.model.agent import Agent, AgentRuntime

_NOT_TAKEN: Mapping[AgentRuntime, tuple[str, ...]] = {
    "pi": (),
    "omp": ("inheritProjectContext", "contextMode"),
    "claude": (),
    "codex": ("tools", "extensions", "inheritSkills"),
    "acp": ("thinking", "tools", "configDir", "extensions", "inheritProjectContext", "inheritSkills"),
}


def command_of(agent: Agent, prompt_file: str, session: str, *, forks: bool = False) -> list[str]:
    """What is executed. `prompt_file` holds the system prompt (empty: there is none); `session` is to be gone on with.

    With `forks` it is a copy of that session that is gone on with.
    """
    argv = list(agent.command)
    model, thinking = asked_of(agent)
    replaces = agent.system_prompt_mode == "replace"
    match agent.runtime:
        case "pi" | "omp":
            argv += ["--mode", "rpc"]
            argv += _given("--model", model) + _given("--thinking", thinking)
            argv += _given("--tools", ",".join(agent.tools))
            argv += _given("--fork" if forks else "--session", session)
            argv += ["--no-extensions"] if agent.extensions is not None else []
            argv += [word for path in agent.extensions or () for word in ("--extension", path)]
            argv += [] if agent.own_skills else ["--no-skills"]
            argv += [] if agent.project_context or agent.runtime == "omp" else ["--no-context-files"]
            argv += _given("--system-prompt" if replaces else "--append-system-prompt", prompt_file)
        case "claude":
            argv += ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"]
            argv += ["--permission-prompt-tool", "stdio", "--replay-user-messages"]
            argv += _given("--model", model) + _given("--effort", thinking)
            argv += _given(
                "--fallback-model", ",".join(split_level(each, THINKING["claude"])[0] for each in agent.fallback_models)
            )
            argv += _given("--allowedTools", ",".join(agent.tools)) + _given("--resume", session)
            argv += _given("--disallowedTools", ",".join(agent.without_tools))
            argv += ["--fork-session"] if forks and session else []
            argv += [word for path in agent.extensions or () for word in ("--plugin-dir", path)]
            argv += [] if agent.own_skills else ["--disable-slash-commands"]
            argv += _given("--system-prompt-file" if replaces else "--append-system-prompt-file", prompt_file)
        case "codex":
            argv += ["app-server"]
            argv += _given("-c", f"model_reasoning_effort={thinking}" if thinking else "")
            argv += [] if agent.project_context else ["-c", "project_doc_max_bytes=0"]
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
        found[directories[agent.runtime]] = str(Path(agent.config_dir).expanduser())
    if agent.runtime == "claude":
        found["CLAUDE_CODE_SDK_READS_SESSION_STATE"] = "1"  # else nothing says that it has come to rest
        if not agent.project_context:
            found["CLAUDE_CODE_DISABLE_CLAUDE_MDS"] = "1"
    return found


def ignored_by(agent: Agent) -> tuple[str, ...]:
    """Fields that are given and that its runtime has no way to take."""
    given = {
        "thinking": agent.thinking, "tools": agent.tools, "configDir": agent.config_dir,
        "extensions": agent.extensions is not None, "inheritProjectContext": not agent.project_context,
        "inheritSkills": not agent.own_skills, "contextMode": agent.forks,
    }  # fmt: skip
    not_taken = _NOT_TAKEN[agent.runtime]
    if agent.runtime == "claude" and agent.extensions == ():  # it loads more, and has no way to load none
        not_taken += ("extensions",)
    return tuple(name for name, value in given.items() if value and name in not_taken)


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
