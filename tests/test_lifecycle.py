"""The life of a worker through the public socket, with real processes: limits, retries, services, families, stops."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import crewd
from crewd.client.blocking import Crew, RunHandle
from crewd.client.shapes import call_workflow, exec_workflow, one_step
from crewd.clock import SystemClock
from crewd.model.errors import Refused, RunFailed, UsageError
from crewd.model.policy import Limits, Restarts, Retry
from crewd.model.rows import AttemptRow
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.testing import Daemon
from crewd.testing.daemon import children_of, wait_until
from tests.waits import pid_of, ready

pytestmark = pytest.mark.process
HERE = str(Path(__file__).parent)
SLEEP = [sys.executable, "-c", "import time; time.sleep(1000)"]


def attempts(run: RunHandle) -> tuple[AttemptRow, ...]:
    return run.show().attempts


def types(run: RunHandle) -> list[str]:
    return [event.type for event in run.events()]


# -- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "args", "limits", "name"),
    [
        ("quiet", {}, Limits(task_seconds=0.5), "task_seconds"),
        ("quiet", {}, Limits(quiet_seconds=0.5), "quiet_seconds"),
        ("build", {"seconds": 0.5}, Limits(), "operation_seconds"),
        ("build", {"seconds": 0.0}, Limits(operation_seconds=0.5), "operation_seconds"),
        ("spend", {}, Limits(turns=5), "turns"),
        ("spend", {}, Limits(tokens=500), "tokens"),
        ("spend", {}, Limits(cost=0.05), "cost"),
        ("spend", {}, Limits(reports=5), "reports"),
        ("eat", {}, Limits(memory_bytes=256 << 20), "memory_bytes"),
        ("spin", {}, Limits(cpu_seconds=0.5), "cpu_seconds"),
    ],
)
def test_a_worker_that_reaches_a_limit_is_ended_and_says_which(
    crew: Crew, job: str, args: dict[str, object], limits: Limits, name: str
) -> None:
    run = crew.call(f"jobs:{job}", args, cwd=HERE, limits=limits)
    reply = crew.wait(run.id, timeout=120)
    assert reply.run.status == "failed"
    (attempt,) = attempts(run)
    assert (attempt.reason, attempt.exit.timed_out) == ("limit_exceeded", name)
    assert attempt.error.startswith(f"{name}:")
    if name in {"turns", "tokens", "cost"}:
        assert attempt.turns >= 5


def test_too_many_processes_are_a_limit_too(crew: Crew, daemon: Daemon) -> None:
    bomb = ["sh", "-c", "for i in $(seq 200); do sleep 1000 & done; wait"]
    run = crew.exec(bomb, cwd=HERE, limits=Limits(processes=20))
    assert crew.wait(run.id, timeout=120).run.status == "failed"
    assert attempts(run)[0].exit.timed_out == "processes"
    assert not daemon.marked()


def test_a_run_may_take_so_many_minutes(crew: Crew) -> None:
    spec = WorkerSpec(call="jobs:quiet")
    run = crew.run(
        Workflow("slow", (Step("a", worker=spec), Step("b", depends_on=("a",), worker=spec)), max_minutes=0.01), cwd=HERE
    )
    reply = crew.wait(run.id, timeout=120)
    assert (reply.run.status, reply.run.reason) == ("cancelled", "run_timeout")


def test_a_run_may_write_so_much_into_the_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", HERE)
    daemon = Daemon(home / "h")
    daemon.home.config.write_text("run_store_bytes = 300000\n")
    with daemon, daemon.connect() as crew:
        spec = WorkerSpec(call="jobs:scribble", restart=Restarts(policy="permanent", restarts_max=1, backoff_seconds=0.1))
        beside = crew.call("jobs:quiet", cwd=HERE)
        run = crew.run(
            Workflow("scribblers", (Step("a", worker=spec), Step("b", worker=WorkerSpec(call="jobs:quiet")))), cwd=HERE
        )
        wait_until(lambda: "task.parked" in types(run), "the scribbler to be parked")
        wait_until(lambda: all(each.ended_at for each in attempts(run)), "both to end")
        for attempt in attempts(run):
            assert attempt.exit.timed_out == "store_bytes"
            assert "300,000 are allowed (run_store_bytes)" in attempt.error
        assert {attempt.task.rpartition("/")[2] for attempt in attempts(run)} == {"a", "b"}
        assert run.show().bytes > 300_000
        with pytest.raises(Refused, match="bytes into the store"):
            run.message("one more")
        assert attempts(beside)[0].status == "running"


def test_places_are_bounded_and_the_runs_take_turns(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", HERE)
    daemon = Daemon(home / "h")
    daemon.home.config.write_text("workers_max = 2\n")
    with daemon, daemon.connect() as crew:
        steps = tuple(Step(f"s{n}", worker=WorkerSpec(argv=tuple(SLEEP))) for n in range(4))
        big = crew.run(Workflow("big", steps), cwd=HERE)
        wait_until(lambda: len([a for a in attempts(big) if a.ready_at]) == 2, "two workers")
        small = crew.exec(SLEEP, cwd=HERE)
        wait_until(lambda: len(attempts(big)) == 4 and attempts(small), "everybody to be reserved")
        assert attempts(small)[0].status == "reserved", "it waits for a place, and says so"
        assert len(daemon.marked()) <= 4, "two workers of two processes"
        first = next(a for a in attempts(big) if a.ready_at)
        crew.cancel(first.task, mode="now")
        crew.cancel(next(a for a in attempts(big) if a.ready_at and a.task != first.task).task, mode="now")
        wait_until(lambda: attempts(small)[0].ready_at, "the small run to have its turn before the rest of the big one")


def test_one_worker_runs_at_a_time_while_memory_is_short(home: Path) -> None:
    daemon = Daemon(home / "h")
    daemon.home.config.write_text(f"memory_reserve_bytes = {1 << 49}\n")
    with daemon, daemon.connect() as crew:
        first = crew.exec(SLEEP, cwd=HERE)
        wait_until(lambda: attempts(first)[0].ready_at, "the first worker, which starts whatever there is")
        second, third = crew.exec(["true"], cwd=HERE), crew.exec(["true"], cwd=HERE)
        wait_until(lambda: attempts(second) and attempts(third), "two reservations")
        first.message("crewd goes on meanwhile")
        assert {attempts(run)[0].status for run in (second, third)} == {"reserved"}, "they wait for memory"
        first.cancel(mode="now")
        assert [run.wait(timeout=60.0).run.status for run in (second, third)] == ["completed", "completed"]


def test_what_a_worker_uses_is_shown(crew: Crew) -> None:
    run = crew.call("jobs:listen", {"limit": 10**9}, cwd=HERE)
    wait_until(lambda: run.show().usage, "a measurement")
    (usage,) = run.show().usage
    assert usage.memory_bytes > 1 << 20
    assert usage.processes == 1
    run.cancel(mode="now")
    assert attempts(run)[0].exit.memory_peak_bytes > 1 << 20
    wait_until(lambda: not run.show().usage, "the measurement to go with the worker")


# -- surroundings ---------------------------------------------------------------------------------------------------


def test_a_worker_finds_what_its_spec_says_and_nothing_of_the_daemons_secrets(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", HERE)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("ALLOWED_KEY", "yes")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    with Daemon(home / "h") as daemon, daemon.connect() as crew:
        spec = WorkerSpec(
            call="jobs:surroundings", env={"MINE": "1"}, env_pass=("ALLOWED_KEY", "PYTHONPATH"), umask=0o027, nice=3,
            rlimits={"nofile": 64},
        )  # fmt: skip
        monkeypatch.chdir(tmp_path)
        found = crew.run(Workflow("w", (Step("w", worker=spec),)), cwd=HERE).result(timeout=120)
        assert isinstance(found, dict)
        environment = found["env"]
        assert (environment["MINE"], environment["ALLOWED_KEY"], environment["LC_ALL"]) == ("1", "yes", "C.UTF-8")
        assert "AWS_SECRET_ACCESS_KEY" not in environment
        assert (found["umask"], found["nofile"], found["cwd"]) == (0o027, 64, HERE)
        assert found["nice"] == os.nice(0) + 3
        with pytest.raises(UsageError, match="no directory"):
            crew.exec(["true"], cwd=str(tmp_path / "gone"))
        (tmp_path / "goes").mkdir()
        run = crew.run(one_step("late", WorkerSpec(argv=("true",), restart=Restarts("permanent"))), cwd=str(tmp_path / "goes"))
        (tmp_path / "goes").rmdir()
        wait_until(lambda: any(each.reason == "spawn_failed" for each in attempts(run)), "a start without a directory")
        assert any("goes is not there" in each.error for each in attempts(run))
        run.cancel(mode="now")


def test_a_living_worker_holds_its_lock(crew: Crew, daemon: Daemon) -> None:
    import fcntl

    run = crew.call("jobs:listen", {"limit": 10**9}, cwd=HERE)
    attempt = ready(run)
    path = Path(attempt.directory).parent / "lock"
    with path.open("r+") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        run.cancel(mode="now")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with path.open("r+") as lock:  # somebody else holds it: there is no second incarnation
        fcntl.flock(lock, fcntl.LOCK_EX)
        crew.resume(run.id)
        assert crew.wait(run.id, timeout=120).run.status == "failed"
    assert attempts(run)[-1].reason == "spawn_failed"
    assert "holds the lock" in attempts(run)[-1].error


# -- the end --------------------------------------------------------------------------------------------------------


def test_the_exit_says_how_it_was(crew: Crew) -> None:
    stubborn = crew.call("jobs:stubborn", cwd=HERE)
    ready(stubborn)
    stubborn.cancel(grace=0.1)
    exit_ = attempts(stubborn)[0].exit
    assert (exit_.cancelled, exit_.killed, exit_.signal, exit_.timed_out) == (True, True, signal.SIGKILL, "")
    assert exit_.drain_seconds >= 3.0, "it had its time after TERM"
    gentle = crew.call("jobs:quiet", cwd=HERE)
    ready(gentle)
    gentle.cancel()
    exit_ = attempts(gentle)[0].exit
    assert (exit_.cancelled, exit_.killed, exit_.code) == (True, False, 3)
    command = crew.exec(["sh", "-c", "exit 7"], cwd=HERE)
    crew.wait(command.id)
    assert attempts(command)[0].exit.code == 7, "what the command itself exited with"


def test_a_command_that_reads_its_input_ends_with_it(crew: Crew) -> None:
    run = crew.exec(["sh", "-c", "trap '' TERM; cat > /dev/null; echo the input is over"], stdin="lines", cwd=HERE)
    ready(run)
    run.cancel()
    assert not attempts(run)[0].exit.killed, "it was asked in the way that it understands"
    assert b"the input is over" in crew.log(run.id).data


def test_a_worker_that_has_said_all_is_helped_to_go(crew: Crew) -> None:
    run = crew.call("jobs:linger", {"seconds": 1000.0}, cwd=HERE, start="spawn")
    assert run.result(timeout=120) == "done"
    (attempt,) = attempts(run)
    assert attempt.status == "completed", "to be ended then is no failure"
    assert attempt.exit.killed or attempt.exit.signal == signal.SIGTERM


# -- output ---------------------------------------------------------------------------------------------------------


def test_a_flood_without_a_newline_is_kept_in_part_and_followed_without_loss_or_repeat(crew: Crew, daemon: Daemon) -> None:
    kept = 2 << 20
    run = crew.call("jobs:pour", {"megabytes": 20}, cwd=HERE, limits=Limits(output_bytes=kept))
    run.result(timeout=120)
    reply = crew.log(run.id, offset=-10)
    assert (reply.size, reply.data) == (20 << 20, bytes([19]) * 10)
    offset, seen = 0, 0
    while (reply := crew.log(run.id, offset=offset)).data:
        assert reply.offset >= offset
        for index in (0, len(reply.data) - 1):
            assert reply.data[index] == ((reply.offset + index) >> 20) % 256, "a byte is where it was written"
        seen += len(reply.data)
        offset = reply.next
    assert offset == 20 << 20
    assert psutil.Process(daemon.pid).memory_info().rss < 200 << 20
    for name in ("stdout", "stderr"):
        (Path(attempts(run)[0].directory) / name).unlink()
    assert len(crew.log(run.id, offset=0).data) == 65_536, "the end stays when the files are gone"


def test_logs_follow_a_worker_through_its_attempts(crew: Crew, daemon: Daemon) -> None:
    waits = "while [ ! -e go ]; do sleep 0.05; done"
    line = f"echo try $(cat n 2>/dev/null | wc -l); {waits}; echo x >> n; test $(cat n | wc -l) -ge 3"
    folder = daemon.home.root / "work"
    folder.mkdir()
    run = crew.exec(["sh", "-c", line], cwd=str(folder), retry=Retry(attempts=3, backoff_seconds=0.3))
    program = str(Path(sys.executable).parent / "crew")
    with subprocess.Popen(
        [program, "--home", str(daemon.home.root), "logs", "-f", run.id], stdout=subprocess.PIPE, text=True
    ) as shown:
        assert shown.stdout is not None
        assert shown.stdout.readline() == "try 0\n"
        (folder / "go").touch()
        assert shown.communicate(timeout=120)[0] == "try 1\ntry 2\n"
    assert crew.log(run.id, epoch=2).data == b"try 1\n"


# -- retries and services -------------------------------------------------------------------------------------------


def test_a_task_is_tried_again_and_goes_on_where_it_was(crew: Crew) -> None:
    run = crew.call("jobs:count", {"until": 3}, cwd=HERE, retry=Retry(attempts=5, backoff_seconds=0.05))
    assert run.result(timeout=120) == [1, 2, 3]
    shown = run.show()
    assert [a.status for a in shown.attempts] == ["failed", "failed", "completed"]
    assert len({a.directory for a in shown.attempts}) == 3
    assert types(run).count("task.retrying") == 2


def test_an_empty_checkpoint_is_one_too(crew: Crew) -> None:
    run = crew.call("jobs:empty", cwd=HERE, retry=Retry(attempts=4, backoff_seconds=0.05))
    assert run.result(timeout=120) == [None, [1], []]


def test_the_hopeless_is_not_tried_again(crew: Crew) -> None:
    retry = Retry(attempts=5, backoff_seconds=0.05)
    runs = [
        crew.call("jobs:hopeless", cwd=HERE, retry=retry),
        crew.exec(["sh", "-c", "exit 78"], cwd=HERE, retry=retry),
        crew.exec(["/nonexistent"], cwd=HERE, retry=retry),
        crew.exec(["sh", "-c", "echo '401 Unauthorized' >&2; exit 1"], cwd=HERE, retry=retry),
    ]
    for run in runs:
        assert crew.wait(run.id, timeout=120).run.status == "failed"
        assert len(attempts(run)) == 1


def test_a_cancel_in_the_back_off_keeps_its_reason(crew: Crew) -> None:
    run = crew.call("jobs:falter", {"tries": 9}, cwd=HERE, retry=Retry(attempts=9, backoff_seconds=60.0))
    wait_until(lambda: run.show().tasks[0].status == "backoff", "the back-off")
    reply = run.cancel(reason="leader_interrupted")
    assert reply is not None
    assert (reply.status, reply.verified) == ("cancelled", True)
    assert run.show().tasks[0].reason == "leader_interrupted"
    assert len(attempts(run)) == 1


@pytest.mark.usefixtures("daemon")
def test_a_dead_letter_is_listed_requeued_and_dismissed(crew: Crew) -> None:
    run = crew.call("jobs:falter", {"tries": 1}, cwd=HERE)
    with pytest.raises(RunFailed):
        run.result(timeout=120)
    (letter,) = crew.dead().tasks
    assert (letter.run, letter.epoch) == (run.id, 1)
    assert [notice.kind for notice in crew.notices()] == ["dead_letter"]
    assert crew.retry(run.id).id == run.id
    assert run.result(timeout=120) == 2
    assert (crew.dead().tasks, crew.notices()) == ((), ())
    again = crew.call("jobs:falter", {"tries": 9}, cwd=HERE)
    crew.wait(again.id, timeout=120)
    crew.dismiss(again.id)
    assert (crew.dead().tasks, crew.notices()) == ((), ())
    with pytest.raises(Refused, match="nothing here has failed"):
        crew.retry(run.id)
    assert crew.doctor(rebuild=True).counts["differences"] == 0


def test_resuming_three_times_repeats_nothing(crew: Crew) -> None:
    steps = (
        Step("first", worker=WorkerSpec(call="jobs:count", args={"until": 1})),
        Step("second", depends_on=("first",), worker=WorkerSpec(call="jobs:quiet")),
    )
    run = crew.run(Workflow("two", steps), cwd=HERE)
    wait_until(lambda: run.show().tasks[1].status == "running", "the second step")
    run.cancel()
    crew.resume(run.id)
    with pytest.raises(Refused, match="nothing changed"):
        crew.resume(run.id)
    wait_until(lambda: attempts(run)[-1].epoch == 2 and attempts(run)[-1].ready_at, "the second step again")
    with pytest.raises(Refused, match="nothing changed"):
        crew.resume(run.id)
    shown = run.show()
    assert [(a.task.partition("/")[2], a.epoch) for a in shown.attempts] == [("first", 1), ("second", 1), ("second", 2)]
    assert [a.name for a in shown.artifacts] == ["progress.txt"]
    run.cancel()


@pytest.mark.usefixtures("daemon")
def test_a_service_is_started_again_until_it_is_parked(crew: Crew) -> None:
    restarts = Restarts(policy="transient", restarts_max=2, backoff_seconds=0.05)
    run = crew.exec(["sh", "-c", "exit 1"], cwd=HERE, restart=restarts)
    wait_until(lambda: run.show().tasks[0].status == "parked", "it to be parked")
    assert len(attempts(run)) == 3
    assert [notice.kind for notice in crew.notices()] == ["parked"]
    crew.retry(run.id)
    wait_until(lambda: len(attempts(run)) == 6 and run.show().tasks[0].status == "parked", "it to be parked again")
    run.cancel()
    assert crew.notices() == ()


def test_a_restart_policy_survives_every_kill(daemon: Daemon) -> None:
    with daemon.connect() as crew:
        run = crew.exec(SLEEP, cwd=HERE, restart=Restarts(policy="permanent", backoff_seconds=0.05))
        ready(run)
        first = pid_of(run)
        daemon.kill()
        os.kill(first, signal.SIGKILL)
        daemon.start()
        wait_until(lambda: attempts(run)[-1].epoch == 2 and attempts(run)[-1].ready_at, "the second incarnation")
        daemon.kill_guardian()
        os.kill(pid_of(run), signal.SIGKILL)
        wait_until(lambda: attempts(run)[-1].epoch == 3 and attempts(run)[-1].ready_at, "the third incarnation")
        run.cancel(mode="now")
        assert not daemon.marked()


# -- liveness -------------------------------------------------------------------------------------------------------


def test_silence_is_told_and_a_stopped_process_is_ended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", HERE)
    daemon = Daemon(home / "h")
    daemon.home.config.write_text("heartbeat_seconds = 0.3\nliveness_seconds = [1.0, 2.0, 6.0]\n")
    with daemon, daemon.connect() as crew:
        hung = crew.call("jobs:quiet", cwd=HERE)
        wait_until(lambda: [n.kind for n in crew.notices()] == ["needs_attention"], "the notice")
        wait_until(lambda: attempts(hung)[0].liveness == "stale", "the worker to be stale: its process lives, it is not dead")
        command = crew.exec(SLEEP, cwd=HERE)
        stopped = crew.call("jobs:listen", {"limit": 10**9}, cwd=HERE)
        ready(stopped)
        os.kill(pid_of(stopped), signal.SIGSTOP)
        assert crew.wait(stopped.id, timeout=120).run.status == "failed"
        assert attempts(stopped)[0].reason == "unresponsive"
        assert attempts(hung)[0].status == "running"
        wait_until(lambda: attempts(command)[0].liveness == "healthy", "the command, which may be silent, to be healthy")
        assert attempts(command)[0].status == "running"
        hung.cancel(mode="now")
        assert [n.kind for n in crew.notices()] == ["dead_letter"], "of the stopped one; what was over is closed"


# -- workers that start workers -------------------------------------------------------------------------------------


def child_of(crew: Crew, run: RunHandle) -> RunHandle:
    wait_until(lambda: any(p.note.startswith("r_") for p in run.show().progress), "the worker to start one of its own")
    return crew.get(run.show().progress[0].note)


@pytest.mark.parametrize("ends", ["cancelled", "killed", "crewd killed meanwhile"])
def test_a_worker_takes_its_workers_along(daemon: Daemon, ends: str) -> None:
    with daemon.connect() as crew:
        run = crew.call("jobs:lead", cwd=HERE)
        child = child_of(crew, run)
        ready(child)
        row = child.show().run
        assert (row.parent, row.depth) == (f"{run.id}/lead#1", 1)
        match ends:
            case "cancelled":
                run.cancel()
            case "killed":
                os.kill(pid_of(run), signal.SIGKILL)
            case _:
                daemon.kill()
                os.kill(attempts_pid(daemon, run.id), signal.SIGKILL)
                daemon.start()
        reply = crew.wait(child.id, timeout=120)
        assert (reply.run.status, reply.run.reason) == ("cancelled", "parent_ended")
        wait_until(lambda: not daemon.marked(), "every process to be gone")


def attempts_pid(daemon: Daemon, run: str) -> int:
    """The pid of the run's own worker, found without crewd."""
    from crewd.guardian import marker

    (pid,) = [pid for pid in daemon.marked() if run in (marker.read(pid) or "")]
    return pid


