"""A worker's directory tells whether a start has ever begun, so that nobody is started twice."""

from __future__ import annotations

from pathlib import Path

from crewd.guardian import prepared, worker_folder


def test_a_directory_that_was_only_prepared_is_not_a_start(tmp_path: Path) -> None:
    directory, shared = tmp_path / "r_1" / "a" / "1", tmp_path / "r_1" / "shared"
    assert not prepared.was_begun(directory), "there is nothing"
    worker_folder.prepare(str(directory), str(shared))
    assert (directory / "stdout").exists()
    assert not prepared.was_begun(directory), "files were made ahead"
    prepared.begin(str(directory))
    assert prepared.was_begun(directory)
    worker_folder.prepare(str(directory), str(shared))
    assert prepared.was_begun(directory), "a late preparation does not undo a start"
    prepared.begin(str(directory))
    assert prepared.was_begun(directory), "a start that is tried again"
