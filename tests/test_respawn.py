"""crewd, when nobody looks after it but the process that `crew daemon start` leaves: it comes back after an accident."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

import crewd
from crewd import respawn
from crewd.client.calls import SILENCE_SECONDS
from crewd.client.discover import silent_holder
from crewd.model.home import Home
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.shell import Shell
from tests.waits import command_of

CODE = (
    "import sys; from crewd import respawn; respawn.PAUSES = (0.0, 0.0, 0.0); "
    "sys.exit(respawn.main([sys.executable, '-c', sys.argv[1], *sys.argv[2:]]))"
)
WAITS = (
    "import sys; from crewd import respawn; respawn.PAUSES = (600.0,); "
    "sys.exit(respawn.main([sys.executable, '-c', 'import os; os.kill(os.getpid(), 9)']))"
)
"""It dies at once, and is started again only after a long while."""
COUNT = "open(sys.argv[1], 'a').write('x'); n = len(open(sys.argv[1]).read())"


def ran(tmp_path: Path, code: str) -> tuple[int, int, str]:
    """The exit code, how often it was started, and what was said."""
    command = [sys.executable, "-c", CODE, f"import os, sys; {COUNT}; {code}", str(tmp_path / "count")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, len((tmp_path / "count").read_text()), done.stderr


@pytest.mark.parametrize("code", [0, 2, 65, 69])
def test_an_end_that_is_meant_is_the_end(tmp_path: Path, code: int) -> None:
    assert ran(tmp_path, f"sys.exit({code})") == (code, 1, "")


def test_after_an_accident_it_is_started_again_and_given_up_at_last(tmp_path: Path) -> None:
    code, starts, said = ran(tmp_path, "os.abort() if n == 1 else sys.exit(70) if n == 2 else None")
    assert (code, starts) == (0, 3)
    assert "signal 6" in said
    assert "exit code 70" in said
    (tmp_path / "count").unlink()
    code, starts, said = ran(tmp_path, "os.kill(os.getpid(), 9)")
    assert (code, starts) == (70, 4)
    assert "given up" in said


def test_what_cannot_be_said_holds_up_no_start(tmp_path: Path) -> None:
    code = f"import os, sys; {COUNT}; os.abort() if n == 1 else None"
    with Path("/dev/full").open("wb", buffering=0) as full:
        command = [sys.executable, "-c", CODE, code, str(tmp_path / "count")]
        done = subprocess.run(command, stdout=full, stderr=full, timeout=120, check=False)
    assert (done.returncode, len((tmp_path / "count").read_text())) == (0, 2)


def test_pauses_grow_and_end() -> None:
    pauses = [respawn.pause_after(number) for number in range(1, len(respawn.PAUSES) + 1)]
    assert pauses == sorted(pauses, key=lambda pause: pause or 0.0)
    assert respawn.pause_after(len(respawn.PAUSES) + 1) is None
    assert max(respawn.PAUSES) < SILENCE_SECONDS, "a client waits for an answer longer than each pause lasts"


def start(root: Path) -> psutil.Process:
    """Start crewd as a client does that finds none; the process that looks after it."""
    code = "import sys, crewd; crewd.connect(sys.argv[1], start=True).close()"
    subprocess.run([sys.executable, "-c", code, str(root)], check=True, timeout=120)
    keeper = psutil.Process(int((root / "crewd.lock").read_text())).parent()
    assert keeper is not None
    assert "crewd.respawn" in keeper.cmdline()
    return keeper


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.process
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGABRT])
def test_crewd_comes_back_and_its_workers_have_not_noticed(home: Path, sent: signal.Signals) -> None:
    root = home / "h"
    keeper = start(root)
    with crewd.connect(str(root), start=False) as crew:
        run = crew.exec(["sleep", "1000"], cwd="/")
        pid = command_of(run, "sleep")
        daemon = int((root / "crewd.lock").read_text())
        os.kill(daemon, sent)
        wait_until(lambda: run.show().attempts[-1].pid == pid and (root / "crewd.lock").read_text(), "another crewd")
        assert int((root / "crewd.lock").read_text()) != daemon
        reply = run.cancel(mode="now")
        assert reply is not None
        assert reply.verified
        crew.stop_daemon()
    wait_until(lambda: has_ended(keeper), "both to end")
    assert "is started again" in (root / "logs" / "crewd.stderr").read_text()


@pytest.mark.process
def test_a_crewd_that_has_died_can_be_stopped_before_it_is_started_again(home: Path, tmp_path: Path) -> None:
    root = home / "h"
    command = [sys.executable, "-c", WAITS, "crewd.respawn", "--home", str(root)]
    shell = Shell(str(root), tmp_path)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as keeper:
        assert keeper.stderr is not None
        assert "is started again in" in keeper.stderr.readline()
        said = " ".join(shell.run("daemon", "status").stdout.split())
        assert f"is being started (by the process {keeper.pid})" in said
        assert "is not any more" in shell.ok("daemon", "stop")
        assert keeper.wait(60) == 0
    assert "no crewd serves" in shell.run("daemon", "status").stdout


@pytest.mark.process
def test_a_crewd_that_was_stopped_is_not_said_to_have_died_before(home: Path, tmp_path: Path) -> None:
    root = home / "h"
    keeper = start(root)
    os.kill(int((root / "crewd.lock").read_text()), signal.SIGKILL)
    shell = Shell(str(root), tmp_path)
    wait_until(lambda: shell.run("daemon", "status").returncode == 0, "another crewd")
    shell.ok("daemon", "stop")
    wait_until(lambda: has_ended(keeper), "the end")
    said = shell.fails(69, "ps")
    assert "crew daemon start" in said
    assert "has died" not in said


@pytest.mark.process
def test_a_signal_ends_both(home: Path) -> None:
    root = home / "h"
    keeper = start(root)
    daemon = psutil.Process(int((root / "crewd.lock").read_text()))
    keeper.terminate()
    wait_until(lambda: has_ended(daemon) and has_ended(keeper), "the end")


@pytest.mark.process
def test_a_crewd_that_does_not_answer_is_not_called_gone(daemon: Daemon, tmp_path: Path) -> None:
    shell = Shell(str(daemon.home.root), tmp_path)
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        for said in (shell.run("daemon", "status").stdout, shell.fails(69, "ps")):
            assert f"crewd (pid {daemon.pid}) serves" in said and "it is stopped" in said
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    assert f"(pid {daemon.pid})" in shell.ok("daemon", "status")


@pytest.mark.process
def test_a_stop_in_the_middle_of_which_crewd_is_killed_is_no_stop(home: Path, tmp_path: Path) -> None:
    root = home / "h"
    keeper = start(root)
    shell = Shell(str(root), tmp_path)
    with crewd.connect(str(root), start=False) as crew:
        run = crew.exec(["sh", "-c", "trap '' TERM; echo stays; while :; do sleep 1; done"], cwd="/")
        wait_until(lambda: b"stays" in crew.log(run.id).data, "the worker")
        pid = int((root / "crewd.lock").read_text())
        with ThreadPoolExecutor(1) as pool:
            stop = pool.submit(shell.fails, 69, "daemon", "stop", "--end", "--grace", "60")
            wait_until(lambda: crew.get(run.id) and run.show().run.cancel is not None, "the stop to be known")
            os.kill(pid, signal.SIGKILL)
            assert "serves again" in stop.result(120)
        crew.cancel(run.id, mode="now")
        crew.stop_daemon()
    wait_until(lambda: has_ended(keeper), "both to end")


@pytest.mark.process
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_who_follows_a_run_that_ends_with_crewd_knows_how_it_has_ended(
    daemon: Daemon, tmp_path: Path, form: tuple[str, ...]
) -> None:
    shell = Shell(str(daemon.home.root), tmp_path)
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        with daemon.connect() as crew:
            follows = pool.submit(
                shell.run, *form, "exec", "--name", "followed", "-f", "--", "sh", "-c", "echo said; sleep 1000"
            )
            wait_until(lambda: any(row.status == "running" for row in crew.runs().runs), "the run")
            wait_until(lambda: b"said" in crew.log("followed").data, "its output")
            crew.stop_daemon()
        wait_until(lambda: daemon.stopped, "crewd to stop")
        begun = time.monotonic()
        done = follows.result(120)
    assert done.returncode == 3, done
    assert "said" in done.stdout
    assert time.monotonic() - begun < SILENCE_SECONDS, "nobody waits for a crewd that has stopped"


def test_a_lock_with_the_pid_of_another_program_is_no_crewd(tmp_path: Path) -> None:
    root = tmp_path / "h"
    root.mkdir(mode=0o700)
    (root / "crewd.lock").write_text(str(os.getpid()))
    with (root / "crewd.lock").open():
        assert silent_holder(Home(root)) == os.getpid()
    begun = psutil.Process().create_time()
    os.utime(root / "crewd.lock", (begun - 100, begun - 100))  # of before the boot
    assert silent_holder(Home(root)) is None
    assert "no crewd serves" in Shell(str(root), tmp_path).prints(69, "daemon", "status")


def test_what_crewd_said_last_is_the_reason_of_one_that_does_not_answer(tmp_path: Path) -> None:
    root = tmp_path / "h"
    (root / "logs").mkdir(mode=0o700, parents=True)
    root.chmod(0o700)
    (root / "crewd.lock").write_text(str(os.getpid()))
    (root / "logs" / "crewd.stderr").write_text("crewd: starts\ntrace\ncrewd: store did not start: OSError('full')\nmore\n")
    with (root / "crewd.lock").open():
        said = " ".join(Shell(str(root), tmp_path).fails(69, "daemon", "stop").split())
        with (root / "logs" / "crewd.stderr").open("a") as log:
            log.write("crewd: serves again\n")
        assert "store did not start" not in Shell(str(root), tmp_path).fails(69, "daemon", "stop")
    assert "it says: store did not start: OSError('full'); 'crew daemon stop --end' ends it and its workers" in said


@pytest.mark.process
def test_a_crewd_that_does_not_answer_is_ended_if_that_is_asked_for(home: Path, tmp_path: Path) -> None:
    root = home / "h"
    keeper = start(root)
    daemon = psutil.Process(int((root / "crewd.lock").read_text()))
    keeper.suspend()
    daemon.suspend()
    shell = Shell(str(root), tmp_path)
    assert f"kill -CONT {daemon.pid}" in shell.fails(69, "daemon", "stop")
    assert "crewd did not answer, and has stopped" in shell.ok("daemon", "stop", "--end")
    assert has_ended(keeper)
    assert has_ended(daemon)


@pytest.mark.process
def test_a_stop_ends_what_would_start_crewd_again_also_if_that_is_stopped(home: Path, tmp_path: Path) -> None:
    root = home / "h"
    keeper = start(root)
    keeper.suspend()
    assert "crewd has stopped" in Shell(str(root), tmp_path).ok("daemon", "stop")
    assert has_ended(keeper)


@pytest.mark.process
@pytest.mark.parametrize(("limit", "said"), [("-n 32", "32 files open, and needs 64"), ("-f 100", "bytes, and needs 64 MiB")])
def test_a_limit_with_which_crewd_could_not_serve_is_refused_at_the_start(home: Path, limit: str, said: str) -> None:
    command = ["sh", "-c", f'ulimit {limit}; exec "$@"', "sh", sys.executable, "-m", "crewd", "--home", str(home / "h")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert f"ulimit {limit[:2]}" in done.stderr


@pytest.mark.process
def test_an_error_of_crewd_itself_is_the_last_that_it_says(home: Path) -> None:
    environment = {**os.environ, "TZ": "<+99>-99"}  # no zone that Python knows
    command = [sys.executable, "-m", "crewd", "--home", str(home / "h")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("crewd: an error of crewd itself: ValueError('offset")


@pytest.mark.process
def test_a_home_that_has_lost_its_secret_says_what_becomes_of_its_workers(home: Path) -> None:
    with Daemon(home / "h") as daemon:
        assert "a new one was made" not in daemon.log()
        daemon.kill()
        (daemon.home.root / "secret").unlink()
        daemon.start()
        assert "secret was missing, and a new one was made" in daemon.log()