def test_a_child_that_somebody_resumes_outlives_its_parent_and_a_restart(daemon: Daemon) -> None:
    with daemon.connect() as crew:
        run = crew.call("jobs:lead", cwd=HERE)
        child = child_of(crew, run)
        run.cancel()
        crew.wait(child.id, timeout=120)
        crew.resume(child.id)
        ready(child)
        daemon.kill()
        daemon.start()
        child.steer("still here", wait="settled")
        assert child.show().run.status == "running"
        child.cancel(mode="now")


@pytest.mark.usefixtures("daemon")
def test_one_that_is_to_be_kept_is_kept(crew: Crew) -> None:
    run = crew.call("jobs:lead", {"keep": True}, cwd=HERE)
    child = child_of(crew, run)
    run.cancel()
    assert child.show().run.status == "running"
    child.cancel(mode="now")


def test_workers_start_workers_so_deep_and_no_deeper(crew: Crew) -> None:
    said = str(crew.call("jobs:lead_deep", {"depth": 0}, cwd=HERE).result(timeout=120))
    assert said.startswith("2: workers may be nested 2 deep")
    request = rq.StartRun(workflow=call_workflow("jobs:add", {}), cwd=HERE, parent="r_gone/x#1")
    assert isinstance(crew.request(request), rl.ErrorReply), "nothing starts below what has ended"


