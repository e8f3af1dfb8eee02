"""A worker's directory tells whether a start has ever begun, so that nobody is started twice."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from crewd.client.blocking import Crew, RunHandle
from crewd.client.calls import Start
from crewd.guardian import prepared, worker_folder
from crewd.model.rows import AttemptRow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until


def test_a_directory_that_was_only_prepared_is_not_a_start(tmp_path: Path) -> None:
    directory, shared = tmp_path / "r_1" / "a" / "1", tmp_path / "r_1" / "shared"
    assert not prepared.was_begun(directory), "there is nothing"
    worker_folder.prepare(str(directory), str(shared))
    assert (directory / "stdout").exists()
    assert not prepared.was_begun(directory), "files were made ahead"
    prepared.begin(str(directory))
    assert prepared.was_begun(directory)
    worker_folder.prepare(str(directory), str(shared))
    assert prepared.was_begun(directory), "a late preparation does not undo a start"
    prepared.begin(str(directory))
    assert prepared.was_begun(directory), "a start that is tried again"


@pytest.mark.process
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_process_of_a_worker_notes_its_start_before_its_code_runs(daemon: Daemon, crew: Crew, start: Start) -> None:
    def attempt(run: RunHandle) -> AttemptRow | None:
        return next((each for each in run.show().attempts if each.ready_at is not None), None)

    for _ in range(3):  # some of them in a process that was forked ahead
        run = crew.call("crewd.worker.probe:probe", cwd="/", start=start)
        wait_until(partial(attempt, run), "the worker to be ready")
        ready = attempt(run)
        assert ready is not None
        assert prepared.was_begun(daemon.home.attempt(ready.task, ready.epoch))
        run.cancel(mode="now")
