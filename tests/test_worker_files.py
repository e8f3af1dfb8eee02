"""What a worker puts in the place of its files leads nobody anywhere, and holds nobody up."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crewd import worker_files
from crewd.model.errors import NotFound
from crewd.model.statuses import RunStatus
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

HERE = str(Path(__file__).parent)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "runs" / "r" / "step" / "1"
    made.mkdir(parents=True)
    return made


def link(path: Path, elsewhere: Path) -> None:
    path.symlink_to(elsewhere)


def other_name(path: Path, elsewhere: Path) -> None:
    path.hardlink_to(elsewhere)


def pipe(path: Path, _elsewhere: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, _elsewhere: Path) -> None:
    path.mkdir()


def moved_away(path: Path, elsewhere: Path) -> None:
    """The directory itself leads elsewhere."""
    away = elsewhere.parent / "away"
    away.mkdir()
    (away / path.name).write_bytes(elsewhere.read_bytes())
    path.parent.rmdir()
    path.parent.symlink_to(away)


GAMES = [link, other_name, pipe, folder, moved_away]


@pytest.mark.parametrize("game", GAMES)
def test_nothing_but_a_plain_file_is_opened(directory: Path, tmp_path: Path, game: Callable[[Path, Path], None]) -> None:
    elsewhere = tmp_path / "precious"
    elsewhere.write_text("precious")
    game(directory / "stdout", elsewhere)
    for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY):
        with pytest.raises(OSError, match=r"."), worker_files.opened(directory, "stdout", flags):
            raise AssertionError("it was opened")
    with pytest.raises(OSError, match=r"."):
        worker_files.append(directory, "stdout", b"more")
    with pytest.raises(OSError, match=r"."):
        worker_files.read(directory, "stdout", 100)
    if game is not folder:
        with contextlib.suppress(OSError):
            worker_files.write(directory, "stdout", b"mine")
    assert elsewhere.read_text() == "precious"


def test_a_plain_file_is_read_written_and_bounded(directory: Path) -> None:
    worker_files.write(directory, "a", b"one")
    worker_files.append(directory, "a", b" two")
    assert worker_files.read(directory, "a", 7) == b"one two"
    assert worker_files.size(directory, "a")[0] == 7
    with pytest.raises(worker_files.NotOurs, match="larger than 6"):
        worker_files.read(directory, "a", 6)
    worker_files.remove(directory, "a")
    worker_files.remove(directory, "a")
    assert worker_files.size(directory, "a") == (0, 0)
    with pytest.raises(FileNotFoundError):
        worker_files.read(directory, "a", 6)


@pytest.mark.process
@pytest.mark.parametrize("game", ["pipes", "links", "names", "folders"])
def test_a_worker_that_plays_with_its_files_stops_nobody_and_reaches_nothing(daemon: Daemon, home: Path, game: str) -> None:
    precious = home / "precious"  # a hard link to it is possible only on its own disk
    precious.write_bytes(b"API_KEY=hunter22xyz and more" * 1_000)
    before = precious.read_bytes()
    with daemon.connect() as crew:
        run = crew.call("jobs:play_with_files", {"game": game, "precious": str(precious)}, cwd=HERE)
        wait_until(lambda: any(each.ready_at for each in run.show().attempts), "the worker")
        other = crew.exec(["echo", "fine"], cwd="/")
        assert other.result(timeout=120) == "fine"
        crew.log(run.id)
        run.cancel(mode="now")
        assert run.show().run.status is RunStatus.CANCELLED
        with pytest.raises(NotFound, match="is not here any more"):
            crew.log(run.id)
        crew.doctor(check=True)
        assert crew.exec(["echo", "fine"], cwd="/").result(timeout=120) == "fine"
    daemon.kill_guardian()
    daemon.kill()
    daemon.start()
    with daemon.connect() as crew:
        assert crew.exec(["echo", "fine"], cwd="/").result(timeout=120) == "fine"
    daemon.stop()
    assert precious.read_bytes() == before
