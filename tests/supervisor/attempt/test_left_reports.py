from pathlib import Path

import msgspec
import pytest

from crewd.protocol.reports import Artifact, Checkpoint, Outcome, Report
from crewd.supervisor.attempt.controller import _words, is_own_file
from crewd.supervisor.attempt.reports import _wrong_in, in_its_place

GOOD = (Report(1, Checkpoint({"a": 1})),)
DEEP = msgspec.msgpack.encode([Report(1, Checkpoint(None))])[:-1] + b"\x91" * 5_000 + b"\x90"
HALF = msgspec.msgpack.encode([Report(1, Checkpoint("abc"))]).replace(b"abc", b"\xff\xfea")
ODD = (float("nan"), {None: 1}, msgspec.msgpack.Ext(5, b""))


def test_reports_that_a_worker_left_are_read() -> None:
    assert _words(msgspec.msgpack.encode(GOOD)) == GOOD
    assert _words(b"") == ()


@pytest.mark.parametrize(
    "raw", [
        DEEP, HALF, msgspec.msgpack.encode(GOOD)[:-2],
        *(msgspec.msgpack.encode([Report(1, Checkpoint(odd))]) for odd in ODD),
    ],
    ids=["deep", "text", "cut", "nan", "key", "extension"],
)  # fmt: skip
def test_what_is_none_is_passed_over(raw: bytes) -> None:
    assert _words(raw) == ()


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/h/runs/r/a/1/result.json", True), ("/h/runs/r/a/1/stdout", True), ("", True), ("/etc/passwd", False),
        ("result.json", False), ("/h/runs/r/a/1/../../../crewd.db", False), ("/h/runs/r/a/1/work/result.json", False),
    ],
)  # fmt: skip
def test_a_result_lies_in_the_directory_of_its_attempt_or_there_is_none(path: str, kept: bool) -> None:
    report = Report(1, Outcome("completed", result_path=path))
    found = in_its_place(report, "/h/runs/r/a/1", "/h/blobs", lambda _: True)
    if kept:
        assert found == report
        return
    assert isinstance(found.body, Outcome)
    assert (found.body.outcome, found.body.reason, found.body.result_path) == ("failed", "output_lost", "")
    assert path in found.body.error


def test_a_result_that_was_never_written_is_none(tmp_path: Path) -> None:
    path = tmp_path / "r" / "a" / "1" / "result.json"
    path.parent.mkdir(parents=True)
    report = Report(1, Outcome("completed", result_path=str(path)))
    for _ in range(2):
        found = in_its_place(report, str(path.parent), "/h/blobs", is_own_file)
        assert isinstance(found.body, Outcome)
        assert (found.body.outcome, found.body.reason) == ("failed", "output_lost")
        path.unlink(missing_ok=True)
        path.symlink_to("/etc/hostname")
    path.unlink()
    path.write_text("1")
    assert in_its_place(report, str(path.parent), "/h/blobs", is_own_file) == report


@pytest.mark.parametrize(("size", "stored", "kept"), [(3, False, False), (3, True, True), (0, False, True)])
def test_an_artifact_without_its_bytes_is_not_recorded(*, size: int, stored: bool, kept: bool) -> None:
    said = Artifact("1", "a.txt", "artifacts/a.txt", "0" * 64, size)
    looked_at = list[str]()

    def is_file(path: str) -> bool:
        looked_at.append(path)
        return stored

    found = in_its_place(Report(1, said), "/h/runs/r/a/1", "/h/blobs", is_file).body
    assert isinstance(found, Artifact)
    assert _wrong_in(found) == ("" if kept else "its bytes are neither in the report nor among the blobs")
    assert set(looked_at) <= {f"/h/blobs/sha256/00/{'0' * 64}"}
