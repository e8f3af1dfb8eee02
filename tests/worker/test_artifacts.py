"""What a worker leaves: streamed, stored once, hashed as it is stored, without secrets; links and pipes are refused."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from crewd.model.errors import UsageError
from crewd.model.home import blob_path
from crewd.model.limits import INLINE_BYTES_MAX
from crewd.worker import artifacts
from crewd.worker.artifacts import store

SECRET = "sk-proj-abcDEF123456ghiJKL789"


def test_a_small_one_travels_and_of_a_large_one_there_is_one_blob(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    small = store(b"x" * INLINE_BYTES_MAX, tmp_path / "small", blobs, clean=True)
    assert small.inline == (tmp_path / "small").read_bytes() and not blobs.exists()
    data = os.urandom(3 << 20)
    (tmp_path / "source").write_bytes(data)
    for name, content in (("one", data), ("two", tmp_path / "source")):
        stored = store(content, tmp_path / name, blobs, clean=True)
        assert (stored.sha256, stored.size, stored.inline) == (hashlib.sha256(data).hexdigest(), len(data), b"")
        assert (tmp_path / name).read_bytes() == data
    blob = blob_path(blobs, stored.sha256)
    assert blob.stat().st_nlink == 3 and blob.stat().st_mode & 0o777 == 0o400
    assert not list(tmp_path.glob(".*.part"))


def test_the_hash_is_of_what_is_stored_after_secrets_were_masked(tmp_path: Path) -> None:
    for name, content in (("text", f"token: {SECRET}\n"), ("bytes", f"see {SECRET}\n".encode())):
        stored = store(content, tmp_path / name, tmp_path / "blobs", clean=True)
        found = (tmp_path / name).read_bytes()
        assert SECRET.encode() not in found and stored.redacted
        assert (stored.sha256, stored.size) == (hashlib.sha256(found).hexdigest(), len(found))
    raw = store(f"see {SECRET}", tmp_path / "raw", tmp_path / "blobs", clean=False)
    assert SECRET in (tmp_path / "raw").read_text() and not raw.redacted
    binary = b"\0\1" + SECRET.encode()
    assert store(binary, tmp_path / "binary", tmp_path / "blobs", clean=True).inline == binary, "what is no text is left alone"


@pytest.mark.parametrize("at", [-100, -40, -29, -28, -5, -1, 0, 1])
def test_a_secret_between_two_portions_is_found(tmp_path: Path, at: int) -> None:
    folder = tmp_path
    begin = artifacts.CHUNK_BYTES + at
    (folder / "source").write_text(" " * begin + SECRET + " " * 100)
    stored = store(folder / "source", folder / "made", folder / "blobs", clean=True)
    made = (folder / "made").read_text()
    assert made == " " * begin + "*" * len(SECRET) + " " * 100 and stored.redacted


def test_what_is_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "nothing", "."):
        with pytest.raises(UsageError):
            store(tmp_path / name, tmp_path / "made", tmp_path / "blobs", clean=True)
    monkeypatch.setattr(artifacts, "ARTIFACT_BYTES_MAX", 1_000)
    with pytest.raises(UsageError, match="too large"):
        store(b"x" * 2_000, tmp_path / "made", tmp_path / "blobs", clean=True)
    assert not (tmp_path / "made").exists() and not list(tmp_path.glob(".*.part"))


def test_a_letter_that_is_cut_between_two_portions_leaves_it_text(tmp_path: Path) -> None:
    for shift in range(4):
        (tmp_path / "source").write_bytes(b"x" * shift + "ä€𝄞".encode() * 150_000 + f" {SECRET} ".encode())
        store(tmp_path / "source", tmp_path / "made", tmp_path / "blobs", clean=True)
        assert SECRET.encode() not in (tmp_path / "made").read_bytes()


def test_a_text_that_is_not_utf8_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lone surrogates"):
        store("\ud800", tmp_path / "a", tmp_path / "blobs", clean=True)
    assert not list(tmp_path.iterdir())
