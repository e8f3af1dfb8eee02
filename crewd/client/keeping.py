"""What a client does with whole runs and with the home: forget, archive, prune, export, import, back up.

Tests: tests/test_keeping.py, tests/test_secrets.py.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from crewd.client import shapes
from crewd.model.errors import CrewdError, UsageError
from crewd.model.rows import ArtifactRow
from crewd.protocol import keeping as kp

if TYPE_CHECKING:
    from crewd.client.blocking import Crew

LONG_SECONDS = 3_600.0
"""What concerns a whole run or the home may take its time."""
ORIGINAL_BYTES_MAX = 1 << 30
OnConflict = Literal["refuse", "skip", "overwrite", "rename"]


def forget(crew: Crew, target: str, *, intent: str = "", force: bool = False, dry_run: bool = False) -> kp.Kept:
    """Take everything of an ended run away but the note that it was there. Durable when this returns."""
    order = kp.Forget(target=target, intent=intent, force=force, dry_run=dry_run)
    return shapes.expect(crew.request(order, LONG_SECONDS), kp.KeptReply).runs[0]


def archive(crew: Crew, target: str, *, intent: str = "", force: bool = False, dry_run: bool = False) -> kp.Kept:
    """Put an ended run into a bundle inside the home: it takes less room and is read as before."""
    order = kp.Archive(target=target, intent=intent, force=force, dry_run=dry_run)
    return shapes.expect(crew.request(order, LONG_SECONDS), kp.KeptReply).runs[0]


def prune(crew: Crew, order: kp.Prune) -> tuple[kp.Kept, ...]:
    """Forget or archive what ended long ago; see `Prune`. Each run that was looked at, and what became of it."""
    return shapes.expect(crew.request(order, LONG_SECONDS), kp.KeptReply).runs


def export(crew: Crew, target: str, path: Path) -> kp.BundleReply:
    """Write an ended run into the new file `path`, wholly or not at all. Raises UsageError if there is such a file."""
    if path.exists():
        raise UsageError(f"{path} exists", hint="choose another file")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path.parent} is no directory", hint="make it first")
    bundle = shapes.expect(crew.request(kp.Export(target=target), LONG_SECONDS), kp.BundleReply)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}", delete=False) as file:
        try:
            while file.tell() < bundle.size:
                piece = shapes.expect(crew.request(kp.Fetch(name=bundle.name, offset=file.tell())), kp.ChunkReply)
                if not piece.data:
                    break
                digest.update(piece.data)
                file.write(piece.data)
            if digest.hexdigest() != bundle.sha256:
                raise CrewdError("the bundle was damaged on its way", hint="try again")
            file.flush()
            os.fsync(file.fileno())
            os.link(file.name, path)  # unlike a rename it never replaces what somebody has put there meanwhile
        except FileExistsError:
            raise UsageError(f"{path} exists", hint="choose another file") from None
        finally:
            Path(file.name).unlink(missing_ok=True)
    return bundle


def take_in(
    crew: Crew, path: Path, *, on_conflict: OnConflict = "refuse", intent: str = "", force: bool = False, dry_run: bool = False
) -> kp.ImportReply:
    """Take a run in from a bundle, or from a run directory of the original system. Durable when this returns."""
    upload = crew.new_upload_id()
    with _packed(path) if path.is_dir() else path.open("rb") as file:
        offset = 0
        while True:
            data = file.read(kp.CHUNK_BYTES_MAX)
            if data or not offset:
                offset = shapes.expect(crew.request(kp.Upload(upload=upload, offset=offset, data=data)), kp.ChunkReply).next
            if not data:
                break
    order = kp.Import(upload=upload, on_conflict=on_conflict, intent=intent, force=force, dry_run=dry_run)
    return shapes.expect(crew.request(order, LONG_SECONDS), kp.ImportReply)


def artifact(crew: Crew, target: str, name: str, write: Callable[[bytes], object], bytes_max: int | None = None) -> ArtifactRow:
    """Hand the bytes of an artifact to `write`, piece by piece, and look whether they are what was stored. Its row.

    UsageError if there are more than `bytes_max`.
    """
    digest, offset = hashlib.sha256(), 0
    while True:
        order = kp.GetArtifact(target=target, name=name, offset=offset)
        piece = shapes.expect(crew.request(order), kp.ArtifactReply)
        if bytes_max is not None and piece.row.size > bytes_max:
            text = f"{piece.row.name} has {piece.row.size:,} bytes, {bytes_max:,} can be shown"
            raise UsageError(text, hint="crew artifact get -o FILE writes it as it is")
        name = piece.row.id  # also if one of the same name is left meanwhile
        digest.update(piece.data)
        write(piece.data)
        offset = piece.next
        if offset >= piece.row.size or not piece.data:
            break
    if digest.hexdigest() != piece.row.sha256:
        raise CrewdError(f"the artifact {piece.row.name} is not what was stored", hint="crew doctor")
    return piece.row


def artifact_bytes(crew: Crew, row: ArtifactRow) -> bytes:
    """All bytes of an artifact that is known to be small."""
    data = bytearray()
    artifact(crew, row.task, row.id, data.extend)
    return bytes(data)


def backup(crew: Crew, path: Path) -> kp.BackupReply:
    """Copy the home's state into a new directory on crewd's machine, while everything goes on."""
    return shapes.expect(crew.request(kp.Backup(path=str(path.absolute())), LONG_SECONDS), kp.BackupReply)


def _packed(directory: Path) -> IO[bytes]:
    """The regular files of a directory, as they are, in a zip file; links are left out."""
    if not (directory / "manifest.json").is_file():
        raise UsageError(f"{directory} holds no manifest.json", hint="a run directory of the original system has one")
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    size = 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(directory.rglob("*")):
            if stat.S_ISREG(path.lstat().st_mode):
                size += path.stat().st_size
                if size > ORIGINAL_BYTES_MAX:
                    raise UsageError(f"{directory} holds more than {ORIGINAL_BYTES_MAX >> 20} MiB")
                packed.write(path, f"original/{path.relative_to(directory).as_posix()}")
    file.seek(0, io.SEEK_SET)
    return file
