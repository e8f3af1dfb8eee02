"""A directory of small files that a guardian writes for its successor. Whatever else stands there is passed over.

A worker knows where it is, and may have put a link, a pipe or a directory in the place of a file: it must cost the guardian no
more than that file. A disk that refuses costs as much.

Tests: tests/guardian/test_worker_folder.py, tests/guardian/test_output.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from crewd import worker_files
from crewd.guardian.tree import Key

FILE_BYTES_MAX = 16 << 20
"""An exit record with undelivered reports and the end of the output has less than half of it."""
_SUFFIX = ".msgpack"
T = TypeVar("T")


class Folder(Generic[T]):
    """One value for each worker, on disk."""

    def __init__(self, directory: Path, kind: type[T]) -> None:
        self._directory = directory
        self._decoder = msgspec.msgpack.Decoder(kind)
        with contextlib.suppress(OSError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, key: Key, value: T) -> None:
        """Write so that a reader sees all of it or nothing."""
        with contextlib.suppress(OSError):
            worker_files.write(self._directory, _name_of(key), msgspec.msgpack.encode(value), rooms=1)

    def forget(self, key: Key) -> None:
        """The worker is over."""
        with contextlib.suppress(OSError):
            worker_files.remove(self._directory, _name_of(key), rooms=1)

    def all(self) -> Iterator[T]:
        """Everything that can be read. What was half-written is removed: the process table tells the rest."""
        try:
            names = sorted(os.listdir(self._directory))  # noqa: PTH208 (names)
        except OSError:
            return
        for name in names:
            if not name.endswith(_SUFFIX):
                continue
            try:
                yield self._decoder.decode(worker_files.read(self._directory, name, FILE_BYTES_MAX, rooms=1))
            except msgspec.DecodeError:
                with contextlib.suppress(OSError):
                    worker_files.remove(self._directory, name, rooms=1)
            except OSError:
                continue


def _name_of(key: Key) -> str:
    return hashlib.sha256(f"{key[0]}#{key[1]}".encode()).hexdigest()[:32] + _SUFFIX