# -- stops ----------------------------------------------------------------------------------------------------------


def test_an_upgrade_keeps_the_workers_and_loses_nothing(daemon: Daemon) -> None:
    with daemon.connect() as crew:
        run = crew.call("jobs:listen", {"limit": 10**9}, cwd=HERE)
        pid = pid_of(run)
        run.steer("before", wait="settled")
        crew.stop_daemon(mode="keep")
    wait_until(lambda: daemon.stopped, "crewd to stop")
    assert psutil.pid_exists(pid or 0), "its worker goes on"
    daemon.start()
    with daemon.connect() as crew:
        run = crew.get(run.id)
        run.steer("after", wait="settled")
        run.steer("stop")
        assert run.result(timeout=120) == ["before", "after", "stop"]
        (attempt,) = attempts(run)
        assert attempt.pid == pid


def test_a_drain_takes_no_new_work_and_waits(daemon: Daemon) -> None:
    with daemon.connect() as crew:
        run = crew.call("jobs:listen", {"limit": 10**9}, cwd=HERE, request_id="once")
        ready(run)
        crew.stop_daemon(mode="drain")
        again = crew.call("jobs:listen", {"limit": 10**9}, cwd=HERE, request_id="once")
        assert again.id == run.id, "what was admitted before is no new work"
        with pytest.raises(crewd.CrewdError, match="draining"):
            crew.call("jobs:add", {"a": 1, "b": 2}, cwd=HERE)
        run.steer("stop", wait="applied")
    wait_until(lambda: daemon.stopped, "crewd to stop when its last run has ended")
    daemon.start()
    with daemon.connect() as crew:
        assert crew.get(run.id).result() == ["stop"]


