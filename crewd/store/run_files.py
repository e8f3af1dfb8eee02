"""The files that workers leave, as the store's actors use them: asked of the guardian, whose machine they are on.

Tests: tests/guardian/test_files.py, tests/store/test_bundle.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

from crewd.model.errors import NotFound, Unavailable
from crewd.protocol import files as fl

AskFiles: TypeAlias = Callable[[fl.FileRequest], fl.FileReply]
"""Asks the guardian, and waits for the reply. Raises Unavailable if there is none."""
R = TypeVar("R", bound=fl.FileReply)
NOTHING = fl.Piece(b"", 0, 0)


class RunFiles:
    """Every method raises Unavailable if the guardian does not answer, or its system refuses."""

    def __init__(self, ask: AskFiles) -> None:
        self._ask = ask

    def read(self, run: str, name: bytes, offset: int, limit: int) -> fl.Piece | None:
        """See `ReadFile`. None if there is no such file."""
        return self._piece(fl.ReadFile(run, name, offset, limit))

    def blob(self, sha256: str, offset: int, limit: int) -> fl.Piece | None:
        """See `ReadBlob`. None if it is not there."""
        return self._piece(fl.ReadBlob(sha256, offset, limit))

    def chunks(self, run: str, name: bytes) -> tuple[int, Iterator[bytes]]:
        """All of a file: where its kept part begins, and the bytes from there on. Raises NotFound if it is not there."""
        first = self._piece(fl.ReadFile(run, name, 0, fl.READ_BYTES_MAX))
        if first is None:
            raise NotFound(f"{name!r} of run {run} is not there")
        return first.offset, self._rest(first, lambda at: self.read(run, name, at, fl.READ_BYTES_MAX) or NOTHING)

    def blob_chunks(self, sha256: str) -> Iterator[bytes] | None:
        """All of a blob; None if it is not there."""
        first = self.blob(sha256, 0, fl.READ_BYTES_MAX)
        return None if first is None else self._rest(first, lambda at: self.blob(sha256, at, fl.READ_BYTES_MAX) or NOTHING)

    def digest_of_blob(self, sha256: str) -> str:
        """The SHA-256 of a blob's bytes; an empty text if it is not there."""
        chunks = self.blob_chunks(sha256)
        if chunks is None:
            return ""
        digest = hashlib.sha256()
        for chunk in chunks:
            digest.update(chunk)
        return digest.hexdigest()

    def marks(self, run: str, directory: bytes, stream: fl.OutputStream) -> tuple[tuple[int, float], ...]:
        """See `Marks`."""
        return self._told(fl.ReadMarks(run, directory, stream), fl.Marks).marks

    def runs(self) -> Iterator[bytes]:
        """The names in the directory of runs."""
        return self._names(fl.ListRuns)

    def files(self, run: str) -> Iterator[bytes]:
        """The plain files of a run."""
        return self._names(lambda after: fl.ListFiles(run, after))

    def unscrubbed(self, run: str) -> tuple[bytes, ...]:
        """See `ListUnscrubbed`."""
        return self._told(fl.ListUnscrubbed(run), fl.Names).names

    def old_blobs(self) -> Iterator[bytes]:
        """See `ListBlobs`."""
        return self._names(fl.ListBlobs)

    def scrub(self, portion: fl.Scrub) -> fl.Scrubbed:
        """See `Scrub`."""
        return self._told(portion, fl.Scrubbed)

    def remove_run(self, run: str) -> None:
        """Delete a run's directory. What the system refuses to delete stays."""
        while self._told(fl.RemoveRun(run), fl.Removed).more:
            pass

    def delete_blobs(self, sha256s: Sequence[str]) -> int:
        """Delete these blobs, but for those that were stored again lately; how many were."""
        return self._told(fl.DeleteBlobs(tuple(sha256s)), fl.Removed).files

    def _names(self, request: Callable[[bytes], fl.FileRequest]) -> Iterator[bytes]:
        after, more = b"", True
        while more:
            page = self._told(request(after), fl.Names)
            yield from page.names
            more = page.more and bool(page.names)
            after = page.names[-1] if page.names else after

    def _rest(self, piece: fl.Piece, read: Callable[[int], fl.Piece]) -> Iterator[bytes]:
        while piece.data:
            yield piece.data
            at = piece.offset + len(piece.data)
            piece = read(at)
            if piece.offset > at:  # a hole that was made since
                yield bytes(min(piece.offset - at, piece.size - at))

    def _piece(self, request: fl.ReadFile | fl.ReadBlob) -> fl.Piece | None:
        reply = self._ask(request)
        if isinstance(reply, fl.NotRead) and reply.why in {"gone", "foreign"}:
            return None
        return _checked(reply, fl.Piece)

    def _told(self, request: fl.FileRequest, kind: type[R]) -> R:
        return _checked(self._ask(request), kind)


def _checked(reply: fl.FileReply, kind: type[R]) -> R:
    if isinstance(reply, kind):
        return reply
    why = reply.message if isinstance(reply, fl.NotRead) else f"it answered with {type(reply).__name__}"
    raise Unavailable(f"the guardian cannot do it: {why}", hint="see guardian.log")
