"""A file that defines an agent: Markdown with front matter; what follows is the agent's system prompt. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast, get_args

import msgspec

from crewd.agents.catalogue import CATALOGUE, agent_of
from crewd.agents.head import read_head
from crewd.agents.models import levels_of
from crewd.agents.skills import NONE
from crewd.model.agent import AGENT_RUNTIMES, Access, Agent, Permissions, changing_tool, check_agent
from crewd.model.errors import UsageError
from crewd.model.markdown import did_you_mean, wrong
from crewd.model.redact import redact_value
from crewd.model.variables import check_variable
from crewd.model.yaml_text import Yaml, field_text

_FIELDS = {
    "name": "name", "model": "model", "thinking": "thinking", "systemPromptMode": "system_prompt_mode", "maxTurns": "turns",
    "graceTurns": "turns_grace", "permissions": "permissions", "configDir": "config_dir", "config_dir": "config_dir",
    "tools": "tools", "fallbackModels": "fallback_models", "tree": "tree",
    "extensions": "extensions", "inheritProjectContext": "project_context", "inheritSkills": "own_skills",
    "contextMode": "forks",
}  # fmt: skip
_OTHERS = ("runtime", "command", "env", "description", "skills", "access", "memory")
UNUSED = (
    "triggers", "useWhen", "avoidWhen", "cost", "category",
    "loadMode", "defaultTools", "disabled", "enabled",
)  # fmt: skip
"""Fields of the format that change nothing here."""
Memory = Literal["", "user", "project"]
_LISTS = frozenset({"tools", "fallbackModels"})
_FLAGS = frozenset({"tree", "inheritProjectContext", "inheritSkills"})
_NUMBERS = frozenset({"maxTurns", "graceTurns"})
_PLACES = frozenset({"configDir", "config_dir"})
_CHOICES = {"permissions": get_args(Permissions), "systemPromptMode": ("append", "replace")}


class Definition(msgspec.Struct, frozen=True):
    """An agent as a file defines it, the variables that it sets, and the fields of the file that change nothing.

    `access`: whether its steps only read or change something (see `Step`), where neither they nor their role say it.
    `memory`: whose notes it has.
    `inherits`: the file says nothing of the program, and the agent is another one's program with this file's words.
    """

    agent: Agent
    description: str = ""
    env: Mapping[str, str] | None = None
    unused: tuple[str, ...] = ()
    inherits: bool = False
    skills: tuple[str, ...] = ()
    access: Access = ""
    memory: Memory = ""


def parse_agent(text: str, default_name: str, program: Definition | None = None) -> Definition:
    """The agent in a file's text. UsageError with the line for what is wrong.

    `program` is the agent whose program and variables a file gets that names none; without it such a file is an error.
    """
    if not text.strip("\ufeff \t\r\n"):
        raise wrong(
            1,
            f"the file of agent {default_name} is empty",
            "begin with ---, runtime: pi, ---, and write below what it is told",
        )
    meant = {"agent": "runtime", "cmd": "command", "prompt": "systemPromptMode"}
    head, given, lines = read_head(text, (*_FIELDS, *_OTHERS), UNUSED, meant, "runtime: pi")
    inherits = program is not None and given.get("runtime") is None and given.get("command") is None
    base = program.agent if program is not None and inherits else _base(head, given, default_name)
    changed = {_FIELDS[key]: _value(head, key, value) for key, value in given.items() if key in _FIELDS and value is not None}
    _check_thinking(head, changed.get("thinking"), base.runtime)
    prompt = "\n".join(line.text for line in lines).strip()
    try:
        agent = msgspec.convert(
            {**msgspec.to_builtins(base), "name": default_name, "system_prompt": prompt, **changed}, Agent
        )  # the file overrides the catalogue
        check_agent(default_name, agent)
    except msgspec.ValidationError as error:
        field = str(error).rpartition("`$.")[2].rstrip("`")
        key = next((key for key, of_agent in _FIELDS.items() if of_agent == field and key in given), "")
        if key in _CHOICES:
            raise wrong(
                head.line(key), f"{key}: {given[key]!r} is not possible", f"one of {', '.join(_CHOICES[key])}"
            ) from None
        raise wrong(head.line(key), f"{key or 'the agent'}: {error}", "see docs/agents.md") from None
    env = {**(program.env or {}), **_env(head, given)} if program is not None and inherits else _env(head, given)
    unused = tuple(key for key in given if key in UNUSED)
    _check_tools(head, _access(head, given), agent.tools)
    return Definition(
        agent, field_text(head, "description"), env, unused, inherits, _skills(head, given), _access(head, given),
        _memory(head, given),
    )  # fmt: skip


def _access(head: Yaml, given: Mapping[str, Any]) -> Access:
    said = str(given.get("access") or "")
    for each in get_args(Access):
        if each == said:
            return cast("Access", each)
    raise wrong(head.line("access"), f"access: {said!r} is not possible", "access: shared, or access: exclusive")


def _check_tools(head: Yaml, access: Access, tools: Iterable[str]) -> None:
    changing = changing_tool(tools)
    if access == "shared" and changing:
        raise wrong(head.line("tools"), f"it only reads (access: shared), and has the tool {changing}", "access: exclusive")


def _memory(head: Yaml, given: Mapping[str, Any]) -> Memory:
    match str(given.get("memory") or ""):
        case "" | "none" | "false":
            return ""
        case "user" | "true":
            return "user"
        case "project" | "local":
            return "project"
        case other:
            raise wrong(head.line("memory"), f"memory: {other!r} is not possible", "memory: user, project, or none")


def _base(head: Yaml, given: Mapping[str, Any], default_name: str) -> Agent:
    runtime, command = given.get("runtime"), given.get("command")
    names = (*CATALOGUE, *AGENT_RUNTIMES)
    if runtime is None:
        raise wrong(head.line(), f"agent {default_name}: which program it is does not stand here", f"runtime: {names[0]}")
    argv = _words(head, "command", command) if command is not None else ()
    if command is not None and not (argv and argv[0]):
        raise wrong(head.line("command"), "command names no program", "command: my-agent --acp")
    known = CATALOGUE.get(str(runtime))
    if known is not None:
        base = agent_of(default_name, known)
        return msgspec.structs.replace(base, command=argv) if argv else base
    if runtime not in AGENT_RUNTIMES:
        raise wrong(head.line("runtime"), f"there is no runtime {runtime!r}", did_you_mean(str(runtime), names, {}))
    if not argv:
        raise wrong(head.line("runtime"), f"the runtime {runtime} needs a command", "command: my-agent --acp")
    return Agent(runtime=next(each for each in AGENT_RUNTIMES if each == runtime), command=argv)


def _value(head: Yaml, key: str, value: object) -> object:
    if key == "extensions":
        return _extensions(head, value)
    if key in _LISTS:
        words = _words(head, key, value)
        if key == "tools" and not words:
            hint = "leave it out for all tools of the program, or name one: tools: [read]"
            raise wrong(head.line(key), "tools names none", hint)
        several = next((word for word in words if key == "tools" and re.search(r"\s", word.partition("(")[0])), "")
        if several:
            hint = f"tools: [{', '.join(several.split())}]"
            raise wrong(head.line(key), f"tools: {several!r} may be one tool or several", hint)
        return words
    if key == "contextMode":
        if value not in ("fresh", "fork"):
            raise wrong(head.line(key), f"contextMode: {value!r} is not possible", "contextMode: fresh, or contextMode: fork")
        return value == "fork"
    if key == "model" and value == "false":
        return ""  # the agent's own
    if isinstance(value, dict | list):
        raise wrong(head.line(key), f"{key} is one value, and no list", "see docs/agents.md")
    if key in _FLAGS:
        if value not in ("true", "false"):
            raise wrong(head.line(key), f"{key}: {value!r} is not possible", f"{key}: true, or {key}: false")
        return value == "true"
    if key in _NUMBERS:
        if not str(value).isdecimal() or len(str(value)) > 9:
            raise wrong(head.line(key), f"{key}: {value!r} is not possible", f"a whole number, 0 or more: {key}: 6")
        return int(str(value))
    if key in _PLACES and not str(value).startswith(("/", "~/")):
        hint = f"an absolute path, or one in your home: {key}: ~/.claude-work"
        raise wrong(head.line(key), f"{key}: {value!r} is not possible", hint)
    return str(value)


def _check_thinking(head: Yaml, level: object, runtime: str) -> None:
    levels = levels_of(runtime)
    if level and level not in levels:
        raise wrong(head.line("thinking"), f"thinking: {level!r} is no level of {runtime}", f"one of {', '.join(levels)}")


def _words(head: Yaml, key: str, value: object) -> tuple[str, ...]:
    """A list, or words in one line: with commas between them, or, for a command, as a shell has them."""
    if value is None or value == "false":
        return ()
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    if not isinstance(value, str):
        raise wrong(head.line(key), f"{key} is a list of words", f"{key}: [one, two]")
    if key == "command":
        try:
            return tuple(shlex.split(value))
        except ValueError as error:
            raise wrong(head.line(key), f"{key}: {error}", "command: my-agent --acp") from None
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _extensions(head: Yaml, value: object) -> tuple[str, ...] | None:
    if value == "true":
        return None  # its own
    words = () if value == "none" else _words(head, "extensions", value)
    if "none" in words and len(words) > 1:
        raise wrong(head.line("extensions"), "extensions: none stands beside others", "extensions: none, or the paths")
    return () if words == ("none",) else words


def _skills(head: Yaml, given: Mapping[str, Any]) -> tuple[str, ...]:
    value = given.get("skills")
    return NONE if value in ("false", "none") else _words(head, "skills", value)


def _env(head: Yaml, given: Mapping[str, Any]) -> dict[str, str]:
    env = given.get("env") or {}
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        raise wrong(head.line("env"), "env is a list of names with a text each", "env: {PI_OFFLINE: '1'}")
    for name in env:
        try:
            check_variable("the agent", name)
        except UsageError as error:
            raise wrong(head.line("env", name), error.message, error.hint) from None
        if redact_value({name: env[name]}) != {name: env[name]}:
            hint = f"env_pass = ['{name}'] in crewd.toml, or --secret {name}, takes it from the environment"
            raise wrong(head.line("env", name), f"{name} holds what looks like a secret, and crewd keeps what it runs", hint)
    return dict(env)
