"""A guardian, or the process that it forks workers from, is stopped: it is told of within seconds, and replaced."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from crewd.client.blocking import Crew
from crewd.model.errors import DeadlineExceeded, Unavailable
from crewd.model.events import GuardianLost
from crewd.protocol import requests as rq
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.guardian.test_zygote import zygote
from tests.shell import Shell
from tests.waits import command_of, guardian_of, pid_of

pytestmark = pytest.mark.process


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGCONT)


def says(crew: Crew, text: str) -> bool:
    found = crew.doctor()
    return not found.healthy and any(text in finding for finding in found.findings)


def test_a_stopped_guardian_is_told_of_and_goes_on_when_it_is_continued(daemon: Daemon, crew: Crew) -> None:
    run = crew.exec(["sleep", "1000"], cwd="/")
    pid_of(run)
    guardian = guardian_of(daemon).pid
    with stopped(guardian):
        wait_until(lambda: says(crew, f"the guardian (pid {guardian}) has not answered"), "the doctor to notice", 10.0)
        with pytest.raises(DeadlineExceeded, match="not verified yet") as caught:
            run.cancel(mode="now", timeout=0.5)
        assert f"kill -CONT {guardian}" in caught.value.hint
    assert run.cancel(mode="now").verified
    wait_until(lambda: crew.doctor().healthy, "health")
    assert guardian_of(daemon).pid == guardian


def test_whoever_reads_output_while_the_guardian_is_stopped_holds_up_nobody_else(daemon: Daemon, crew: Crew) -> None:
    run = crew.exec(["sh", "-c", "echo ready; sleep 1000"], cwd="/")
    wait_until(lambda: crew.log(run.id).data == b"ready\n", "its output")
    with stopped(guardian_of(daemon).pid), daemon.connect() as other:
        with pytest.raises((Unavailable, DeadlineExceeded)):
            other.request(rq.ReadLog(task=run.id), 2.0)
        assert crew.runs().runs and crew.show(run.id).attempts
    wait_until(lambda: crew.log(run.id).data == b"ready\n", "its output again")


def test_a_guardian_that_stays_stopped_is_replaced(daemon: Daemon, crew: Crew) -> None:
    run = crew.exec(["sleep", "1000"], cwd="/")
    other = crew.exec(["sleep", "1000"], cwd="/")
    worker = pid_of(run)
    pid_of(other)
    guardian = guardian_of(daemon).pid
    os.kill(guardian, signal.SIGSTOP)
    said = Shell(str(daemon.home.root), daemon.home.root).run("cancel", run.id, "--now", "--timeout", "60")
    assert said.returncode == 0, said.stderr
    assert "verified" in said.stdout
    assert "waiting: the guardian" in said.stderr
    assert not psutil.pid_exists(worker)
    wait_until(lambda: guardian_of(daemon).pid != guardian, "another guardian")
    assert not other.show().run.ended_at
    (lost,) = [event.body for event in crew.events() if isinstance(event.body, GuardianLost)]
    assert "not answered" in lost.why
    assert crew.exec(["true"], cwd="/").wait(timeout=120).run.status == "completed"


def test_a_stopped_zygote_is_told_of_and_replaced(daemon: Daemon, crew: Crew) -> None:
    before = crew.exec(["sleep", "1000"], cwd="/")
    worker = command_of(before, "sleep")
    first = zygote(daemon).pid
    os.kill(first, signal.SIGSTOP)
    run = crew.exec(["true"], cwd="/")
    wait_until(lambda: says(crew, f"(pid {first}) has not answered"), "the doctor to notice", 10.0)
    assert run.wait(timeout=120).run.status == "completed"
    assert zygote(daemon).pid != first
    assert pid_of(before) == worker
    wait_until(lambda: crew.doctor().healthy, "health")
    assert before.cancel(mode="now").verified
