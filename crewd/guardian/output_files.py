"""A worker's output files as they are read: offsets that stay true, and no byte that was never written.

The oldest bytes of a file that is full are given back to the file system as a hole (see the guardian's `punch`), so that the
offset of every other byte stays what it was: a reader that follows loses nothing and gets nothing twice, and one that
comes late is told where the kept part begins.
"""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import msgspec

from crewd import worker_files
from crewd.model.known_secrets import KnownSecrets
from crewd.model.redact import blot
from crewd.protocol.files import Piece

EXIT_FILE = "exit"
"""What the guardian leaves in the directory of an attempt that is over, if it has written anything: a `Tail`."""
TIMES_FILE = "times"
"""Beside the output: how much was written by when, in a row of `MARK`s, as the guardian saw it."""
MARK = struct.Struct("<QQd")
"""Bytes of stdout, bytes of stderr, wall-clock seconds."""
TAIL_BYTES = 65_536
EXIT_BYTES_MAX = 4 * TAIL_BYTES
TIMES_BYTES_MAX = 1 << 20
SCRUB_BYTES = 1 << 15
"""Looked at together, and as much more as a secret may have, so that none is missed where two portions meet. Most take less
than a millisecond."""


class Tail(msgspec.Struct, frozen=True):
    """The ends of a worker's output, and the offsets at which they begin: kept when the files themselves are gone."""

    stdout: bytes
    stdout_at: int
    stderr: bytes
    stderr_at: int


def read_output(directory: Path, stream: str, offset: int, limit: int) -> Piece:
    """Up to `limit` bytes from `offset` (negative: counted from the end), or from where the kept part begins after it.

    Raises FileNotFoundError or `NotOurs` if there is neither the file nor its end.
    """
    try:
        return read_kept(directory, stream, offset, limit)
    except (FileNotFoundError, worker_files.NotOurs):
        piece = _from_tail(directory, stream, offset, limit)
        if piece is None:
            raise
        return piece


def read_kept(
    directory: Path, name: str, offset: int, limit: int, *, rooms: int = worker_files.ROOMS, alone: bool = True
) -> Piece:
    """As `read_output` does, of any file. Raises as `worker_files.opened` does."""
    opened = worker_files.opened(directory, name, rooms=rooms, alone=alone)
    with opened as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        offset = min(size, offset if offset >= 0 else max(0, size + offset))
        if offset < size:
            offset = file.seek(kept_from(file.fileno(), offset))
        return Piece(file.read(limit), offset, size)


def times_of(directory: Path, stream: str) -> list[tuple[int, float]]:
    """The marks of a stream: (offset, time), both growing. What stands before the offset was written by then."""
    try:
        raw = worker_files.read(directory, TIMES_FILE, TIMES_BYTES_MAX)
    except OSError:
        return []
    marks = MARK.iter_unpack(raw[: len(raw) // MARK.size * MARK.size])
    found: list[tuple[int, float]] = []
    for stdout, stderr, at in marks:
        offset = stderr if stream == "stderr" else stdout
        if not found or offset > found[-1][0]:
            found.append((offset, at))
    return found


def kept_from(descriptor: int, offset: int) -> int:
    """Where the first bytes are that are kept of a file, from `offset` on."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO and not os.pread(descriptor, SCRUB_BYTES, offset).strip(b"\0"):  # a hole up to the end
            return os.lseek(descriptor, 0, os.SEEK_END)
        return offset  # a file system without holes: everything is kept


def _from_tail(directory: Path, stream: str, offset: int, limit: int) -> Piece | None:
    if stream not in {"stdout", "stderr"}:
        return None
    try:
        tail = msgspec.msgpack.decode(worker_files.read(directory, EXIT_FILE, EXIT_BYTES_MAX), type=Tail)
    except (OSError, msgspec.DecodeError):
        return None
    data, begin = (tail.stderr, tail.stderr_at) if stream == "stderr" else (tail.stdout, tail.stdout_at)
    size = begin + len(data)
    offset = min(size, max(begin, offset if offset >= 0 else size + offset))
    return Piece(data[offset - begin : offset - begin + limit], offset, size)


def tail_of(directory: Path, known: KnownSecrets) -> Tail:
    """The ends of both files as they are now, without secrets: also without one that begins before the end that is kept."""
    ends: list[tuple[bytes, int]] = []
    for stream in ("stdout", "stderr"):
        limit = TAIL_BYTES + known.reach
        try:
            read = read_output(directory, stream, -limit, limit)
        except (FileNotFoundError, worker_files.NotOurs):
            read = Piece(b"", 0, 0)
        kept = blot(known.in_bytes(read.data))[-TAIL_BYTES:]
        ends.append((kept, read.offset + len(read.data) - len(kept)))
    return Tail(*ends[0], *ends[1])


def scrub(directory: Path, stream: str, at: int, known: KnownSecrets) -> tuple[int, int]:
    """Mask the secrets of one portion of a file that nobody writes any more, in place. Links are not followed.

    Where the next portion begins, and how many bytes were looked at: 0 at the end of the file.
    """
    with worker_files.opened(directory, stream, os.O_RDWR) as descriptor:
        at = kept_from(descriptor, at)
        data = os.pread(descriptor, SCRUB_BYTES + known.reach, at)
        clean = blot(known.in_bytes(data), SCRUB_BYTES)  # of a known one that looks like two, nothing may be left
        if clean != data:
            os.pwrite(descriptor, clean, at)
        portion = min(len(data), SCRUB_BYTES)
        return at + portion, portion
