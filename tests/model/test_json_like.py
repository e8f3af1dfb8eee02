from datetime import UTC

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.json_like import not_json

KEYS = st.text() | st.integers(-(1 << 63), 1 << 63) | st.none() | st.booleans() | st.tuples(st.text())
VALUES = st.recursive(
    st.none()
    | st.text()
    | st.binary()
    | st.integers(-(1 << 63), 1 << 63)
    | st.datetimes(timezones=st.just(UTC))
    | st.builds(msgspec.msgpack.Ext, st.integers(0, 9), st.binary()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)


@given(VALUES)
def test_what_it_lets_through_is_the_same_in_json(value: object) -> None:
    try:
        same = msgspec.json.decode(msgspec.json.encode(value)) == value
    except TypeError:
        same = False
    assert same is not bool(not_json(value))


def test_depth_does_not_matter() -> None:
    value: object = {None: 1}
    for _ in range(100_000):
        value = [value]
    assert not_json(value) == "a key that is no text: None"
