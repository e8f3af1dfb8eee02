"""Which values fit an annotation, and what the error says of one that does not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

import crewd
from crewd.model.arguments import PathText, checked, described, fits
from crewd.model.errors import UsageError


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("text", str), (1, float), (True, bool), (None, str | None), ([], Sequence[str]), (("a",), Sequence[str]),
        ({"a": 1}, Mapping[str, object]), ("now", Literal["now", "later"]),
        ((1, 2), tuple[int, int]), ((1, 2, 3), tuple[int, ...]), ((), tuple[int, ...]), (Path("x"), PathText),
        (object(), Any), (crewd.Limits(), crewd.Limits | None),
    ],
)  # fmt: skip
def test_what_an_annotation_says_fits(value: object, kind: object) -> None:
    assert fits(value, kind)


@pytest.mark.parametrize(
    ("value", "kind", "takes"),
    [
        (b"text", str, "a text"), (True, float, "a number"), (1.5, int, "a whole number"), (1, bool, "True or False"),
        (None, str, "a text"), ("text", Sequence[str], "a list"), ([1], Sequence[str], "a list"),
        ("text", Iterable[str], "a list"),
        ([("a", 1)], Mapping[str, int], "a dict"), ({1: 1}, Mapping[str, int], "a dict"),
        ("soon", Literal["now", "later"], "'now' or 'later'"),
        ([1, 2], tuple[int, int], "a tuple of 2: a whole number, a whole number"), ((1, "a"), tuple[int, ...], "a tuple"),
        (5, PathText, "a text or a path"), (3, crewd.Retry | None, "a Retry or None"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_words(value: object, kind: object, takes: str) -> None:
    assert not fits(value, kind)
    assert described(kind) == takes


def _with_secrets(*, secrets: Mapping[str, str]) -> Mapping[str, str]:
    return secrets


def test_a_checked_function_refuses_before_it_runs_and_leaves_python_its_own_errors() -> None:
    ran: list[str] = []

    @checked
    def collect(name: str, *, many: Sequence[str] = ()) -> None:
        ran.extend([name, *many])

    wrong: Any = "ls -l"
    with pytest.raises(UsageError, match=r"collect\(many='ls -l'\) cannot be used") as caught:
        collect("x", many=wrong)
    assert "['ls', '-l']" in caught.value.hint
    wrong = os.path.join
    with pytest.raises(UsageError) as caught:
        collect(wrong)
    assert "'posixpath:join'" in caught.value.hint
    for nowhere in (lambda: None, collect):
        with pytest.raises(UsageError) as caught:
            collect(nowhere)  # type: ignore[arg-type]
        assert "put it into a module of its own" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        checked(_with_secrets)(secrets={"TOKEN": b"hunter2"})  # type: ignore[dict-item]
    assert "hunter2" not in str(caught.value)
    assert "secrets=<dict>" in caught.value.message
    assert caught.value.hint == "secrets['TOKEN'] is a text, and <bytes> is none"
    with pytest.raises(UsageError) as caught:
        collect("x", many=["y", 3])  # type: ignore[list-item]
    assert caught.value.hint == "many[1] is a text, and 3 is none"
    with pytest.raises(TypeError, match="nmae"):
        collect(nmae=1)  # type: ignore[call-arg]
    assert ran == []
    collect("x", many=["y"])
    assert ran == ["x", "y"]
