"""The stream between crewd and its guardian: values come out as they went in, wherever the stream was cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.errors import PeerError
from crewd.model.workflow import WorkerSpec
from crewd.protocol import guardian as gd
from crewd.protocol.bootstrap import Bootstrap

TEXTS = st.text(max_size=40)
BIRTHS = st.builds(
    Bootstrap, task=TEXTS, epoch=st.integers(0, 9), token=TEXTS, endpoint=TEXTS, directory=TEXTS, shared=TEXTS, cwd=TEXTS,
    goal=TEXTS, text=TEXTS, reads=st.just(()), output=TEXTS, worker=st.builds(WorkerSpec, call=TEXTS),
    checkpoint=st.none() | st.integers(-(2**63), 2**64 - 1) | st.dictionaries(TEXTS, TEXTS, max_size=3),
)  # fmt: skip
ORDERS = st.lists(
    st.builds(gd.Spawn, BIRTHS)
    | st.builds(gd.Expect, TEXTS, TEXTS, TEXTS)
    | st.builds(gd.End, TEXTS, st.integers(0, 9), st.floats(0, 9), st.floats(0, 9)),
    max_size=5,
)


@given(orders=ORDERS, cuts=st.lists(st.integers(0, 4_000), max_size=8))
def test_what_goes_in_comes_out_in_order_however_it_is_cut(orders: list[gd.Order], cuts: list[int]) -> None:
    codec: gd.StreamCodec[gd.Order] = gd.StreamCodec(gd.ORDERS)
    stream = b"".join(map(codec.encode, orders))
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[begin:end] for begin, end in itertools.pairwise(edges)]
    assert [order for chunk in chunks for order in codec.feed(chunk)] == orders


@pytest.mark.parametrize("chunk", [b"\xc1", b"\x92\xa4nope\x80", b"\x92\xa3end\x80", b"\x01", b"\x92\xa3end\x92\x01\x02"])
def test_a_broken_stream_is_said_to_be_one(chunk: bytes) -> None:
    codec: gd.StreamCodec[gd.Order] = gd.StreamCodec(gd.ORDERS)
    with pytest.raises(PeerError, match="stream is broken"):
        list(codec.feed(chunk))


def test_unsent_reports_are_bytes_on_the_wire_too() -> None:
    codec: gd.StreamCodec[gd.Notice] = gd.StreamCodec(gd.NOTICES)
    exited = gd.Exited(task="r/a", epoch=1, unsent_reports=b"\x00\xff")
    assert list(codec.feed(codec.encode(exited))) == [exited]
