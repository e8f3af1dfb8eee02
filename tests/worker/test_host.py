"""The main of a worker process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crewd.worker.host import rehearse

pytestmark = pytest.mark.process
BEGINS = "import os; from crewd.worker.hosting import begin_session; begin_session(); print(os.getsid(0) == os.getpid())"


@pytest.mark.parametrize("leader", [True, False])
def test_the_code_of_a_worker_leads_a_session_also_if_the_zygote_has_made_it(leader: bool) -> None:
    """A guardian of an older crewd makes it before the worker begins, and the worker runs the new code."""
    shown = subprocess.run(
        [sys.executable, "-c", BEGINS], start_new_session=leader, capture_output=True, text=True, check=True, timeout=120
    )
    assert shown.stdout.strip() == "True"


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_a_rehearsal_leaves_nothing_behind_wherever_it_is_broken_off(steps: int) -> None:
    def open_now() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    list(rehearse())
    before = open_now()
    rehearsal = rehearse()
    for _ in range(steps):
        next(rehearsal, None)
    rehearsal.close()
    assert open_now() == before
