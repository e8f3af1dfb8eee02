"""What workers do with their processes so that nobody finds them, or takes them for somebody else's."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import psutil
import pytest

from crewd.client.blocking import Crew
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.waits import pid_of

pytestmark = pytest.mark.process
HERE = str(Path(__file__).parent.parent)


def below(pid: int) -> list[psutil.Process]:
    """Everything that lives below a process."""
    return [each for each in psutil.Process(pid).children(recursive=True) if each.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("deed", ["bears_a_strange_name", "a_subreaper_of_its_own"])
def test_a_tree_that_pretends_is_ended_whole(daemon: Daemon, crew: Crew, deed: str) -> None:
    run = crew.call(f"hostile.deeds:{deed}", cwd=HERE)
    wait_until((daemon.home.attempt(f"{run.id}/{deed}", 1) / "did").exists, "the deed")
    worker = pid_of(run)
    tree = [psutil.Process(worker), *below(worker)]
    other = crew.exec(["sleep", "1000"], cwd="/")
    wait_until(lambda: any(each.ready_at for each in other.show().attempts), "the other worker")
    told = run.cancel(mode="now")
    assert told.verified
    assert not told.survivors
    assert not [each for each in tree if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    assert other.show().run.ended_at is None
    assert other.cancel(mode="now").verified


def test_a_worker_has_nothing_open_that_is_not_its_own(daemon: Daemon, crew: Crew) -> None:
    other = crew.exec(["cat"], cwd="/", stdin="lines")
    wait_until(lambda: any(each.ready_at for each in other.show().attempts), "the other worker")
    run = crew.call("hostile.deeds:says_who_it_is", cwd=HERE)
    found = run.result(timeout=120)
    assert isinstance(found, list)
    files = [each for each in found if each.startswith(str(daemon.home.root))]
    assert all(f"/runs/{run.id}/" in each for each in files), found
    assert not any("guardian" in each or "crewd.db" in each for each in found)
    told = str(crew.exec(["sh", "-c", "ls -l /proc/self/fd"], cwd="/").result(timeout=120))
    assert str(daemon.home.root) not in told, "a command has only its pipes"
    other.cancel(mode="now")


@pytest.mark.parametrize(
    "words", [b"", b"\xc1", b"\x91" * 400_000, b"\x92\xa6spawn\xc0", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
)
def test_whoever_else_speaks_to_the_guardian_is_hung_up_on(daemon: Daemon, crew: Crew, words: bytes) -> None:
    run = crew.exec(["sleep", "1000"], cwd="/")
    wait_until(lambda: any(each.ready_at for each in run.show().attempts), "the worker")
    guardian = daemon.guardian_pid()
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as stranger, contextlib.suppress(OSError):
            stranger.settimeout(5)
            stranger.connect(str(daemon.home.guardian_socket))
            stranger.sendall(words)
    assert crew.exec(["echo", "fine"], cwd="/").result(timeout=120) == "fine"
    assert daemon.guardian_pid() == guardian
    assert run.cancel(mode="now").verified
