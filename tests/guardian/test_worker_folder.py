"""A worker's directory tells whether a start has ever begun, so that nobody is started twice."""

from __future__ import annotations

from pathlib import Path

from crewd.guardian import worker_folder


def test_a_directory_that_was_only_prepared_is_not_a_start(tmp_path: Path) -> None:
    directory, shared = tmp_path / "r_1" / "a" / "1", tmp_path / "r_1" / "shared"
    assert not worker_folder.was_begun(directory), "there is nothing"
    worker_folder.prepare(str(directory), str(shared))
    assert (directory / "stdout").exists()
    assert not worker_folder.was_begun(directory), "files were made ahead"
    worker_folder.begin(directory, shared)
    assert worker_folder.was_begun(directory)
    worker_folder.prepare(str(directory), str(shared))
    assert worker_folder.was_begun(directory), "a late preparation does not undo a start"
    worker_folder.begin(directory, shared)
    assert worker_folder.was_begun(directory), "a start that is tried again"


def test_a_start_needs_no_preparation(tmp_path: Path) -> None:
    directory, shared = tmp_path / "r_1" / "a" / "1", tmp_path / "r_1" / "shared"
    worker_folder.begin(directory, shared)
    assert worker_folder.was_begun(directory)
    assert shared.is_dir()
