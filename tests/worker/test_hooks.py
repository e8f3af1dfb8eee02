"""Hooks in a worker: what they are given, what they may change and stop, and what becomes of those that fail."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import msgspec
import pytest

from crewd.client.blocking import Crew, RunHandle
from crewd.client.environment import Brought
from crewd.client.shapes import one_step
from crewd.model.errors import RunFailed, UsageError
from crewd.model.hook_requests import REQUESTS_OF_HOOKS
from crewd.model.hooks import Hook, HookPoint
from crewd.model.statuses import RunStatus
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.naps import sleepers, unique_seconds

pytestmark = pytest.mark.process


def run_with(crew: Crew, *hooks: Hook, shell: str = 'printf %s "$CREWD_TEXT"', text: str = "the task") -> RunHandle:
    return crew.run(Workflow("w", (Step("s", text=text, worker=WorkerSpec(shell=shell, hooks=hooks)),)), "the goal", cwd="/")


def until_status(run: RunHandle, status: RunStatus) -> None:
    wait_until(lambda: run.show().run.status is status, f"the run to be {status}")


def has_more_attempts(run: RunHandle, before: int) -> bool:
    return len(run.show().attempts) > before


def asked(run: RunHandle) -> list[tuple[str, str, str]]:
    return [(ran.name, ran.verdict, ran.note) for attempt in run.show().attempts for ran in attempt.hooks]


def saying(name: str, on: str = "before_task_start", *, blocking: bool = False, **answer: object) -> Hook:
    return Hook(name, on, f"cat >/dev/null; echo '{json.dumps(answer)}'", blocking=blocking)  # type: ignore[arg-type]


def test_a_hook_is_given_what_it_is_about_and_silence_allows(crew: Crew, tmp_path: Path) -> None:
    run = run_with(
        crew,
        Hook("see", "before_task_start", f"cat > {tmp_path}/before"),
        Hook("end", "task_result", f"cat > {tmp_path}/after"),
    )
    assert run.result(timeout=60) == "the task"
    before, after = (json.loads((tmp_path / name).read_text()) for name in ("before", "after"))
    msgspec.convert(before, REQUESTS_OF_HOOKS["before_task_start"])
    msgspec.convert(after, REQUESTS_OF_HOOKS["task_result"])
    assert (before["on"], before["hook"], before["step"], before["epoch"], before["goal"], before["text"]) == (
        "before_task_start", "see", "s", 1, "the goal", "the task",
    )  # fmt: skip
    assert before["task"] == f"{run.id}/s"
    assert (after["on"], after["outcome"], after["result"]) == ("task_result", "completed", "the task")
    assert asked(run) == [("see", "allow", ""), ("end", "allow", "")]


def test_what_a_hook_changes_is_what_the_next_hook_and_the_worker_are_given(crew: Crew, tmp_path: Path) -> None:
    run = run_with(
        crew,
        saying("first", verdict="modify", text="another task", note="it was vague"),
        Hook("second", "before_task_start", f"cat > {tmp_path}/seen"),
        saying("last", "task_result", verdict="modify", result={"said": "nothing"}),
    )
    assert run.result(timeout=60) == {"said": "nothing"}
    seen = json.loads((tmp_path / "seen").read_text())
    assert (seen["text"], seen["changes"]) == ("another task", [{"hook": "first", "text": "another task"}])
    assert asked(run) == [("first", "modify", "it was vague"), ("second", "allow", ""), ("last", "modify", "")]


def test_an_attempt_that_takes_up_work_which_was_broken_off_asks_at_run_recovery(crew: Crew) -> None:
    points: tuple[HookPoint, ...] = ("run_recovery", "before_retry", "before_task_start")
    run = run_with(crew, *(Hook(point, point, "true") for point in points), shell='[ "$CREWD_TEXT" = done ] || exec sleep 600')
    wait_until(lambda: run.show().attempts[-1].status.value == "running", "its worker to run")
    run.cancel()
    assert asked(run) == [("before_task_start", "allow", "")]
    crew.resume(run.id)
    wait_until(lambda: len(asked(run)) == 4, "the second attempt to have asked")
    assert [name for name, _, _ in asked(run)[1:]] == list(points)
    run.cancel(mode="now")


def test_what_was_cancelled_before_crewd_was_killed_asks_at_run_recovery(daemon: Daemon) -> None:
    points: tuple[HookPoint, ...] = ("run_recovery", "before_retry", "before_task_start")
    with daemon.connect() as crew:
        run = run_with(crew, *(Hook(point, point, "true") for point in points), shell="exec sleep 600").id
        wait_until(lambda: asked(crew.get(run)), "the first attempt to have asked")
        crew.cancel(run)
    daemon.kill()
    daemon.start()
    with daemon.connect() as crew:
        crew.resume(run)
        wait_until(lambda: len(asked(crew.get(run))) == 4, "the second attempt to have asked")
        assert [name for name, _, _ in asked(crew.get(run))[1:]] == list(points)
        crew.cancel(run, mode="now")


@pytest.mark.parametrize(
    ("command", "note"),
    [
        ("""echo '{"verdict":"block","note":"not today"}'""", "not today"),
        ("echo no disk >&2; exit 3", "exit code 3: no disk"),
        ("kill -9 $$", "signal 9"),
        ("echo '[1'", "its answer is not understood"),
        ("""echo '{"verdict":"perhaps"}'""", "verdict is 'perhaps'; one of allow, block"),
        ("""echo '{"verdcit":"block"}'""", "there is no 'verdcit'; did you mean verdict?"),
        ("""echo '{"verdict":"modify","result":1}'""", "modify goes with text at before_task_start"),
        ("head -c 3000000 /dev/zero", "more than 1048576 bytes"),
    ],
    ids=["block", "exit", "signal", "json", "verdict", "key", "field", "flood"],
)
def test_a_blocking_hook_that_blocks_or_fails_blocks_the_run_and_another_one_only_remarks(
    crew: Crew, tmp_path: Path, command: str, note: str
) -> None:
    witness = tmp_path / "ran"
    for blocking in (False, True):
        run = run_with(crew, Hook("guard", "before_task_start", command, blocking=blocking), shell=f"echo >> {witness}")
        until_status(run, RunStatus.BLOCKED if blocking else RunStatus.COMPLETED)
        ((_, verdict, said),) = asked(run)
        assert note in said
        assert (verdict, run.show().run.status) == (("block", "blocked") if blocking else ("diagnostic", "completed"))
    assert witness.read_text() == "\n", "the blocked command did not run"
    assert "hook guard (before_task_start) blocks it" in run.show().notices[-1].text
    run.cancel()
    run.wait(timeout=60)


def test_no_part_of_a_secret_that_a_hook_says_is_kept(crew: Crew) -> None:
    loud = Hook("loud", "before_task_start", "for each in $(seq 60); do echo $HUSH >&2; done; exit 3")
    workflow = one_step("s", WorkerSpec(shell="true", hooks=(loud,)))
    run = crew.run(workflow, cwd="/", brought=Brought({}, {"HUSH": "correct-horse-battery-staple"}, {}))
    run.wait(timeout=120)
    ((_, _, said),) = asked(run)
    assert said.startswith("exit code 3: ***")
    assert "staple" not in said


def test_what_is_blocked_starts_again_when_somebody_approves_and_the_hook_is_asked_again(crew: Crew, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    guard = Hook("guard", "before_task_start", f"test -e {allowed}", blocking=True)
    run = run_with(crew, guard, Hook("again", "before_retry", "true"), shell="echo done")
    for _ in range(2):
        attempts = len(run.show().attempts)
        until_status(run, RunStatus.BLOCKED)
        crew.approve(run.id)
        wait_until(partial(has_more_attempts, run, attempts), "another attempt")
    until_status(run, RunStatus.BLOCKED)
    allowed.touch()
    crew.approve(run.id)
    assert run.result(timeout=60) == "done"
    assert [name for name, verdict, _ in asked(run) if verdict != "block"] == ["again", "again", "again", "guard"]
    assert all(notice.closed_at for notice in run.show().notices)


def test_a_result_that_a_hook_blocks_completes_nothing(crew: Crew) -> None:
    run = run_with(crew, saying("judge", "task_result", blocking=True, verdict="block", note="it is empty"), shell="true")
    until_status(run, RunStatus.BLOCKED)
    shown = run.show()
    assert shown.attempts[0].reason == "blocked_by_hook"
    assert shown.tasks[0].status == "queued"
    crew.reject(run.id)
    assert run.wait(timeout=60).run.status == "cancelled"


def test_a_result_that_is_too_large_is_no_answer_and_any_worker_may_have_hooks(crew: Crew) -> None:
    large = 'cat >/dev/null; printf \'{"verdict":"modify","result":"\'; head -c 40000 /dev/zero | tr \'\\0\' x; printf \'"}\''
    run = run_with(crew, Hook("large", "task_result", large), shell="echo mine")
    assert run.result(timeout=60) == "mine"
    assert asked(run) == [("large", "diagnostic", "its result has more than 32768 bytes: leave it as a file, and say where")]
    worker = WorkerSpec(
        call="os.path:basename", args={"p": "/a/b"}, hooks=(saying("it", "task_result", verdict="modify", result=[1]),)
    )
    assert crew.run(Workflow("w", (Step("s", worker=worker),)), cwd="/").result(timeout=60) == [1]


@pytest.mark.parametrize("text", [r"a\\u0000b", "x" * 140_000], ids=["nul", "large"])
def test_a_text_that_no_worker_could_be_given_is_no_answer(crew: Crew, tmp_path: Path, text: str) -> None:
    (tmp_path / "answer").write_text(json.dumps({"verdict": "modify", "text": "X"}).replace("X", text.replace("\\\\", "\\")))
    hook = Hook("odd", "before_task_start", f"cat >/dev/null; cat {tmp_path}/answer", blocking=True)
    run = run_with(crew, hook, shell="echo mine", text="do it")
    wait_until(lambda: run.show().run.blocks, "the run to be blocked")
    assert asked(run) == [("odd", "block", "its text is not possible: it has a NUL, or more bytes than a variable holds")]
    run.cancel()


def test_a_worker_goes_on_with_its_hooks_when_crewd_and_its_guardian_are_killed(
    daemon: Daemon, crew: Crew, tmp_path: Path
) -> None:
    marks = [tmp_path / name for name in ("before", "after", "go")]
    hooks = (
        Hook(
            "first",
            "before_task_start",
            f"touch {marks[0]}; while ! test -e {marks[2]}; do sleep 0.05; done",
            timeout_seconds=60,
        ),
        Hook("last", "task_result", f"cat > {marks[1]}"),
    )
    run = run_with(crew, *hooks, shell="echo done").id
    wait_until(marks[0].exists, "the first hook")
    daemon.kill()
    daemon.kill_guardian()
    daemon.start()
    marks[2].touch()
    with daemon.connect() as again:
        assert again.result(run, timeout=60) == "done"
        ran = again.show(run).attempts[0].hooks
    assert [(each.name, each.verdict) for each in ran] == [("first", "allow"), ("last", "allow")]
    assert json.loads(marks[1].read_text())["result"] == "done"


def test_hooks_of_a_step_that_has_failed_only_remark(crew: Crew) -> None:
    hooks = (
        saying("guard", "task_result", blocking=True, verdict="block", note="no"),
        saying("other", "task_result", verdict="modify", result=1),
    )
    run = run_with(crew, *hooks, shell="exit 3")
    with pytest.raises(RunFailed, match="exit code 3"):
        run.result(timeout=60)
    assert asked(run) == [("guard", "diagnostic", "no"), ("other", "diagnostic", "")]


def test_what_a_hook_writes_to_standard_error_is_not_taken_for_the_workers(crew: Crew) -> None:
    loud = "echo checking >&2; head -c 70000 /dev/zero | tr '\\0' x >&2; echo >&2; echo the end >&2; exit 1"
    run = run_with(crew, Hook("loud", "before_task_start", loud), shell="exit 4")
    with pytest.raises(RunFailed) as failed:
        run.result(timeout=60)
    assert "checking" not in str(failed.value)
    assert asked(run)[0][2].endswith("the end")


def test_a_changed_result_leaves_the_file_that_the_worker_wrote(crew: Crew) -> None:
    script = 'printf "# Long report" > "$CREWD_OUTPUTS/report.md"; echo done'
    hook = saying("it", "task_result", verdict="modify", result={"ok": True})
    steps = (
        Step("write", output="report.md", worker=WorkerSpec(shell=script, hooks=(hook,))),
        Step("read", depends_on=("write",), reads=("report.md",), worker=WorkerSpec(shell='cat "$CREWD_OUTPUTS/report.md"')),
    )
    run = crew.run(Workflow("w", steps), cwd="/")
    assert run.result(timeout=60) == {"write": {"ok": True}, "read": "# Long report"}


def test_a_hook_is_given_the_goal_where_the_step_says_nothing_and_may_replace_it(crew: Crew, tmp_path: Path) -> None:
    run = run_with(
        crew, Hook("see", "before_task_start", f"cat > {tmp_path}/seen"),
        saying("it", verdict="modify", text="the smaller task"), Hook("end", "task_result", f"cat > {tmp_path}/end"), text="",
    )  # fmt: skip
    assert run.result(timeout=60) == "the smaller task"
    assert json.loads((tmp_path / "seen").read_text())["text"] == "the goal"
    assert json.loads((tmp_path / "end").read_text())["goal"] == "the goal", "what the run is for has not changed"


def test_a_message_that_waits_when_a_hook_blocks_is_refused_because_the_worker_has_ended(crew: Crew, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    hook = Hook("slow", "before_task_start", f"touch {begun}; sleep 1; exit 1", blocking=True)
    worker = WorkerSpec(call="tests.jobs:does_not_matter", hooks=(hook,))
    run = crew.run(Workflow("w", (Step("s", worker=worker),)), cwd="/")
    wait_until(begun.exists, "the hook")
    receipt = run.steer("my correction", wait="settled")
    assert (receipt.outcome, receipt.reason) == ("refused", "worker_ended")
    run.cancel()


def test_a_hook_that_hangs_has_its_time_and_is_killed_with_all_that_it_started(crew: Crew) -> None:
    seconds = unique_seconds()
    hook = Hook("slow", "before_task_start", f"sleep {seconds} & sleep {seconds}", timeout_seconds=0.3)
    run = run_with(crew, hook, shell="echo done")
    assert run.result(timeout=60) == "done"
    assert asked(run) == [("slow", "diagnostic", "it took longer than 0.3 s")]
    assert not sleepers(seconds)


@pytest.mark.parametrize("on", ["before_task_start", "task_result"])
def test_a_cancel_does_not_wait_for_a_hook(crew: Crew, tmp_path: Path, on: str) -> None:
    begun, seconds = tmp_path / "begun", unique_seconds()
    hook = Hook("slow", on, f"touch {begun}; sleep {seconds}", blocking=True, timeout_seconds=60)  # type: ignore[arg-type]
    run = run_with(crew, hook, shell="true")
    wait_until(begun.exists, "the hook")
    run.cancel(mode="now")
    shown = run.wait(timeout=50).run
    assert shown.status == "cancelled"
    assert not sleepers(seconds)


@pytest.mark.parametrize(
    ("hooks", "spec", "says"),
    [
        ((Hook("x", "task_result", "true", timeout_seconds=61),), {}, "timeout_seconds 61"),
        ((Hook("x", "task_result", "true", timeout_seconds=0),), {}, "timeout_seconds 0"),
        ((Hook("x", "task_result", " "),), {}, "no command"),
        ((Hook("x", "task_result", "a\0b"),), {}, "no command"),
        ((Hook("../x", "task_result", "true"),), {}, "not a name"),
        ((Hook("x", "task_result", "true"),) * 2, {}, "two hooks 'x'"),
        (tuple(Hook(f"x{number}", "task_result", "true") for number in range(17)), {}, "at most 16"),
        ((Hook("x", "task_result", "true"),), {"protocol": "crewd"}, "cannot have hooks"),
    ],
    ids=str,
)
def test_hooks_that_cannot_be_run_are_refused_at_the_door(
    crew: Crew, hooks: tuple[Hook, ...], spec: dict[str, str], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        crew.run(Workflow("w", (Step("s", worker=WorkerSpec(argv=("true",), hooks=hooks, **spec)),)), cwd="/")  # type: ignore[arg-type]
