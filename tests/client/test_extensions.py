"""Extensions: installed packages bring files, and one that is wrong does not stop the others."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crewd.client.blocking import Crew
from crewd.client.chosen import Wish, choose
from crewd.client.extensions import extensions, faults_of_extensions, installed
from crewd.client.hooks import found_hooks
from crewd.client.inventory import disable, enable, inventory
from crewd.client.resources import resource, resources
from crewd.client.user_file import user_path
from crewd.client.usual import project_settings, user_settings
from crewd.model.errors import NotFound
from tests.client.cli.test_agents import DEFINITION
from tests.shell import Shell

EXAMPLE = Path(__file__).parents[2] / "examples" / "extension"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package where installers put it: its folder, and beside it what its project file says of it."""
    site = tmp_path / "site"
    site.mkdir()
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(site))

    def put(name: str = "crewd-tidy", entries: dict[str, str] | None = None, folder: Path | None = None) -> None:
        about = site / f"{name.replace('-', '_')}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{key} = {value}" for key, value in (entries or {}).items()]
        (about / "entry_points.txt").write_text("\n".join(["[crewd.extensions]", *lines, ""]))
        if folder is not None:
            shutil.copytree(folder, site / folder.name)
        installed.cache_clear()

    installed.cache_clear()
    yield put
    installed.cache_clear()


def example(install: Install) -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    install(project["name"], project["entry-points"]["crewd.extensions"], EXAMPLE / "crewd_tidy")


def states() -> dict[str, str]:
    return {each.id: each.state for each in inventory()}


def test_what_an_extension_brings_is_there_and_its_code_is_not_imported(install: Install) -> None:
    example(install)
    (found,) = extensions()
    assert (found.name, found.package, found.version, found.fault) == ("tidy", "crewd-tidy", "1.0", "")
    assert {
        "agent:tidy-scout",
        "team:tidy",
        "workflow:tidy",
        "skill:small-commits",
        "hook:tidy-generated",
        "extension:tidy",
    } <= {each for each, state in states().items() if state == "active"}
    assert resource("agents", "tidy:tidy-scout").source == "tidy"
    chosen = choose(Wish(team="tidy"), installed=False)
    assert [step.id for step in chosen.workflow.steps] == ["look", "change"]
    assert [len(step.worker.hooks) for step in chosen.workflow.steps] == [0, 1]
    assert "crewd_tidy" not in sys.modules


def test_a_name_of_the_user_and_of_crewd_goes_first_and_one_of_a_project_last(install: Install, tmp_path: Path) -> None:
    theirs = tmp_path / "pack"
    for name in ("review", "mine", "ours"):
        file = theirs / "teams" / f"{name}.team.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("---\ndescription: x\n---\n- a: agent=b\n")
    install("pack", {"pack": "pack"}, theirs)
    for folder, name in ((user_path("teams"), "mine"), (Path(".crew/teams"), "ours")):
        folder.mkdir(parents=True)
        (folder / f"{name}.team.md").write_text("---\ndescription: y\n---\n- a: agent=b\n")
    assert [resource("teams", name).id for name in ("review", "mine", "ours")] == ["builtin:review", "user:mine", "pack:ours"]
    shadowed = {each.id: each.shadowed_by for each in resources("teams") if each.shadowed_by}
    assert shadowed == {"pack:review": "builtin:review", "pack:mine": "user:mine", "project:ours": "pack:ours"}
    assert resource("teams", "pack:review").source == "pack"


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ({"x": "nobody_has_this"}, "there is no package nobody_has_this"),
        ({"x": "crewd_tidy:Plugin"}, "which is no package"),
        ({"x": "crewd_tidy.nowhere"}, "no folder of a package"),
        ({"x": "json.decoder"}, "no folder of a package"),
        ({"x": "this"}, "no folder of a package"),
        ({"builtin": "crewd_tidy"}, "can be called builtin"),
        ({"crewd": "crewd_tidy"}, "can be called crewd"),
        ({"no name": "crewd_tidy"}, "extension"),
        ({"tidy": "crewd_tidy"}, "brings another extension of this name"),
    ],
)
def test_what_is_wrong_with_one_is_told_and_the_others_work(install: Install, entries: dict[str, str], fault: str) -> None:
    example(install)
    install("zz-other", entries)
    *_, wrong = sorted(extensions(), key=lambda each: bool(each.fault))
    assert fault in wrong.fault
    assert resource("teams", "tidy").source == "tidy"
    assert "missing" in {each.state for each in inventory() if each.kind == "extension"}


