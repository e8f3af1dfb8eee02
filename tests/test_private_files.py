"""Homes, locks, secrets and keys: what is not this user's alone is refused, and stays as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import crewd
from crewd.client.discover import start_daemon
from crewd.client.keys import identity
from crewd.model.errors import UsageError
from crewd.model.home import Home
from crewd.private_files import check_directory, make_directory, open_file, read_file
from crewd.testing import Daemon


def link(path: Path) -> None:
    path.with_name("elsewhere").write_text("precious")
    path.with_name("elsewhere").chmod(0o600)
    path.symlink_to("elsewhere")


def second_name(path: Path) -> None:
    path.with_name("elsewhere").write_text("precious")
    path.with_name("elsewhere").chmod(0o600)
    path.hardlink_to(path.with_name("elsewhere"))


def open_to_others(path: Path) -> None:
    path.write_text("secret")
    path.chmod(0o640)


def pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def directory(path: Path) -> None:
    path.mkdir(mode=0o700)


GAMES = (link, second_name, open_to_others, pipe, directory)


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY])
def test_nothing_but_a_plain_file_of_one_s_own_is_opened(tmp_path: Path, game: Callable[[Path], None], flags: int) -> None:
    game(tmp_path / "secret")
    with pytest.raises(UsageError, match="secret "):
        open_file(tmp_path / "secret", flags)
    for each in (tmp_path / "secret", tmp_path / "elsewhere"):
        assert not each.is_file() or each.read_text() in {"precious", "secret"}


def test_directories_above_one_that_is_made_are_closed_to_others_too(tmp_path: Path) -> None:
    make_directory(tmp_path / "home" / "quarantine" / "removed-1")
    assert [path.stat().st_mode & 0o777 for path in sorted(tmp_path.rglob("*"))] == [0o700] * 3


def test_what_is_made_is_closed_to_others(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        make_directory(tmp_path / "a" / "b")
        os.close(open_file(tmp_path / "a" / "b" / "c", os.O_RDWR | os.O_CREAT))
    finally:
        os.umask(old)
    check_directory(tmp_path / "a" / "b")
    assert read_file(tmp_path / "a" / "b" / "c") == b""


@pytest.mark.parametrize("game", GAMES)
def test_a_key_that_somebody_may_have_put_there_is_refused(tmp_path: Path, game: Callable[[Path], None]) -> None:
    tmp_path.chmod(0o700)
    game(tmp_path / "me")
    with pytest.raises(UsageError, match="me "):
        identity("me", tmp_path)


def test_a_key_that_is_no_text_is_said(tmp_path: Path) -> None:
    identity("ann", tmp_path)
    (tmp_path / "ann").write_bytes(b"\xff" * 64)
    with pytest.raises(UsageError, match="is no text"):
        identity("ann", tmp_path)


def test_keys_in_a_directory_of_everybody_s_are_refused(tmp_path: Path) -> None:
    identity("me", tmp_path)
    tmp_path.chmod(0o777)
    with pytest.raises(UsageError, match="open to others"):
        identity("me", tmp_path)


@pytest.mark.process
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o755])
def test_a_home_that_crewd_has_not_made_is_not_changed(home: Path, mode: int) -> None:
    home.chmod(mode)
    with pytest.raises(UsageError, match="open to others"):
        start_daemon(Home(home))
    with pytest.raises(crewd.CrewdError):
        crewd.connect(str(home), start=mode == 0o777)
    command = [sys.executable, "-m", "crewd", "--home", str(home)]
    served = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (served.returncode, "open to others" in served.stderr) == (2, True), served
    assert (home.stat().st_mode & 0o777, list(home.iterdir())) == (mode, [])


@pytest.mark.process
@pytest.mark.parametrize("name", ["crewd.lock", "secret"])
@pytest.mark.parametrize("game", [link, second_name, open_to_others, pipe])
def test_crewd_takes_no_lock_and_no_secret_that_somebody_may_have_put_there(
    home: Path, name: str, game: Callable[[Path], None]
) -> None:
    make_directory(home / "h")
    game(home / "h" / name)
    command = [sys.executable, "-m", "crewd", "--home", str(home / "h")]
    served = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert served.returncode == 2, served
    assert f"/{name} " in served.stderr
    assert "Traceback" not in served.stderr


@pytest.mark.process
def test_a_client_gives_its_key_to_nobody_who_may_be_anybody(home: Path) -> None:
    with Daemon(home / "h") as daemon:
        daemon.connect().close()
        daemon.home.root.chmod(0o722)
        with pytest.raises(UsageError, match="open to others"):
            daemon.connect()
        daemon.home.root.chmod(0o700)
