"""A second implementation of the wire, in C with libzmq, written from docs/protocol.md: the page is true if it works."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from crewd.testing import Daemon
from tests.witness.building import built, needs_a_compiler

pytestmark = [pytest.mark.process, needs_a_compiler]


def test_a_client_written_from_the_protocols_page_alone_can_do_it_all(daemon: Daemon, jobs_dir: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [built("witness", tmp_path), daemon.home.clients_endpoint, jobs_dir],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.split() == [word for part in PARTS for word in ("ok", part)]


PARTS = ("hello", "run", "steer", "subscribe", "cancel", "end")
