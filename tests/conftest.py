from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from crewd.client.blocking import Crew
from crewd.testing import Daemon
from crewd.testing import daemon as daemon_module
from tests.forked import start_forked

settings.register_profile("crewd", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("crewd")
daemon_module.start_process = start_forked
HERE = Path(__file__).parent
MEMORY = Path("/dev/shm")
ROOM_BYTES = 1 << 30


FIRST = {"test_hangs.py", "test_readme.py"}
"""Modules whose tests wait for long: begun last, one of them would be at work when all others have ended."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: item.path.name not in FIRST)


def pytest_collection_finish() -> None:
    """Let no garbage collection look at thousands of tests again: most of what a collection costs would be that."""
    gc.collect()
    gc.freeze()


def short_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder with a short path, for sockets; in memory where there is room, since hundreds of homes are written to disk."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM_BYTES
    return tempfile.TemporaryDirectory(prefix="crewd-", dir=MEMORY if roomy else None)


@pytest.fixture(autouse=True)
def _no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test may touch the user's home, nor depend on what the user has configured."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("CREWD_HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("CREWD_AUTOSTART", "0")
    monkeypatch.setenv("CREWD_KEYS", str(tmp_path / "keys"))
    monkeypatch.delenv("CREWD_AS", raising=False)


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a short path."""
    with short_folder() as name:
        yield Path(name)


@pytest.fixture
def daemon(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    with Daemon(home / "h") as running:
        yield running


@pytest.fixture(scope="session")
def _shared_daemon() -> Iterator[Daemon]:
    with short_folder() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CREWD_KEYS", f"{name}/keys")
        patch.setenv("PYTHONPATH", str(HERE))
        with Daemon(Path(name) / "h") as running:
            yield running


@pytest.fixture
def crew(request: pytest.FixtureRequest) -> Iterator[Crew]:
    """A client of the test's own `daemon`, if it asks for that too; else of one crewd that tests share.

    A test that shares it leaves it as it was, and takes no names that others use.
    """
    own = "daemon" in request.fixturenames
    running: Daemon = request.getfixturevalue("daemon" if own else "_shared_daemon")
    with running.connect() as client:
        yield client


@pytest.fixture
def jobs_dir() -> str:
    """Where `jobs` (the workers of the tests) is found."""
    return str(HERE)
