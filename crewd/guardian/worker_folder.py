"""What the guardian does in a worker's directory: make it, write an output file for a step, and take what the worker left."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from crewd import worker_files
from crewd.guardian import prepared
from crewd.guardian.zygote import LOCK

_log = logging.getLogger("crewd.guardian")
UNSENT_REPORTS_BYTES_MAX = 4 << 20
"""Reports that a worker could not deliver before it ended; it keeps at most 1,024, so more than this is not the worker's."""


@contextlib.contextmanager
def noted(errors: list[str]) -> Iterator[None]:
    """Add an OSError to `errors` instead of raising it."""
    try:
        yield
    except OSError as error:
        errors.append(str(error))


def prepare(directory: str, shared: str) -> None:
    """Make the files that a worker will write to. Done ahead, because each new name may wait for a sync of the same disk."""
    with contextlib.suppress(OSError):  # the start that follows fails with the reason
        if Path(directory).exists():
            return
        for path in (Path(directory), Path(shared)):
            worker_files.make(path)
        os.close(worker_files.open_to_append(Path(directory), prepared.NAME))
        for folder, name in ((Path(directory), "stdout"), (Path(directory), "stderr"), (Path(directory).parent, LOCK)):
            os.close(worker_files.open_to_append(folder, name))


def leave_file(shared: str, name: str, data: bytes, *, if_absent: bool) -> None:
    """Write a file of a run so that a reader sees all of it or nothing. An error is logged."""
    try:
        worker_files.make(Path(shared))
        if if_absent and (Path(shared) / name).exists():
            return
        worker_files.write(Path(shared), name, data)
    except OSError as error:
        _log.warning("the output file %s cannot be written: %s", name, error)


def take_unsent_reports(directory: Path) -> bytes:
    """The reports that the worker left in its directory (MessagePack). The file is removed: the exit record keeps them."""
    try:
        words = worker_files.read(directory, "unsent_reports", UNSENT_REPORTS_BYTES_MAX)
    except OSError:
        return b""
    worker_files.remove(directory, "unsent_reports")
    return words
