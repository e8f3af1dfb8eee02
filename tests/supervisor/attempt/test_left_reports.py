import msgspec
import pytest

from crewd.protocol.reports import Checkpoint, Report
from crewd.supervisor.attempt.controller import _words

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
