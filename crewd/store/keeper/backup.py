"""A copy of the home's database and bundles, made while everything goes on, and folded before it is called a backup.

Tests: tests/test_keeping.py.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from crewd.model.errors import CrewdError, StoreUnavailable, UsageError
from crewd.private_files import open_plain
from crewd.protocol import keeping as kp
from crewd.store.bundle import sync_directory
from crewd.store.keeper.archives import Archives
from crewd.store.library import lacking
from crewd.store.readonly import ReadOnly
from crewd.store.rebuild import rebuild


def backup(archives: Archives, path: Path) -> kp.BackupReply:
    """Make a backup in the new directory `path`. UsageError if that cannot be made, StoreUnavailable if it is not whole."""
    if not path.is_absolute() or ".." in path.parts:
        raise UsageError(f"{path} is not an absolute path")
    try:
        path.mkdir(mode=0o700)
        (path / "archive").mkdir(mode=0o700)
    except FileExistsError:
        raise UsageError(f"{path} exists", hint="a backup is a new directory") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}") from None
    try:
        archives.database.backup(path / "crewd.db")
        copy = ReadOnly(path / "crewd.db")
        try:
            differences, events = rebuild(copy)
            archived = [run for run in copy.runs(ended=True, limit=1 << 31) if run.archived]
        finally:
            copy.close()
            for suffix in ("-wal", "-shm"):  # of this look at it; there is nothing in them
                (path / f"crewd.db{suffix}").unlink(missing_ok=True)
        if differences:
            raise StoreUnavailable(f"the backup is not what it must be: {differences[0]}", hint="crew doctor --rebuild")
        lacks = lacking(archives.home.archive, archived)
        lost = {run.id for run in lacks}
        copied = [run.archived for run in archived if run.id not in lost]
        for name in copied:
            shutil.copyfile(archives.home.archive / name, path / "archive" / name)
        size = 0
        for each in (path / "crewd.db", *(path / "archive" / name for name in copied)):
            with open_plain(each) as file:
                size += os.fstat(file.fileno()).st_size
                os.fsync(file.fileno())
        for folder in (path / "archive", path, path.parent):
            sync_directory(folder)
    except (CrewdError, OSError):
        shutil.rmtree(path, ignore_errors=True)
        raise
    return kp.BackupReply(str(path), events, size, len(copied), tuple(run.name for run in lacks[: kp.LACKS_MAX]), len(lacks))
