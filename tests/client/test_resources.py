"""Whose file a name means, and which files are not read."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import platformdirs
import pytest

from crewd.client.resources import SUFFIXES, overlooked, resource, resources
from crewd.client.texts import read_text
from crewd.client.user_file import FILE_BYTES_MAX
from crewd.model.errors import NotFound, UsageError


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, and a user without files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: tmp_path / "config")
    return tmp_path


def write(folder: Path, name: str, text: str = "---\ndescription: x\n---\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def states(name: str) -> list[tuple[str, str, str]]:
    return [(each.source, each.state, each.shadowed_by) for each in resources("agents") if each.name == name]


def test_a_file_of_the_project_takes_nobodys_place(project: Path) -> None:
    write(project / ".crew" / "agents", "explorer.md")
    assert states("explorer") == [("builtin", "active", ""), ("project", "shadowed", "builtin:explorer")]
    assert resource("agents", "explorer").source == "builtin"
    assert resource("agents", "project:explorer").path == Path(".crew/agents/explorer.md")


def test_a_file_of_the_user_goes_before_all_others(project: Path) -> None:
    write(project / ".crew" / "agents", "explorer.md")
    write(project / "config" / "agents", "explorer.md")
    assert [state for _, state, _ in states("explorer")] == ["active", "shadowed", "shadowed"]
    assert resource("agents", "explorer").source == "user"
    assert resource("agents", "builtin:explorer").source == "builtin"


def test_a_name_of_its_own_is_the_projects(project: Path) -> None:
    write(project / ".pi" / "agents", "scout.md", "of pi")
    assert resource("agents", "scout").text() == "of pi"
    write(project / ".crew" / "agents", "scout.md", "of crewd")
    assert resource("agents", "scout").text() == "of crewd"
    assert states("scout") == [("project", "active", "")]


def test_what_leads_out_is_large_or_has_an_impossible_name_is_not_read(project: Path) -> None:
    secret = write(project / "elsewhere", "secret.md", "secret")
    folder = project / ".crew" / "agents"
    write(folder, "large.md", "x" * (FILE_BYTES_MAX + 1))
    write(folder, "a b.md")
    (folder / "out.md").symlink_to(secret)
    (folder / "folder.md").mkdir()
    for name in ("out", "large", "folder"):
        with pytest.raises(UsageError, match=r"leads out|more than|is no file"):
            resource("agents", name).text()
    assert {each.name for each in resources("agents") if each.state == "refused"} >= {"out", "folder", "a b"}


def test_what_cannot_be_looked_at_is_refused_and_the_others_are_listed(project: Path) -> None:
    for kind, name in (("agents", "loop.md"), ("skills", "loop")):
        folder = project / ".crew" / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(name)
    (project / ".crew/skills/other").mkdir()
    (project / ".crew/skills/other/SKILL.md").symlink_to("SKILL.md")
    (project / ".crew/agents/fine.md").write_text("You are fine.")
    states = {each.name: each.state for each in resources("agents") if each.source == "project"}
    assert states == {"fine": "active", "loop": "refused"}
    assert {each.name: each.state for each in resources("skills") if each.source == "project"} == {"other": "refused"}


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "p"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb", buffering=0) as file:
            for _ in range(4_000):  # a reader finds a part of it there
                file.write(b"word ")

    writer = threading.Thread(target=write)
    writer.start()
    assert read_text(pipe) == "word " * 4_000
    writer.join()


def test_a_directory_of_the_project_that_is_a_link_is_not_read(project: Path) -> None:
    write(project / "elsewhere", "scout.md", "secret")
    (project / ".crew").mkdir()
    (project / ".crew" / "agents").symlink_to(project / "elsewhere")
    with pytest.raises(UsageError, match="leads out"):
        resource("agents", "scout").text()
    (project / "config").mkdir()
    (project / "config" / "agents").symlink_to(project / "elsewhere")
    assert resource("agents", "user:scout").text() == "secret", "the user may keep files elsewhere"


def test_who_is_meant_is_said_where_nobody_is(project: Path) -> None:
    write(project / ".crew" / "agents", "scout.md")
    for name, hint in (("scot", "scout"), ("nowhere:scout", "user"), ("user:scout", "project:scout")):
        with pytest.raises(NotFound) as error:
            resource("agents", name)
        assert hint in error.value.hint


def test_order_does_not_depend_on_the_file_system(project: Path) -> None:
    for name in ("c.md", "a.md", "b.md"):
        write(project / ".crew" / "agents", name)
    names = [each.name for each in resources("agents")]
    assert names == sorted(names)
    assert set(SUFFIXES) == {"agents", "teams", "workflows", "skills"}


def test_what_is_beside_skills_and_is_none_is_named_but_not_what_rm_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("gone/SKILL.md.bak", "odd/skill.md", "flat.md"):
        path = tmp_path / ".crew/skills" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert [(path.name, meant) for path, meant in overlooked("skills")] == [
        ("flat.md", "flat/SKILL.md"),
        ("odd", "odd/SKILL.md"),
    ]
