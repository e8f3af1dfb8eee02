from __future__ import annotations

import os
from pathlib import Path

import pytest

from crewd.client import texts
from crewd.client.texts import KEPT_MAX, read_text


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = texts._read

    def counted(place: str) -> tuple[bytes, os.stat_result]:
        read.append(place)
        return original(place)

    monkeypatch.setattr(texts, "_read", counted)
    path = tmp_path / "a.md"
    path.write_text("one")
    monkeypatch.setattr(texts, "SETTLED_SECONDS", -1.0)
    assert [read_text(path) for _ in range(3)] == ["one"] * 3
    assert len(read) == 1
    path.write_text("three")
    assert read_text(path) == "three"


def test_a_file_that_was_changed_just_now_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_stamp", lambda found: (found.st_ino, found.st_size))  # all within one step of its clock
    path = tmp_path / "a.md"
    for number in range(3):
        path.write_text(f"{number}")
        assert read_text(path) == f"{number}"


def test_a_file_in_the_place_of_another_one_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "SETTLED_SECONDS", -1.0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.md").write_text(name)
    for name in ("a", "b", "a"):
        monkeypatch.chdir(tmp_path / name)
        assert read_text("x.md") == name


def test_no_more_texts_are_kept_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "SETTLED_SECONDS", -1.0)
    monkeypatch.setattr(texts, "KEPT_MAX", 3)
    assert KEPT_MAX > 3
    texts._kept.clear()
    for number in range(6):
        path = tmp_path / f"{number}.md"
        path.write_text("x")
        read_text(path)
    assert [Path(place).name for place in texts._kept] == ["3.md", "4.md", "5.md"]
