"""Artifacts as they are fetched: from the event, the blobs, a bundle, or the attempt's directory.

Tests: tests/test_keeping.py, tests/guardian/test_files.py.
"""

from __future__ import annotations

from crewd.model.errors import NotFound
from crewd.model.rows import ArtifactRow, AttemptRow
from crewd.protocol import keeping as kp
from crewd.store.fold import attempt_key
from crewd.store.keeper.archives import Archives
from crewd.store.keeper.removal import RUNS_MAX


def artifact(archives: Archives, wanted: kp.GetArtifact) -> kp.ArtifactReply:
    """A piece of an artifact of a run or a step. NotFound if there is none of this name, or its bytes are not here any more."""
    run, _, step = wanted.target.partition("/")
    rows = archives.library.rows_of(ArtifactRow, run, RUNS_MAX)
    mine = [row for row in rows if wanted.name in {row.name, row.id} and wanted.target in {row.run, row.task}]
    if not mine:
        of_target = [row for row in rows if wanted.target in {row.run, row.task}]
        names = ", ".join(sorted({row.name for row in of_target})[:20]) or "none"
        raise NotFound(f"{step or 'the run'} has left no artifact {wanted.name[:80]!r}", hint=f"there are: {names}")
    row, offset = mine[-1], max(0, wanted.offset)
    if row.data or not row.size:
        data = row.data[offset : offset + kp.CHUNK_BYTES_MAX]
        return kp.ArtifactReply(row, data, min(offset + len(data), row.size))
    piece = archives.files.blob(row.sha256, offset, kp.CHUNK_BYTES_MAX)
    if piece is None:  # of an archived run, or left before there were blobs
        bundle = archives.library.bundle(run)
        piece = None if bundle is None else bundle.output(f"blobs/{row.sha256}", offset, kp.CHUNK_BYTES_MAX)
        attempt = archives.library.row(AttemptRow, attempt_key(row.task, row.epoch))
        if (piece is None or not piece.size) and attempt is not None:
            piece = archives.outputs.output(attempt, f"artifacts/{row.name}", offset, kp.CHUNK_BYTES_MAX)
    if piece is None or piece.size != row.size:
        if row.retention == "temporary":
            raise NotFound(f"the artifact {row.name} was temporary", hint="bundles and backups do not have such ones")
        raise NotFound(f"the artifact {row.name} is not here any more", hint="it was deleted by hand, or never written")
    return kp.ArtifactReply(row, piece.data, offset + len(piece.data))
