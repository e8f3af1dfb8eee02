"""Answers what crewd asks about the files of its workers: reads, lists, scrubs and deletes them. See `protocol/files.py`.

Each request takes about a millisecond, because the guardian must be back at its workers soon.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from crewd import worker_files
from crewd.clock import Clock
from crewd.guardian.output_files import EXIT_FILE, read_kept, read_output, scrub, times_of
from crewd.model.home import BLOBS_LOCK, Home, blob_path
from crewd.model.ids import RUN, is_id
from crewd.model.known_secrets import KnownSecrets
from crewd.private_files import open_plain
from crewd.protocol import files as fl

SCRUBBED = "scrubbed"
"""An attempt whose directory has a file of this name was scrubbed, and is not scrubbed again."""
OUTPUT = (b"stdout", b"stderr")
BLOB_AGE_SECONDS = 3_600.0
"""A blob younger than this is left alone: the worker that keeps it may not have said so yet."""
REMOVE_MAX = 200
"""Names that are deleted in one turn."""
DEPTH_MAX = 64
"""Directories in each other, in a run's directory. What a worker has put deeper is moved up before it is deleted."""
_FOREIGN = frozenset({errno.EINVAL, errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENAMETOOLONG})
"""What the system says of a name that leads elsewhere, or to something that is no plain file."""
_HEX = frozenset("0123456789abcdef")


class Files:
    """The files of one home, with the clock that tells how old blobs are."""

    def __init__(self, home: Home, clock: Clock) -> None:
        self._home = home
        self._clock = clock

    def answer(self, request: fl.FileRequest) -> fl.FileReply:
        """The reply. A request that names something outside the home is answered by `NotRead`, with nothing touched."""
        try:
            return self._answer(request)
        except FileNotFoundError as error:
            return fl.NotRead("gone", str(error))
        except worker_files.NotOurs as error:
            return fl.NotRead("foreign", str(error.strerror))
        except OSError as error:
            return fl.NotRead("foreign" if error.errno in _FOREIGN else "refused", str(error))

    def _answer(self, request: fl.FileRequest) -> fl.FileReply:
        match request:
            case fl.ReadFile(run, name, offset, limit):
                return self._read(run, name, offset, min(max(0, limit), fl.READ_BYTES_MAX))
            case fl.ReadBlob(sha256, offset, limit):
                return self._read_blob(sha256, max(0, offset), min(max(0, limit), fl.READ_BYTES_MAX))
            case fl.ReadMarks(run, directory, stream):
                return fl.Marks(tuple(times_of(self._path(run, directory), stream)))
            case fl.ListRuns(after):
                return _page(name for name in _listed(self._home.runs) if name > after)
            case fl.ListFiles(run, after):
                return _page(_files(self._path(run), tuple(after.split(b"/")) if after else ()))
            case fl.ListUnscrubbed(run):
                return _page(_unscrubbed(self._path(run)))
            case fl.ListBlobs(after):
                return _page(name for name in self._old_blobs(after) if name > after)
            case fl.Scrub():
                return self._scrub(request)
            case fl.RemoveRun(run):
                return _remove(self._path(run))
            case fl.DeleteBlobs(sha256s):
                return self._delete_blobs(sha256s)

    def _path(self, run: str, name: bytes = b"") -> Path:
        parts = name.split(b"/") if name else []
        if not is_id(run, RUN) or any(part in {b"", b".", b".."} or b"\0" in part for part in parts):
            raise OSError(errno.EINVAL, "this names no file of a run")
        return self._home.runs.joinpath(run, *(os.fsdecode(part) for part in parts))

    def _read(self, run: str, name: bytes, offset: int, limit: int) -> fl.Piece:
        path = self._path(run, name)
        if path.name.encode("utf-8", "replace") in OUTPUT and name.count(b"/") == worker_files.ROOMS - 1:
            return read_output(path.parent, path.name, offset, limit)
        return read_kept(path.parent, path.name, offset, limit, rooms=name.count(b"/") + 1, alone=False)

    def _scrub(self, request: fl.Scrub) -> fl.Scrubbed:
        directory = self._path(request.run, request.directory)
        if request.directory.count(b"/") != worker_files.ROOMS - 2:
            raise OSError(errno.EINVAL, "this is no attempt's directory")
        after, looked_at = request.offset, 0
        with contextlib.suppress(FileNotFoundError, worker_files.NotOurs):  # what leads elsewhere is not ours to change
            after, looked_at = scrub(directory, request.stream, max(0, request.offset), KnownSecrets(request.values))
        if looked_at:
            return fl.Scrubbed(request.stream, after, looked_at)
        if request.stream == "stdout":
            return fl.Scrubbed("stderr", 0, 0)
        if (directory / EXIT_FILE).exists():
            worker_files.write(directory, SCRUBBED, b"")
        return fl.Scrubbed("stderr", after, 0, done=True)

    # -- blobs --------------------------------------------------------------------------------------------------

    def _read_blob(self, sha256: str, offset: int, limit: int) -> fl.Piece:
        with open_plain(self._blob(sha256)) as file:
            size = file.seek(0, os.SEEK_END)
            offset = file.seek(min(offset, size))
            return fl.Piece(file.read(limit), offset, size)

    def _blob(self, sha256: str) -> Path:
        if len(sha256) != 64 or not _HEX.issuperset(sha256):
            raise OSError(errno.EINVAL, "this is no SHA-256")
        return blob_path(self._home.blobs, sha256)

    def _old_blobs(self, after: bytes) -> Iterator[bytes]:
        folder = self._home.blobs / "sha256"
        for name in _listed(folder):
            for blob in _listed(folder / os.fsdecode(name)) if name >= after[:2] else ():
                with contextlib.suppress(OSError):
                    if len(blob) == 64 and self._is_old(self._blob(blob.decode("ascii", "replace"))):
                        yield blob

    def _is_old(self, path: Path) -> bool:
        return self._clock.wall() - path.lstat().st_mtime >= BLOB_AGE_SECONDS

    def _delete_blobs(self, sha256s: tuple[str, ...]) -> fl.Removed:
        """None, while somebody stores one: who does holds the lock, and gives a blob that is there a new age."""
        descriptor = os.open(self._home.blobs / BLOBS_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        count = 0
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in map(self._blob, sha256s[: fl.NAMES_MAX]):
                with contextlib.suppress(FileNotFoundError):
                    if self._is_old(path):
                        path.unlink()
                        count += 1
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)
        return fl.Removed(count)


