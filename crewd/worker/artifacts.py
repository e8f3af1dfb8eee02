"""How a worker leaves a file: streamed, without secrets, stored once under its own hash, on disk before anybody is told.

Rule 1: the hash is of the bytes that are stored. Rule 2: a small one travels in the report; of a larger one there is a blob,
and the file in the attempt's directory is another name of it. Rule 3: links and what is no file are refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from crewd.model.errors import UsageError
from crewd.model.home import BLOBS_LOCK, blob_path
from crewd.model.limits import ARTIFACT_BYTES_MAX, INLINE_BYTES_MAX
from crewd.model.redact import SECRET_CHARS_MAX, blot, redact

CHUNK_BYTES = 1 << 20


class Stored(NamedTuple):
    """What was stored. `inline` is empty if there is a blob."""

    sha256: str
    size: int
    inline: bytes
    redacted: bool
    source: str


def store(content: bytes | str | Path, path: Path, blobs: Path, *, clean: bool, inline_max: int = INLINE_BYTES_MAX) -> Stored:
    """Store `content` under `path`, and as a blob if it is large. With `clean`, text loses its secrets first.

    Raises UsageError for a link, for what is no regular file, and for what is larger than an artifact may be.
    """
    source = "" if isinstance(content, bytes | str) else str(content)
    temporary = path.with_name(f".{path.name}.part")
    digest, size, head, redacted = hashlib.sha256(), 0, b"", False
    try:
        with os.fdopen(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb"
        ) as file:
            for chunk, masked in pieces(content, clean=clean):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                redacted = redacted or masked
                head = head + chunk if size <= inline_max else b""
                if size > ARTIFACT_BYTES_MAX:
                    raise UsageError(f"the artifact {path.name} is too large", hint=f"at most {ARTIFACT_BYTES_MAX >> 20} MiB")
            file.flush()
            if size > inline_max:
                os.fsync(file.fileno())
        sha256 = digest.hexdigest()
        if size > inline_max:
            _keep(temporary, blobs, sha256)
        temporary.replace(path)  # a reader sees the old file or the new one, never half of it
    finally:
        temporary.unlink(missing_ok=True)
    return Stored(sha256, size, head, redacted, source)


def _keep(made: Path, blobs: Path, sha256: str) -> None:
    """Make the blob, unless it is there. Its age starts again in any case, so that it is not deleted as garbage."""
    blob = blob_path(blobs, sha256)
    with shared(blobs):
        for folder in (blob.parent.parent, blob.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.chmod(0o400)
        try:
            os.link(made, blob)
        except FileExistsError:
            os.utime(blob)
            made.unlink()
            os.link(blob, made)
        for folder in (blob.parent, blob.parent.parent):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            os.fsync(descriptor)
            os.close(descriptor)


@contextmanager
def shared(blobs: Path) -> Iterator[None]:
    """While this is held nobody collects garbage."""
    blobs.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(blobs / BLOBS_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def pieces(content: bytes | str | Path, *, clean: bool) -> Iterator[tuple[bytes, bool]]:
    """The bytes to store, and whether something of each piece was masked. What is no text is left as it is."""
    if isinstance(content, str):
        masked = redact(content) if clean else content
        try:
            yield masked.encode(), masked != content
        except UnicodeEncodeError:
            raise UsageError("an artifact's text has lone surrogates", hint="give bytes; os.fsencode for file names") from None
        return
    chunks = iter([content]) if isinstance(content, bytes) else _read(content)
    held = next(chunks, b"")
    text = clean and b"\0" not in held and _is_text(held)
    if not text:
        yield held, False
        for chunk in chunks:
            yield chunk, False
        return
    for chunk in chunks:  # a portion is looked at with the beginning of the next one, where a secret of it may end
        raw = held + chunk[:SECRET_CHARS_MAX]
        both = blot(raw, len(held))
        yield both[: len(held)], both != raw
        held = both[len(held) :] + chunk[SECRET_CHARS_MAX:]
    yield blot(held), blot(held) != held


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return len(data) == CHUNK_BYTES and error.start > len(data) - 4  # a letter that is cut in the middle
    return True


def _read(path: Path) -> Iterator[bytes]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be left as an artifact: {error.strerror}", hint="name the file itself, no link"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"{path} is no file", hint="pack a directory into an archive first")
    with os.fdopen(descriptor, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