def test_an_extension_whose_hooks_are_wrong_brings_nothing(install: Install, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    shutil.copytree(EXAMPLE / "crewd_tidy", pack)
    (pack / "hooks.toml").write_text("[x]\non = 'never'\nrun = 'true'\n")
    install("pack", {"pack": "pack"}, pack)
    (found,) = extensions()
    assert "hooks.toml" in found.fault
    with pytest.raises(NotFound, match=r"would bring it, and .*hooks\.toml"):
        resource("teams", "tidy")
    assert found_hooks() == []


def test_a_hook_of_the_user_goes_before_one_of_an_extension(install: Install) -> None:
    example(install)
    user_path("hooks.toml").parent.mkdir(parents=True, exist_ok=True)
    user_path("hooks.toml").write_text("[tidy-generated]\non = 'task_result'\nrun = 'true'\n")
    assert [(each.hook.source, each.state, each.shadowed_by) for each in found_hooks()] == [
        ("user", "active", ""), ("extension", "shadowed", "user:tidy-generated"),
    ]  # fmt: skip


def test_a_disabled_extension_brings_nothing(install: Install) -> None:
    example(install)
    disable("extension:tidy", "not today")
    assert states()["extension:tidy"] == "disabled"
    assert "team:tidy" not in states()
    assert found_hooks() == []
    for name in ("tidy", "tidy:tidy"):
        with pytest.raises(NotFound, match="the extension tidy would bring it, and is disabled"):
            choose(Wish(team=name), installed=False)
    assert enable("extension:tidy")
    assert states()["team:tidy"] == "active"


def test_a_package_that_is_found_twice_is_one(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    example(install)
    (tmp_path / "again").symlink_to(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "again"))
    installed.cache_clear()
    assert [(each.name, each.fault) for each in extensions()] == [("tidy", "")]


def test_a_package_that_is_not_understood_is_told_and_the_others_work(install: Install, tmp_path: Path) -> None:
    example(install)
    install("zz-broken", {})
    (tmp_path / "site/zz_broken-1.0.dist-info/entry_points.txt").write_text("[crewd.extensions]\ntidy\n")
    installed.cache_clear()
    assert resource("teams", "tidy").source == "tidy"
    assert [each.fault for each in extensions() if each.fault] != []
    (tmp_path / "site/zz_broken-1.0.dist-info/entry_points.txt").write_bytes(b"[crewd.extensions]\nx = \xff\n")
    installed.cache_clear()
    assert resource("teams", "tidy").source == "tidy"
    assert len(faults_of_extensions()) == 1


def test_all_extensions_together_have_no_more_hooks_than_a_step_has_room_for(install: Install, tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        hooks = (f"[{name}-{number}]\non = 'task_result'\nrun = 'true'\n" for number in range(5))
        (folder / "hooks.toml").write_text("".join(hooks))
        install(f"pack-{name}", {name: name}, folder)
    assert [(each.name, bool(each.fault)) for each in extensions()] == [("one", False), ("two", True)]
    assert "8 hooks" in faults_of_extensions()[0]
    assert [each.hook.name for each in found_hooks()] == [f"one-{number}" for number in range(5)]


def test_one_that_is_wrong_and_disabled_is_not_told_of(install: Install) -> None:
    install("zz-broken", {"broken": "nobody_has_this"})
    assert faults_of_extensions() != []
    disable("extension:broken", "known")
    assert faults_of_extensions() == []
    assert states()["extension:broken"] == "disabled"


def test_the_user_may_name_a_team_of_an_extension_in_the_settings_and_a_project_may_not(install: Install) -> None:
    example(install)
    user_path("crew.toml").parent.mkdir(parents=True, exist_ok=True)
    user_path("crew.toml").write_text('team = "tidy:tidy"\n')
    assert user_settings()["team"] == "tidy:tidy"
    Path(".crew").mkdir()
    Path(".crew/crew.toml").write_text('team = "tidy:tidy"\n')
    found, problems = project_settings()
    assert (found, len(problems)) == ({}, 1)


def test_an_agent_of_an_extension_has_the_user_s_notes(install: Install, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    (pack / "agents").mkdir(parents=True)
    (pack / "agents" / "keeper.md").write_text("---\nruntime: pi\nmemory: user\n---\nYou keep.\n")
    install("pack", {"pack": "pack"}, pack)
    (step,) = choose(Wish(agent="keeper"), installed=False).workflow.steps
    assert step.worker.agent is not None
    assert step.worker.agent.memory == str(user_path("memory") / "keeper.md")


@pytest.mark.process
def test_the_team_of_an_extension_works_in_the_shell(install: Install, crew: Crew) -> None:
    example(install)
    Path(".crew/agents").mkdir(parents=True)
    Path(".crew/agents/stand-in.md").write_text(DEFINITION)
    Path("made.py").write_text("# DO NOT EDIT\n")
    install("zz-broken", {"broken": "nobody_has_this"})
    shell = Shell(str(crew.home.root), Path.cwd())
    shell.ok("disable", "extension:tidy", "--reason", "not now")
    assert "the extension tidy would bring it, and is disabled" in " ".join(shell.fails(4, "run", "@tidy it", "-n").split())
    shell.ok("enable", "extension:tidy")
    done = shell.run("run", "@tidy the parser", "--runtime", "stand-in", "--json")
    assert done.returncode == 0, done
    assert "extension broken of zz-broken brings nothing: there is no package nobody_has_this" in " ".join(done.stderr.split())
    run = json.loads(done.stdout)["id"]
    shell.ok("wait", run)
    shown = " ".join(shell.ok("show", run).split())
    assert "completed" in shown
    assert "generated, not to be changed: ./made.py" in shown
    assert "extension broken of zz-broken brings nothing" in " ".join(shell.run("doctor").stdout.split())
    refused = shell.fails(5, "teams", "edit", "tidy")
    assert "team tidy is one of the extension tidy" in " ".join(refused.split())