def _page(names: Iterator[bytes]) -> fl.Names:
    found = tuple(islice(names, fl.NAMES_MAX + 1))
    return fl.Names(found[: fl.NAMES_MAX], more=len(found) > fl.NAMES_MAX)


def _listed(folder: Path) -> list[bytes]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(os.fsencode(name) for name in os.listdir(folder))  # noqa: PTH208 (one system call)
    return []


def _files(root: Path, after: tuple[bytes, ...]) -> Iterator[bytes]:
    """In the order of their paths' parts. Directories that come before `after` are not read again."""
    base = os.fsencode(root)
    waiting: list[tuple[bytes, ...]] = [()]
    while waiting:
        place = waiting.pop()
        path = b"/".join((base, *place))
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            continue
        if stat.S_ISDIR(mode) and len(place) <= DEPTH_MAX and place >= after[: len(place)]:
            with contextlib.suppress(OSError):
                waiting += sorted(((*place, name) for name in os.listdir(path)), reverse=True)  # noqa: PTH208
        elif stat.S_ISREG(mode) and place > after:
            yield b"/".join(place)


def _unscrubbed(root: Path) -> Iterator[bytes]:
    for step in _listed(root):
        for epoch in _listed(root / os.fsdecode(step)):
            directory = root / os.fsdecode(step) / os.fsdecode(epoch)
            if (directory / EXIT_FILE).is_file() and not (directory / SCRUBBED).exists():
                yield step + b"/" + epoch


def _remove(root: Path) -> fl.Removed:
    """What cannot be deleted stays. Links are deleted, and not followed."""
    files = 0
    if root.is_symlink():
        return fl.Removed(0)
    try:
        for path in islice(_from_below(os.fsencode(root)), REMOVE_MAX):
            files += _delete(path)
    except FileNotFoundError:
        return fl.Removed(files)
    return fl.Removed(files, more=files > 0 and root.is_dir())


def _from_below(root: bytes) -> Iterator[bytes]:
    """The names in a directory, what is in it first, and at last the directory itself."""
    open_directories = [(root, _names(root))]
    while open_directories:
        path, names = open_directories[-1]
        name = next(names, None)
        if name is None:
            open_directories.pop()
            yield path
            continue
        inner = path + b"/" + name
        is_directory = stat.S_ISDIR(os.lstat(inner).st_mode)
        if is_directory and len(open_directories) > DEPTH_MAX:
            moved = b"%s/deep-%x" % (root, os.lstat(inner).st_ino)
            os.rename(inner, moved)  # noqa: PTH104
        elif is_directory:
            open_directories.append((inner, _names(inner)))
        else:
            yield inner


def _names(folder: bytes) -> Iterator[bytes]:
    with contextlib.suppress(PermissionError):
        os.chmod(folder, 0o700)  # noqa: PTH101 (a worker may have closed it)
    with contextlib.suppress(PermissionError, NotADirectoryError):
        return iter(os.listdir(folder))  # noqa: PTH208
    return iter(())


def _delete(path: bytes) -> bool:
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.rmdir(path)  # noqa: PTH106
        else:
            os.unlink(path)  # noqa: PTH108
        return True
    return False
