"""What a question's schema may be, and what it says of answers."""

from __future__ import annotations

from typing import Any

import pytest

from crewd.model.errors import UsageError
from crewd.worker.schema import follows

pytest.importorskip("jsonschema")
COLOUR = {"$defs": {"a/b": {"enum": ["red"]}}, "prefixItems": [{"type": "string"}], "$ref": "#/$defs/a~1b"}


def test_an_answer_is_looked_at() -> None:
    assert follows(None)("whatever") == ""
    assert follows(COLOUR)('"red"') == ""
    assert follows(COLOUR)('"blue"') == "$: 'blue' is not one of ['red']"
    assert follows({"$defs": {"x": {"$anchor": "here", "type": "null"}}, "$ref": "#here"})("1")


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "colour"}, "the schema is not one"),
        ({"$ref": "#/nope"}, "refers to '#/nope', which is not in it"),
        ({"properties": {"a": {"prefixItems": [{"$ref": "#/items/3"}]}}}, "'#/items/3'"),
        ({"$ref": "http://127.0.0.1:1/s.json"}, "which is not in it"),
        ({"$ref": "other.json"}, "which is not in it"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_refused_before_anybody_is_asked(schema: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        follows(schema)


def test_nothing_is_fetched_and_nothing_raised_when_an_answer_comes() -> None:
    assert "cannot be followed" in follows({"$id": "http://127.0.0.1:1/a", "$ref": "b.json"})("1")
    assert "cannot be followed" in follows({"$ref": "#nowhere"})("1")
