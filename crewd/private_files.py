"""Directories and files that are one user's alone: a home, its locks and its secret, the keys of clients.

A process that can write there could speak in the user's name, or send the user's programs elsewhere. So nothing is taken as
it is found: not links, not what somebody else owns, not what somebody else may open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from crewd.model.errors import UsageError

FOR_OTHERS = 0o077
WRITE_FOR_OTHERS = 0o022
ASIDE = ".aside"
"""What is added to the name of something that is in the place of a log."""


def file_at(path: Path, directory: int | None = None) -> tuple[int, int] | None:
    """Which file is there (device and inode), below the open `directory` if one is given; None if there is none."""
    try:
        status = os.stat(path, dir_fd=directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_open_as(descriptor: int, path: Path) -> bool | None:
    """Whether the file at a path is the one that this descriptor is of; None if nothing is there."""
    status, there = os.fstat(descriptor), file_at(path)
    return None if there is None else there == (status.st_dev, status.st_ino)


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, with mode 0700; one that is there stays as it is, and is checked."""
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for each in reversed(missing):  # `parents=True` makes those above with the mode that the umask leaves
        with contextlib.suppress(FileExistsError):
            each.mkdir(mode=0o700)
    check_directory(path)


def check_directory(path: Path, closed: int = FOR_OTHERS) -> None:
    """UsageError unless it is a directory of this user's, without any of the permissions in `closed`."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise UsageError(f"{path} is not a directory of yours", hint="choose another one: --home, or CREWD_HOME")
    if status.st_mode & closed:
        mode = stat.S_IMODE(status.st_mode)
        raise UsageError(f"{path} is open to others (mode {mode:o})", hint=f"chmod 700 {path}, or choose another one")


def open_file(path: Path, flags: int) -> int:
    """A descriptor of a plain file of this user's that nobody else may open; with O_CREAT it is made with mode 0600.

    Raises UsageError for anything else in its place, and OSError as `os.open` does.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK}:
            raise UsageError(f"{path} is a link", hint="it may have been planted: look at it, and remove it") from None
        if error.errno in {errno.ENXIO, errno.EISDIR}:
            raise UsageError(f"{path} is no file", hint="remove it") from None
        raise
    status = os.fstat(descriptor)
    wrong = (
        (not stat.S_ISREG(status.st_mode), "is no file", "remove it"),
        (status.st_uid != os.geteuid(), "is another user's", "remove it, or choose another home"),
        (status.st_nlink > 1, "has another name elsewhere", "it may have been planted: look at it, and remove it"),
        (status.st_mode & FOR_OTHERS, f"is open to others (mode {stat.S_IMODE(status.st_mode):o})", f"chmod 600 {path}"),
    )
    for is_wrong, what, hint in wrong:
        if is_wrong:
            os.close(descriptor)
            raise UsageError(f"{path} {what}", hint=hint)
    return descriptor


def check_socket(path: Path) -> None:
    """UsageError if something is there, and is no socket."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise UsageError(f"{path} is no socket", hint="remove it")


def open_log(path: Path) -> int:
    """A descriptor that writes at the end of such a file. What else is in its place is renamed: a program must have its log."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        return open_file(path, flags)
    except UsageError:
        path.rename(path.with_name(f"{path.name}{ASIDE}"))
        return open_file(path, flags)


def open_plain(path: Path) -> BufferedReader:
    """A plain file, to be read. Raises OSError for anything else: a pipe would hold up the process that opens it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file", str(path))
    return os.fdopen(descriptor, "rb")


def check_plain(path: Path) -> None:
    """UsageError if something is there, and is no plain file; links are followed. For what a library opens."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{path} is no file", hint="remove it")


def read_file(path: Path) -> bytes:
    """All of such a file. Raises as `open_file` does."""
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
        return file.read()
