"""A wall clock that is set while crewd is away: names mean the run that was started last, and limits count what went by."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from crewd.model.errors import Conflict
from crewd.model.policy import Limits
from crewd.supervisor.kept_clock import KeptClock
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

pytestmark = pytest.mark.process
STARTED = """
import sys, time
from crewd.clock import SystemClock
SystemClock.wall = lambda _: time.time() + {ahead}
from crewd.__main__ import main
sys.argv[:] = ["crewd", *sys.argv[4:]]
main()
"""
HOUR = 3_600


def ahead(seconds: int) -> tuple[str, ...]:
    """What starts a crewd whose wall clock is ahead."""
    return (sys.executable, "-c", STARTED.format(ahead=seconds))


def test_a_name_means_the_run_that_was_started_last(home: Path, jobs_dir: str) -> None:
    with Daemon(home / "h", launcher=ahead(HOUR)) as daemon, daemon.connect() as crew:
        first = crew.exec(["echo", "first"], cwd="/", name="b")
        assert first.result(timeout=120) == "first"
        daemon.stop()
    with Daemon(home / "h") as daemon, daemon.connect() as crew:
        second = crew.call("jobs:listen", cwd=jobs_dir, name="b")
        assert second.id > first.id
        assert crew.show("b").run.id == second.id
        assert crew.show("b~1").run.id == first.id
        with pytest.raises(Conflict):
            crew.exec(["true"], cwd="/", name="b")
        second.cancel(mode="now")


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_limit_counts_the_time_that_went_by(home: Path, jump: int) -> None:
    with Daemon(home / "h") as daemon, daemon.connect() as crew:
        long = crew.exec(["sleep", "1000"], cwd="/", limits=Limits(task_seconds=600)).id
        short = crew.exec(["sleep", "1000"], cwd="/", limits=Limits(task_seconds=6)).id
        wait_until(lambda: all(a.started_at for run in (long, short) for a in crew.show(run).attempts), "both to run")
        daemon.kill()
        with Daemon(home / "h", launcher=ahead(jump)) as second, second.connect() as again:
            wait_until(lambda: again.show(short).run.status == "failed", "the short one to be over its limit")
            ran = re.search(r"it has run for (\d+)", again.show(short).tasks[0].error)
            assert ran is not None and int(ran[1]) < 600
            assert again.show(long).run.status == "running"
            again.cancel(long, mode="now")


@pytest.mark.parametrize(
    "found", [b"", b"{", b'{"boot": 3}', b"\0" * 10_000, None], ids=["empty", "cut", "type", "large", "folder"]
)
def test_whatever_is_in_the_place_of_what_is_known_of_the_clock_holds_up_no_start(tmp_path: Path, found: bytes | None) -> None:
    path = tmp_path / "clock"
    if found is None:
        path.mkdir()
    else:
        path.write_bytes(found)
    clock = KeptClock(path)
    assert clock.times.ago(clock.wall() - 5, clock.wall(), clock.monotonic()) == pytest.approx(5, abs=2)
    if found is not None:
        assert KeptClock(path).times == clock.times, "it is written anew, and read by the next crewd"
