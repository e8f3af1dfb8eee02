"""The pytest plugin, in a project of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.naps import sleepers, unique_seconds

PROJECT = """
import jobs

def test_a_worker(crewd):
    with crewd.connect() as crew:
        run = crew.call("jobs:wait_for_it")
        assert run.steer("go", wait="applied").level in {"applied", "settled"}
        assert run.result(timeout=120) == "go"

def test_what_is_left_running_is_ended(crewd):
    with crewd.connect() as crew:
        crew.call("jobs:wait_for_it")
        crew.exec(["sleep", "SECONDS"])
    open("home.txt", "w").write(str(crewd.home.root))
"""
JOBS = """
from crewd.worker import worker

@worker
def wait_for_it(ctx):
    while not (steer := ctx.safe_point(wait=60)):
        pass
    return steer.text
"""


@pytest.mark.process
def test_the_fixture_gives_a_daemon_and_leaves_nothing(tmp_path: Path) -> None:
    seconds = unique_seconds()
    (tmp_path / "test_it.py").write_text(PROJECT.replace("SECONDS", seconds))
    (tmp_path / "jobs.py").write_text(JOBS)
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "2 passed" in shown.stdout
    assert not Path((tmp_path / "home.txt").read_text()).exists()
    assert not sleepers(seconds)


@pytest.mark.process
def test_pytest_pays_nothing_for_a_plugin_that_is_not_used() -> None:
    code = "import sys, crewd.testing.plugin; print([m for m in sys.modules if m.startswith(('zmq', 'msgspec', 'pykka'))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
