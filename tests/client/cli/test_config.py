"""Settings, as people type them: `crew config`, `crew daemon reload`, and what `crew run` makes of `crew.toml`."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crewd.client.blocking import Crew
from crewd.client.change_setting import set_value
from crewd.client.user_file import user_path
from crewd.model.home import Home
from crewd.testing import Daemon
from tests.model.config_page import PAGE, written
from tests.shell import Shell

ROLES = "".join(f"- {role}: agent=reviewer\n" for role in ("reviewer", "security", "writer"))
TEAM = "---\nname: {}\ndefaultWorkflow: review\n---\n\n" + ROLES


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Without a daemon."""
    folder = tmp_path / "project"
    (folder / ".crew" / "teams").mkdir(parents=True)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return Shell(str(home), folder)


def said(shell: Shell, *words: str) -> str:
    """What it says in its error."""
    done = shell.run(*words)
    assert done.returncode != 0
    return " ".join(done.stderr.split())


def of_project(shell: Shell, text: str) -> None:
    (shell.cwd / ".crew" / "crew.toml").write_text(text)


def of_user(text: str) -> None:
    user_path("crew.toml").parent.mkdir(parents=True, exist_ok=True)
    user_path("crew.toml").write_text(text)


def test_the_page_has_every_key() -> None:
    assert written(PAGE.read_text()) == PAGE.read_text()


def test_a_key_is_set_and_read_and_taken_away(shell: Shell) -> None:
    assert shell.ok("config", "get", "warm").strip() == "0"
    path = Path(shell.home) / "crewd.toml"
    path.write_text("# how many wait\nwarm = 1  # one\n")
    assert f"warm = 4, in {path}" in shell.ok("config", "set", "warm", "4").replace("\n", " ")
    assert path.read_text() == "# how many wait\nwarm = 4  # one\n"
    assert json.loads(shell.ok("config", "get", "warm", "--json")) == {"key": "warm", "value": 4, "origin": str(path)}
    assert "warm is not set any more" in shell.ok("config", "unset", "warm")
    assert "was not set" in shell.ok("config", "unset", "warm")
    assert path.read_text() == "# how many wait\n"


def test_who_sets_a_key_hears_what_else_is_wrong(shell: Shell) -> None:
    done = shell.run("config", "set", "team", "nope")
    assert (done.returncode, "there is no team 'nope'" in done.stderr) == (0, True)
    path = Path(shell.home) / "crewd.toml"
    path.write_text("wrm = 3\n")
    done = shell.run("config", "set", "warm", "1")
    assert "wrm" in done.stderr
    assert "start" not in done.stdout, "crewd would not start with that file"


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("env_pass", "A_KEY,B_KEY", ["A_KEY", "B_KEY"]), ("env_pass", '["A_KEY"]', ["A_KEY"]), ("preload", "json", ["json"]),
        ("liveness_seconds", "[30, 60, 90]", [30, 60, 90]), ("cgroups", "true", True), ("on_sigterm", "drain", "drain"),
        ("on_sigterm", '"drain"', "drain"), ("team", "review", "review"), ("model", "7", "7"), ("permissions", "deny", "deny"),
        ("heartbeat_seconds", "2", 2),
    ],
)  # fmt: skip
def test_a_value_is_given_as_in_the_file_or_in_bare_words(shell: Shell, key: str, value: str, read: object) -> None:
    shell.ok("config", "set", key, value)
    assert json.loads(shell.ok("config", "get", key, "--json"))["value"] == read


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("wram", "2", "did you mean warm?"), ("warm", "lots", "it is a whole number"), ("warm", "-1", "0 to 64"),
        ("warm", "1\nexecution = false", "it is a whole number"), ("permissions", "maybe", "one of ask, allow, deny"),
        ("on_sigterm", "sleep", "one of end, drain, keep"), ("liveness_seconds", "[3, 2, 1]", "three times that grow"),
        ("liveness_seconds", "[1]", "a list of 3 numbers"), ("env_pass", "A=B", "'A=B'"), ("team", "../x", "is not a name"),
        ("workflow", "./flow.toml", "is not a name"), ("allow_shadowing", "review", "for example team:review"),
        ("at_once", "2000", "0 to 1,024"), ("cgroups", "yes", "true or false"), ("team", "other:x", "is no name"),
        ("warm", "1" * 5_000, "it is a whole number"), ("preload", "[" * 3_000, "is no list"),
        ("model", "  ", "with a blank"), ("env_pass", "A B", "'A B'"), ("runtime", "demo.md", "begins with '/'"),
        ("runtime", "./agents/demo.md", "begins with '/'"),
    ],
)  # fmt: skip
def test_what_is_not_possible_is_refused_and_changes_nothing(shell: Shell, key: str, value: str, named: str) -> None:
    assert named in said(shell, "config", "set", key, value)
    assert not user_path("crew.toml").exists()
    assert list(Path(shell.home).iterdir()) == []


