"""A wall clock that is set while crewd is away: names still mean the run that was started last."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from crewd.model.errors import Conflict
from crewd.testing import Daemon

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
