"""The blobs of a home: found by their hash, and deleted when nothing refers to them and nobody can be about to.

Why the deletion is safe: who stores a blob holds a shared lock while it is made or found there, and gives it a new age. The
collector holds the lock alone, leaves alone what is younger than an hour, and asks the tables after a flush: by then they
know every report that a living worker has made, for one that is silent for so long is not alive any more.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from crewd.model.home import blob_path
from crewd.model.rows import ArtifactRow
from crewd.private_files import open_plain

AGE_SECONDS = 3_600.0
"""A blob younger than this is left alone: a worker that keeps it may not have said so yet."""
_HASH = re.compile(r"[0-9a-f]{64}\Z")


def read_blob(blobs: Path, sha256: str, offset: int, limit: int) -> tuple[bytes, int] | None:
    """Bytes of a blob and its size; None if it is not there."""
    if not _HASH.match(sha256):
        return None
    try:
        file = open_plain(blob_path(blobs, sha256))
    except OSError:
        return None
    with file:
        size = file.seek(0, os.SEEK_END)
        file.seek(min(max(0, offset), size))
        return file.read(limit), size


def damaged(blobs: Path, rows: Iterable[ArtifactRow]) -> Iterator[str]:
    """What is wrong with the blobs of these artifacts: each is read, and must have the hash that it is called by."""
    looked: dict[str, str] = {}
    for row in rows:
        if row.data or row.retention == "temporary":
            continue
        if row.sha256 not in looked:
            looked[row.sha256] = _verdict(blob_path(blobs, row.sha256), row.sha256)
        if looked[row.sha256]:
            yield f"the artifact {row.name} of {row.task} {looked[row.sha256]}: a backup may have it"


def _verdict(path: Path, sha256: str) -> str:
    try:
        file = open_plain(path)
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    digest = hashlib.sha256()
    with file:
        while data := file.read(1 << 20):
            digest.update(data)
    return "" if digest.hexdigest() == sha256 else "is damaged, or somebody has changed it"


def collect(blobs: Path, now: float, is_referred: Callable[[str], bool]) -> tuple[int, int]:
    """Delete what nothing refers to: how many blobs, and how many bytes. Nothing if somebody is storing one just now."""
    folder = blobs / "sha256"
    if not folder.is_dir():
        return 0, 0
    descriptor = os.open(blobs / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _collect(folder, now, is_referred)
    except BlockingIOError:
        return 0, 0
    finally:
        os.close(descriptor)


def _collect(folder: Path, now: float, is_referred: Callable[[str], bool]) -> tuple[int, int]:
    count = size = 0
    for path in folder.glob("??/*"):
        status = path.lstat()
        if not _HASH.match(path.name) or now - status.st_mtime < AGE_SECONDS or is_referred(path.name):
            continue
        path.unlink()
        count, size = count + 1, size + status.st_size
    return count, size
