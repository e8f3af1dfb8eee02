"""Blobs are deleted when nothing refers to them and nobody can be about to.

Why this is safe: who stores a blob holds a shared lock while it is made or found there, and gives it a new age. The guardian
lists blobs that are an hour old, and deletes only under the lock, and only those that still are. In between the tables are
asked after a flush: by then they know every report of a living worker, for one that is silent for so long is not alive.

Tests: tests/store/test_garbage.py.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from crewd.protocol.files import NAMES_MAX
from crewd.store.run_files import RunFiles


def collect(files: RunFiles, is_referred: Callable[[str], bool]) -> int:
    """Delete what nothing refers to; how many blobs. Raises Unavailable."""
    unreferred = (sha256 for name in files.old_blobs() if not is_referred(sha256 := name.decode("ascii")))
    count = 0
    while page := tuple(islice(unreferred, NAMES_MAX)):
        count += files.delete_blobs(page)
    return count
