"""`crew agents` and `crew run --agent`, as people type them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from crewd.client.blocking import Crew
from tests.shell import Shell

pytestmark = pytest.mark.process
DEFINITION = f"""---
runtime: claude
description: a stand-in
command: [{sys.executable}, -m, crewd.testing.agents, claude]
permissions: allow
loadMode: lazy
---
You are a stand-in.
"""


@pytest.fixture
def shell(crew: Crew, tmp_path: Path) -> Shell:
    folder = tmp_path / ".crew" / "agents"
    folder.mkdir(parents=True)
    (folder / "stand-in.md").write_text(DEFINITION)
    return Shell(str(crew.home.root), tmp_path)


def test_an_agent_runs_for_a_goal(shell: Shell) -> None:
    run = json.loads(shell.ok("run", "hello", "--agent", "stand-in", "--json"))["id"]
    shell.ok("wait", run)
    assert shell.ok("result", run) == "echo: hello\n"
    assert "› hello" in shell.ok("logs", run)


def test_what_is_run_is_said_once(shell: Shell) -> None:
    assert "nothing says what is to be run" in shell.fails(2, "run", "hello")
    assert "an agent needs a goal" in shell.fails(2, "run", "--agent", "stand-in")
    (shell.cwd / "x.workflow.md").write_text("---\nname: x\n---\n## a\nrun: true\n")
    assert "--model is for an agent" in shell.fails(2, "run", "hello", "-w", "x", "--model", "y")
    assert "did you mean claude?" in shell.fails(4, "run", "hello", "--agent", "claud")


def test_an_agent_does_the_steps_of_a_workflow_that_say_nothing_of_how(shell: Shell) -> None:
    text = "# two\n\n## look\noutput: notes.md\n\nLook at {goal}, and leave {braces} alone.\n\n"
    text += "## count\ndependsOn: look\nreads: notes.md\nrun: wc -c < $CREWD_OUTPUTS/notes.md\n"
    (shell.cwd / "two.workflow.md").write_text(f"---\nname: two\n---\n{text}")
    assert "--agent NAME does them" in shell.fails(5, "run", "src", "-w", "two")
    run = json.loads(shell.ok("run", "src", "-w", "two", "--agent", "stand-in", "--json"))["id"]
    shell.ok("wait", run)
    assert shell.ok("result", f"{run}/look") == "echo: Look at src, and leave {braces} alone.\n"
    assert int(shell.ok("result", f"{run}/count")) == len("echo: Look at src, and leave {braces} alone.")
    (shell.cwd / "one.workflow.md").write_text("---\nname: one\n---\n## a\nrun: true\n")
    assert "says already how it is done" in shell.fails(2, "run", "src", "-w", "one", "--agent", "stand-in")


def test_an_agent_that_is_not_installed_says_how_to_get_it(shell: Shell) -> None:
    said = shell.fails(5, "run", "hello", "--agent", "goose")
    assert "goose was not found in PATH" in said
    assert "https://block.github.io/goose" in said


def test_agents_are_listed_and_shown(shell: Shell) -> None:
    assert "stand-in" in shell.ok("agents")
    assert "npm install -g @openai/codex" in shell.ok("agents", "--all", env={**os.environ, "PATH": "/usr/bin:/bin"})
    everything = {each["name"]: each for each in json.loads(shell.ok("agents", "ls", "--all", "--json"))}
    assert everything["stand-in"]["origin"] == "project"
    assert everything["goose"]["capabilities"]["runtime"] == "acp"
    folder = shell.cwd / ".crew" / "agents"
    (folder / "executor.md").write_text("---\n---\nMine.\n")
    (folder / "wrong.md").write_text("---\nruntime: cluade\n---\n")
    told = " ".join(shell.run("agents").stderr.split())
    assert "project:executor is shadowed: executor means builtin:executor" in told
    assert "wrong.md: line 2: there is no runtime 'cluade'" in told
    assert "agent:wrong is missing: " in " ".join(shell.run("capabilities", "--kind", "agent").stderr.split())
    assert "the goal is empty" in shell.fails(2, "run", "  ", "-a", "stand-in")
    shown = shell.ok("agents", "show", "stand-in")
    assert "loadMode" in shown, "fields that change nothing are named"
    assert "steer_point" in shown
    assert "You are a stand-in" not in shown
    broken = _file(shell, '---\nruntime: pi\ncommand: [sh, -c, "echo Node.js v20.20.2; exit 1"]\n---\n')
    assert json.loads(shell.ok("agents", "show", broken, "--json"))["version"] == ""
    (shell.cwd / "mine.sh").write_text('echo "mine 4.5.6 $1"')
    for command, version in (("sh, ./mine.sh", "4.5.6"), (f"{sys.executable}, -m, json.tool", "")):
        own = _file(shell, f"---\nruntime: pi\ncommand: [{command}]\n---\n")
        assert json.loads(shell.ok("agents", "show", own, "--json"))["version"] == version, "and not the interpreter's"
    assert "line 2: there is no runtime" in shell.fails(2, "agents", "show", _file(shell, "---\nruntime: no\n---\n"))


def test_an_agent_is_tried_out(shell: Shell) -> None:
    told = json.loads(shell.ok("agents", "check", "stand-in", "--json"))
    assert [(each["what"], each["good"]) for each in told["tried"]] == [
        (what, True) for what in ("prompt", "steer", "follow-up", "now", "cancel")
    ]
    broken = _file(shell, "---\nruntime: pi\ncommand: [false]\n---\n")
    assert "FAILED" in shell.run("agents", "check", broken).stdout
    assert shell.run("agents", "check", broken).returncode == 1


def test_agents_are_written_for_another_tool(shell: Shell) -> None:
    (line,) = shell.ok("agents", "export", "--to", "claude").splitlines()
    assert line == ".claude/agents/stand-in.md; without permissions"
    text = (shell.cwd / ".claude/agents/stand-in.md").read_text()
    assert text.startswith('---\nname: "stand-in"\n') and text.endswith("---\n\nYou are a stand-in.\n")
    assert "says so already" in shell.ok("agents", "export", "stand-in", "--to", "claude")
    builtin = shell.json("agents", "export", "explorer", "--to", "codex", "--into", "elsewhere")
    assert builtin == [{"path": "elsewhere/.codex/agents/explorer.toml", "written": True, "left_out": []}]
    assert 'sandbox_mode = "read-only"' in (shell.cwd / builtin[0]["path"]).read_text()
    assert "no instructions" in shell.fails(2, "agents", "export", "pi", "--to", "claude")
    assert "the same name" in shell.fails(2, "agents", "export", "stand-in", "project:stand-in", "--to", "cursor")
    assert not (shell.cwd / ".cursor").exists()


def test_what_another_tool_has_already_is_kept(shell: Shell) -> None:
    theirs = shell.cwd / ".cursor/agents/stand-in.md"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    refused = shell.fails(2, "agents", "export", "explorer", "stand-in", "--to", "cursor")
    assert "--force" in refused
    assert [each.name for each in theirs.parent.iterdir()] == ["stand-in.md"], "all or nothing"
    shell.ok("agents", "export", "stand-in", "--to", "cursor", "--force")
    assert theirs.with_name("stand-in.md.bak").read_text() == "mine"
    theirs.with_name("stand-in.md.bak").unlink()
    theirs.with_name("stand-in.md.bak").symlink_to(shell.cwd.parent / "outside.md")
    theirs.write_text("mine again")
    shell.ok("agents", "export", "stand-in", "--to", "cursor", "--force")
    assert theirs.with_name("stand-in.md.bak").read_text() == "mine again"
    theirs.unlink()
    theirs.symlink_to(shell.cwd.parent / "outside.md")
    assert "is a link" in shell.fails(2, "agents", "export", "stand-in", "--to", "cursor", "--force")
    assert not (shell.cwd.parent / "outside.md").exists()


def _file(shell: Shell, text: str) -> str:
    (shell.cwd / "agent.md").write_text(text)
    return "agent.md"
