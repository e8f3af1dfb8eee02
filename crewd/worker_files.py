"""Files in a worker's directory, as somebody opens them who does not trust the worker: it may have put anything there.

A link would lead to a file of somebody else's, a pipe would hold its reader up for ever. So each part of the path is opened
without following links, and what is opened is a plain file of this user's with one name, or nothing. What is written is
written under another name first, and then renamed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

ROOMS = 3
"""A worker's directory is RUN/STEP/EPOCH below a directory that it is not told to write to."""
PART = ".crewd-part"


class NotOurs(OSError):
    """There is something else in the place of the file."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(errno.EINVAL, f"{path.name} is {what}", str(path))


@contextlib.contextmanager
def opened(directory: Path, name: str, flags: int = os.O_RDONLY, *, rooms: int = ROOMS, alone: bool = True) -> Iterator[int]:
    """A descriptor of a plain file, closed at the end. Raises FileNotFoundError, NotOurs, or what else opening it raises.

    `flags` are those of `os.open` for reading or changing a file that is there. `rooms`: so many parts at the end of the
    directory's path are not trusted. `alone`: a file with a second name is NotOurs.
    """
    with _inside(directory, rooms) as folder:
        descriptor = _open(folder, directory / name, name, flags)
        try:
            _check(descriptor, directory / name, alone=alone)
            yield descriptor
        finally:
            os.close(descriptor)


def read(directory: Path, name: str, limit: int, *, rooms: int = ROOMS) -> bytes:
    """All of a file, if it has no more than `limit` bytes. Raises as `opened` does; NotOurs for a larger one."""
    with opened(directory, name, rooms=rooms) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise NotOurs(directory / name, f"larger than {limit} bytes")
    return data


def size(directory: Path, name: str) -> tuple[int, int]:
    """The size of a plain file, and the bytes that it takes on the disk; 0 and 0 if there is none."""
    with contextlib.suppress(OSError), _inside(directory) as folder:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(found.st_mode):
            return found.st_size, found.st_blocks * 512
    return 0, 0


def write(directory: Path, name: str, data: bytes, *, rooms: int = ROOMS) -> None:
    """Put a file there, whatever was there before, but for a directory. A reader sees all of it or nothing."""
    with _inside(directory, rooms) as folder:
        part = f"{name}{PART}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part, dir_fd=folder)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)


def open_to_append(directory: Path, name: str) -> int:
    """A descriptor that writes at the end of a plain file, which is made if it is not there. Raises as `opened` does."""
    with _inside(directory) as folder:
        descriptor = _open(folder, directory / name, name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        _check(descriptor, directory / name)
    except OSError:
        os.close(descriptor)
        raise
    os.set_blocking(descriptor, True)
    return descriptor


def append(directory: Path, name: str, data: bytes) -> None:
    """Write at the end of a plain file, which is made if it is not there. Raises as `opened` does."""
    descriptor = open_to_append(directory, name)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def remove(directory: Path, name: str, *, rooms: int = ROOMS) -> None:
    """Take away what bears this name, if anything does: a link itself, and not what it leads to."""
    with contextlib.suppress(FileNotFoundError, IsADirectoryError), _inside(directory, rooms) as folder:
        os.unlink(name, dir_fd=folder)


def make(directory: Path) -> None:
    """Make a directory, and those above it, for this user alone; they may be there already. Raises NotOurs for a link."""
    root = directory.parents[ROOMS - 1]
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in directory.parts[-ROOMS:]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=folder)
            folder = _down(folder, part, directory)
    finally:
        os.close(folder)


def _down(folder: int, part: str, directory: Path) -> int:
    """From a directory's descriptor to the one of a directory in it; the first one is closed."""
    try:
        inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ENOTDIR, errno.ELOOP}:
            raise NotOurs(directory, f"not reached: {part} is no directory") from None
        raise
    os.close(folder)
    return inner


def _open(folder: int, path: Path, name: str, flags: int) -> int:
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(name, flags, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK}:
            raise NotOurs(path, "a link") from None
        if error.errno in {errno.ENXIO, errno.ENODEV}:
            raise NotOurs(path, "no plain file") from None
        raise


def _check(descriptor: int, path: Path, *, alone: bool = True) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise NotOurs(path, "no plain file")
    if alone and found.st_nlink > 1:
        raise NotOurs(path, "another name of a file elsewhere")
    if found.st_uid != os.geteuid() and os.geteuid() != 0:
        raise NotOurs(path, "the file of another user")


@contextlib.contextmanager
def _inside(directory: Path, rooms: int = ROOMS) -> Iterator[int]:
    """A descriptor of the directory, of which the last parts were reached without a link."""
    parts = directory.parts[-rooms:]
    root = directory.parents[rooms - 1] if len(directory.parts) > rooms else directory
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts if root != directory else ():
            folder = _down(folder, part, directory)
        yield folder
    finally:
        os.close(folder)
