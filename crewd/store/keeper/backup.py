"""A copy of the home's database, bundles, artifacts and results, made while everything goes on, and folded before it is one.

It is made under another name and renamed: what a kill leaves is no backup, and the next one to the same place replaces it.

Tests: tests/test_keeping.py, tests/test_backup.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from crewd.model.errors import CrewdError, NotFound, StoreUnavailable, UsageError
from crewd.model.home import blob_path
from crewd.model.rows import ArtifactRow, AttemptRow
from crewd.protocol import keeping as kp
from crewd.store.bundle import sync_directory
from crewd.store.keeper.archives import Archives
from crewd.store.library import lacking
from crewd.store.readonly import ReadOnly
from crewd.store.rebuild import rebuild
from crewd.store.run_files import RunFiles


def backup(archives: Archives, path: Path) -> kp.BackupReply:
    """Make a backup in the new directory `path`. UsageError if that cannot be made, StoreUnavailable if it is not whole."""
    if not path.is_absolute() or ".." in path.parts:
        raise UsageError(f"{path} is not an absolute path")
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} exists", hint="a backup is a new directory")
    made = path.with_name(f".{path.name}.{archives.home.key}.part")  # of this home: nobody else's folder has this name
    try:
        shutil.rmtree(made, ignore_errors=True)  # of a backup that was killed
        for folder in (made, made / "archive"):
            folder.mkdir(mode=0o700)
    except OSError as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}") from None
    try:
        reply = _backup(archives, made)
        made.rename(path)
        sync_directory(path.parent)
    except (CrewdError, OSError):
        shutil.rmtree(made, ignore_errors=True)
        raise
    return kp.BackupReply(str(path), *reply)


def _backup(archives: Archives, made: Path) -> tuple[int, int, int, tuple[str, ...], int, tuple[str, ...]]:
    archives.database.backup(made / "crewd.db")
    copy = ReadOnly(made / "crewd.db")
    try:
        differences, events = rebuild(copy)
        runs = copy.runs(ended=True, limit=1 << 31) + copy.runs(ended=False, limit=1 << 31)
        artifacts = [row for _, row in copy.all_rows(ArtifactRow) if isinstance(row, ArtifactRow) and _has_blob(row)]
        results = set[str]()
        for _, row in copy.all_rows(AttemptRow):
            if isinstance(row, AttemptRow) and row.result is None and row.result_path:
                results.add(row.result_path)
    finally:
        copy.close()
        for suffix in ("-wal", "-shm"):  # of this look at it; there is nothing in them
            (made / f"crewd.db{suffix}").unlink(missing_ok=True)
    if differences:
        raise StoreUnavailable(f"the backup is not what it must be: {differences[0]}", hint="crew doctor --rebuild")
    archived = [run for run in runs if run.archived]
    lacks = lacking(archives.home.archive, archived)
    lost = {run.id for run in lacks}
    copied = [run.archived for run in archived if run.id not in lost]
    for name in copied:
        shutil.copyfile(archives.home.archive / name, made / "archive" / name)
    living = {run.id for run in runs if not run.archived}
    gone = list(_copy_blobs(archives.files, [row for row in artifacts if row.run in living], made / "blobs"))
    for run in living:
        _copy_outputs(archives.files, run, archives.home.run_directory(run), results, made / "runs" / run)
    size = 0
    for folder, _, names in os.walk(made, topdown=False):
        for name in names:
            with Path(folder, name).open("rb") as file:
                size += os.fstat(file.fileno()).st_size
                os.fsync(file.fileno())
        sync_directory(Path(folder))
    named = tuple(run.name for run in lacks[: kp.LACKS_MAX])
    return events, size, len(copied), named, len(lacks), tuple(gone[: kp.LACKS_MAX])


def _has_blob(row: ArtifactRow) -> bool:
    """Whether the bytes of an artifact are to be copied: few bytes are in its row."""
    return row.size > 0 and not row.data and row.retention != "temporary"


def _copy_blobs(files: RunFiles, rows: list[ArtifactRow], blobs: Path) -> Iterator[str]:
    """Copy what these artifacts have stored; those whose bytes are gone, or are not what they were, are named."""
    for row in rows:
        path = blob_path(blobs, row.sha256)
        if path.exists():
            continue
        chunks = files.blob_chunks(row.sha256)
        if chunks is None or _write(path, chunks) != row.sha256:
            path.unlink(missing_ok=True)
            yield f"{row.name} of {row.task}"


def _copy_outputs(files: RunFiles, run: str, directory: Path, results: set[str], into: Path) -> None:
    """Copy the outputs that steps have left for each other, and the results that are kept as files."""
    for name in files.files(run):
        path = os.fsdecode(name)
        if name.startswith(b"shared/") or str(directory / path) in results:
            try:
                _, chunks = files.chunks(run, name)
            except NotFound:
                continue  # it was taken away meanwhile
            _write(into / path, chunks)


def _write(path: Path, chunks: Iterator[bytes]) -> str:
    """Write a new file, in directories that are made for it. The SHA-256 of its bytes."""
    digest = hashlib.sha256()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
    return digest.hexdigest()
