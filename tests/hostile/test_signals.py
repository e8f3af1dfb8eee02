"""Signals that somebody sends to crewd's own processes, in a bad moment, and two of them at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from crewd.client.blocking import Crew
from crewd.guardian import marker
from crewd.model.statuses import RunStatus
from crewd.supervisor.poller import ZmqPoller
from crewd.supervisor.serve import hear_signals
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

pytestmark = pytest.mark.process


def test_a_signal_in_the_middle_of_a_turn_is_heard_after_it() -> None:
    """The code that handles a signal may need a lock that the turn holds."""
    poller, lock, heard, before = ZmqPoller(), threading.Lock(), list[int](), signal.getsignal(signal.SIGUSR2)

    def hear(number: int) -> None:
        with lock:
            heard.append(number)

    reading = hear_signals(poller, (signal.SIGUSR2,), hear)
    try:
        with lock:
            os.kill(os.getpid(), signal.SIGUSR2)
            assert heard == []
        poller.poll(60.0)
        assert heard == [signal.SIGUSR2]
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR2, before)
        poller.unregister(reading)
        os.close(reading)
        poller.close()


def helpers(daemon: Daemon) -> list[psutil.Process]:
    """The guardian, the zygote and what waits for work."""
    wait_until(daemon.guardian_pid, "a guardian")
    guardian = psutil.Process(daemon.guardian_pid())
    wait_until(guardian.children, "a zygote")
    return [guardian, *guardian.children(recursive=True)]


def test_a_cancel_while_the_guardian_stands_still_is_verified_later(daemon: Daemon, crew: Crew) -> None:
    run = crew.exec(["sleep", "1000"], cwd="/")
    wait_until(lambda: any(each.ready_at for each in run.show().attempts), "the worker")
    guardian = daemon.guardian_pid()
    os.kill(guardian, signal.SIGSTOP)
    try:
        run.begin_cancel(mode="now")
        assert run.show().run.ended_at is None, "nobody can have looked"
        assert crew.exec(["true"], cwd="/").show().run.status is not RunStatus.FAILED
    finally:
        os.kill(guardian, signal.SIGCONT)
    run.wait(timeout=120)
    assert run.show().run.status is RunStatus.CANCELLED
    assert not [pid for pid in daemon.marked() if run.id in (marker.read(pid) or "")]


def test_the_guardian_and_all_that_it_keeps_are_killed_at_once(daemon: Daemon, crew: Crew) -> None:
    run = crew.exec(["sleep", "1000"], cwd="/")
    wait_until(lambda: any(each.ready_at for each in run.show().attempts), "the worker")
    names = {"crewd-guardian", "crewd-zygote", "crewd-warm"}
    meant = [each for each in helpers(daemon) if each.name() in names]
    for each in meant:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGSTOP)
    for each in reversed(meant):
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGKILL)
    assert crew.exec(["echo", "fine"], cwd="/").result(timeout=120) == "fine"
    assert run.cancel(mode="now").verified


def test_a_second_crewd_of_the_same_home_leaves_the_first_alone(daemon: Daemon, crew: Crew) -> None:
    run = crew.exec(["cat"], cwd="/", stdin="lines")
    second = subprocess.run(
        [sys.executable, "-m", "crewd", "--home", str(daemon.home.root)],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert second.returncode == 69
    assert f"another crewd (pid {daemon.pid}) serves" in second.stderr
    assert "Traceback" not in second.stderr
    assert run.steer("still here", wait="applied", timeout=120).level in {"applied", "settled"}
    run.cancel(mode="now")


def test_crewd_is_told_to_stop_while_a_cancel_is_under_way(daemon: Daemon, crew: Crew) -> None:
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    run = crew.exec([sys.executable, "-S", "-c", code], cwd="/")
    wait_until(lambda: b"deaf" in crew.log(run.id).data, "the worker")
    run.begin_cancel(grace=0)
    daemon.stop()
    assert not daemon.marked()
    daemon.start()
    with daemon.connect() as again:
        assert again.get(run.id).show().run.status is RunStatus.CANCELLED
