"""A record is one line for each reader of lines, and says the same."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from crewd.model.json_line import json_line

TEXTS = st.text(st.sampled_from('a\x0b\x0c\x1c\x85\u2028\u2029\r\n\\"é€😀Â') | st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(TEXTS, TEXTS, max_size=4))
def test_a_record_is_one_line_and_the_same_record(record: dict[str, str]) -> None:
    line = json_line(json.dumps(record, ensure_ascii=False).encode())
    assert line.decode().splitlines() == [line.decode()[:-1]]
    assert json.loads(line) == record
