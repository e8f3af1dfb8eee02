"""What crewd asks about files is answered truly, and leads nowhere outside the runs of the home."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.clock import SystemClock
from crewd.guardian.files import BLOB_AGE_SECONDS, REMOVE_MAX, Files
from crewd.model.errors import NotFound
from crewd.model.home import Home, blob_path
from crewd.model.ids import RUN
from crewd.model.limits import INLINE_BYTES_MAX
from crewd.protocol import files as fl
from crewd.store.run_files import RunFiles
from crewd.worker.artifacts import store

R = f"{RUN}_{'a' * 26}"
CONTENT = bytes(range(256)) * 16 * (INLINE_BYTES_MAX // 4096 + 1)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (Home(tmp_path / "h").runs / R / "step" / "1").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"elsewhere")
    return Home(tmp_path / "h")


@pytest.fixture
def files(home: Home) -> RunFiles:
    return RunFiles(Files(home, SystemClock()).answer)


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (R, b"../../../secret"), (R, b"step/../../../../secret"), (R, b"/etc/passwd"), (R, b"step//1"), (R, b"link"),
        (R, b"to_folder/secret"), (R, b"pipe"), (R, b"step"), (R, b"no\0name"),
        ("..", b"secret"), (f"{R}/..", b"x"), ("", b"x"),
    ],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_read_by_nobody(home: Home, files: RunFiles, run: str, name: bytes) -> None:
    folder = home.runs / R
    (folder / "link").symlink_to(home.root.parent / "secret")
    (folder / "to_folder").symlink_to(home.root.parent)
    os.mkfifo(folder / "pipe")
    assert files.read(run, name, 0, 100) is None
    with pytest.raises(NotFound):
        files.chunks(run, name)


def test_every_plain_file_is_listed_once_and_links_are_not(home: Home, files: RunFiles) -> None:
    wanted = set()
    for number in range(fl.NAMES_MAX + 200):
        path = home.runs / R / f"step{number % 7}" / ("deep/" * (number % 3)) / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        wanted.add(os.fsencode(path.relative_to(home.runs / R)))
    odd = os.fsencode(home.runs / R) + b"/\xff\xfe"
    Path(os.fsdecode(odd)).write_bytes(b"odd")
    (home.runs / R / "link").symlink_to("/etc/passwd")
    (home.runs / R / "folder").symlink_to("/etc")
    found = list(files.files(R))
    assert len(found) == len(set(found))
    assert set(found) == wanted | {b"\xff\xfe"}
    assert b"".join(files.chunks(R, b"\xff\xfe")[1]) == b"odd"


@given(limit=st.integers(-5, 300), offset=st.integers(-300, 300))
def test_a_piece_is_what_a_slice_of_the_file_is(tmp_path_factory: pytest.TempPathFactory, limit: int, offset: int) -> None:
    home = Home(tmp_path_factory.mktemp("home"))
    (home.runs / R / "step" / "1").mkdir(parents=True)
    data = bytes(range(200))
    (home.runs / R / "step" / "1" / "stdout").write_bytes(data)
    piece = RunFiles(Files(home, SystemClock()).answer).read(R, b"step/1/stdout", offset, limit)
    begin = min(len(data), offset if offset >= 0 else max(0, len(data) + offset))
    assert piece == fl.Piece(data[begin : begin + max(0, limit)], begin, len(data))


def test_a_run_is_removed_whatever_is_in_it(home: Home, files: RunFiles) -> None:
    folder = home.runs / R
    for number in range(3 * REMOVE_MAX):
        (folder / "step" / f"file{number}").write_bytes(b"x")
    deep = folder
    for _ in range(300):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (folder / "link").symlink_to(home.root.parent / "secret")
    (folder / "closed").mkdir(mode=0)
    files.remove_run(R)
    assert not folder.exists()
    assert (home.root.parent / "secret").read_bytes() == b"elsewhere"
    files.remove_run(R)


def test_a_run_that_is_a_link_is_not_followed(home: Home, files: RunFiles) -> None:
    other = f"{RUN}_{'b' * 26}"
    (home.root.parent / "precious").mkdir()
    (home.root.parent / "precious" / "file").write_bytes(b"x")
    (home.runs / other).symlink_to(home.root.parent / "precious")
    files.remove_run(other)
    assert (home.root.parent / "precious" / "file").exists()


def test_a_blob_is_read_by_its_hash_and_by_nothing_else(home: Home, files: RunFiles) -> None:
    stored = store(CONTENT, home.root / "x", home.blobs, clean=False)
    piece = files.blob(stored.sha256, 5, 10)
    assert piece == fl.Piece(CONTENT[5:15], 5, len(CONTENT))
    assert files.digest_of_blob(stored.sha256) == stored.sha256
    for wrong in ("../../x", stored.sha256[:-1], stored.sha256 + "/", "", "0" * 64):
        assert files.blob(wrong, 0, 10) is None
        assert files.digest_of_blob(wrong) == ""
    blob = blob_path(home.blobs, stored.sha256)
    blob.unlink()
    blob.symlink_to("/etc/passwd")
    assert files.blob(stored.sha256, 0, 10) is None, "links are not followed"


def test_a_blob_that_was_stored_again_since_it_was_listed_is_not_deleted(home: Home, files: RunFiles) -> None:
    stored = store(CONTENT, home.root / "x", home.blobs, clean=False)
    path = blob_path(home.blobs, stored.sha256)
    old = SystemClock().wall() - BLOB_AGE_SECONDS - 60
    os.utime(path, (old, old))
    assert list(files.old_blobs()) == [stored.sha256.encode()]
    store(CONTENT, home.root / "y", home.blobs, clean=False)
    assert files.delete_blobs([stored.sha256]) == 0 and path.exists()
    os.utime(path, (old, old))
    assert files.delete_blobs([stored.sha256]) == 1 and not path.exists()