@pytest.mark.parametrize("key", ["warm", "execution", "env_pass", "model", "permissions", "allow_shadowing", "runtime"])
def test_a_project_may_not_have_what_is_the_users(shell: Shell, key: str) -> None:
    value = {"env_pass": "A_KEY", "permissions": "allow", "allow_shadowing": "team:review"}.get(key, "true")
    assert "not for a project" in said(shell, "config", "set", key, value, "--project")
    assert not (shell.cwd / ".crew" / "crew.toml").exists()


def test_all_that_is_wrong_is_said_at_once(shell: Shell) -> None:
    assert shell.ok("config", "check").strip() == "nothing is wrong"
    shell.ok("config", "set", "preload", "json,nosuchmod.part")
    assert "preload: there is no module 'nosuchmod.part'" in " ".join(shell.prints(1, "config", "check").split())
    shell.ok("config", "unset", "preload")
    (Path(shell.home) / "crewd.toml").write_text("warm = -1\nwram = 1\n")
    of_user("team = \n")
    of_project(shell, 'plan_approval = false\nmodel = "big"\n')
    done = shell.run("config", "check", "--json")
    assert done.returncode == 1
    told = [each["message"] for each in json.loads(done.stdout)]
    for part in ("warm = -1", "'wram'", "crew.toml is wrong", "model is not for a project", "takes no approval away"):
        assert sum(part in each for each in told) == 1, (part, told)


def test_what_is_run_is_the_commands_then_the_projects_then_the_users(shell: Shell) -> None:
    assert "nothing says what is to be run" in said(shell, "plan", "look")
    of_user('team = "review"\nmodel = "mine"\nat_once = 3\n')
    plan = json.loads(shell.ok("plan", "look", "--json"))
    assert (plan["workflow_from"], plan["named_by"]) == ("builtin:review", str(user_path("crew.toml")))
    assert {row["model"] for row in plan["steps"]} == {"mine"}
    assert plan["at_once_from"] == "team review"  # what a file says goes before what is usual
    of_project(shell, 'team = "implementation"\nplan_approval = true\nat_once = 2\n')
    plan = json.loads(shell.ok("plan", "look", "--json"))
    assert plan["workflow_from"] == "builtin:review", "what the user has named is not the project's to change"
    of_user('runtime = "pi"\n')
    plan = json.loads(shell.ok("plan", "look", "--json"))
    assert (plan["workflow_from"], plan["named_by"]) == ("builtin:implementation", ".crew/crew.toml")
    assert plan["plan_approval"]
    assert plan["settings"] == {"runtime": ["pi", str(user_path("crew.toml"))]}
    assert "team builtin:implementation: named by .crew/crew.toml" in shell.run("plan", "look").stderr
    plan = json.loads(shell.ok("plan", "look", "--team", "parallel-research", "--model", "big", "--json"))
    assert (plan["workflow_from"], plan["named_by"]) == ("builtin:parallel-research", "")
    assert {row["model_from"] for row in plan["steps"]} == {"the request"}
    assert ".crew/crew.toml names what is run" in " ".join(shell.ok("plan", "look").split())


