"""A second implementation of the wire, in C with libzmq, written from docs/protocol.md: the page is true if it works."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import zmq

from crewd.testing import Daemon

pytestmark = pytest.mark.process
COMPILER = shutil.which("cc") or shutil.which("gcc")
LIBRARIES = sorted((Path(zmq.__file__).parent.parent / "pyzmq.libs").glob("libzmq*.so*"))
"""The libzmq that the wheel of pyzmq brings; its functions are declared in the witness itself."""


@pytest.mark.skipif(COMPILER is None or not LIBRARIES, reason="needs a C compiler and a wheel of pyzmq")
def test_a_client_written_from_the_protocols_page_alone_can_do_it_all(daemon: Daemon, jobs_dir: str, tmp_path: Path) -> None:
    source, program, library = Path(__file__).with_name("witness.c"), tmp_path / "witness", LIBRARIES[0]
    subprocess.run(
        [str(COMPILER), "-Wall", "-Werror", str(source), str(library), f"-Wl,-rpath,{library.parent}", "-o", str(program)],
        check=True, timeout=60,
    )  # fmt: skip
    done = subprocess.run(
        [str(program), daemon.home.clients_endpoint, jobs_dir], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split() == [word for part in PARTS for word in ("ok", part)]


PARTS = ("hello", "run", "steer", "subscribe", "cancel", "end")
