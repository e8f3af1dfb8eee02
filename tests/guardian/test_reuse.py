"""Numbers that the kernel gives away again: nobody is signalled, or taken for a worker's, by a number alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache

import pytest

pytestmark = pytest.mark.process
NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")


@cache
def has_namespaces() -> bool:
    """Whether a pid namespace of one's own can be had here."""
    if shutil.which(NAMESPACE[0]) is None:
        return False
    tried = ["sh", "-c", "echo 500 > /proc/sys/kernel/ns_last_pid"]
    return subprocess.run([*NAMESPACE, *tried], capture_output=True, check=False, timeout=120).returncode == 0


def test_who_has_got_the_number_of_a_worker_s_session_or_group_is_left_alone() -> None:
    if not has_namespaces():
        pytest.skip("no pid namespaces here")
    program = [*NAMESPACE, sys.executable, "-m", "tests.guardian.reuse"]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "session": {"alive": True, "verified": True}, "group": {"alive": True, "verified": True}
    }  # fmt: skip
