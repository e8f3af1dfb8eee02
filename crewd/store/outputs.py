"""The files that attempts left, wherever they are: on the workers' machine, or in the bundle of an archived run.

Tests: tests/test_keeping.py, tests/client/cli/test_logs.py.
"""

from __future__ import annotations

from crewd.model.rows import AttemptRow
from crewd.protocol.files import OutputStream, Piece
from crewd.store.library import Library
from crewd.store.run_files import RunFiles


class Outputs:
    """`library` knows which runs are archived; `files` are those of the others."""

    def __init__(self, library: Library, files: RunFiles) -> None:
        self._library = library
        self._files = files

    def output(self, attempt: AttemptRow, name: str, offset: int, limit: int) -> Piece | None:
        """Bytes of a file in an attempt's directory, see `ReadFile`; None if it is not there.

        Of an archived run it is an empty piece then: its bundle has what there was when it was made.
        """
        run, _, step = attempt.task.partition("/")
        bundle, path = self._library.bundle(run), f"{step}/{attempt.epoch}/{name}"
        if bundle is None:
            return self._files.read(run, path.encode(), offset, limit)
        return bundle.output(path, offset, limit)

    def marks(self, attempt: AttemptRow, stream: OutputStream) -> tuple[tuple[int, float], ...]:
        """When an attempt's output was written, see `Marks`; nothing is known of an archived run."""
        run, _, step = attempt.task.partition("/")
        if self._library.bundle(run) is not None:
            return ()
        return self._files.marks(run, f"{step}/{attempt.epoch}".encode(), stream)
