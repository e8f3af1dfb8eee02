"""Processes that bear a mark which is none, or say of themselves what is not true."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import psutil
import pytest

from crewd.client.blocking import Crew
from crewd.guardian import marker
from crewd.model.ids import marker as make_marker
from crewd.model.ids import split_marker
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.hostile.runs import begun, serves

pytestmark = pytest.mark.process
HOME_KEY = "0123456789abcdef"


def test_a_process_of_unknown_owner_whose_name_is_no_text(daemon: Daemon, crew: Crew) -> None:
    run = begun(daemon, crew, "stray_with_no_text")
    wait_until(daemon.guardian_pid, "a guardian")
    guardian = daemon.guardian_pid()

    def strays() -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):  # a child ends while its name is read
            return [each for each in psutil.Process(guardian).children() if each.name() == "sleep"]
        return []

    wait_until(strays, "the stray to be the guardian's child, and to run its program")
    (stray,) = strays()
    try:
        run.cancel(mode="now")
        assert daemon.guardian_pid() == guardian, "the guardian has died"
        wait_until(lambda: not stray.is_running(), "the stray to end with the last worker")
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            stray.kill()


NO_MARKS = [
    f"{HOME_KEY}:r_x/y#" + "9" * 5_000, f"{HOME_KEY}:r_x/y#" + "9" * 30, f"{HOME_KEY}:r_x/y#\u00b2", f"{HOME_KEY}:r_x/y#\u0663",
    f"{HOME_KEY}:../../away/.#1", f"{HOME_KEY}:r_x/..#1", f"{HOME_KEY}:r_x/a/b#1", f"{HOME_KEY}:r_x#1", f"{HOME_KEY}:/etc/x#1",
    "", ":#",
    f"{HOME_KEY}:r_x/y#-1", f"{HOME_KEY}:r_x/y#1\n", "../x:r_x/y#1",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_MARKS)
def test_what_could_lead_out_of_a_home_is_no_mark(text: str) -> None:
    assert split_marker(text) is None


def test_a_mark_of_this_home_that_names_no_worker_is_seen_and_what_waits_for_work_bears_none() -> None:
    mine = marker.placeholder(HOME_KEY)
    assert marker.owner(make_marker(HOME_KEY, "r_x/y", 3), HOME_KEY) == ("r_x/y", 3)
    assert marker.owner(mine, HOME_KEY) is None
    assert marker.owner("", HOME_KEY) is None
    assert marker.owner(make_marker("another", "r_x/y", 3), HOME_KEY) is None
    assert marker.owner(f"{HOME_KEY}:../../away/.#1", HOME_KEY) == ("", 0)
    half = f"{HOME_KEY}:r_x/y" + mine[len(HOME_KEY) + 6 :]
    assert marker.owner(half, HOME_KEY) == ("", 0), "as it is for an instant while it is written"


def test_a_marker_that_leads_out_of_the_home(daemon: Daemon, crew: Crew, home: Path) -> None:
    away = home / "away" / "1"
    away.mkdir(parents=True)
    for name in ("bootstrap", "unsent_reports", "stdout", "stderr"):
        (away / name).write_text("precious")
    begun(daemon, crew, "bears", text=f"{daemon.home.key}:../../away/.#1")
    daemon.kill_guardian()
    assert serves(crew)
    with contextlib.suppress(AssertionError):
        wait_until(lambda: len(list(away.iterdir())) != 4, "a file to come or go", 2.0)
    assert {each.name for each in away.iterdir()} == {"bootstrap", "unsent_reports", "stdout", "stderr"}


def test_an_environment_as_large_as_somebody_says(daemon: Daemon, crew: Crew) -> None:
    wait_until(daemon.guardian_pid, "a guardian")
    guardian = psutil.Process(daemon.guardian_pid())
    begun(daemon, crew, "large_environment", megabytes=100)
    peak = 0

    def swollen() -> bool:
        nonlocal peak
        peak = max(peak, guardian.memory_info().rss)
        return peak > 110 << 20

    with contextlib.suppress(AssertionError):
        wait_until(swollen, "memory", 3.0)
    assert peak < 110 << 20, f"the guardian has {peak >> 20} MiB"


def test_a_marker_whose_epoch_has_more_than_64_bits(daemon: Daemon, crew: Crew) -> None:
    wait_until(daemon.guardian_pid, "a guardian")
    guardian = daemon.guardian_pid()  # looked up first: the first look of this guardian would end the process
    begun(daemon, crew, "bears", text=f"{daemon.home.key}:r_x/y#" + "9" * 30)
    os.kill(guardian, signal.SIGKILL)
    served = serves(crew)
    for each in psutil.process_iter(["name"]):
        if each.info["name"] == "sleep":
            with contextlib.suppress(psutil.Error):
                if each.environ().get("CREWD_WORKER", "").startswith(f"{daemon.home.key}:r_x/y#"):
                    each.kill()
    assert served
