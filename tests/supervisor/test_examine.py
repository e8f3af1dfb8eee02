"""The doctor names what is wrong around crewd: the room on the disk, the sockets, and the modes of its directories."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from crewd.model.home import Home
from crewd.supervisor.examine import examine
from crewd.supervisor.open_files import FileShares

FILES = FileShares(files=4_096, connections=1_000, workers=100)
ROOM = (4_096, 4_096, 1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 1 << 19, 0, 255)
"""What `os.statvfs` says of a disk with 2 GiB of room and for half a million files."""


@pytest.fixture
def whole(home: Path) -> Iterator[Home]:
    """A home in which nothing is wrong."""
    made = Home(home / "h")
    for path in (made.root, made.run, made.logs):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        for path in (made.clients_socket, made.workers_socket):
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))
        yield made


def found(home: Home, monkeypatch: pytest.MonkeyPatch, *, room: tuple[int, ...] = ROOM, workers: int = 100) -> list[str]:
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(room))
    return examine(home, workers, FILES)[0]


def test_a_home_with_room_is_healthy(whole: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(whole, monkeypatch) == []


def test_little_room_is_named_in_bytes_and_in_files(whole: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "has 195 MiB of room left" in "".join(found(whole, monkeypatch, room=(*ROOM[:4], 50_000, *ROOM[5:])))
    assert "has room for 12 new files" in "".join(found(whole, monkeypatch, room=(*ROOM[:7], 12, *ROOM[8:])))


def test_a_file_system_that_counts_no_files_has_room_for_them(whole: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(whole, monkeypatch, room=(*ROOM[:5], 0, 0, 0, *ROOM[8:])) == []


def test_fewer_files_than_workers_need_are_named(whole: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no more than 100 workers live at once, of 101" in "".join(found(whole, monkeypatch, workers=101))


def test_what_is_missing_or_open_to_others_is_named(whole: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    whole.workers_socket.unlink()
    whole.logs.chmod(0o755)
    said = "\n".join(found(whole, monkeypatch))
    assert f"the socket {whole.workers_socket} is gone" in said
    assert f"{whole.logs} is open to others (mode 755)" in said


def test_a_home_that_was_cleared_away_is_damaged(whole: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    whole.logs.rmdir()
    assert "the home is damaged" in "".join(found(whole, monkeypatch))