@pytest.mark.parametrize(
    "text",
    [
        'team = "ours"', 'team = "project:ours"', 'agent = "evil"', 'agent = "evil.md"', 'workflow = "flow"', "team = 7",
        'agent = "../evil"', "colour = 1", "[", 'agent = "project:evil"', 'workflow = "deploy"', 'agent = "careful"',
        'agent = "reviewer"\nteam = "review"', f"at_once = {'1' * 5_000}", "team = " + "[" * 3_000,
    ],
)  # fmt: skip
def test_what_a_checkout_brings_is_not_run_because_the_checkout_says_so(shell: Shell, text: str) -> None:
    crew = shell.cwd / ".crew"
    (crew / "teams" / "ours.team.md").write_text(TEAM.format("ours"))
    for folder, name in (("agents", "evil.md"), ("workflows", "flow.workflow.md")):
        (crew / folder).mkdir()
        (crew / folder / name).write_text("---\nname: evil\ncommand: ./evil\nruntime: acp\n---\nwork\n")
    (shell.cwd / "evil.md").write_text("---\nname: evil\ncommand: ./evil\nruntime: acp\n---\nwork\n")
    (shell.cwd / "flow").write_text('[[step]]\nid = "a"\nrun = "./evil"\n')
    for folder, name in (("agents", "careful.md"), ("workflows", "deploy.workflow.md")):  # the user's own
        user_path(folder).mkdir(parents=True, exist_ok=True)
        text_of = "---\nruntime: pi\n---\n" if folder == "agents" else "## go\nrun: ./evil\n"
        (user_path(folder) / name).write_text(text_of)
    of_project(shell, text)
    done = shell.run("plan", "look")
    assert done.returncode == 2, done
    assert "nothing says what is to be run" in done.stderr
    assert len(done.stderr.strip().splitlines()) > 2, "nobody said why"
    of_user('team = "review"')
    assert "for 'look'" in shell.ok("plan", "look")


