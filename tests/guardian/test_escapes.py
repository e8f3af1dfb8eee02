"""Ways out of the guardian's nets that were open once."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from crewd.client.blocking import Crew, RunHandle
from crewd.client.shapes import call_workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.users import launcher, ways
from tests.waits import guardian_of, pid_of, ready

pytestmark = pytest.mark.process

TESTS = str(Path(__file__).resolve().parents[1])
SECONDS = itertools.count(2_000_000_000 + os.getpid() * 1_000)
SOON = 5.0
CHAIN_SECONDS = 100.0
"""After this a chain that nobody ends is over by itself."""


@pytest.fixture(params=ways(), ids=", ".join)
def daemon(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """With cgroups where the machine has them; the other nets must hold alone."""
    monkeypatch.setenv("PYTHONPATH", TESTS)
    user, cgroups = request.param
    running = Daemon(home / "h", launcher=launcher(user))
    running.home.config.write_text(f"cgroups = {'true' if cgroups == 'with cgroups' else 'false'}\n")
    with running:
        yield running


def verified(run: RunHandle) -> None:
    reply = run.cancel(mode="now")
    assert reply is not None
    assert (reply.status, reply.verified) == ("cancelled", True)


@contextlib.contextmanager
def orphan(daemon: Daemon, seconds: int) -> Iterator[psutil.Process]:
    """The sleep that has become the guardian's child. Ended at the end by pid: what gets away from crewd must not stay."""
    found: list[psutil.Process] = []

    def stands() -> bool:
        with contextlib.suppress(psutil.Error):
            children = guardian_of(daemon).children()
            found[:] = [each for each in children if each.cmdline() == ["sleep", str(seconds)]]
        return bool(found)

    wait_until(stands, "the orphan")
    try:
        yield found[0]
    finally:
        with contextlib.suppress(psutil.Error):
            found[0].kill()


def lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_a_stray_is_ended_when_no_worker_is_left(crew: Crew, daemon: Daemon) -> None:
    seconds = next(SECONDS)
    run = crew.call("trees:stray", {"seconds": seconds}, cwd=TESTS)
    with orphan(daemon, seconds) as process:
        verified(run)
        wait_until(lambda: not lives(process), "the stray to end")


def test_a_marker_counts_behind_a_variable_that_mentions_it(crew: Crew, daemon: Daemon) -> None:
    seconds = next(SECONDS)
    run = crew.call("trees:quoting", {"seconds": seconds}, cwd=TESTS)
    with orphan(daemon, seconds) as process:
        verified(run)
        assert not lives(process)


def test_a_chain_of_short_lives_is_ended_too(crew: Crew, daemon: Daemon) -> None:
    run = crew.call("trees:hop", {"seconds": SOON}, cwd=TESTS)
    ready(run)
    wait_until(daemon.marked, "the chain")
    verified(run)
    assert not any(daemon.marked() for _ in range(30))


def hidden(daemon: Daemon, seconds: int) -> psutil.Process | None:
    """The process that bears this number in its command line, wherever it hangs."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(seconds) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                return process
    return None


@pytest.mark.parametrize("how", ["agent", "cleaned_agent", "adopted_by_the_zygote"])
def test_what_hides_its_environment_is_known_by_its_limits(crew: Crew, daemon: Daemon, how: str) -> None:
    seconds = next(SECONDS)
    other = crew.exec(["sleep", "1000"], cwd="/")
    run = crew.call(f"trees:{how}", {"seconds": seconds}, cwd=TESTS)
    ready(run)
    ready(other)
    wait_until(lambda: hidden(daemon, seconds), "the agent")
    process = hidden(daemon, seconds)
    assert process is not None
    try:
        reply = run.cancel(mode="now")
        assert (reply.status, reply.verified, reply.unowned) == ("cancelled", True, ())
        assert not lives(process)
    finally:
        with contextlib.suppress(psutil.Error):
            process.kill()
    assert not other.show().run.ended_at


def test_who_has_shed_every_mark_is_told_of_and_ended_when_no_worker_is_left(crew: Crew, daemon: Daemon) -> None:
    seconds = next(SECONDS)
    other = crew.exec(["sleep", "1000"], cwd="/")
    run = crew.call("trees:shed", {"seconds": seconds}, cwd=TESTS)
    ready(run)
    ready(other)
    wait_until(lambda: hidden(daemon, seconds), "the stray")
    process = hidden(daemon, seconds)
    assert process is not None
    try:
        reply = run.cancel(mode="now")
        if not lives(process):  # its cgroup tells whose it is, or a look at the table has seen it before it shed its marks
            return
        assert [each.pid for each in reply.unowned] == [process.pid], "it may be of the other worker"
        wait_until(lambda: f"pid {process.pid}" in " ".join(crew.doctor().findings), "the guardian to look again")
        other.cancel(mode="now")
        wait_until(lambda: not lives(process), "the stray to end")
    finally:
        with contextlib.suppress(psutil.Error):
            process.kill()


@pytest.mark.parametrize("how", ["hop_apart", "late_chain"])
def test_a_chain_of_sessions_is_ended_also_when_no_worker_is_left(crew: Crew, daemon: Daemon, how: str) -> None:
    """Each process of it lives for an instant, in a session of its own. The late one begins when its worker ends."""
    run = crew.call(f"trees:{how}", {"seconds": CHAIN_SECONDS}, cwd=TESTS)
    if how == "late_chain":
        run.wait(timeout=120)
    else:
        ready(run)
        verified(run)
    wait_until(lambda: not any(daemon.marked() for _ in range(30)), "the chain to end", CHAIN_SECONDS / 2)


@pytest.mark.usefixtures("daemon")
def test_a_process_whose_main_thread_has_ended_is_not_dead(crew: Crew, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    run = crew.call("trees:ghost", {"diary": str(diary)}, cwd=TESTS)
    wait_until(diary.exists, "the other thread to work")
    (child,) = psutil.Process(pid_of(run)).children()
    wait_until(lambda: child.status() == psutil.STATUS_ZOMBIE, "the main thread to end")
    try:
        verified(run)
        assert not child.is_running()
    finally:
        with contextlib.suppress(psutil.Error):
            child.kill()


def test_a_worker_may_not_live_without_crewd_under_another_guardian_either(daemon: Daemon) -> None:
    with daemon.connect() as crew:
        run = crew.run(call_workflow("jobs:listen", {"limit": 10**9}, on_orphan="end"), cwd=TESTS)
        ready(run)
        old = daemon.kill_guardian()
        adopted = psutil.Process(pid_of(run))
        wait_until(lambda: crew.doctor().counts.get("guardian_pid", old) != old, "crewd to attach to another guardian")
    daemon.kill()
    wait_until(lambda: not lives(adopted), "the worker to end")
