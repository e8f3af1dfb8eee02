import msgspec
import pytest

from crewd.protocol.reports import Checkpoint, Outcome, Report
from crewd.supervisor.attempt.controller import _words
from crewd.supervisor.attempt.reports import in_its_place

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
    found = in_its_place(report, "/h/runs/r/a/1")
    if kept:
        assert found == report
        return
    assert isinstance(found.body, Outcome)
    assert (found.body.outcome, found.body.reason, found.body.result_path) == ("failed", "output_lost", "")
    assert path in found.body.error
