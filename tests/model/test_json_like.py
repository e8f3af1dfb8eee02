import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.json_like import not_json

KEYS = st.text() | st.integers(-(1 << 63), 1 << 63) | st.none() | st.booleans() | st.tuples(st.text())
VALUES = st.recursive(
    st.none() | st.text() | st.integers(-(1 << 63), 1 << 63) | st.builds(msgspec.msgpack.Ext, st.integers(0, 9), st.binary()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)


@given(VALUES)
def test_it_is_what_the_encoder_of_json_takes(value: object) -> None:
    if not_json(value):
        with pytest.raises(TypeError):
            msgspec.json.encode(value)
    else:
        msgspec.json.encode(value)


def test_depth_does_not_matter() -> None:
    value: object = {None: 1}
    for _ in range(100_000):
        value = [value]
    assert not_json(value) == "a key that is no text: None"