def test_a_link_is_not_read_as_the_file_of_a_project(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.toml").write_text('team = "review"\n')
    (shell.cwd / ".crew" / "crew.toml").symlink_to(tmp_path / "elsewhere.toml")
    assert "is a link" in said(shell, "plan", "look")
    assert "is a link" in said(shell, "config", "set", "at_once", "2", "--project")


def test_the_user_names_a_file_of_a_project_and_lets_it_take_a_name(shell: Shell) -> None:
    for name in ("ours", "review"):
        (shell.cwd / ".crew" / "teams" / f"{name}.team.md").write_text(TEAM.format(name))
    shell.ok("config", "set", "team", "project:ours")
    assert "team ours" in shell.ok("plan", "look")
    before = {row["id"]: row["state"] for row in json.loads(shell.ok("teams", "--json"))}
    assert (before["builtin:review"], before["project:review"]) == ("active", "shadowed")
    shell.ok("config", "set", "allow_shadowing", "team:review")
    after = {row["id"]: row["state"] for row in json.loads(shell.ok("teams", "--json"))}
    assert (after["builtin:review"], after["project:review"]) == ("shadowed", "active")
    shell.ok("config", "unset", "allow_shadowing")
    assert {row["id"]: row["state"] for row in json.loads(shell.ok("teams", "--json"))} == before


def test_a_file_that_cannot_be_written_stays_as_it_is(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(shell.home) / "crewd.toml"
    path.write_text("warm = 1\n")

    def full(_descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in said(shell, "config", "set", "warm", "2")
    assert path.read_text() == "warm = 1\n"
    assert [each.name for each in Path(shell.home).iterdir()] == ["crewd.toml"]


def test_what_is_right_in_a_projects_file_holds_beside_what_is_wrong(shell: Shell) -> None:
    of_project(shell, 'futureKey = 1\nplan_approval = true\nmodel = "big"\nteam = "implementation"\nat_once = "many"\n')
    done = shell.run("plan", "look", "--json")
    plan = json.loads(done.stdout)
    assert (plan["plan_approval"], plan["workflow_from"]) == (True, "builtin:implementation")
    for wrong in ("'futureKey'", "model is not for a project", 'at_once = "many"'):
        assert f"{wrong}" in done.stderr
    assert done.stderr.count("is not heeded") == 3


def test_a_role_that_plans_nothing_needs_no_approval_of_its_team(shell: Shell) -> None:
    team = TEAM.format("careful").replace("defaultWorkflow: review", "requirePlanApproval: true")
    (shell.cwd / ".crew" / "teams" / "careful.team.md").write_text(team)
    assert not json.loads(shell.ok("plan", "look", "--team", "careful", "--role", "writer", "--json"))["plan_approval"]


def test_a_file_that_is_wrong_can_be_mended_and_stops_only_who_runs_something(shell: Shell) -> None:
    of_user('bogus = 1\nteam = "review"\n')
    shell.ok("teams")
    assert "there is no key 'bogus'" in said(shell, "plan", "look")
    shell.ok("config", "set", "at_once", "2")
    shell.ok("config", "unset", "bogus")
    assert user_path("crew.toml").read_text() == 'team = "review"\nat_once = 2\n'
    home = Path(shell.home) / "crewd.toml"
    home.write_text("\ufeffwarm = 100\nheartbeat_seconds = 0\n")
    shell.ok("config", "set", "warm", "1")
    assert "0.1 to 3,600" in said(shell, "config", "set", "heartbeat_seconds", "0.0")
    shell.ok("config", "unset", "heartbeat_seconds")
    assert shell.ok("config", "get", "warm").strip() == "1"


def test_a_name_of_the_file_that_is_not_there_stops_only_who_names_nothing(shell: Shell) -> None:
    for key, value in (("team", "nosuch"), ("agent", "nobody"), ("workflow", "nowhere"), ("runtime", "nothing")):
        of_user(f'{key} = "{value}"\n')
        assert value in said(shell, "plan", "look")
        assert value not in shell.ok("plan", "look", "--team", "review", "--runtime", "pi")


def test_whom_the_user_lets_take_a_name_the_user_has_named(shell: Shell) -> None:
    (shell.cwd / ".crew" / "teams" / "review.team.md").write_text(TEAM.format("review"))
    of_user('team = "review"\nallow_shadowing = ["team:review"]\n')
    assert "team review" in shell.ok("plan", "look")
    of_user('team = "nobody"\n')
    assert "there is no team 'nobody'" in said(shell, "plan", "look")
    assert "nobody" in shell.run("config", "check").stdout
    of_user('runtime = "cluade"\n')
    assert "runtime cluade: there is no agent 'cluade'" in said(shell, "plan", "look", "-a", "explorer")
    assert "did you mean claude?" in shell.run("config", "check").stdout


def test_several_changes_at_once_are_all_there(shell: Shell) -> None:
    values = {"warm": "3", "depth_max": "4", "runs_live_max": "9", "workers_max": "7", "concurrency_max": "5"}
    home = Home(Path(shell.home))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda each: set_value(home, each[0], each[1], project=False), values.items()))
    assert sorted(home.config.read_text().splitlines()) == sorted(f"{key} = {value}" for key, value in values.items())


@pytest.mark.process
def test_the_daemon_takes_what_it_can_and_names_what_waits(daemon: Daemon, crew: Crew, tmp_path: Path) -> None:
    shell = Shell(str(daemon.home.root), tmp_path)
    assert shell.ok("daemon", "reload").strip() == "nothing has changed"
    assert "crew daemon reload lets it take effect" in shell.ok("config", "set", "require_intent", "true")
    assert "when crewd starts again" in shell.ok("config", "set", "warm", "1")
    run = json.loads(shell.ok("exec", "--json", "sleep", "60"))["id"]
    told = shell.ok("daemon", "reload").splitlines()
    assert told == ["require_intent: in effect", "warm: in effect when crewd starts again"]
    assert "needs a reason" in said(shell, "cancel", run)
    assert shell.ok("daemon", "reload").strip() == "warm: in effect when crewd starts again"
    (daemon.home.config).write_text("require_intent = 7\n")
    assert "true or false" in said(shell, "daemon", "reload")
    assert "needs a reason" in said(shell, "cancel", run)
    for odd in (f"warm = {'1' * 5_000}", "preload = " + "[" * 3_000):
        (daemon.home.config).write_text(odd)
        assert "is wrong" in said(shell, "daemon", "reload")
    assert "needs a reason" in said(shell, "cancel", run)
    (daemon.home.config).unlink()
    assert json.loads(shell.ok("daemon", "reload", "--json")) == {"live": ["require_intent"], "waiting": []}
    shell.ok("cancel", run)
    assert crew.show(run).run.status.value == "cancelled"
