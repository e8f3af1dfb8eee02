"""Reads the beginning of a file that another step has left, for an agent's prompt."""

from __future__ import annotations

import os
from pathlib import Path

from crewd.agents.prompt import READ_BYTES_MAX, Read
from crewd.private_files import open_plain


def read_file(path: Path) -> Read | None:
    """What the file begins with; None if there is none. Links and pipes, which another worker may have put there, are none."""
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(READ_BYTES_MAX)
    except OSError:
        return None
    if b"\0" in data:
        return Read(path.name, str(path), size, None)
    text = data.decode("utf-8", "replace")
    return Read(path.name, str(path), size, text.rstrip("\ufffd") if size > len(data) else text)
