"""A worker's two output files on disk: how much was written by when, and how much of it is kept."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from crewd import worker_files
from crewd.guardian import processes
from crewd.guardian.output_files import MARK, TIMES_FILE
from crewd.guardian.tree import Key

SLACK = 0.25
"""How much more than is kept a file may hold until it is cut; cutting costs a system call."""
MARKS = 500
"""Times that are noted in a worker's life, from its first output on, before they are noted farther apart."""
KEPT_BYTES_LEAST = 4096


@dataclass(slots=True)
class Output:
    """The output files of one worker. `bytes_max` is what is kept of each. Times are wall-clock seconds."""

    key: Key
    directory: Path
    bytes_max: int
    noted: tuple[int, int] = (0, 0)
    noted_at: float = 0.0
    first_noted_at: float = 0.0

    def note_time(self, wall: float, *, last: bool = False) -> int:
        """Note how much was written by now, if that is more than before. All that was ever written, in bytes.

        The times of a long life stand farther apart, so that at most some thousands are ever noted.
        """
        sizes = (worker_files.size(self.directory, "stdout")[0], worker_files.size(self.directory, "stderr")[0])
        pause = (self.noted_at - self.first_noted_at) / MARKS
        if sizes != self.noted and (wall - self.noted_at >= pause or last):
            with contextlib.suppress(OSError):
                worker_files.append(self.directory, TIMES_FILE, MARK.pack(*sizes, wall))
            self.first_noted_at = self.first_noted_at or wall
            self.noted, self.noted_at = sizes, wall
        return sum(sizes)


def cap(outputs: Iterable[Output], run_bytes: int) -> None:
    """Give the oldest bytes of files that are too long back to the file system. The workers of a run have equal shares."""
    outputs = list(outputs)
    living = Counter(output.key[0].partition("/")[0] for output in outputs)
    for output in outputs:
        share = run_bytes // (2 * living[output.key[0].partition("/")[0]])
        kept = max(KEPT_BYTES_LEAST, min(output.bytes_max, share))
        for name in ("stdout", "stderr"):
            _, held = worker_files.size(output.directory, name)
            if held > kept * (1 + SLACK) + 2 * KEPT_BYTES_LEAST:
                with contextlib.suppress(OSError), worker_files.opened(output.directory, name, os.O_WRONLY) as descriptor:
                    processes.punch(descriptor, kept)
