"""The limits of the process that crewd is started in (`ulimit`): what is too little to serve is refused at the start.

Tests: tests/test_respawn.py.
"""

from __future__ import annotations

import resource

from crewd.model.errors import UsageError

FILES_LEAST = 64
"""Open files: crewd has about 45 when it rests, and some for its clients and workers come on top."""
FILE_MIB_LEAST = 64
"""The size of one file, in MiB: the reserve of the home has 16 MiB, and the database grows."""


def check_limits(files: int) -> None:
    """UsageError if crewd could not serve with so many open files, or with files as large as this process may write."""
    if 0 <= files < FILES_LEAST:
        raise UsageError(f"crewd may have {files} files open, and needs {FILES_LEAST}", hint="raise 'ulimit -n'")
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if 0 <= size < FILE_MIB_LEAST << 20:
        raise UsageError(f"crewd may write files of {size:,} bytes, and needs {FILE_MIB_LEAST} MiB", hint="raise 'ulimit -f'")
