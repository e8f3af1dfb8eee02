"""Connections without end, and hardly any files to open: crewd lives, serves, and says what there is not enough of."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from crewd.client.blocking import Crew
from crewd.model.errors import DaemonUnreachable
from crewd.supervisor.open_files import RESERVE, WANTED, budget
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

pytestmark = pytest.mark.process
CROWD = (
    "import socket, sys\n"
    "made = []\n"
    "for _ in range(int(sys.argv[2])):\n"
    "    made.append(socket.socket(socket.AF_UNIX)); made[-1].connect(sys.argv[1])\n"
    "print('here', flush=True); sys.stdin.read()"
)


def test_files_are_shared_out_and_never_more_than_there_are() -> None:
    for files in (0, 1, RESERVE, 64, 100, 256, 1_024, 4_096, WANTED, resource.RLIM_INFINITY):
        for most in (1, 5, 1_000):
            shares = budget(files, most)
            assert 1 <= shares.workers <= most
            assert shares.connections >= 4
            if files >= 64:
                assert RESERVE + shares.workers + shares.connections <= shares.files


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4_096, reason="the hard limit is too low")
def test_more_connections_than_the_soft_limit_has_files(home: Path) -> None:
    with Daemon(home / "h", launcher=["prlimit", "--nofile=1024:"]) as daemon, daemon.connect() as crew:
        assert crew.exec(["sh", "-c", "ulimit -n"], cwd="/").result(timeout=120) == "1024", "workers get what there was"
        command = [sys.executable, "-c", CROWD, str(daemon.home.clients_socket), "500"]
        crowds = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
        try:
            for crowd in crowds:
                assert crowd.stdout is not None
                assert crowd.stdout.readline() == b"here\n"
            assert crew.exec(["echo", "served"], cwd="/").result(timeout=120) == "served"
            with daemon.connect() as another:
                assert another.doctor().healthy
        finally:
            for crowd in crowds:
                crowd.communicate()


def test_with_few_files_workers_wait_and_the_doctor_says_why(home: Path) -> None:
    with Daemon(home / "h", launcher=["prlimit", "--nofile=64:64"]) as daemon, daemon.connect() as crew:
        shares = budget(64, 1_000)
        runs = [crew.exec(["sleep", "1000"], cwd="/") for _ in range(shares.workers + 20)]

        def alive() -> int:
            return sum(any(each.pid for each in run.show().attempts) for run in runs)

        wait_until(lambda: alive() == shares.workers, "as many workers as there are files for")
        assert any("raise 'ulimit -Hn'" in finding for finding in crew.doctor().findings)
        runs[0].cancel(mode="now")
        wait_until(lambda: alive() == shares.workers + 1, "the next one to take its place")
        for run in runs:
            run.begin_cancel(mode="now")
        for run in runs:
            run.wait(timeout=120)


def test_a_crowd_of_real_clients_is_told_that_there_are_too_many(home: Path) -> None:
    with Daemon(home / "h", launcher=["prlimit", "--nofile=160:160"]) as daemon:
        most = budget(160, 1_000).connections
        crowd: list[Crew] = []
        try:
            for _ in range(most):
                crowd.append(daemon.connect())  # noqa: PERF401 (what was made is closed)
            said: list[DaemonUnreachable] = []

            def refused() -> bool:
                """The first one too many may be heard before crewd has counted it."""
                try:
                    daemon.connect().close()
                except DaemonUnreachable as error:
                    said.append(error)
                return bool(said)

            wait_until(refused, "crewd to take no more")
            assert "takes no more" in said[0].message
            assert "close some" in said[0].hint
            crowd.pop().close()
            for _ in range(most // 4):
                crowd.pop().close()
            wait_until(lambda: not daemon.home.full.exists(), "room")
            daemon.connect().close()
        finally:
            for each in crowd:
                each.close()
