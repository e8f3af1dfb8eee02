"""Which answers fit a question, and what is said of the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.errors import UsageError
from crewd.model.questions import check_answer

COLOURS = ("red", "light blue", "2")


@pytest.mark.parametrize(
    ("kind", "said", "meant"),
    [
        ("confirm", " Y ", "yes"),
        ("confirm", "FALSE", "no"),
        ("permission", "yes", "allow"),
        ("permission", "deny", "deny"),
        ("choose", "light blue", "light blue"),
        ("choose", " 1 ", "red"),
        ("choose", "2", "2"),
        ("choose", "3", "2"),
        ("json", ' {"a": [1, null]}', ' {"a": [1, null]}'),
        ("text", "  as it is ", "  as it is "),
        ("of_a_newer_worker", "anything", "anything"),
    ],
)
def test_an_answer_that_fits(kind: str, said: str, meant: str) -> None:
    assert check_answer(kind, COLOURS, said) == meant


@pytest.mark.parametrize(
    ("kind", "said", "word"),
    [
        ("confirm", "perhaps", "yes"),
        ("permission", "", "allow"),
        ("choose", "green", "light blue"),
        ("choose", "0", "red"),
        ("choose", "4", "red"),
        ("json", "{", "JSON"),
        ("json", "x" * 10_000, "JSON"),
        ("json", "[" * 60_000, "JSON"),
        ("choose", "1" * 5_000, "red"),
    ],
)
def test_one_that_does_not_fit_is_told_what_would(kind: str, said: str, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_answer(kind, COLOURS, said)
    assert word in f"{caught.value} {caught.value.info.hint}"
    assert len(str(caught.value)) < 300


@given(st.text(max_size=50))
def test_without_choices_every_text_is_an_answer(text: str) -> None:
    assert check_answer("choose", (), text) == text
    assert check_answer("text", ("a",), text) == text
