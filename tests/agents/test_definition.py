from __future__ import annotations

import pytest

from crewd.agents.definition import parse_agent
from crewd.model.errors import UsageError

WHOLE = """---
name: scout
description: reads code
runtime: claude
model: opus
fallbackModels: sonnet, haiku
tools: [Read, Grep]
systemPromptMode: replace
maxTurns: 6
graceTurns: 2
permissions: deny
configDir: /c
env: {DEBUG: '1'}
skills: a, b
memory: project
tree: true
contextMode: fork
defaultTools: [read]
---

Answer with a list of files.
"""


def test_a_file_says_all_of_an_agent() -> None:
    found = parse_agent(WHOLE, "file")
    agent = found.agent
    assert (agent.name, agent.runtime, agent.command, agent.model) == ("scout", "claude", ("claude",), "opus")
    assert (agent.tools, agent.fallback_models) == (("Read", "Grep"), ("sonnet", "haiku"))
    assert (agent.system_prompt, agent.system_prompt_mode) == ("Answer with a list of files.", "replace")
    assert (agent.turns, agent.turns_grace, agent.permissions, agent.config_dir) == (6, 2, "deny", "/c")
    assert (found.env, found.unused, found.description) == ({"DEBUG": "1"}, ("defaultTools",), "reads code")
    assert (found.memory, found.agent.tree, found.agent.forks) == ("project", True, True)
    assert found.skills == ("a", "b")


def test_the_command_may_be_another_one_and_the_runtime_a_protocol() -> None:
    assert parse_agent("---\nruntime: pi\ncommand: /opt/pi --offline\n---\n", "x").agent.command == ("/opt/pi", "--offline")
    agent = parse_agent("---\nruntime: acp\ncommand: [mine, --acp]\n---\n", "x").agent
    assert (agent.runtime, agent.command, agent.name) == ("acp", ("mine", "--acp"), "x")
    assert parse_agent("---\nruntime: gemini\nmodel: false\n---\n", "x").agent.model == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no front matter", "which program it is"),
        ("", "line 1: the file of agent x is empty"),
        ("\ufeff\r\n \n", "line 1: the file of agent x is empty"),
        ("---\nmodel: x\n---\n", "which program it is"),
        ("---\nruntime: claud\n---\n", "line 2: there is no runtime 'claud'"),
        ('---\nruntime: pi\ncommand: ""\n---\n', "line 3: command names no program"),
        ("---\nruntime: acp\n---\n", "line 2: the runtime acp needs a command"),
        ("---\nruntime: pi\nmodle: x\n---\n", "line 3: there is no field 'modle'"),
        ("---\nruntime: pi\nthinking: extreme\n---\n", "line 3: thinking: 'extreme' is no level of pi"),
        ("---\nruntime: claude\nthinking: minimal\n---\n", "line 3: thinking: 'minimal' is no level of claude"),
        ("---\nruntime: pi\nmaxTurns: many\n---\n", "line 3: maxTurns: 'many' is not possible"),
        ("---\nruntime: pi\nmaxTurns: 2.5\n---\n", "line 3: maxTurns: '2.5' is not possible"),
        ("---\nruntime: pi\nconfigDir: rel\n---\n", "line 3: configDir: 'rel' is not possible"),
        ("---\nruntime: pi\nmaxTurns: 999999\n---\n", "999999 turns are not possible"),
        ("---\nruntime: pi\ntools: []\n---\n", "line 3: tools names none"),
        ("---\nruntime: pi\ntools: ','\n---\n", "line 3: tools names none"),
        ("---\nruntime: pi\ntools: false\n---\n", "line 3: tools names none"),
        ("---\nruntime: pi\ndescription: [a]\n---\n", "line 3: description is one value"),
        ("---\nruntime: pi\nmemory: elephant\n---\n", "line 3: memory: 'elephant' is not possible"),
        ("---\nruntime: pi\ncontextMode: spoon\n---\n", "line 3: contextMode: 'spoon' is not possible"),
        ("---\nruntime: pi\ntree: oak\n---\n", "line 3: tree: 'oak' is not possible"),
        ("---\nruntime: pi\npermissions: perhaps\n---\n", "line 3: permissions"),
        ("---\nruntime: pi\ncommand: 'an \"open quote'\n---\n", "line 3: command"),
        ("---\nruntime: pi\ntools: {a: b}\n---\n", "line 3: tools is a list of words"),
        ("---\nruntime: claude\ntools: Read Edit\n---\n", "line 3: tools: 'Read Edit' may be one tool or several"),
        ("---\nruntime: pi\nenv: {CREWD_GOAL: x}\n---\n", "line 3"),
        ("---\nruntime: pi\nenv:\n  A: b\n  API_KEY: sk-abcdefghijklmnop1234\n---\n", "line 5: API_KEY holds what looks like"),
        ("---\nruntime: pi\naccess: shared\ntools: [read, Edit]\n---\n", "line 4: it only reads (access: shared), and has"),
        ("---\nruntime: pi\nmodel: [a, b]\n---\n", "line 3: model is one value"),
        ("---\n- runtime\n---\n", "the front matter is no list of fields"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_agent(text, "x")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("said", "skills"),
    [("[a, b]", ("a", "b")), ("a, b", ("a", "b")), ("'false'", ("false",)), ("none", ("false",)), ("", ())],
)
def test_skills_are_names_or_none(said: str, skills: tuple[str, ...]) -> None:
    assert parse_agent(f"---\nruntime: pi\nskills: {said}\n---\n", "a").skills == skills


