"""The pytest plugin: a fixture `crewd`, a daemon in a temporary home, verified empty when the test is over.

    def test_it_can_be_steered(crewd):
        with crewd.connect() as crew:
            run = crew.call("mypackage.jobs:index", {"root": "."})
            assert run.steer("skip docs/", wait="applied").reached("applied")
            run.cancel()

Workers find modules from the directory that pytest was started in and from its rootdir. Loaded by pytest itself (an entry
point), therefore it imports nothing of crewd before the fixture is used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from crewd.testing.daemon import Daemon


@pytest.fixture
def crewd(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A running daemon; `crewd.connect()` gives a client. At the end no process, socket or guardian of it is left."""
    from crewd.testing.daemon import Daemon

    path = [str(Path.cwd()), str(request.config.rootpath)]
    with tempfile.TemporaryDirectory(prefix="crewd-") as folder, Daemon(Path(folder) / "home", path) as daemon:
        yield daemon
