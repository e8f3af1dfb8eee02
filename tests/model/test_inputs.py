from __future__ import annotations

import pytest

from crewd.model.errors import UsageError
from crewd.model.inputs import Input, check_inputs, place, place_in, resolve, value_of

INPUTS = {
    "goal": Input(type="directory", default="."),
    "depth": Input(type="integer", default="2"),
    "mode": Input(choices=("fast", "full")),
}


def test_defaults_are_filled_in_and_values_are_of_their_type() -> None:
    assert resolve(INPUTS, "", {"mode": "fast"}) == (".", {"depth": "2", "mode": "fast"})
    assert resolve(INPUTS, "src", {"mode": "full", "depth": "7"}) == ("src", {"depth": "7", "mode": "full"})
    assert resolve({}, "as it is", {}) == ("as it is", {})
    assert value_of("n", Input(type="boolean"), "Yes") is True
    assert value_of("n", Input(type="number"), "1.5") == 1.5
    assert resolve({"b": Input(type="boolean")}, "", {"b": "YES"}) == ("", {"b": "true"})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "needs the input mode"),
        ({"mode": "slow"}, "'slow'"),
        ({"mode": "fast", "depth": "deep"}, "no integer"),
        ({"mode": "fast", "x": "1"}, "no input x"),
        *(
            ({"mode": "fast", "depth": text}, "out of range")
            for text in ("9" * 23, "18446744073709551616", "-9223372036854775809")
        ),
        *(({"mode": "fast", "depth": text}, "no integer") for text in ("1_000", " 5 ", "٣", "+5", "")),
    ],
)
def test_what_is_wrong_is_named_at_the_door(given: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        resolve(INPUTS, "", given)


@pytest.mark.parametrize(
    "inputs",
    [
        {"Depth": Input()},
        {"a-b": Input()},
        {"n": Input(type="integer", default="x")},
        {"n": Input(type="number", default="nan")},
    ],
)
def test_declarations_are_checked(inputs: dict[str, Input]) -> None:
    with pytest.raises(UsageError):
        check_inputs(inputs)


def test_values_are_placed_in_texts_and_arguments() -> None:
    values = {"goal": "src", "depth": "3"}
    assert place("look at {goal}, {depth} deep, {other} {}", values) == "look at src, 3 deep, {other} {}"
    typed = {"depth": 3}
    assert place_in({"d": "{depth}", "t": "to {depth}", "l": ["{goal}", 1]}, values, typed) == {
        "d": 3,
        "t": "to 3",
        "l": ["src", 1],
    }
