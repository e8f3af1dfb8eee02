"""How workers are born: from the pool or by a fork, ahead of their order or after it, and whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from crewd.client.blocking import Crew
from crewd.testing import Daemon
from crewd.testing.daemon import children_of, wait_until
from tests.waits import host_of, pid_of

pytestmark = pytest.mark.process
FAILS_AT_GATE = ["sh", "-c", "read line < gate; exit 7"]


def zygote(daemon: Daemon) -> psutil.Process:
    found: list[psutil.Process] = []

    def there() -> bool:
        guardian = daemon.guardian_pid()
        found[:] = (
            [child for child, name, _ in children_of(psutil.Process(guardian)) if name == "crewd-zygote"] if guardian else []
        )
        return len(found) == 1

    wait_until(there, "the zygote")
    return found[0]


def pool(daemon: Daemon) -> list[int]:
    return [child.pid for child, name, status in children_of(zygote(daemon)) if name == "crewd-warm" and status != "zombie"]


def warm(home: Path, count: int) -> Daemon:
    root = home / "h"
    root.mkdir(mode=0o700)
    (root / "crewd.toml").write_text(f"warm = {count}\n")
    return Daemon(root)


def test_a_worker_outlives_its_zygote_and_its_exit_is_known(daemon: Daemon, crew: Crew, home: Path) -> None:
    os.mkfifo(home / "gate")
    run = crew.exec(FAILS_AT_GATE, cwd=str(home))
    wait_until(lambda: any(each.ready_at for each in run.show().attempts), "the worker")
    zygote(daemon).kill()
    (home / "gate").write_text("go\n")
    run.wait(timeout=120)
    assert run.show().attempts[-1].exit.code == 7
    wait_until(lambda: zygote(daemon).num_threads() == 1, "the end of what it rehearses: a fork copies one thread")
    assert crew.exec(["true"], cwd="/").wait(timeout=120).run.status == "completed", "another zygote bears the next one"


def test_an_end_that_the_zygote_could_not_tell_of_is_the_guardians(daemon: Daemon, crew: Crew, home: Path) -> None:
    os.mkfifo(home / "gate")
    run = crew.exec(FAILS_AT_GATE, cwd=str(home))
    wait_until(lambda: any(each.ready_at for each in run.show().attempts), "the worker")
    worker = psutil.Process(host_of(run))
    parent = zygote(daemon)
    parent.suspend()
    (home / "gate").write_text("go\n")
    wait_until(lambda: worker.status() == psutil.STATUS_ZOMBIE, "its end")
    parent.kill()
    run.wait(timeout=120)
    assert run.show().attempts[-1].exit.code == 7


def test_a_zygote_that_hangs_holds_up_no_end_and_hides_none(daemon: Daemon, crew: Crew) -> None:
    cancelled, killed = (crew.exec(["sleep", "100"], cwd="/") for _ in range(2))
    for run in (cancelled, killed):
        wait_until(lambda run=run: any(each.ready_at for each in run.show().attempts), "the worker")  # type: ignore[misc]
    parent = zygote(daemon)
    parent.suspend()
    try:
        psutil.Process(host_of(killed)).kill()
        ended = cancelled.cancel(mode="now", timeout=120)
        assert ended is not None
        assert ended.verified
        assert cancelled.show().attempts[-1].exit.code is None, "nobody could say"
        assert killed.wait(timeout=120).run.status == "failed"
        assert daemon.marked() == [], "what it left behind is ended"
    finally:
        parent.resume()


def test_a_process_that_hangs_holds_up_no_end_of_crewd(home: Path) -> None:
    with warm(home, 1) as daemon, daemon.connect():
        wait_until(lambda: len(pool(daemon)) == 1, "the pool")
        waiting = psutil.Process(pool(daemon)[0])
        waiting.suspend()
    assert not waiting.is_running()


def test_the_pool_is_filled_and_a_process_of_it_is_used_once(
    home: Path, jobs_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", jobs_dir)
    with warm(home, 2) as daemon, daemon.connect() as crew:
        wait_until(lambda: len(pool(daemon)) == 2, "the pool")
        waiting = set(pool(daemon))
        run = crew.call("jobs:listen", cwd=jobs_dir)
        run.steer("hello", wait="applied", timeout=120)
        assert pid_of(run) in waiting
        wait_until(lambda: len(pool(daemon)) == 2, "the pool to be full again")
        assert pid_of(run) not in pool(daemon)
        (dead, _) = pool(daemon)
        os.kill(dead, signal.SIGKILL)
        # Until the zygote has reaped it, it may be given work and take it along: its first thread can be a zombie before
        # the others have ended, and only the last one closes its connection.
        wait_until(lambda: not psutil.pid_exists(dead), "its end")
        assert crew.call("jobs:add", {"a": 1, "b": 2}, cwd=jobs_dir).result(timeout=120) == 3
        daemon.kill()
        daemon.start()  # what waits has lost its connection, and makes another
        assert crew.call("jobs:add", {"a": 1, "b": 3}, cwd=jobs_dir).result(timeout=120) == 4
        run.steer("stop", timeout=120)
        assert run.result(timeout=120) == ["hello", "stop"]


def test_what_was_forked_ahead_and_is_not_needed_is_given_up(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    def start() -> str:
        return crew.call("jobs:add", {"a": 1, "b": 2}, cwd=jobs_dir, request_id="once").id

    first = start()
    wait_until(lambda: crew.get(first).show().run.status == "completed", "the run")
    assert start() == first, "nothing is born for it"
    wait_until(lambda: not pool(daemon), "no process to wait for nothing")
