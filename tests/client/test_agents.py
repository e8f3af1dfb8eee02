from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from crewd.client.agents import agent_named, agents, check_installed
from crewd.model.errors import NotFound, Refused, UsageError

MINE = "---\nruntime: acp\ncommand: mine --acp\n---\nBe brief.\n"


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty user, project and PATH."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_args, **_named: tmp_path / "config")
    return tmp_path


def define(folder: Path, name: str, text: str = MINE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)


def program(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_an_agent_is_found_by_name_in_a_file_and_by_path(places: Path) -> None:
    define(places / ".crew" / "agents", "scout")
    define(places, "here")
    assert agent_named("scout").origin == "project"
    assert agent_named("here.md").definition.agent.system_prompt == "Be brief."
    assert agent_named("pi").origin == "crewd"
    with pytest.raises(NotFound, match="no agent 'claud'") as caught:
        agent_named("claud")
    assert "did you mean claude?" in caught.value.hint


def test_a_project_takes_no_name_that_crewd_knows_and_the_user_may(places: Path) -> None:
    define(places / ".crew" / "agents", "claude")
    assert agent_named("claude").origin == "crewd"
    assert {each.name: each.origin for each in agents()}["claude"] == "crewd"
    define(places / "config" / "agents", "claude")
    assert agent_named("claude").origin == "user"
    assert {each.name: each.origin for each in agents()}["claude"] == "user"


def test_what_is_not_installed_says_how_to_get_it(places: Path) -> None:
    with pytest.raises(Refused, match="pi was not found in PATH") as caught:
        check_installed(agent_named("pi"))
    assert "npm install" in caught.value.hint
    program(places / "bin", "pi")
    check_installed(agent_named("pi"))


def test_it_is_given_what_its_program_looks_at(monkeypatch: pytest.MonkeyPatch, places: Path) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a secret")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1")
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    found = agent_named("claude")
    assert found.secrets == ("ANTHROPIC_API_KEY",)
    assert found.env["ANTHROPIC_BASE_URL"] == "http://127.0.0.1"
    define(places, "mine", "---\nruntime: claude\nenv: {ANTHROPIC_BASE_URL: 'http://other'}\n---\n")
    assert agent_named("mine.md").env["ANTHROPIC_BASE_URL"] == "http://other"


def test_a_file_that_is_wrong_is_named_with_its_line(places: Path) -> None:
    define(places, "wrong", "---\nruntime: acp\n---\n")
    with pytest.raises(UsageError, match=r"wrong\.md: line 2: the runtime acp needs a command"):
        agent_named("wrong.md")
    (places / "bytes.md").write_bytes(b"---\nname: \xff\n---\n")
    with pytest.raises(UsageError, match=r"bytes.md is not UTF-8 \(byte 10\) \(iconv -f latin1"):
        agent_named("bytes.md")
    (places / "wide.md").write_bytes("---\nname: x\n---\n".encode("utf-16"))
    with pytest.raises(UsageError, match=r"iconv -f utf-16"):
        agent_named("wide.md")
    (places / "big.md").write_text("x" * 70_000)
    with pytest.raises(UsageError, match="more than 65536 bytes"):
        agent_named("big.md")
