"""Runs that no actor can be started for: what their rows say ends it. They hold up nobody else."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from crewd.model.errors import InvariantError
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.naps import sleepers, unique_seconds

pytestmark = pytest.mark.process
SECONDS = unique_seconds()
SLEEPS = WorkerSpec(argv=("sleep", SECONDS))


def test_runs_that_crash_whenever_they_are_started_hold_up_nobody(daemon: Daemon) -> None:
    both = Workflow("two", (Step("a", worker=SLEEPS), Step("b", worker=SLEEPS)))
    with daemon.connect() as crew:
        broken = [crew.run(both, cwd="/").id for _ in range(6)]
        good = crew.run(both, cwd="/").id
        wait_until(lambda: len(sleepers(SECONDS)) == 14, "all of them to run")
        crew.stop_daemon(mode="keep")
    wait_until(lambda: daemon.stopped, "crewd to stop")
    with contextlib.closing(sqlite3.connect(daemon.home.database)) as database, database:
        for run in broken:
            database.execute("DELETE FROM tasks WHERE id = ?", (f"{run}/b",))
    daemon.start()
    with daemon.connect() as crew:

        def is_given_up(run: str) -> bool:
            try:
                crew.cancel(run, timeout=1.0)
            except InvariantError as error:
                return "crewd cannot continue this run: crashed: KeyError" in error.message
            except Exception:  # noqa: BLE001 (it is being tried again)
                return False
            raise AssertionError

        wait_until(lambda: is_given_up(broken[0]), "the first to be given up")
        wait_until(lambda: len(sleepers(SECONDS)) == 12, "its workers to be ended")
        assert crew.cancel(good).verified
        assert any("has crashed" in finding for finding in crew.doctor().findings)
        assert crew.exec(["echo", "fine"], cwd="/").result(timeout=120) == "fine"
        crew.stop_daemon(mode="end")
    wait_until(lambda: daemon.stopped, "crewd to stop")
    wait_until(lambda: not sleepers(SECONDS), "the workers of the others to be ended")
