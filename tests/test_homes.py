"""A home that is moved or copied while it is served, or loses its sockets: its own is kept, and nothing else is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from crewd.client.blocking import connect
from crewd.client.discover import silent_holder
from crewd.model.errors import CrewdError
from crewd.model.home import Home
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.waits import command_of, guardian_of, pid_of

pytestmark = pytest.mark.process


def test_a_guardian_whose_sockets_were_removed_is_reached_again(daemon: Daemon) -> None:
    with daemon.connect() as crew:
        run = crew.exec(["sleep", "1000"], cwd="/")
        command = command_of(run, "sleep")
        guardian = guardian_of(daemon).pid
    for path in (daemon.home.guardian_socket, daemon.home.files_socket):
        path.unlink()
    daemon.kill()
    daemon.start()
    with daemon.connect() as crew:
        assert crew.cancel(run.id, mode="now").verified
        assert not psutil.pid_exists(command)
        assert crew.exec(["echo", "well"], cwd="/").result(timeout=120) == "well"
        assert guardian_of(daemon).pid == guardian


def test_a_crewd_whose_sockets_were_removed_is_reached_again(daemon: Daemon) -> None:
    with daemon.connect() as crew:
        run = crew.exec(["sleep", "1000"], cwd="/")
        command_of(run, "sleep")
        for path in (daemon.home.clients_socket, daemon.home.workers_socket):
            path.unlink()
        wait_until(daemon.home.clients_socket.exists, "the socket of clients to be made again")
        with daemon.connect() as other:
            assert other.exec(["echo", "well"], cwd="/").result(timeout=120) == "well"
            assert other.cancel(run.id, mode="now").verified
        assert crew.show(run.id).run.ended_at is not None, "whoever is connected stays connected"


def test_the_name_of_a_home_may_hold_braces(home: Path) -> None:
    with Daemon(home / "b{z}") as daemon, daemon.connect() as crew:
        assert crew.exec(["echo", "well"], cwd="/").result(timeout=120) == "well"
        assert daemon.home.daemon_log.exists()


@pytest.mark.parametrize("program", ["crewd.client.cli.entry", "crewd"])
def test_a_home_whose_name_is_not_utf8_is_refused_in_words(home: Path, program: str) -> None:
    command = [sys.executable, "-m", program, *(["ps"] if program != "crewd" else [])]
    environment = {**os.environ, "CREWD_HOME": os.fsdecode(os.fsencode(home) + b"/\xff")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "is not UTF-8" in done.stderr


@pytest.mark.parametrize("program", ["crewd.client.cli.entry", "crewd"])
def test_a_home_whose_path_sqlite_cannot_open_is_refused_in_words(home: Path, program: str) -> None:
    command = [sys.executable, "-m", program, *(["ps"] if program != "crewd" else [])]
    environment = {**os.environ, "CREWD_HOME": str(home / ("d" * 250) / ("e" * 250))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "the path of the home has" in done.stderr


def test_a_crewd_whose_home_was_moved_writes_nothing_into_the_one_that_took_its_place(home: Path) -> None:
    moved, place = home / "moved", home / "h"
    old = Daemon(place).start()
    with old.connect() as crew:
        crew.exec(["true"], cwd="/", name="old").wait(timeout=120)
        guardian = guardian_of(old)
    place.rename(moved)
    with Daemon(place) as new, new.connect() as crew:
        lives = crew.exec(["sleep", "1000"], cwd="/", name="new")
        pid_of(lives)
        with pytest.raises(CrewdError), connect(str(moved), start=False) as other:  # it may have given up already
            other.exec(["true"], cwd="/")
        wait_until(lambda: old.stopped, "the crewd of the home that was moved to give up")
        wait_until(lambda: not guardian.is_running() or guardian.status() == psutil.STATUS_ZOMBIE, "its guardian to end")
        assert not new.home.quarantine.exists()
        assert new.home.guardian_socket.exists() and new.home.files_socket.exists()
        assert crew.doctor().healthy
        crew.stop_daemon(mode="keep")
        wait_until(lambda: new.stopped, "crewd to stop")
        new.start()
        with new.connect() as again:
            assert {run.name: run.ended_at is None for run in again.runs(all=True).runs} == {"new": True}
            assert again.cancel(lives.id, mode="now").verified
    with Daemon(moved) as old, old.connect() as crew:
        assert [run.name for run in crew.runs(all=True).runs] == ["old"]


def test_a_copy_of_a_home_ends_none_of_the_workers_of_the_original(daemon: Daemon, home: Path) -> None:
    with daemon.connect() as crew:
        run = crew.exec(["sleep", "1000"], cwd="/", name="mine")
        command = command_of(run, "sleep")
        shutil.copytree(daemon.home.root, home / "copy", ignore=shutil.ignore_patterns("*.sock"))
        assert silent_holder(Home(home / "copy")) is None, "the crewd that its lock names is the original's"
        with Daemon(home / "copy") as copy, copy.connect() as other:
            other.wait(run.id, timeout=120)
            assert other.show(run.id).attempts[-1].status == "lost", "it is no worker of the copy"
        assert psutil.pid_exists(command)
        assert crew.show(run.id).run.ended_at is None
        assert crew.cancel(run.id, mode="now").verified


def test_a_guardian_with_other_settings_goes_when_its_last_worker_has_ended(daemon: Daemon) -> None:
    with daemon.connect() as crew:
        run = crew.exec(["sleep", "1000"], cwd="/")
        pid_of(run)
        guardian = guardian_of(daemon).pid
        crew.stop_daemon(mode="keep")
    wait_until(lambda: daemon.stopped, "crewd to stop")
    daemon.home.config.write_text("warm = 1\n")
    daemon.start()
    with daemon.connect() as crew:
        wait_until(lambda: crew.show(run.id).attempts[-1].status == "running", "its worker to be there again")
        assert guardian_of(daemon).pid == guardian, "it has a worker"
        assert crew.cancel(run.id, mode="now").verified
        wait_until(lambda: daemon.guardian_pid() not in {0, guardian}, "another guardian")
        assert crew.exec(["echo", "well"], cwd="/").result(timeout=120) == "well"
        assert crew.doctor().healthy
