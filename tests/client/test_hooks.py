"""Hooks in files: whose there are, which of them run, and what a person sees of them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from crewd.client import hooks
from crewd.client.cli.screen import plain
from crewd.client.hooked import active_hooks, with_hooks
from crewd.client.hooks import distrust, found_hooks, project_hooks, trust
from crewd.client.inventory import disable, inventory
from crewd.client.user_file import user_path
from crewd.model.errors import NotFound, UsageError
from crewd.model.hooks import Hook
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from tests.shell import Shell

GUARD = '[guard]\non = "before_task_start"\nrun = "exit 1"\nblocking = true\n'
NOTE = '[note]\non = "task_result"\nrun = "true"\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / ".crew").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def write_user(text: str) -> None:
    path = user_path("hooks.toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def states() -> list[tuple[str, str, str]]:
    return [(each.hook.name, each.hook.source, each.state) for each in found_hooks()]


def not_trusted(names: str) -> str:
    return f"hooks of this project do not run, nobody has trusted them: {names} (crew hooks, crew trust)"


def test_the_users_hooks_come_first_and_a_projects_hook_takes_no_name_of_theirs(project: Path) -> None:
    write_user(NOTE + GUARD)
    (project / ".crew" / "hooks.toml").write_text(GUARD + NOTE.replace("note", "more"))
    trust(project_hooks())
    assert states() == [
        ("note", "user", "active"), ("guard", "user", "active"), ("guard", "project", "shadowed"),
        ("more", "project", "active"),
    ]  # fmt: skip
    assert [hook.name for hook in active_hooks()[0]] == ["note", "guard", "more"]


def test_a_projects_hooks_run_once_they_are_trusted_and_as_long_as_the_file_is_the_same(project: Path) -> None:
    file = project / ".crew" / "hooks.toml"
    with pytest.raises(NotFound):
        trust(project_hooks())
    file.write_text(NOTE)
    assert (active_hooks(), states()) == (([], [not_trusted("note")]), [("note", "project", "untrusted")])
    trust(project_hooks())
    assert active_hooks()[1] == []
    file.write_text(NOTE + GUARD)
    assert (active_hooks(), states()[1]) == (([], [not_trusted("note, guard")]), ("guard", "project", "untrusted"))
    trust(project_hooks())
    assert (distrust(), distrust(), states()[0]) == (True, False, ("note", "project", "untrusted"))


def test_a_link_to_a_trusted_file_is_trusted_by_nobody(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / ".crew" / "hooks.toml").write_text(NOTE)
    trust(project_hooks())
    other = tmp_path / "other"
    (other / ".crew").mkdir(parents=True)
    (other / ".crew" / "hooks.toml").symlink_to(project / ".crew" / "hooks.toml")
    third = tmp_path / "third"
    third.mkdir()
    (third / ".crew").symlink_to(project / ".crew")
    for folder in (other, third):
        monkeypatch.chdir(folder)
        with pytest.raises(UsageError, match="is a link"):
            found_hooks()
        assert active_hooks() == ([], ["no hook of this project runs: .crew/hooks.toml is a link"])
    (other / ".crew" / "hooks.toml").unlink()
    (other / ".crew" / "hooks.toml").write_text(NOTE)
    monkeypatch.chdir(other)
    assert active_hooks() == ([], [not_trusted("note")]), "the same file in another directory is another one"


@pytest.mark.parametrize("text", ["[a\n", "[a]\non = 'never'\nrun = 'true'\n", "#" * 70_000], ids=["toml", "on", "size"])
def test_a_file_that_a_checkout_brings_stops_nothing(project: Path, text: str) -> None:
    write_user(GUARD)
    (project / ".crew" / "hooks.toml").write_text(text)
    active, not_run = active_hooks()
    assert ([hook.name for hook in active], len(not_run)) == (["guard"], 1)
    assert not_run[0].startswith("no hook of this project runs: .crew/hooks.toml")
    assert [(item.state, item.reason) for item in inventory() if item.id == "hook:hooks.toml"] == [
        ("missing", not_run[0].partition(": ")[2])
    ]
    shutil.rmtree(project / ".crew")
    (project / ".crew").write_text("a file")
    assert active_hooks()[1] == []


def test_a_projects_hooks_run_where_they_were_trusted(project: Path) -> None:
    (project / ".crew" / "hooks.toml").write_text(NOTE)
    trust(project_hooks())
    assert [hook.directory for hook in active_hooks()[0]] == [str(project)]


def test_a_disabled_hook_is_not_asked(project: Path) -> None:
    write_user(NOTE + GUARD)
    disable("hook:guard", "it is in the way")
    assert [hook.name for hook in active_hooks()[0]] == ["note"]


def test_steps_get_the_hooks_for_their_role_after_their_own(project: Path) -> None:
    own = Hook("own", "task_result", "true")
    hooks = [Hook("all", "task_result", "true"), Hook("some", "task_result", "true", roles=("executor",))]
    steps = (
        Step("a", role="executor", worker=WorkerSpec(shell="true", hooks=(own,))),
        Step("b", role="tester", worker=WorkerSpec(shell="true")),
        Step("c", worker=WorkerSpec(outside=True)),
        Step("d", worker=WorkerSpec(argv=("true",), protocol="crewd")),
    )
    hooked = with_hooks(Workflow("w", steps, roles={"executor": Step("executor", role="executor")}), hooks)
    assert {step.id: [hook.name for hook in step.worker.hooks] for step in hooked.steps} == {
        "a": ["own", "all", "some"], "b": ["all"], "c": [], "d": [],
    }  # fmt: skip
    assert [hook.name for hook in hooked.roles["executor"].worker.hooks] == ["all", "some"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[a]\non = 'never'\nrun = 'true'\n", "hook 'a': on = 'never' is not possible"),
        ("[a]\non = 'task_result'\n", "hook 'a': 'run' is missing"),
        ("[a]\non = 'task_result'\nrun = 'true'\nblokcing = true\n", "hook 'a': there is no 'blokcing'"),
        ("a = 1\n", "'a' stands outside of a table"),
        ("[a]\non = 'task_result'\nrun = 'true'\nblocking = 'yes'\n", "hook 'a': blocking = 'yes' is not possible"),
        ("[a\n", "Expected"),
        ("['../a']\non = 'task_result'\nrun = 'true'\n", "not a name"),
        ("[a]\non = 'task_result'\nrun = 'true'\ntimeout_seconds = inf\n", "timeout_seconds inf"),
        ("#" * 70_000, "more than 65536 bytes"),
        ("".join(f"[a{n}]\non = 'task_result'\nrun = 'true'\n" for n in range(17)), "17 hooks"),
    ],
    ids=["on", "run", "key", "table", "value", "toml", "name", "time", "size", "many"],
)
def test_a_file_that_is_wrong_is_refused_with_its_name(project: Path, text: str, says: str) -> None:
    (project / ".crew" / "hooks.toml").write_text(text)
    with pytest.raises(UsageError, match=says) as error:
        found_hooks()
    assert ".crew/hooks.toml" in str(error.value)
    (project / ".crew" / "hooks.toml").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        found_hooks()
    (project / ".crew" / "hooks.toml").unlink()
    os.mkfifo(project / ".crew" / "hooks.toml")
    with pytest.raises(UsageError, match="is no file"):
        found_hooks()


@pytest.mark.parametrize(
    "hidden", ["\x1b]0;x; touch pwned; echo \x07", "\x1b]\n touch pwned", "#\r touch pwned", "\u202etouch pwned"]
)
def test_whoever_trusts_a_file_has_seen_each_character_of_its_commands(project: Path, hidden: str) -> None:
    shell = Shell(str(project / "h"), project)
    command = f"true {hidden}"
    (project / ".crew" / "hooks.toml").write_text(f'[style]\non = "task_result"\nrun = {json.dumps(command)}\n')
    workflow = project / "f.workflow.md"
    workflow.write_text("## a\nrun: true \x1b]0;x; touch pwned; echo \x07 done\n")
    for shown in (shell.run("trust").stdout, shell.ok("hooks"), shell.ok("check", str(workflow))):
        assert "touch pwned" in " ".join(shown.split())
        assert plain(shown) == shown
        assert "\\" in shown, "and what would hide it"


@pytest.mark.process
def test_a_hook_of_the_user_blocks_what_is_started_and_a_person_sees_why(daemon: Daemon, project: Path) -> None:
    write_user(GUARD)
    shell = Shell(str(daemon.home.root), project)
    run = shell.ok("exec", "true").split()[0]
    shell.run("wait", run, "--for", "waiting", "--timeout", "60")
    assert "hook guard (before_task_start) blocks it: exit code 1" in " ".join(shell.ok("show", run).split())
    assert f"crew approve {run}" in " ".join(shell.ok("inbox").split())
    assert "hook.ran" in shell.ok("events", run, "--json")
    assert "blocks" in shell.ok("hooks")
    assert "hook:guard" in shell.ok("capabilities", "--kind", "hook")
    shell.ok("disable", "hook:guard", "--reason", "not now")
    shell.ok("exec", "-f", "true")
    (project / ".crew" / "hooks.toml").write_text(NOTE)
    assert "nobody has trusted them: note" in shell.run("exec", "true").stderr
    asked = shell.run("trust")
    assert (asked.returncode, "note  task_result  remarks\n  true\n" in asked.stdout, "--yes" in asked.stderr) == (
        5,
        True,
        True,
    )
    assert "nobody has trusted them: note" in shell.run("exec", "true").stderr, "it was shown, and nobody has said yes"
    assert "is trusted as it is now" in shell.ok("trust", "--yes")
    assert "nobody" not in shell.run("exec", "true").stderr
    assert "not trusted" in shell.ok("trust", "--revoke")
    shell.ok("reject", run)


def test_of_two_extensions_with_a_hook_of_one_name_it_is_said_whose_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def brings(name: str, *, blocking: bool) -> SimpleNamespace:
        return SimpleNamespace(
            name=name, hooks=(Hook("tidy", "before_task_start", "true", blocking=blocking, source="extension"),)
        )

    monkeypatch.setattr(hooks, "active_extensions", lambda: [brings("alpha", blocking=False), brings("beta", blocking=True)])
    found, said = hooks.hooks_for_start()
    assert [(each.owner, each.state, each.shadowed_by) for each in found] == [
        ("alpha", "active", ""), ("beta", "shadowed", "alpha:tidy"),
    ]  # fmt: skip
    assert said == ["the hook tidy of extension beta blocks nothing: tidy means the hook of extension alpha"]
