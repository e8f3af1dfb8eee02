"""The names of files that an agent is told."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from crewd.worker.file_tree import DEPTH_MAX, ENTRIES_MAX, LINES_MAX, NAME_CHARS_MAX, file_tree


def test_names_stand_below_their_directory(tmp_path: Path) -> None:
    for path in ("src/app/deep/deeper.py", "src/main.py", "README.md", ".git/config", "node_modules/x.js"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "link").symlink_to(tmp_path)
    assert file_tree(tmp_path) == "README.md\nlink\nsrc/\n  app/\n    deep/\n  main.py"
    assert file_tree(tmp_path / "nothing") == ""


def test_it_is_bounded_in_every_direction(tmp_path: Path) -> None:
    for first in range(ENTRIES_MAX + 5):
        for second in range(ENTRIES_MAX + 1):
            (tmp_path / f"d{first:02}" / f"e{second:02}").mkdir(parents=True)
    lines = file_tree(tmp_path).splitlines()
    assert len(lines) == LINES_MAX + 1
    assert lines[-1] == "…"
    assert lines[ENTRIES_MAX + 1] == "  … 1 more"
    assert file_tree(tmp_path / "d00").splitlines()[-1] == "… 1 more"
    deep = tmp_path / "deep"
    (deep / "/".join("abcdef")).mkdir(parents=True)
    assert len(file_tree(deep).splitlines()) == DEPTH_MAX


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_a_name_is_one_line_and_writes_nothing_else(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            (Path(folder) / name).touch()
        except (OSError, ValueError):
            return
        shown = file_tree(Path(folder))
    if name.startswith(".") or name in {"__pycache__", "node_modules", "venv", "target", "dist", "build"}:
        return
    assert shown.isprintable() or not shown
    assert len(shown) <= NAME_CHARS_MAX