def test_a_file_that_names_no_program_gets_that_of_another_agent() -> None:
    program = parse_agent("---\nruntime: codex\nmodel: big\nenv: {A: '1'}\n---\nIts own words.\n", "p")
    found = parse_agent("---\nenv: {B: '2'}\n---\nMy words.\n", "mine", program)
    assert (found.inherits, found.agent.runtime, found.agent.model) == (True, "codex", "big")
    assert (found.agent.name, found.agent.system_prompt, found.env) == ("mine", "My words.", {"A": "1", "B": "2"})
    assert not parse_agent("---\nruntime: pi\n---\n", "own", program).inherits


@pytest.mark.parametrize(
    ("line", "extensions"),
    [
        ("extensions: none", ()),
        ("extensions: false", ()),
        ("extensions: ./a.ts, b", ("./a.ts", "b")),
        ("extensions: [a]", ("a",)),
        ("extensions: [none]", ()),
        ("extensions: true", None),
        ("extensions:", None),
        ("model: m", None),
    ],
)
def test_extensions_are_named_or_none_or_its_own(line: str, extensions: tuple[str, ...] | None) -> None:
    assert parse_agent(f"---\nruntime: pi\n{line}\n---\n", "a").agent.extensions == extensions


def test_it_may_be_without_the_project_s_instructions_and_its_own_skills() -> None:
    found = parse_agent("---\nruntime: pi\ninheritProjectContext: false\ninheritSkills: false\n---\n", "a")
    assert (found.agent.project_context, found.agent.own_skills, found.unused) == (False, False, ())
    with pytest.raises(UsageError, match=r"line 3: inheritSkills: 'no' is not possible \(inheritSkills: true, or"):
        parse_agent("---\nruntime: pi\ninheritSkills: no\n---\n", "a")
    with pytest.raises(UsageError, match="none stands beside others"):
        parse_agent("---\nruntime: pi\nextensions: none, a\n---\n", "a")
    with pytest.raises(UsageError, match="65 extensions"):
        parse_agent(f"---\nruntime: pi\nextensions: [{', '.join('a' * 65)}]\n---\n", "a")
    with pytest.raises(UsageError, match="'--x' is no extension"):
        parse_agent("---\nruntime: pi\nextensions: [--x]\n---\n", "a")
