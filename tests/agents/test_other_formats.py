"""An exported agent file holds the name, the description and the instructions of the agent, for any text."""

from __future__ import annotations

import tomllib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crewd.agents.definition import Definition, parse_agent
from crewd.agents.other_formats import TOOLS, Exported, Tool, exported
from crewd.model.agent import Agent
from crewd.model.errors import UsageError

TEXT = """---
runtime: claude
command: claude
model: opus
description: 'looks: "twice" # and says so'
access: shared
tools: read
skills: none
---
Look.

---
Say what you see."""


def head_and_body(text: str) -> tuple[dict[str, object], str]:
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body.strip("\n")


def read(found: Exported) -> tuple[dict[str, object], str]:
    if found.path.endswith(".toml"):
        fields = tomllib.loads(found.text)
        return fields, fields.pop("developer_instructions")
    return head_and_body(found.text)


PROMPT = "Look.\n\n---\nSay what you see."
SAYS = 'looks: "twice" # and says so'


@pytest.mark.parametrize(
    ("tool", "path", "head"),
    [
        ("claude", ".claude/agents/eye.md",
         {"name": "eye", "description": SAYS, "model": "opus", "disallowedTools": "Write, Edit, NotebookEdit"}),
        ("codex", ".codex/agents/eye.toml", {"name": "eye", "description": SAYS, "sandbox_mode": "read-only"}),
        ("cursor", ".cursor/agents/eye.md", {"name": "eye", "description": SAYS, "readonly": True}),
        ("opencode", ".opencode/agents/eye.md",
         {"description": SAYS, "mode": "subagent", "permission": {"edit": "deny"}}),
    ],
)  # fmt: skip
def test_each_tool_has_its_fields(tool: Tool, path: str, head: dict[str, object]) -> None:
    found = exported(parse_agent(TEXT, "eye"), tool)
    assert (found.path, *read(found)) == (path, head, PROMPT)
    assert ("model" in found.left_out) == (tool != "claude"), "opus is no model of the others"
    assert "tools" in found.left_out


@pytest.mark.parametrize(("runtime", "tool"), [("cursor", "cursor"), ("opencode", "opencode"), ("codex", "codex")])
def test_a_model_stays_with_its_tool(runtime: str, tool: Tool) -> None:
    found = exported(parse_agent(f"---\nruntime: {runtime}\nmodel: 1e3\n---\nLook.", "x"), tool)
    assert read(found)[0]["model"] == "1e3"
    assert '"1e3"' in found.text, "YAML 1.2 takes it for a number"


def test_who_may_change_files_is_not_held_back() -> None:
    definition = Definition(Agent("pi", ("pi",), name="hand", system_prompt="Work."))
    for tool in TOOLS:
        head, body = read(exported(definition, tool))
        assert not head.keys() & {"readonly", "permission", "disallowedTools", "sandbox_mode"}
        assert body == "Work."
        assert head["description"] == "the agent hand of crewd", "each tool wants one"


def test_a_program_without_instructions_is_refused() -> None:
    with pytest.raises(UsageError, match="no instructions"):
        exported(Definition(Agent("pi", ("pi",), name="pi")), "claude")


@pytest.mark.parametrize("name", ["../../x", "a/b", "", "a\nb"])
def test_a_name_leads_nowhere_else(name: str) -> None:
    with pytest.raises(UsageError, match="is not a name"):
        exported(Definition(Agent("pi", ("pi",), name=name, system_prompt="Work.")), "codex")


texts = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


@given(texts, texts, st.sampled_from(TOOLS))
def test_nothing_that_an_agent_says_gets_out_of_its_place(description: str, prompt: str, tool: Tool) -> None:
    agent = Agent("pi", ("pi",), name="x", system_prompt=prompt)
    found = exported(Definition(agent, description=description), tool)
    if tool == "codex":
        head, body = read(found)
        assert body == prompt.strip("\n")
    else:
        begin, end = found.text.index("---\n") + 4, found.text.index("\n---\n") + 1
        head = yaml.safe_load(found.text[begin:end])
        assert found.text[end + 5 :] == prompt.strip("\n") + "\n"
    assert head["description"] == (" ".join(description.split()) or "the agent x of crewd")
    assert set(head) <= {"name", "description", "mode"}
