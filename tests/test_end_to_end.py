"""The main promises, through the public socket, with real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from crewd.client.blocking import Crew, RunHandle
from crewd.model.errors import Conflict, DeadlineExceeded, NotFound, Refused, RunFailed
from crewd.model.receipts import Level, Outcome
from crewd.model.statuses import RunStatus, TaskStatus
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.waits import guardian_of, host_of, pid_of, ready

pytestmark = pytest.mark.process


def heard(daemon: Daemon, run: RunHandle) -> list[str]:
    path = daemon.home.attempt(f"{run.id}/listen", 1) / "heard"
    return path.read_text().splitlines() if path.exists() else []


def settled(crew: Crew, run: RunHandle) -> None:
    """The log folds to the rows, and exactly one terminal event stands for each thing."""
    report = crew.doctor(rebuild=True)
    assert report.counts["differences"] == 0, report.findings
    types = [event.type for event in run.events()]
    assert types.count("run.ended") == 1
    assert [each for each in types if not each.startswith("message.")][-1] == "run.ended"  # late messages are refused after it
    assert types.count("attempt.ended") == types.count("attempt.reserved")
    assert all(message.receipt.settled for message in run.messages())


def test_a_call_returns_its_result_and_a_spawned_one_too(crew: Crew, jobs_dir: str) -> None:
    assert crew.call("jobs:add", {"a": 2, "b": 3}, cwd=jobs_dir).result(timeout=120) == 5
    assert crew.call("jobs:add", {"a": 2, "b": 4}, cwd=jobs_dir, start="spawn").result(timeout=120) == 6


def test_a_failure_says_why_without_its_secrets(crew: Crew, jobs_dir: str) -> None:
    with pytest.raises(RunFailed, match=r"ValueError: it went wrong: api_key=\[redacted\]"):
        crew.call("jobs:fail", cwd=jobs_dir).result(timeout=120)
    with pytest.raises(RunFailed, match="exit code 7 and no result"):
        crew.call("jobs:leave", {"code": 7}, cwd=jobs_dir).result(timeout=120)
    with pytest.raises(RunFailed, match="exit code 3: oh no"):
        crew.exec(["sh", "-c", "echo oh no >&2; exit 3"]).result(timeout=120)
    with pytest.raises(RunFailed, match="ModuleNotFoundError"):
        crew.call("nowhere:nothing", cwd=jobs_dir).result(timeout=120)


@pytest.mark.usefixtures("daemon")
def test_steers_wait_for_a_worker_that_is_not_ready_and_come_in_order_before_follow_ups(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:listen", cwd=jobs_dir)
    later = run.follow_up("later")
    receipts = [run.steer(text, wait="accepted") for text in ("one", "two", "three", "stop")]
    assert run.result(timeout=120) == ["one", "two", "three", "stop", "follow_up:later"]
    for receipt in (later, *receipts):
        after = crew.receipt(receipt.id)
        assert (after.level, after.outcome) == (Level.SETTLED, Outcome.DONE)
        assert after.accepted_at <= (after.delivered_at or 0) <= (after.applied_at or 0) <= (after.settled_at or 0)
    settled(crew, run)


def test_an_async_worker_is_steered_and_cancelled(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:alisten", cwd=jobs_dir)
    assert run.steer("stop", wait="applied").reached(Level.APPLIED)
    assert run.result(timeout=120) == ["stop"]
    run = crew.call("jobs:alisten", cwd=jobs_dir)
    run.steer("hello", wait="applied")
    reply = run.cancel()
    assert reply is not None
    assert reply.verified


@pytest.mark.usefixtures("daemon")
def test_the_same_id_gives_the_same_receipt_and_other_content_is_a_conflict(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:listen", cwd=jobs_dir)
    key = crew.new_message_id()
    first = run.steer("once", id=key, wait="applied")
    assert run.steer("once", id=key, wait="accepted").accepted_at == first.accepted_at
    with pytest.raises(Conflict):
        run.steer("twice", id=key)
    run.steer("stop")
    assert run.result(timeout=120) == ["once", "stop"]
    assert crew.send("steer", run.id, "late").reason == "worker_ended"
    settled(crew, run)


def test_a_request_id_starts_one_run(crew: Crew, jobs_dir: str) -> None:
    first = crew.call("jobs:add", {"a": 1, "b": 1}, cwd=jobs_dir, request_id="once")
    assert crew.call("jobs:add", {"a": 1, "b": 1}, cwd=jobs_dir, request_id="once").id == first.id
    with pytest.raises(Conflict):
        crew.call("jobs:add", {"a": 1, "b": 2}, cwd=jobs_dir, request_id="once")


@pytest.mark.usefixtures("daemon")
def test_a_question_waits_is_answered_once_and_expires(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:ask", cwd=jobs_dir)
    crew.wait(f"{run.id}/ask", or_waiting=True, timeout=120)
    (question,) = crew.inbox()
    assert question.question == "which colour?"
    assert crew.respond(question.id, "blue", wait="settled").outcome is Outcome.DONE
    assert run.result(timeout=120) == "blue"
    again = crew.respond(question.id, "red")
    assert (again.outcome, again.reason) == (Outcome.REFUSED, "worker_ended")
    assert crew.inbox() == ()
    assert crew.call("jobs:ask", {"timeout": 0.05}, cwd=jobs_dir).result(timeout=120) is None
    settled(crew, run)


def test_a_command_takes_steers_as_lines_or_refuses_them_at_once(crew: Crew) -> None:
    run = crew.exec(["sh", "-c", "read a; read b; echo $b $a"], stdin="lines")
    run.steer("one", wait="settled")
    run.steer("two", wait="settled")
    assert run.result(timeout=120) == "two one"
    deaf = crew.exec(["sleep", "100"])
    ready(deaf)
    receipt = deaf.steer("hello", wait="accepted")
    assert (receipt.outcome, receipt.reason) == (Outcome.REFUSED, "not_supported")
    reply = deaf.cancel(mode="now")
    assert reply is not None
    assert (reply.status, reply.verified) == ("cancelled", True)


def test_a_cancel_lets_the_code_tidy_up_and_is_idempotent(crew: Crew, daemon: Daemon, jobs_dir: str) -> None:
    run = crew.call("jobs:tidy", cwd=jobs_dir)
    ready(run)
    for _ in range(2):
        reply = run.cancel(reason="leader_interrupted", intent="enough")
        assert reply is not None
        assert (reply.status, reply.verified) == ("cancelled", True)
    assert (daemon.home.attempt(f"{run.id}/tidy", 1) / "tidied").read_text() == "leader_interrupted"
    assert run.steer("late", wait="accepted").reason == "worker_ended"
    settled(crew, run)


def test_a_cancel_during_start_up_is_confirmed(crew: Crew, daemon: Daemon, jobs_dir: str) -> None:
    for _ in range(10):
        run = crew.call("jobs:listen", cwd=jobs_dir)
        reply = run.cancel(mode="now")
        assert reply is not None
        assert (reply.status, reply.verified) == ("cancelled", True)
        settled(crew, run)
    assert daemon.marked() == []


def test_a_stubborn_tree_is_ended_completely(crew: Crew, daemon: Daemon, jobs_dir: str) -> None:
    run = crew.call("jobs:stubborn", cwd=jobs_dir)
    wait_until(lambda: len(daemon.marked()) >= 5, "the whole tree to stand")
    reply = run.cancel(mode="now")
    assert reply is not None
    assert (reply.status, reply.verified, reply.survivors) == ("cancelled", True, ())
    assert daemon.marked() == []


@pytest.mark.usefixtures("daemon")
def test_open_operations_get_their_one_terminal_record(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:operate", cwd=jobs_dir)
    wait_until(lambda: run.show().operations, "the operation to open")
    run.cancel(mode="now")
    (operation,) = run.show().operations
    assert (operation.outcome, operation.synthetic, operation.reason) == ("cancelled", True, "caller_cancelled")
    settled(crew, run)


@pytest.mark.usefixtures("daemon")
def test_undelivered_messages_are_listed_by_the_terminal_event(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:operate", cwd=jobs_dir)
    wait_until(lambda: run.show().operations, "the operation to open")
    receipt = run.steer("nobody hears this", wait="accepted")
    with pytest.raises(DeadlineExceeded) as caught:
        run.steer("nor this", timeout=0.2, wait="applied")
    assert caught.value.values["level"] in {"accepted", "delivered"}
    run.cancel(mode="now")
    listed = {each.id for each in run.show().run.undelivered}
    assert receipt.id in listed
    assert len(listed) == 2
    settled(crew, run)


def test_a_daemon_that_is_stopped_while_its_guardian_starts_takes_it_along(home: Path) -> None:
    daemon = Daemon(home / "h").start()
    daemon.stop()
    assert daemon.guardian_pid() == 0


@pytest.mark.usefixtures("daemon")
def test_a_message_that_the_worker_has_and_has_not_taken_is_given_back(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:operate", cwd=jobs_dir)
    wait_until(lambda: run.show().operations, "the operation to open")
    receipt = run.steer("nobody takes this", wait="delivered")
    assert crew.withdraw(receipt.id).outcome is Outcome.WITHDRAWN
    late = crew.send("steer", run.id, "nor this", wait="delivered", deadline=0.3)
    wait_until(lambda: crew.receipt(late.id).settled, "the deadline")
    assert crew.receipt(late.id).outcome is Outcome.EXPIRED
    taken = crew.call("jobs:clutch", cwd=jobs_dir)
    applied = taken.steer("take it", wait="applied")
    with pytest.raises(Refused):
        crew.withdraw(applied.id)
    for each in (run, taken):
        each.cancel(mode="now")
        settled(crew, each)


@pytest.mark.usefixtures("daemon")
def test_a_message_expires_or_is_withdrawn_before_its_worker_exists(crew: Crew, tmp_path: Path) -> None:
    source = "## first\nrun: sleep 100\n\n## second\ncall: jobs:listen\ndependsOn: first\n"
    (tmp_path / "two.workflow.md").write_text(source)
    run = crew.run(str(tmp_path / "two.workflow.md"))
    held = run.steer("hold this", step="second", wait="accepted")
    assert held.level is Level.ACCEPTED
    assert crew.withdraw(held.id).outcome is Outcome.WITHDRAWN
    other = run.steer("and this", step="second", wait="accepted")
    run.cancel(mode="now")
    assert crew.receipt(other.id).outcome is Outcome.REFUSED
    settled(crew, run)


@pytest.mark.usefixtures("daemon")
def test_a_workflow_runs_as_a_graph_and_a_failure_skips_only_what_depends_on_it(crew: Crew, tmp_path: Path) -> None:
    source = """---
