"""Verbs below a verb: words that people try for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Without a daemon."""
    (tmp_path / "home").mkdir(mode=0o700)
    return Shell(str(tmp_path / "home"), tmp_path)


def test_other_words_for_a_verb_work(shell: Shell) -> None:
    shell.ok("teams", "create", "duo")
    assert "duo" in shell.ok("teams", "list")
    assert "5 files of skills, 0 faults" in shell.ok("skills", "lint")
    assert "0 faults" in shell.ok("agents", "validate")
    shell.ok("teams", "delete", "duo")
    assert "duo" not in shell.ok("teams", "ls")
    assert "warm" in shell.ok("config", "list")


def test_what_no_verb_is_meant_by_is_answered_with_those_there_are(shell: Shell) -> None:
    assert "crew teams has no verb 'shwo'. Did you mean show?" in shell.fails(2, "teams", "shwo")
    assert "There are: edit, ls, new, rename, rm, show, validate." in shell.fails(2, "workflows", "zzz")


def test_the_files_of_one_kind_are_looked_at(shell: Shell) -> None:
    folder = shell.cwd / ".crew" / "teams"
    folder.mkdir(parents=True)
    (folder / "duo.team.md").write_text("---\nname: other\n---\n- a: agent=nobody\n")
    assert "0 faults" in shell.ok("workflows", "validate")
    assert "1 file of teams, 0 faults" in shell.ok("teams", "validate", "review")
    told = " ".join(shell.prints(1, "teams", "validate", "project:duo").split())
    assert "line 2: name 'other' finds nothing: this team is called duo" in told
    assert "there is no agent 'nobody'" in told
    assert "1 file of teams, 2 faults" in told
