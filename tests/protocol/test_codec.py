from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.client.shapes import one_step
from crewd.model.errors import (
    ERRORS,
    CrewdError,
    Oversized,
    PeerError,
    UnknownKind,
    UnsupportedVersion,
    UsageError,
    from_info,
)
from crewd.model.workflow import WorkerSpec, Workflow
from crewd.protocol import codec
from crewd.protocol.replies import REPLIES
from crewd.protocol.reports import FROM_WORKER, TO_WORKER, Checkpoint, Outcome, Report, Reports
from crewd.protocol.requests import REQUESTS, Finish, Send, StartRun


def test_a_message_comes_out_as_it_went_in() -> None:
    sent = Send(id="m_1", kind="steer", target="r", text="hi")
    assert codec.requests.decode(codec.requests.encode("x", sent)) == ("x", "send", sent)


def test_recorded_bytes_of_version_1_are_read() -> None:
    frames = [b"CREWD\x01", b"receipt", b"x1", b"\x81\xa2id\xa3m_1"]
    assert codec.requests.decode(frames).body == REQUESTS["receipt"](id="m_1")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([], PeerError),
        ([b"CREWD\x01", b"inbox", b"1"], PeerError),
        ([b"HTTP/1", b"inbox", b"1", b"\x80"], PeerError),
        ([b"CREWD\x07", b"inbox", b"1", b"\x80"], UnsupportedVersion),
        ([b"CREWD\x01", b"dance", b"1", b"\x80"], UnknownKind),
        ([b"CREWD\x01", b"inbox", b"1", b"\xc1"], PeerError),
        ([b"CREWD\x01", b"send", b"1", b"\x80"], PeerError),
        ([b"CREWD\x01", b"inbox", b"1" * 65, b"\x80"], PeerError),
        ([b"CREWD\x01", b"inbox", b"1", b"\x80" + b"\0" * (1 << 20)], Oversized),
        ([b"CREWD\x01", b"\xff\xfe", b"1", b"\x80"], PeerError),
    ],
)
def test_what_is_wrong_has_a_name(frames: list[bytes], error: type[PeerError]) -> None:
    with pytest.raises(error):
        codec.requests.decode(frames)


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_no_bytes_raise_anything_but_a_peer_error(frames: list[bytes]) -> None:
    for each in (codec.requests, codec.replies, codec.from_worker, codec.to_worker):
        with pytest.raises(PeerError):
            each.decode(frames)


@given(st.sampled_from(sorted(REQUESTS)), st.binary(max_size=300))
def test_no_body_raises_anything_but_a_peer_error(kind: str, body: bytes) -> None:
    try:
        parcel = codec.requests.decode([codec.HEADER, kind.encode(), b"1", body])
    except PeerError:
        return
    assert isinstance(parcel.body, REQUESTS[kind])


def test_errors_survive_the_wire_and_pickling() -> None:
    for kind in ERRORS.values():
        error = kind("no", hint="do", level="accepted")
        again = from_info(msgspec.msgpack.decode(msgspec.msgpack.encode(error.info), type=type(error.info)))
        assert (type(again), again.message, again.hint, again.values) == (kind, "no", "do", {"level": "accepted"})
        function, arguments = error.__reduce__()[:2]
        rebuilt = function(*arguments)  # type: ignore[operator,misc]
        assert isinstance(rebuilt, CrewdError)
        assert rebuilt.info == error.info


def test_every_kind_is_in_one_table_and_says_its_role() -> None:
    for table in (REQUESTS, REPLIES, FROM_WORKER, TO_WORKER):
        assert len(set(table.values())) == len(table)
    assert all(hasattr(request, "role") for request in REQUESTS.values())


ODD = ({None: 1}, {(1, 2): 3}, {"a": [{True: 1}]}, msgspec.msgpack.Ext(5, b"x"))


@pytest.mark.parametrize("odd", ODD)
def test_what_json_cannot_say_is_refused_on_both_sides(odd: object) -> None:
    start = StartRun(one_step("s", WorkerSpec(call="json:dumps", args={"obj": odd})), "/")
    for body in (start, Finish("r/s", "", result=odd)):
        with pytest.raises(UsageError, match="JSON"):
            codec.requests.encode("x", body)
        kind = "start_run" if body is start else "finish"
        with pytest.raises(PeerError, match="JSON"):
            codec.requests.decode([codec.HEADER, kind.encode(), b"x", msgspec.msgpack.encode(body)])
    reports = Reports((Report(1, Checkpoint(odd)), Report(2, Outcome("completed", result=odd))))
    with pytest.raises(PeerError, match="JSON"):
        codec.from_worker.decode([codec.HEADER, b"reports", b"x", msgspec.msgpack.encode(reports)])


def test_a_field_of_another_type_is_named_where_it_stands() -> None:
    wrong = StartRun(workflow=Workflow("w", cast("Any", ("a",))), goal="", cwd="/")
    with pytest.raises(UsageError, match=r"got `str` - at `workflow\.steps\[0\]`"):
        codec.requests.encode("1", wrong)
