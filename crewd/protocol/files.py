"""What crewd asks the guardian about the files that workers leave: a stream of MessagePack arrays `[kind, body]`.

The guardian is on the workers' machine, and crewd may be on another one, so crewd opens none of these files itself. Names are
bytes, below the directory of their run: `STEP/EPOCH/stdout`. Each request is answered at once, before the next one; what is
long is asked for piece by piece.

Tests: tests/guardian/test_files.py, tests/guardian/test_page.py.
"""

from __future__ import annotations

from typing import Literal

import msgspec

READ_BYTES_MAX = 1 << 20
"""What one `ReadFile` or `ReadBlob` reads at most."""
NAMES_MAX = 1_000
"""What one list holds at most."""
OutputStream = Literal["stdout", "stderr"]


class ReadFile(msgspec.Struct, frozen=True):
    """Bytes of a file of a run. Answered by `Piece`, or `NotRead`.

    `offset` is counted from the end if it is negative. What comes before the kept part of the file is left out. Of a worker's
    output that is gone, what the guardian has kept of its end is read.
    """

    run: str
    name: bytes
    offset: int
    limit: int


class ReadBlob(msgspec.Struct, frozen=True):
    """Bytes of a blob. Answered by `Piece`, or `NotRead`."""

    sha256: str
    offset: int
    limit: int


class ReadMarks(msgspec.Struct, frozen=True):
    """When a worker's output was written; `directory` is the attempt's (`STEP/EPOCH`). Answered by `Marks`."""

    run: str
    directory: bytes
    stream: OutputStream


class ListRuns(msgspec.Struct, frozen=True):
    """The runs that have a directory, in order, from the one after `after` on. Answered by `Names`."""

    after: bytes = b""


class ListFiles(msgspec.Struct, frozen=True):
    """The plain files of a run, at any depth, in order, from the one after `after` on. Links are left out.

    Answered by `Names`.
    """

    run: str
    after: bytes = b""


class ListUnscrubbed(msgspec.Struct, frozen=True):
    """The attempts of a run (`STEP/EPOCH`) that are over and have written what was not scrubbed. Answered by `Names`."""

    run: str


class ListBlobs(msgspec.Struct, frozen=True):
    """The blobs that are old enough to be deleted, in order, from the one after `after` on. Answered by `Names`."""

    after: bytes = b""


class Scrub(msgspec.Struct, frozen=True):
    """Mask the secrets in the next portion of the output of an attempt that is over. Answered by `Scrubbed`.

    Begins with `stdout` at 0 and goes on with what `Scrubbed` says. `values` are masked besides what looks like a secret.
    """

    run: str
    directory: bytes
    stream: OutputStream = "stdout"
    offset: int = 0
    values: tuple[str, ...] = ()


class RemoveRun(msgspec.Struct, frozen=True):
    """Delete files of a run, as many as can be deleted at once. Answered by `Removed`."""

    run: str


class DeleteBlobs(msgspec.Struct, frozen=True):
    """Delete these blobs, but for those that were stored again lately. Answered by `Removed`."""

    sha256s: tuple[str, ...]


class Piece(msgspec.Struct, frozen=True):
    """Bytes from `offset` of a file of `size` bytes."""

    data: bytes
    offset: int
    size: int


class NotRead(msgspec.Struct, frozen=True):
    """There is no such file (`gone`), something else is in its place (`foreign`), or the system refuses (`refused`)."""

    why: Literal["gone", "foreign", "refused"]
    message: str


class Marks(msgspec.Struct, frozen=True):
    """Pairs of an offset and a wall-clock time, both growing: what stands before the offset was written by then."""

    marks: tuple[tuple[int, float], ...]


class Names(msgspec.Struct, frozen=True):
    """`more`: there may be others after the last one."""

    names: tuple[bytes, ...]
    more: bool = False


class Scrubbed(msgspec.Struct, frozen=True):
    """Where the next portion begins, how many bytes were looked at; `done`: there is none."""

    stream: OutputStream
    offset: int
    looked_at: int
    done: bool = False


class Removed(msgspec.Struct, frozen=True):
    """How many files were deleted; `more`: there are others."""

    files: int
    more: bool = False


FileRequest = (
    ReadFile | ReadBlob | ReadMarks | ListRuns | ListFiles | ListUnscrubbed | ListBlobs | Scrub | RemoveRun | DeleteBlobs
)
FileReply = Piece | NotRead | Marks | Names | Scrubbed | Removed
FILE_REQUESTS: dict[str, type[FileRequest]] = {
    "read_file": ReadFile,
    "read_blob": ReadBlob,
    "read_marks": ReadMarks,
    "list_runs": ListRuns,
    "list_files": ListFiles,
    "list_unscrubbed": ListUnscrubbed,
    "list_blobs": ListBlobs,
    "scrub": Scrub,
    "remove_run": RemoveRun,
    "delete_blobs": DeleteBlobs,
}
FILE_REPLIES: dict[str, type[FileReply]] = {
    "piece": Piece,
    "not_read": NotRead,
    "marks": Marks,
    "names": Names,
    "scrubbed": Scrubbed,
    "removed": Removed,
}
