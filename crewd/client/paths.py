"""What there is at a path that a person gave. A text that can be the path of nothing is no accident here.

A text with a NUL, with a character that no file name has, or of more bytes than the system takes makes `pathlib` raise
`ValueError` or `OSError`. Such a path names no file and no directory.

Tests: tests/client/test_wrong_arguments.py.
"""

from __future__ import annotations

import os.path

from crewd.model.arguments import PathText
from crewd.model.errors import UsageError


def is_there(path: PathText) -> bool:
    """Whether there is something at the path."""
    return os.path.exists(path)  # noqa: PTH110 (pathlib raises for a text that can be no path)


def is_file(path: PathText) -> bool:
    """Whether there is a file at the path."""
    return os.path.isfile(path)  # noqa: PTH113 (as above)


def is_directory(path: PathText) -> bool:
    """Whether there is a directory at the path."""
    return os.path.isdir(path)  # noqa: PTH112 (as above)


def real_path(path: PathText) -> str:
    """The absolute path without links. UsageError for a text that can be no path."""
    try:
        return os.path.realpath(path)
    except ValueError as error:
        raise UsageError(f"{os.fspath(path)!r} can be no path: {error}", hint="a path has no NUL, and is UTF-8") from None
