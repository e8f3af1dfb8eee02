"""The names of the files in a directory, for an agent's prompt: bounded, and never more than names.

What a file is called is somebody else's text. Each name stands in one line, with what is no plain character escaped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

DEPTH_MAX: Final = 3
ENTRIES_MAX: Final = 12
"""Of one directory."""
LINES_MAX: Final = 120
NAME_CHARS_MAX: Final = 80
_READ_MAX: Final = 2_000
"""Entries of a directory that are looked at: of more than that not the first ones by name are shown."""
_LEFT_OUT: Final = frozenset({"__pycache__", "node_modules", "venv", "target", "dist", "build"})


def file_tree(directory: Path) -> str:
    """Lines with the names in `directory` and below it; directories end with `/`. Empty if it cannot be read."""
    lines = list(islice(_lines(directory, 1), LINES_MAX + 1))
    if len(lines) > LINES_MAX:
        lines[LINES_MAX:] = ["…"]
    return "\n".join(lines)


def _lines(directory: Path, depth: int) -> Iterator[str]:
    try:
        with os.scandir(directory) as found:
            entries = [
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in islice(found, _READ_MAX)
                if not entry.name.startswith(".") and entry.name not in _LEFT_OUT
            ]
    except OSError:
        return
    entries.sort()
    indent = "  " * (depth - 1)
    for name, is_directory in entries[:ENTRIES_MAX]:
        yield f"{indent}{_plain(name)}{'/' if is_directory else ''}"
        if is_directory and depth < DEPTH_MAX:
            yield from _lines(directory / name, depth + 1)
    if len(entries) > ENTRIES_MAX:
        yield f"{indent}… {len(entries) - ENTRIES_MAX} more"


def _plain(name: str) -> str:
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in name)
    return text if len(text) <= NAME_CHARS_MAX else f"{text[: NAME_CHARS_MAX - 1]}…"
