"""The types of what hooks are given: one for each point, in words of JSON Schema that the documentation has too."""

from __future__ import annotations

from crewd.model.hook_requests import REQUESTS_OF_HOOKS, hook_schema
from crewd.model.hooks import CHANGES, POINTS
from tests.model.hooks_schema import FILE, written


def test_each_point_has_a_type_with_what_may_be_changed_there() -> None:
    assert set(REQUESTS_OF_HOOKS) == set(POINTS)
    for point, changed in CHANGES.items():
        assert changed in REQUESTS_OF_HOOKS[point].__struct_fields__


def test_the_schema_in_the_documentation_is_that_of_the_types() -> None:
    assert FILE.read_text() == written(), "python -m tests.model.hooks_schema --write"
    assert hook_schema("before_cancel")["$defs"]["EndRequest"]["required"][-1] == "intent"
