"""An agent as a file of another tool: Claude Code, Codex, OpenCode or Cursor. Pure.

Where each tool looks, and what it reads there, is in `docs/agents.md`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import msgspec

from crewd.agents.catalogue import CATALOGUE
from crewd.agents.definition import Definition
from crewd.model.agent import Agent
from crewd.model.errors import UsageError
from crewd.model.ids import check_name

Tool = Literal["claude", "codex", "cursor", "opencode"]
TOOLS: tuple[Tool, ...] = get_args(Tool)
_GRACE = Agent("pi", ("pi",)).turns_grace


class Exported(msgspec.Struct, frozen=True):
    """A file of another tool: its path below the project or the home, its text, and what of the agent is not in it."""

    path: str
    text: str
    left_out: tuple[str, ...] = ()


def exported(definition: Definition, tool: Tool) -> Exported:
    """The agent as a file of this tool. UsageError if it has no instructions, or a name that is none for a file.

    `access: shared` becomes what the tool has against changes of files. A model is kept if it is one of that tool.
    """
    agent = definition.agent
    check_name("agent", agent.name)
    if not agent.system_prompt.strip():
        raise UsageError(f"the agent {agent.name} has no instructions", hint="only an agent with a text can be exported")
    own = _speaks(definition) == tool
    description = " ".join(definition.description.split()) or f"the agent {agent.name} of crewd"
    head = {"name": agent.name, "description": description} | ({"model": agent.model} if own and agent.model else {})
    path, text = _WRITERS[tool](agent.name, head, agent.system_prompt.strip("\n"), definition.access == "shared")
    return Exported(path, text, _left_out(definition, own=own))


def _speaks(definition: Definition) -> str:
    """The tool whose program the agent is, as far as that is known."""
    if definition.inherits:
        return ""
    if definition.agent.runtime in TOOLS:
        return definition.agent.runtime
    program = definition.agent.command[0].rpartition("/")[2]
    return next((tool for tool in TOOLS if CATALOGUE[tool].command[0] == program), "")


def _left_out(definition: Definition, *, own: bool) -> tuple[str, ...]:
    agent = definition.agent
    given = {
        "model": agent.model and not own, "fallbackModels": agent.fallback_models, "thinking": agent.thinking,
        "tools": agent.tools, "maxTurns": agent.turns, "systemPromptMode": agent.system_prompt_mode != "append",
        "permissions": agent.permissions != "ask", "configDir": agent.config_dir, "env": definition.env,
        "skills": definition.skills, "extensions": agent.extensions is not None,
        "inheritProjectContext": not agent.project_context, "inheritSkills": not agent.own_skills,
        "graceTurns": agent.turns and agent.turns_grace != _GRACE,
    }  # fmt: skip
    return tuple(name for name, value in given.items() if value)


def _claude(name: str, head: Mapping[str, Any], prompt: str, reads: bool) -> tuple[str, str]:  # noqa: FBT001 (of a table)
    more = {"disallowedTools": "Write, Edit, NotebookEdit"} if reads else {}
    return f".claude/agents/{name}.md", _markdown({**head, **more}, prompt)


def _cursor(name: str, head: Mapping[str, Any], prompt: str, reads: bool) -> tuple[str, str]:  # noqa: FBT001 (of a table)
    return f".cursor/agents/{name}.md", _markdown({**head, **({"readonly": True} if reads else {})}, prompt)


def _opencode(name: str, head: Mapping[str, Any], prompt: str, reads: bool) -> tuple[str, str]:  # noqa: FBT001 (of a table)
    named = {key: value for key, value in head.items() if key != "name"}  # its name is the file's
    more = {"permission": {"edit": "deny"}} if reads else {}
    return f".opencode/agents/{name}.md", _markdown({**named, "mode": "subagent", **more}, prompt)


def _codex(name: str, head: Mapping[str, Any], prompt: str, reads: bool) -> tuple[str, str]:  # noqa: FBT001 (of a table)
    fields = {**head, **({"sandbox_mode": "read-only"} if reads else {}), "developer_instructions": prompt}
    return f".codex/agents/{name}.toml", "".join(f"{key} = {_toml(value)}\n" for key, value in fields.items())


_WRITERS: dict[Tool, Callable[[str, Mapping[str, Any], str, bool], tuple[str, str]]] = {
    "claude": _claude, "codex": _codex, "cursor": _cursor, "opencode": _opencode,
}  # fmt: skip


def _markdown(head: Mapping[str, Any], prompt: str) -> str:
    import yaml  # only who writes such a file pays for it

    def line(key: str, value: Any) -> str:
        if isinstance(value, str):  # in quotes, always: versions of YAML differ in which words are numbers
            quoted = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=1 << 30)
            return f"{key}: {quoted}"
        return str(yaml.safe_dump({key: value}))

    return "".join(("---\n", *(line(key, value) for key, value in head.items()), f"---\n\n{prompt}\n"))


def _toml(text: str) -> str:
    """A basic string of TOML 1.0: what JSON escapes is escaped alike, and DEL is besides."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
