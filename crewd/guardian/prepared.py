"""Whether a start of a worker has ever begun: its directory may have been made ahead.

A prepared directory holds a file that the new process removes before any code of the worker runs. The process does it, and
not the guardian, because to remove a name may wait for a sync of the same disk, and the guardian starts one after the other.

Tests: tests/guardian/test_worker_folder.py.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NAME = "prepared"


def begin(directory: str) -> None:
    """In the new process: from here on the worker's code may have run."""
    with contextlib.suppress(OSError):
        os.unlink(f"{directory}/{NAME}")  # noqa: PTH108 (hot path)


def was_begun(directory: Path) -> bool:
    """Whether a start of this worker has ever begun, by whichever guardian."""
    return directory.exists() and not (directory / NAME).exists()