def test_a_second_signal_waits_for_nobody(daemon: Daemon) -> None:
    with daemon.connect() as crew:
        run = crew.call("jobs:stubborn", cwd=HERE)
        ready(run)
    os.kill(daemon.pid, signal.SIGTERM)
    wait_until(lambda: "stopping (end)" in daemon.log(), "the first signal to be heard")
    os.kill(daemon.pid, signal.SIGTERM)
    wait_until(lambda: daemon.stopped, "crewd to stop")
    assert not daemon.marked()
    daemon.start()
    with daemon.connect() as crew:
        exit_ = attempts(crew.get(run.id))[0].exit
        assert exit_.killed
        assert exit_.drain_seconds < 6.0, "not the grace of three seconds and the three after TERM"


@pytest.fixture
def manager(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a service manager that wants to see a sign of life five times a second."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(home / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(home / "notify"))
        listening.settimeout(1)
        yield listening


def test_the_service_manager_hears_when_crewd_is_ready_alive_and_stopping(home: Path, manager: socket.socket) -> None:
    said: list[str] = []
    over = threading.Event()

    def listen() -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                said.append(manager.recv(4096).decode())

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        with Daemon(home / "h"):
            wait_until(lambda: any(each.startswith("READY=1") for each in said), "READY=1")
            wait_until(lambda: said.count("WATCHDOG=1") >= 2, "signs of life")
        wait_until(lambda: "STOPPING=1" in said, "STOPPING=1")
    finally:
        over.set()
        thread.join()


def test_a_service_manager_that_reads_nothing_holds_up_nobody(home: Path, manager: socket.socket) -> None:
    with Daemon(home / "h") as daemon, daemon.connect() as crew:
        full = SystemClock().monotonic() + 3.0  # more signs of life than the socket holds
        wait_until(lambda: crew.runs() and SystemClock().monotonic() > full, "time to pass")
    assert daemon.stopped and manager.recv(4096)


def test_as_pid_one_crewd_leaves_no_zombie(home: Path) -> None:
    program = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-m", "crewd", "--home", str(home)]
    home.chmod(0o700)
    if subprocess.run([*program[:5], "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no namespaces here")
    package = str(Path(crewd.__file__).parent.parent)
    process = subprocess.Popen(program, env={**os.environ, "PYTHONPATH": f"{package}:{HERE}"}, stderr=subprocess.DEVNULL)
    try:
        wait_until((home / "run" / "clients.sock").exists, "crewd")
        with crewd.connect(str(home), start=False) as crew:
            run = crew.run(exec_workflow(["sh", "-c", "setsid sleep 1000 & sleep 1000"]), cwd=HERE)
            ready(run)
            inner = psutil.Process(process.pid).children()[0]

            def guardians() -> list[psutil.Process]:
                return [child for child, name, status in children_of(inner) if name == "crewd-guardian" and status != "zombie"]

            wait_until(guardians, "the guardian")
            for child in guardians():
                child.kill()  # what it looked after is left to pid 1
            wait_until(lambda: run.show() and guardians(), "another guardian")
            reply = run.cancel(mode="now")
            assert reply is not None
            assert reply.verified

            def strangers() -> list[str]:
                return [name for _, name, status in children_of(inner) if status == "zombie" and name != "crewd-guardian"]

            wait_until(lambda: not strangers(), "pid 1 to take leave of everybody")
            crew.stop_daemon()
        wait_until(lambda: process.poll() is not None, "the container to end")
    finally:
        process.kill()
        process.wait()


# -- the doctor -----------------------------------------------------------------------------------------------------


def test_the_doctor_finds_what_nobody_owns_and_tries_everything_out(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    wait_until(lambda: "guardian_pid" in crew.doctor().counts, "the guardian")
    healthy = crew.doctor()
    assert healthy.healthy, healthy.findings
    assert {"guardian_pid", "orphans", "disk_free_mib", "pid_max", "open_files_max", "database_mib"} <= healthy.counts.keys()
    lost = subprocess.Popen(SLEEP, env={**os.environ, "CREWD_WORKER": f"{daemon.home.key}:r_x/gone#1"})
    try:
        wait_until(lambda: lost.pid in daemon.marked(), "its marker")
        wait_until(lambda: not crew.doctor().healthy, "the guardian to look again")
        found = crew.doctor()
        assert not found.healthy
        assert any(f"kill -9 {lost.pid}" in finding for finding in found.findings)
    finally:
        lost.kill()
        lost.wait()
    daemon.home.logs.rename(daemon.home.root / "elsewhere")
    assert any("the home is damaged" in finding for finding in crew.doctor().findings)
    (daemon.home.root / "elsewhere").rename(daemon.home.logs)
    daemon.home.root.chmod(0o755)
    assert any("chmod 700" in finding for finding in crew.doctor().findings)
    daemon.home.root.chmod(0o700)


def test_a_stop_ends_what_was_started_just_before_it(home: Path) -> None:
    for number in range(4):
        with Daemon(home / f"h{number}") as daemon, daemon.connect() as crew:
            for _ in range(number + 1):
                crew.exec(SLEEP, cwd=HERE)
            daemon.stop()
            assert not daemon.marked(), "everything that lived has ended with it"
