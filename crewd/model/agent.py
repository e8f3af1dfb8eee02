"""An AI coding agent as a worker: which program it is, what it speaks, and what it is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, get_args

import msgspec

from crewd.model.errors import UsageError
from crewd.model.inventory import Item

AgentRuntime = Literal["pi", "omp", "claude", "codex", "acp"]
"""What an agent speaks: pi's and oh-my-pi's RPC, Claude Code's stream-json, Codex's app-server, the Agent Client Protocol."""
Permissions = Literal["ask", "allow", "deny"]
Access = Literal["", "shared", "exclusive"]
"""What a worker does to the files of its step's directory: it only reads them, or changes them; empty if nobody says."""
AGENT_RUNTIMES: Final[tuple[AgentRuntime, ...]] = get_args(AgentRuntime)
_CHANGING_TOOLS: Final = frozenset({"edit", "write", "multiedit", "notebookedit", "apply_patch", "patch"})
"""Tools of agents that change files, in lower case. A shell is not among them: agents read with it, too."""
PROMPT_BYTES_MAX = 64 << 10
"""A system prompt."""
TURNS_MAX = 10_000
PATH_CHARS_MAX: Final = 4_096
EXTENSIONS_MAX: Final = 64
INVENTORY_MAX: Final = 512
"""Things that an agent is given, and tools that are kept away from it."""
AGENT_FILES: Final = {"acts": "acts.jsonl", "records": "records.jsonl"}
"""What is kept of an agent beside its output: the streams that can be read, and their files in the attempt's directory."""


class GivenSkill(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A skill that an agent is given: a text beside its system prompt."""

    name: str
    text: str


class Agent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An agent and how it is to work.

    `command` is the program and its first arguments; what its runtime needs is added to them. `name` is what people call it.
    An empty `model`, `thinking` or `tools` leaves that to the agent's own configuration. `system_prompt` is added to the
    agent's own one, or takes its place (`replace`); `skills` follow it. After `turns` answers of the model the agent is told
    to finish; it has `turns_grace` more (`turns` 0: no bound). `permissions` is the answer when the agent asks for permission.
    `config_dir` is the directory of the agent's own configuration. `session` is one of the agent's own sessions, to go on
    with, or with `forks` one to begin with a copy of; without one, an agent that `forks` begins with a copy of the session of
    the agent that starts its run, if both are of one runtime. With `tree` it is told the names of the files where it
    works. `memory` is the file with its notes (empty: it has none); with `keeps_memory` it is told that it may write there.
    `extensions` are files or directories that it loads (None: those of its own configuration). Without `project_context` it
    does not read the instructions of the project (`AGENTS.md`, `CLAUDE.md`), without `own_skills` not the skills of its own
    configuration. `without_tools` are tools that are kept away from it; `inventory` is what it is given, by name and source
    (the artifact `inventory.json` of each of its attempts). What of this a runtime has a way to say, `docs/agents.md` tells.
    """

    runtime: AgentRuntime
    command: tuple[str, ...]
    name: str = ""
    model: str = ""
    fallback_models: tuple[str, ...] = ()
    thinking: str = ""
    tools: tuple[str, ...] = ()
    system_prompt: str = ""
    system_prompt_mode: Literal["append", "replace"] = "append"
    skills: tuple[GivenSkill, ...] = ()
    turns: int = 0
    turns_grace: int = 5
    permissions: Permissions = "ask"
    config_dir: str = ""
    session: str = ""
    tree: bool = False
    memory: str = ""
    keeps_memory: bool = True
    extensions: tuple[str, ...] | None = None
    project_context: bool = True
    own_skills: bool = True
    forks: bool = False
    without_tools: tuple[str, ...] = ()
    inventory: tuple[Item, ...] = ()


class Conversation(msgspec.Struct, frozen=True):
    """The session of an agent that works: its runtime, and the name that its program gives it."""

    runtime: str
    session: str


def conversation_of(checkpoint: object) -> Conversation | None:
    """What an agent's worker keeps of its session (see `crewd.worker.agent`); None for the checkpoint of another worker."""
    try:
        return msgspec.convert(checkpoint, Conversation)
    except msgspec.ValidationError:
        return None


def changing_tool(tools: Iterable[str]) -> str:
    """The first of these tools that changes files; empty if none does."""
    return next((tool for tool in tools if tool.lower() in _CHANGING_TOOLS), "")


def check_agent(step: str, agent: Agent) -> None:
    """UsageError for what no agent can be."""
    if not agent.command or not agent.command[0]:
        raise UsageError(f"step {step}: the agent has no command", hint="command: [pi]", field="agent")
    for what, text in (("model", agent.model), ("thinking", agent.thinking), ("session", agent.session)):
        if "\n" in text or text.startswith("-"):
            raise UsageError(f"step {step}: {text!r} is no {what}", hint="one word, without a dash before it", field="agent")
    if len(agent.extensions or ()) > EXTENSIONS_MAX:
        raise UsageError(
            f"step {step}: {len(agent.extensions or ())} extensions", hint=f"at most {EXTENSIONS_MAX}", field="agent"
        )
    if len(agent.without_tools) > INVENTORY_MAX or any(not name or name.startswith("-") for name in agent.without_tools):
        raise UsageError(f"step {step}: these are no tools: {agent.without_tools}", hint="names of tools", field="agent")
    if len(agent.inventory) > INVENTORY_MAX:
        raise UsageError(
            f"step {step}: the agent is given {len(agent.inventory)} things", hint=f"at most {INVENTORY_MAX}", field="agent"
        )
    for path in agent.extensions or ():
        if not path or path.startswith("-") or "\0" in path or len(path) > PATH_CHARS_MAX:
            raise UsageError(f"step {step}: {path!r} is no extension", hint="the path of a file or a directory", field="agent")
    if agent.memory and (not agent.memory.startswith("/") or "\0" in agent.memory or len(agent.memory) > PATH_CHARS_MAX):
        raise UsageError(f"step {step}: {agent.memory!r} is no path of notes", hint="an absolute path", field="agent")
    texts = (agent.system_prompt, *(skill.text for skill in agent.skills))
    if sum(len(text.encode("utf-8", "replace")) for text in texts) > PROMPT_BYTES_MAX:
        raise UsageError(f"step {step}: the system prompt has more than {PROMPT_BYTES_MAX} bytes", field="agent")
    if not 0 <= agent.turns <= TURNS_MAX or not 0 <= agent.turns_grace <= TURNS_MAX:
        raise UsageError(f"step {step}: {agent.turns} turns are not possible", hint=f"0 to {TURNS_MAX}", field="agent")
