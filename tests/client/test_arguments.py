"""Wrong arguments of the Python API: each is an error of crewd's own that names it, and nothing was asked."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

import crewd
from crewd.client.arguments import PathText, checked, described, fits
from crewd.model.errors import CrewdError, UsageError


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("text", str), (1, float), (True, bool), (None, str | None), ([], Sequence[str]), (("a",), Sequence[str]),
        ({"a": 1}, Mapping[str, object]), ("now", Literal["now", "later"]), ((1, 2), tuple[int, int]), (Path("x"), PathText),
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
        ([("a", 1)], Mapping[str, int], "a dict"), ({1: 1}, Mapping[str, int], "a dict"),
        ("soon", Literal["now", "later"], "'now' or 'later'"), ([1, 2], tuple[int, int], "a tuple"),
        (5, PathText, "a text or a path"), (3, crewd.Retry | None, "a Retry or None"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_words(value: object, kind: object, takes: str) -> None:
    assert not fits(value, kind)
    assert described(kind) == takes


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
    with pytest.raises(TypeError, match="nmae"):
        collect(nmae=1)  # type: ignore[call-arg]
    assert ran == []
    collect("x", many=["y"])
    assert ran == ["x", "y"]


NUL = "a\0b"
WRONG: list[Any] = [
    None, 5, -1, 0, 2**70, math.nan, math.inf, "x", "", [], ["a"], {}, {"a": 1}, b"x", object(), True, (1,), os.path.join,
    "a" * 5_000, "\ud800", NUL,
]  # fmt: skip
FIRST: dict[str, Any] = {
    "goal": "g", "workflow": "nothing", "target": "job", "argv": ["true"], "selector": "job", "kind": "steer", "text": "hi",
    "ask": "q", "message": "m", "hooks": (), "token": "token", "number": 15, "task": "job/true", "upto": 1, "result": 1,
}  # fmt: skip
LEFT_OUT = {"close", "drive", "handle", "stop_daemon", "request", "send_once", "send_left"}


def calls(owner: crewd.Crew | crewd.RunHandle) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each call of a client, once for each of its parameters and each wrong value of it."""
    for name, method in inspect.getmembers(type(owner), callable):
        if name.startswith("_") or name in LEFT_OUT:
            continue
        parameters = dict(list(inspect.signature(method).parameters.items())[1:])
        needed = {each: FIRST[each] for each, of in parameters.items() if of.default is of.empty}
        brief = {"timeout": 0.1} if "timeout" in parameters else {}
        place = {"cwd": "/"} if "cwd" in parameters else {}
        for parameter in parameters:
            for value in WRONG:
                if not (parameter in {"follow", "timeout"} and value in [True, 5, 2**70]):
                    yield name, parameter, {**needed, **brief, **place, parameter: value}


@pytest.mark.parametrize("of", ["client", "run"])
def test_no_argument_makes_a_call_fail_with_an_error_that_is_not_crewds(crew: crewd.Crew, of: str) -> None:
    run = crew.exec(["true"], name="job")
    run.wait()
    owner = crew if of == "client" else run
    refused = 0
    for name, parameter, words in calls(owner):
        try:
            value = getattr(owner, name)(**words)
            if inspect.isgenerator(value):
                value.close() if name == "watch" else next(value, None)
        except CrewdError:
            refused += 1
        except Exception as error:
            error.add_note(f"{name}({parameter}={words[parameter]!r:.40})")
            raise
    assert refused > 500
    assert run.show().run.status == "completed"


@pytest.mark.parametrize(
    "words",
    [{"home": "a" * 5_000}, {"home": NUL}, {"keys": NUL}, {"home": 5}, {"name": 5}, {"home": "/dev/null/x"}, {"wish": "bogus"}],
)
def test_what_no_client_can_be_connected_with_is_said(words: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        crewd.connect(start=False, **words)


def test_paths_are_taken_as_paths(crew: crewd.Crew, tmp_path: Path) -> None:
    file = tmp_path / "two words.md"
    file.write_text("## one\nrun: `true`\n")
    assert crewd.load_workflow(file).steps[0].id == "one"
    text = tmp_path / "input"
    text.write_text("what was given")
    assert crew.exec(["cat"], stdin=text, cwd=tmp_path).result(timeout=60) == "what was given"


@pytest.mark.parametrize("ask", ["runs", "messages", "news", "events", "log"])
def test_a_number_of_rows_that_cannot_be_is_refused_and_not_taken_for_one(crew: crewd.Crew, ask: str) -> None:
    run = crew.exec(["true"])
    run.wait()
    wrong: dict[str, dict[str, Any]] = {
        "runs": {"limit": 0}, "messages": {"target": run.id, "limit": -1}, "news": {"limit": 0},
        "events": {"target": run.id, "last": -3}, "log": {"task": run.id, "limit": 0},
    }  # fmt: skip
    with pytest.raises(UsageError, match="which is too small"):
        list(getattr(crew, ask)(**wrong[ask]))
