"""`crewd.testing.Daemon`: what it finds out of its crewd."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest

from crewd.testing import Daemon
from tests.waits import guardian_of

pytestmark = pytest.mark.process


def test_the_guardian_is_found_whatever_the_sockets_of_others_are_called(daemon: Daemon, home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as odd:
        odd.bind(str(home / "a\nb c"))
        odd.listen()
        guardian = guardian_of(daemon).pid
    assert psutil.Process(guardian).name() == "crewd-guardian"
    assert psutil.Process(guardian).ppid() in {daemon.pid, psutil.Process(daemon.pid).ppid(), 1}
