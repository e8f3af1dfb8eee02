"""What the guardian may not, or cannot, kill is named: never hidden, never called an end."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from crewd.client.shapes import exec_workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

SETPRIV = shutil.which("setpriv")
NOBODY = 65_534

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(SETPRIV is None or os.geteuid() != 0, reason="only root can give a worker to another user"),
]


def test_a_process_of_another_user_is_reported_and_the_cancel_is_not_called_verified(home: Path) -> None:
    assert SETPRIV is not None
    command = [SETPRIV, f"--reuid={NOBODY}", "--clear-groups", "sleep", "1000"]
    with Daemon(home / "h", launcher=[SETPRIV, "--bounding-set=-kill"]) as daemon, daemon.connect() as crew:
        run = crew.run(exec_workflow(command), cwd="/")
        wait_until(lambda: any(psutil.Process(pid).name() == "sleep" for pid in daemon.marked()), "the foreign process")
        foreign = next(psutil.Process(pid) for pid in daemon.marked() if psutil.Process(pid).name() == "sleep")
        assert foreign.uids().real == NOBODY
        try:
            reply = run.cancel(mode="now")
            assert reply is not None
            assert (reply.status, reply.verified) == ("cancel_incomplete", False)
            assert [(each.pid, "sleep" in each.command) for each in reply.survivors] == [(foreign.pid, True)]
            assert run.show().attempts[-1].survivors == reply.survivors, "it is in the record, too"
            assert foreign.is_running()
            wait_until(lambda: f"kill -9 {foreign.pid}" in " ".join(crew.doctor().findings), "with what to do about it")
        finally:
            foreign.send_signal(signal.SIGKILL)
            foreign.wait(10)