name: graph
---
## a
run: printf "from a, %s" {goal}
output: a.txt

## b
run: exit 9

## c
dependsOn: a
reads: a.txt
run: cat "$CREWD_OUTPUTS/a.txt"

## d
dependsOn: b, c
run: true

## e
dependsOn: d
run: true
"""
    (tmp_path / "graph.workflow.md").write_text(source)
    run = crew.run(str(tmp_path / "graph.workflow.md"), goal="it's; a $goal")
    end = run.wait(timeout=120)
    assert end.run.status is RunStatus.FAILED
    tasks = {task.step: task for task in run.show().tasks}
    assert tasks["a"].result == "from a, it's; a $goal"
    assert tasks["c"].result == tasks["a"].result
    assert tasks["b"].status is TaskStatus.FAILED
    assert (tasks["d"].status, tasks["d"].reason) == (TaskStatus.SKIPPED, "dependency_failed: b")
    assert (tasks["e"].status, tasks["e"].reason) == (TaskStatus.SKIPPED, "dependency_failed: d")
    settled(crew, run)


def test_twenty_workers_at_once(crew: Crew, daemon: Daemon, jobs_dir: str) -> None:
    runs = [crew.call("jobs:listen", cwd=jobs_dir) for _ in range(20)]
    for run in runs:
        run.steer("stop", wait="accepted")
    assert [run.result(timeout=120) for run in runs] == [["stop"]] * 20
    assert daemon.marked() == []


def test_kill_9_of_crewd_in_the_middle_loses_nothing_and_doubles_nothing(daemon: Daemon, jobs_dir: str) -> None:
    with daemon.connect() as crew:
        run = crew.call("jobs:listen", cwd=jobs_dir)
        run.steer("before", wait="applied")
        pid = pid_of(run)
        flying = run.steer("in flight", wait="accepted")
    daemon.kill()
    daemon.start()
    with daemon.connect() as crew:
        run = crew.get(run.id)
        run.steer("stop", wait="applied")
        assert run.result(timeout=120) == ["before", "in flight", "stop"]
        assert run.show().attempts[0].pid == pid
        assert crew.receipt(flying.id).outcome is Outcome.DONE
        assert heard(daemon, run) == ["before", "in flight", "stop"]
        settled(crew, run)


def test_a_worker_that_finishes_while_crewd_is_away_keeps_its_result(daemon: Daemon, jobs_dir: str) -> None:
    with daemon.connect() as crew:
        run = crew.call("jobs:listen", {"limit": 60}, cwd=jobs_dir)
        run.steer("before", wait="applied")
        quick = crew.exec(["sh", "-c", "sleep 0.5; echo finished"])
        ready(quick)
    daemon.kill()
    path = daemon.home.attempt(f"{quick.id}/sh", 1) / "stdout"
    wait_until(lambda: path.read_text() == "finished\n", "the command to finish")
    daemon.start()
    with daemon.connect() as crew:
        assert crew.get(quick.id).result(timeout=120) == "finished"
        assert crew.get(run.id).result(timeout=120) == ["before"]
        settled(crew, crew.get(quick.id))


def test_kill_9_of_the_guardian_leaves_the_workers_and_another_one_ends_them(daemon: Daemon, jobs_dir: str) -> None:
    with daemon.connect() as crew:
        run = crew.call("jobs:listen", cwd=jobs_dir)
        run.steer("before", wait="applied")
        other = crew.call("jobs:stubborn", cwd=jobs_dir)
        wait_until(lambda: len(daemon.marked()) >= 6, "the trees to stand")
        old = daemon.kill_guardian()
        wait_until(lambda: daemon.guardian_pid() not in {0, old}, "another guardian")
        reply = other.cancel(mode="now")
        assert reply is not None
        assert (reply.status, reply.verified) == ("cancelled", True)
        assert crew.call("jobs:add", {"a": 1, "b": 1}, cwd=jobs_dir).result(timeout=120) == 2
        run.steer("stop", wait="applied")
        assert run.result(timeout=120) == ["before", "stop"]
        settled(crew, run)


def kill_the_worker(pid: int | None) -> None:
    assert pid is not None
    psutil.Process(pid).kill()
    wait_until(lambda: not psutil.pid_exists(pid), "the worker's first process to be gone")


def test_work_that_was_finished_when_everything_was_killed_is_not_lost(daemon: Daemon, jobs_dir: str) -> None:
    with daemon.connect() as crew:
        run = crew.exec(["sh", "-c", "sleep 1; echo finished"])
        ready(run)
        pid = host_of(run)
    daemon.kill()
    daemon.kill_guardian()
    words = daemon.home.attempt(f"{run.id}/sh", 1) / "unsent_reports"
    wait_until(words.exists, "the unsent reports")
    kill_the_worker(pid)
    daemon.start()
    with daemon.connect() as crew:
        assert crew.get(run.id).result(timeout=120) == "finished"
        settled(crew, crew.get(run.id))


def test_an_order_that_no_guardian_has_carried_out_is_given_again(daemon: Daemon) -> None:
    with daemon.connect() as crew:
        wait_until(daemon.guardian_pid, "a guardian")
        guardian_of(daemon).suspend()
        run = crew.exec(["echo", "at last"], cwd="/")
        wait_until(lambda: [each for each in run.show().attempts if each.status == "starting"], "the order to be recorded")
    daemon.kill()
    daemon.kill_guardian()
    daemon.start()
    with daemon.connect() as crew:
        assert crew.get(run.id).result(timeout=120) == "at last"
        assert len(crew.show(run.id).attempts) == 1


def test_what_a_dead_worker_left_behind_is_ended_and_not_taken_for_the_worker(daemon: Daemon, jobs_dir: str) -> None:
    with daemon.connect() as crew:
        run = crew.call("jobs:stubborn", cwd=jobs_dir)
        wait_until(lambda: len(daemon.marked()) >= 5 and pid_of(run), "the whole tree to stand, and to be known")
        pid = pid_of(run)
    daemon.kill()
    daemon.kill_guardian()
    kill_the_worker(pid)
    assert len(daemon.marked()) >= 3
    daemon.start()
    with daemon.connect() as crew:
        assert crew.get(run.id).wait(timeout=120).run.status is RunStatus.FAILED
        assert daemon.marked() == []
        settled(crew, crew.get(run.id))


def test_kill_9_of_both_converges_after_a_restart(daemon: Daemon, jobs_dir: str) -> None:
    with daemon.connect() as crew:
        run = crew.call("jobs:listen", cwd=jobs_dir)
        run.steer("before", wait="applied")
        doomed = crew.call("jobs:listen", cwd=jobs_dir)
        doomed.steer("hello", wait="applied")
        crew.begin_cancel(doomed.id, grace=0.0)
    daemon.kill_guardian()
    daemon.kill()
    daemon.start()
    with daemon.connect() as crew:
        crew.get(run.id).steer("stop", wait="applied")
        assert crew.get(run.id).result(timeout=120) == ["before", "stop"]
        assert crew.get(doomed.id).wait(timeout=120).run.status is RunStatus.CANCELLED
        settled(crew, crew.get(run.id))


def test_a_second_daemon_refuses_and_the_first_goes_on(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    command = [sys.executable, "-m", "crewd", "--home", str(daemon.home.root)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert second.returncode == 69
    assert f"another crewd (pid {daemon.pid})" in second.stderr
    assert crew.call("jobs:add", {"a": 1, "b": 2}, cwd=jobs_dir).result(timeout=120) == 3


def test_a_flood_of_output_hurts_nobody_else(crew: Crew, jobs_dir: str) -> None:
    noisy = crew.call("jobs:flood", cwd=jobs_dir)
    wait_until(lambda: crew.log(f"{noisy.id}/flood").size > 1 << 20, "a megabyte of output")
    assert crew.call("jobs:add", {"a": 1, "b": 2}, cwd=jobs_dir).result(timeout=120) == 3
    reply = noisy.cancel(mode="now")
    assert reply is not None
    assert reply.verified


def test_a_subscription_is_a_snapshot_and_every_event_after_it(crew: Crew, daemon: Daemon, jobs_dir: str) -> None:
    run = crew.call("jobs:listen", cwd=jobs_dir)
    shown = run.show()
    with daemon.connect() as other:
        for number in range(30):
            other.send("steer", run.id, str(number))
        other.send("steer", run.id, "stop")
    seqs = [event.seq for event in run.events(after=shown.seq, follow=True)]
    assert seqs == [event.seq for event in run.events(after=shown.seq)]
    assert len(seqs) > 90


def test_selectors_and_unknown_things(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:add", {"a": 1, "b": 1}, cwd=jobs_dir, name="mine")
    assert crew.get("mine").id == crew.get(run.id[-6:]).id == run.id
    with pytest.raises(NotFound, match="no run is called"):
        crew.get("nobody")
    with pytest.raises(NotFound, match="has no step"):
        crew.cancel("mine/nothing")
    with pytest.raises(NotFound):
        crew.receipt("m_00000000000000000000000000")
    assert isinstance(crew.request(rq.Inbox()), rl.InboxReply)
