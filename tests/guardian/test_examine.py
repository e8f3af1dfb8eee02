"""What the guardian says of its machine: processes that bear a marker of a worker that is over."""

from __future__ import annotations

import subprocess
import sys

from crewd.guardian.examine import examine
from crewd.guardian.processes import LINUX
from crewd.model import variables
from crewd.model.ids import marker

KEY = "fedcba9876543210"


def test_a_process_of_a_worker_that_is_over_is_left_and_one_of_a_living_worker_is_not() -> None:
    sleep = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]
    mark = {variables.MARKER: marker(KEY, "r_x/a", 2)}
    with subprocess.Popen(sleep, env=mark, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        over = examine(7, KEY, ())
        living = examine(8, KEY, {("r_x/a", 2)})
        process.kill()
    assert (over.number, living.number) == (7, 8)
    assert (over.marked, living.marked) == (1, 1)
    assert [(each.pid, each.task, each.epoch) for each in over.left] == [(process.pid, "r_x/a", 2)]
    assert sys.executable in over.left[0].command
    assert living.left == ()
    assert over.memory_available_bytes > 0
    assert over.lacks == () or not LINUX
