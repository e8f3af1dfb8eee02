"""Hooks of acts: what they are told, what they may stop and change, and that what they leave behind ends."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from crewd.client.acts import ask_hooks, ask_hooks_async
from crewd.client.blocking import Crew, connect
from crewd.client.user_file import user_path
from crewd.model.errors import Forbidden, UsageError
from crewd.model.hook_requests import REQUESTS_OF_HOOKS, EndRequest
from crewd.model.hooks import ACT_POINTS, CHANGES, ActPoint, Hook, HookRun, HooksAsked
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.shell import Shell

pytestmark = pytest.mark.process


def write_hook(on: str, run: str, *more: str, name: str = "guard", blocking: bool = True) -> None:
    path = user_path("hooks.toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"[{name}]", f'on = "{on}"', f"run = '''{run}'''", f"blocking = {str(blocking).lower()}", *more, ""]
    path.write_text((path.read_text() if path.exists() else "") + "\n".join(lines))


def ended(shell: Shell, *command: str) -> str:
    run = shell.ok("exec", *command).split()[0]
    shell.ok("wait", run, "--timeout", "60")
    return run


def said(crew: Crew, run: str) -> list[tuple[str, str, str]]:
    return [(ran.on, ran.verdict, ran.note) for ran in crew.show(run).run.hooks]


@pytest.fixture
def shell(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(str(daemon.home.root), tmp_path)


def test_without_a_hook_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crewd.client.acts.subprocess", None)
    write_hook("before_forget", "exit 1")
    assert ask_hooks("before_cancel", {"run": "r"}, {"text": "t"}) == HooksAsked(about={"text": "t"})


@pytest.mark.parametrize("point", ACT_POINTS)
def test_each_point_is_told_what_it_is_about_and_changes_only_what_it_may(point: ActPoint, tmp_path: Path) -> None:
    changes = CHANGES.get(point, "")
    answer = {"verdict": "modify", "note": "n", changes or "text": "other"}
    write_hook(point, f"cat > {tmp_path}/first; echo '{json.dumps(answer)}'", blocking=False)
    write_hook(point, f"cat > {tmp_path}/second", name="then")
    asked = ask_hooks(point, {"run": "r", "token": "sk-ant-api03-" + "a" * 90}, {changes: "this"} if changes else {})
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("first", "second"))
    assert (first["on"], first["run"], first["hook"], second["hook"]) == (point, "r", "guard", "then")
    assert "aaaa" not in first["token"], "what looks like a secret is masked"
    if changes:
        assert (asked.about[changes], second[changes], second["changes"]) == (
            "other",
            "other",
            [{"hook": "guard", changes: "other"}],
        )
        assert asked.hooks[0].changed == (changes,)
    else:
        assert (asked.hooks[0].verdict, "nothing to modify" in asked.hooks[0].note) == ("diagnostic", True)


def test_what_a_hook_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    write_hook(
        "before_cancel",
        f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 600' >/dev/null 2>&1 & while ! test -s {tmp_path}/pid; do :; done",
    )
    assert ask_hooks("before_cancel", {}).blocked == ""
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_nothing_but_what_hooks_say_is_on_the_screen(shell: Shell) -> None:
    write_hook("before_cancel", "echo on the way >&2; echo $PPID >&2; exit 0")
    run = shell.ok("exec", "sleep", "600").split()[0]
    done = shell.run("cancel", run, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_hook_ends_with_the_command_that_asks(daemon: Daemon, crew: Crew, tmp_path: Path) -> None:
    run = crew.exec(["sleep", "600"])
    write_hook(
        "before_cancel",
        f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; sleep 600",
        "timeout_seconds = 60",
    )
    shell = Shell(str(daemon.home.root), tmp_path)
    with subprocess.Popen(shell.command("cancel", run.id), cwd=tmp_path) as command:
        wait_until((tmp_path / "pid").exists, "the hook to run")
        command.kill()
    wait_until(lambda: not psutil.pid_exists(int((tmp_path / "pid").read_text())), "the end of the hook")
    run.cancel(mode="now")


def test_a_process_that_dies_is_a_hook_that_has_failed(tmp_path: Path) -> None:
    write_hook("before_forget", "kill -9 $PPID; sleep 5")
    asked = ask_hooks("before_forget", {})
    assert "the process that asks hooks has failed" in asked.blocked
    assert [(ran.name, ran.verdict) for ran in asked.hooks] == [("guard", "block")]
    write_hook("before_cancel", "kill -9 $PPID; sleep 5", name="other")
    assert (ask_hooks("before_cancel", {}).blocked, ask_hooks("before_cancel", {}).hooks[0].verdict) == ("", "diagnostic")


def test_what_is_no_unicode_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_hook("before_cancel", f"cat > {tmp_path}/asked")
    assert ask_hooks("before_cancel", {"intent": "caf\udce9"}).hooks[0].verdict == "allow"
    asked = json.loads((tmp_path / "asked").read_text())
    assert (asked["cwd"], asked["intent"]) == (str(folder), "caf\udce9")


def test_a_directory_that_is_gone_holds_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    write_hook("before_cancel", "pwd >&2; exit 1")
    assert ask_hooks("before_cancel", {}).hooks[0].note == "exit code 1: /"


def test_a_goal_that_is_not_possible_is_no_answer() -> None:
    write_hook("before_run_start", """printf '{"verdict":"modify","goal":"%0200000d"}' 1""", blocking=False)
    asked = ask_hooks("before_run_start", {}, {"goal": "this"})
    assert (asked.about, asked.hooks[0].verdict, "more than" in asked.hooks[0].note) == ({"goal": "this"}, "diagnostic", True)


def test_a_task_that_is_cancelled_ends_the_hook(tmp_path: Path) -> None:
    write_hook(
        "before_cancel", f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; sleep 50", "timeout_seconds = 60"
    )

    async def ask() -> None:
        task = asyncio.create_task(ask_hooks_async("before_cancel", {}))
        await asyncio.to_thread(wait_until, (tmp_path / "pid").exists, "the hook to run")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    wait_until(lambda: not psutil.pid_exists(int((tmp_path / "pid").read_text())), "the end of the hook")


def test_more_hooks_than_one_request_tells_of_hold_up_no_start(shell: Shell, crew: Crew, tmp_path: Path) -> None:
    for number in range(18):
        write_hook("before_run_start", "true", name=f"h{number}")
        if number == 15:
            (tmp_path / ".crew").mkdir()
            user_path("hooks.toml").rename(tmp_path / ".crew" / "hooks.toml")
    shell.ok("trust", "--yes")
    run = shell.ok("exec", "true").split()[0]
    assert len(said(crew, run)) == 16
    events = shell.ok("events", run, "--json")
    assert events.count('"run.hook_ran"') == 18


def test_a_start_that_is_asked_for_again_is_the_run_that_it_was(shell: Shell, crew: Crew, tmp_path: Path) -> None:
    write_hook(
        "before_run_start", f"""echo >> {tmp_path}/n; echo '{{"verdict":"modify","goal":"'$(wc -l < {tmp_path}/n)'"}}'"""
    )
    (tmp_path / "w.md").write_text("---\nname: w\n---\n## say\nrun: printf %s {goal}\n")
    first, second = (shell.ok("run", "the plan", "-w", "w.md", "--request-id", "once").split()[0] for _ in range(2))
    assert (first, crew.get(first).result(timeout=60)) == (second, "1")
    write_hook("before_run_start", "exit 1", name="other")
    assert shell.ok("run", "the plan", "-w", "w.md", "--request-id", "once").split()[0] == first
    assert shell.run("run", "the plan", "-w", "w.md").returncode == 5


def test_modules_of_the_directory_take_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("msgspec.py", "psutil.py", "crewd.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')\n")
    write_hook("before_cancel", "exit 0")
    assert ask_hooks("before_cancel", {}).hooks[0].verdict == "allow"


def test_a_run_is_not_started_or_has_another_goal(shell: Shell, crew: Crew, tmp_path: Path) -> None:
    write_hook("before_run_start", f"cat > {tmp_path}/asked", name="look")
    write_hook("before_run_start", 'grep -q secret && { echo "not this" >&2; exit 1; }; exit 0')
    (tmp_path / "w.md").write_text("---\nname: w\n---\n## say\nrun: printf %s {goal}\n")
    refused = shell.run("run", "the secret plan", "-w", "w.md")
    assert (refused.returncode, "hook guard (before_run_start) blocks it: exit code 1: not this" in refused.stderr) == (5, True)
    assert "nothing is started" in " ".join(refused.stderr.split())
    assert crew.runs(all=True).runs == ()
    msgspec.json.decode((tmp_path / "asked").read_bytes(), type=REQUESTS_OF_HOOKS["before_run_start"])
    write_hook("before_run_start", """echo '{"verdict":"modify","goal":"the open plan","note":"clearer"}'""", name="change")
    begun = shell.run("run", "the plan", "-w", "w.md")
    run = begun.stdout.split()[0]
    assert "hook change (before_run_start) changes its goal: clearer" in begun.stderr
    assert crew.get(run).result(timeout=60) == "the open plan"
    assert said(crew, run) == [("before_run_start", "allow", "")] * 2 + [("before_run_start", "modify", "clearer")]
    assert "run.hook_ran" in shell.ok("events", run, "--json")
    assert "hook change (before_run_start) changes its goal: clearer" in " ".join(shell.ok("show", run).split())


def test_a_cancel_is_blocked_but_not_one_that_is_to_be_now_nor_for_longer_than_a_hook_may_take(
    shell: Shell, crew: Crew, tmp_path: Path
) -> None:
    write_hook("before_cancel", f"cat > {tmp_path}/asked; echo a remark >&2; exit 2", name="first", blocking=False)
    write_hook("before_cancel", "echo it writes >&2; exit 1")
    kept, other = (shell.ok("exec", "sleep", "600").split()[0] for _ in range(2))
    refused = shell.run("cancel", kept, "--intent", "tidy up")
    assert (refused.returncode, "blocks it: exit code 1: it writes" in " ".join(refused.stderr.split())) == (5, True)
    assert "remarks: exit code 2: a remark" in " ".join(refused.stderr.split())
    assert said(crew, kept)[1:] == [("before_cancel", "block", "exit code 1: it writes")]
    assert msgspec.json.decode((tmp_path / "asked").read_bytes(), type=EndRequest).intent == "tidy up"
    assert "verified" in shell.ok("cancel", kept, "--now")
    user_path("hooks.toml").unlink()
    write_hook("before_cancel", "sleep 600", "timeout_seconds = 0.2")
    slow = shell.run("cancel", other)
    assert (slow.returncode, "it took longer than 0.2 s" in slow.stderr, "verified" in slow.stdout) == (0, True, True)
    before = len(said(crew, other))
    assert (shell.run("cancel", other).returncode, len(said(crew, other))) == (0, before), "it has ended: nobody is asked"


def test_a_file_that_is_wrong_holds_up_everything_but_a_cancel(shell: Shell, crew: Crew) -> None:
    run = shell.ok("exec", "sleep", "600").split()[0]
    write_hook("before_cancel", "true", "blokcing = true")
    assert shell.run("export", run).returncode == 2
    done = shell.run("cancel", run)
    assert (done.returncode, "blokcing" in done.stderr, "verified" in done.stdout) == (0, True, True)
    assert [(on, verdict) for on, verdict, _ in said(crew, run)] == [("before_cancel", "diagnostic")]
    assert (shell.run("forget", run).returncode, crew.show(run).run.id) == (2, run)


def test_of_several_cancels_only_the_blocked_ones_are_not_done(shell: Shell, crew: Crew) -> None:
    first, second = (shell.ok("exec", "sleep", "600").split()[0] for _ in range(2))
    write_hook("before_cancel", f"! grep -q {first}")
    assert shell.run("cancel", first, second).returncode == 5
    assert (crew.show(first).run.ended_at is None, crew.show(second).run.status.value) == (True, "cancelled")
    shell.ok("cancel", first, "--now")


def test_runs_are_not_forgotten_pruned_or_written_out(shell: Shell, crew: Crew, tmp_path: Path) -> None:
    run = ended(shell, "true")
    points: tuple[ActPoint, ...] = ("before_forget", "before_cleanup", "before_publish")
    for point in points:
        write_hook(point, f"cat > {tmp_path}/{point}; exit 1", name=point)
    for verb in (("forget", run), ("prune", "--older-than", "0s"), ("export", run, "-o", "it.zip")):
        refused = shell.run(*verb)
        assert (refused.returncode, "blocks it" in refused.stderr) == (5, True), verb
    assert not (tmp_path / "it.zip").exists()
    assert json.loads((tmp_path / "before_cleanup").read_text())["runs"] == [run]
    assert json.loads((tmp_path / "before_publish").read_text())["path"] == "it.zip"
    for point in points:
        msgspec.json.decode((tmp_path / point).read_bytes(), type=REQUESTS_OF_HOOKS[point])
    assert [on for on, _, _ in said(crew, run)] == ["before_forget", "before_publish"]
    shell.ok("forget", run, "--dry-run")
    user_path("hooks.toml").unlink()
    shell.ok("export", run, "-o", "it.zip")
    shell.ok("forget", run)


def test_a_summary_has_what_a_hook_adds_and_is_bounded_all_the_same(shell: Shell, tmp_path: Path) -> None:
    run = ended(shell, "true")
    script = tmp_path / "more.py"
    script.write_text(
        "import json, sys\n"
        "asked = sys.stdin.read()\n"
        "open('asked', 'w').write(asked)\n"
        "text = json.loads(asked)['text']\n"
        "print(json.dumps({'verdict': 'modify', 'text': 'remember the deadline\\n' + text + 'x\\n' * 9000}))\n"
    )
    write_hook("before_compact", f"{sys.executable} {script}")
    for verb in (("summary", run, "--chars", "600"), ("brief", "--chars", "600")):
        text = shell.ok(*verb)
        msgspec.json.decode((tmp_path / "asked").read_bytes(), type=REQUESTS_OF_HOOKS["before_compact"])
        assert text.startswith("remember the deadline")
        assert len(text) <= 602


def test_a_hook_of_an_act_is_no_steps_and_names_no_role(crew: Crew) -> None:
    with pytest.raises(UsageError, match="about no step: before_cancel"):
        crew.run(Workflow("w", (Step("s", worker=WorkerSpec(shell="true", hooks=(Hook("h", "before_cancel", "true"),))),)))
    write_hook("before_cancel", "true", 'roles = ["tester"]')
    with pytest.raises(UsageError, match="leave its roles away"):
        ask_hooks("before_forget", {})


def test_what_hooks_are_said_to_have_answered_is_checked(crew: Crew) -> None:
    run = crew.exec(["true"])
    run.result(timeout=60)
    for hooks, says in (
        ((), "0 hooks"),
        ((HookRun("h", "before_cancel", "allow"),) * 17, "17 hooks"),
        ((HookRun("h", "task_result", "allow"),), "about a step"),
        ((HookRun("../h", "before_cancel", "allow"),), "not a name"),
        ((HookRun("h", "before_cancel", "modify", changed=("text",)),), "cannot change text"),
        ((HookRun("h", "before_run_start", "modify", changed=("goal",) * 20_000),), "cannot change goal"),
        ((HookRun("h", "before_cancel", "allow", seconds=-5.0),), "cannot have taken"),
    ):
        with pytest.raises(UsageError, match=says):
            crew.tell_hooks(run.id, hooks)
    with connect(str(crew.home.root), name="stranger") as stranger, pytest.raises(Forbidden):
        stranger.tell_hooks(run.id, [HookRun("h", "before_cancel", "block")])
    for number in range(20):
        crew.tell_hooks(run.id, [HookRun("h", "before_cancel", "allow", str(number))])
    assert [note for _, _, note in said(crew, run.id)] == [str(number) for number in range(4, 20)]
