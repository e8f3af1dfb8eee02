from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from crewd.client import own_files
from crewd.client.resources import Kind, resource
from crewd.model.errors import Conflict, NotFound, Refused, UsageError

HEAD = "---\ndescription: two\ndefaultWorkflow: duo # ours\n---\n"
TEAM = f"{HEAD}- looker: agent=scout skills=short,other looks for scout\n- fixer: agent=executor\n"
DUO = "---\nname: duo\n---\n## look\nagent: scout\nskills:\n  - short\n  - other\n\nAsk scout for it\n"
SCOUT = "---\nskills: short, other\n---\nYou are scout.\n"

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: tmp_path / "config")

    def put(name: str, text: str) -> Path:
        path = tmp_path / ".crew" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    put("teams/duo.team.md", TEAM)
    put("workflows/duo.workflow.md", DUO)
    put("agents/scout.md", SCOUT)
    for skill in ("short", "other"):
        put(f"skills/{skill}/SKILL.md", f"---\ndescription: {skill}\n---\nx\n")
    return put


def files() -> dict[str, str]:
    return {str(path): path.read_text() for path in Path(".crew").rglob("*.md")}


def rename(kind: Kind, name: str, new: str) -> list[Path]:
    return own_files.rename(own_files.own(kind, name), new)


def test_an_agent_gets_its_new_name_wherever_it_is_named_and_nowhere_else() -> None:
    written = rename("agents", "scout", "seeker")
    assert [str(path) for path in written] == [
        ".crew/agents/seeker.md", ".crew/teams/duo.team.md", ".crew/workflows/duo.workflow.md",
    ]  # fmt: skip
    assert files()[".crew/teams/duo.team.md"] == TEAM.replace("agent=scout", "agent=seeker")
    assert files()[".crew/workflows/duo.workflow.md"] == DUO.replace("agent: scout", "agent: seeker")
    assert files()[".crew/agents/seeker.md"] == SCOUT
    assert Path(".crew/agents/scout.md.bak").read_text() == SCOUT


def test_a_workflow_a_skill_and_a_team_get_a_new_name() -> None:
    rename("workflows", "duo", "trio")
    assert "defaultWorkflow: trio # ours" in files()[".crew/teams/duo.team.md"]
    assert "name: trio" in files()[".crew/workflows/trio.workflow.md"]
    rename("skills", "short", "brief")
    assert "skills=brief,other" in files()[".crew/teams/duo.team.md"]
    assert "- brief\n  - other" in files()[".crew/workflows/trio.workflow.md"]
    assert "skills: brief, other" in files()[".crew/agents/scout.md"]
    assert resource("skills", "brief").text().endswith("x\n")
    assert [str(path) for path in rename("teams", "duo", "pair")] == [".crew/teams/pair.team.md"]


def test_a_name_that_means_another_file_is_left_alone(write: Write) -> None:
    write("agents/executor.md", "---\n---\nOurs.\n")  # shadowed by that of crewd, which the team means
    rename("agents", "project:executor", "maker")
    assert "agent=executor" in files()[".crew/teams/duo.team.md"]


@pytest.mark.parametrize(
    ("kind", "name", "new", "error"),
    [
        ("agents", "scout", "executor", Conflict), ("agents", "scout", "../x", UsageError),
        ("agents", "executor", "x", Refused), ("agents", "pi", "x", Refused), ("agents", "nobody", "x", NotFound),
        ("agents", "scout", "v1.2", UsageError),
    ],
)  # fmt: skip
def test_what_cannot_be_renamed_changes_nothing(kind: Kind, name: str, new: str, error: type[Exception]) -> None:
    before = files()
    with pytest.raises(error):
        rename(kind, name, new)
    assert files() == before


def test_what_another_program_names_is_not_renamed(tmp_path: Path) -> None:
    (tmp_path / ".pi" / "teams").mkdir(parents=True)
    (tmp_path / ".pi" / "teams" / "theirs.team.md").write_text("---\n---\n- a: agent=scout\n")
    before = files()
    with pytest.raises(Refused, match=r"theirs\.team\.md"):
        rename("agents", "scout", "seeker")
    assert files() == before


def test_line_ends_links_and_prompts_stay_as_they_are(write: Write, tmp_path: Path) -> None:
    path = write("agents/scout.md", "")
    text = "---\r\nskills: short, other\r\n---\r\nskills: short is what you need\r\n"
    (tmp_path / ".crew" / "agents" / "real.txt").write_bytes(text.encode())
    path.unlink()
    path.symlink_to("real.txt")
    rename("skills", "short", "brief")
    assert path.is_symlink()
    assert path.read_bytes().decode() == text.replace("skills: short,", "skills: brief,")


def test_what_stands_in_the_way_of_a_name_is_said(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    own_files.remove(own_files.own("skills", "other"), force=True)
    with pytest.raises(Conflict, match=r"skills/other is there"):
        rename("skills", "short", "other")
    monkeypatch.setattr(own_files, "disabled", lambda: {"agent:scout": "no"})
    with pytest.raises(Refused, match="disabled by its name"):
        rename("agents", "scout", "seeker")
    write("workflows/broken.workflow.md", "## s\nagent scout\n")
    assert [each.name for each in own_files.uses(own_files.own("agents", "scout"), faulty=True)] == ["duo", "duo"]


def test_a_faulty_file_that_may_name_it_is_mended_first(write: Write) -> None:
    broken = write("workflows/broken.workflow.md", "## s\nagent: scout\n\n## t\nmodell: x\n")
    before = files()
    for act in (lambda: rename("agents", "scout", "seeker"), lambda: own_files.remove(own_files.own("agents", "scout"))):
        with pytest.raises(Refused, match=r"broken\.workflow\.md may name it, and is faulty: .*modell"):
            act()
    assert files() == before
    broken.write_text("## s\nagent: scouts\n\n## t\nmodell: x\n")
    assert rename("agents", "scout", "seeker")


def test_a_renamed_file_keeps_its_permissions_and_a_fault_is_told_with_its_file(write: Write) -> None:
    path = write("agents/secret.md", SCOUT)
    path.chmod(0o600)
    (written,) = rename("agents", "secret", "hidden")
    assert written.stat().st_mode & 0o777 == 0o600
    write("agents/wrong.md", "---\nmodell: x\n---\n")
    with pytest.raises(UsageError, match=r"agents/wrong\.md: .*modell"):
        rename("agents", "wrong", "right")


def test_what_is_named_is_only_removed_by_force() -> None:
    with pytest.raises(Refused, match=r"duo\.team\.md, .*duo\.workflow\.md"):
        own_files.remove(own_files.own("agents", "scout"))
    aside = own_files.remove(own_files.own("agents", "scout"), force=True)
    assert aside.read_text() == SCOUT
    assert own_files.remove(own_files.own("teams", "duo")).name == "duo.team.md.bak"


def test_a_file_that_cannot_be_written_leaves_all_as_they_were() -> None:
    before = files()
    with pytest.raises(OSError, match="File exists"):
        own_files.write({Path(".crew/agents/scout.md"): "new", Path(".crew/agents/scout.md/x.md"): "y"})
    assert files() == before
    assert not list(Path(".crew").rglob("*.new"))
