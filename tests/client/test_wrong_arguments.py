"""Wrong arguments of the Python API: each is an error of crewd's own that names it, and nothing was asked."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import crewd
from crewd.model.errors import CrewdError, UsageError

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
    [
        {"home": "a" * 5_000},
        {"home": NUL},
        {"keys": NUL},
        {"home": 5},
        {"name": 5},
        {"home": "/dev/null/x"},
        {"wish": "bogus"},
        {"wish": True},
        {"wish": 1.0},
    ],
)
def test_what_no_client_can_be_connected_with_is_said(words: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        crewd.connect(start=False, **words)


def test_a_call_names_a_function_and_what_is_brought_has_a_name(crew: crewd.Crew) -> None:
    with pytest.raises(UsageError, match="there is no function to call"):
        crew.call("")
    how: Any = "everything"
    with pytest.raises(UsageError, match=r"bring\(how='everything'\)") as caught:
        crewd.bring(crew.home, how)
    assert "'path'" in caught.value.hint
    with pytest.raises(UsageError, match=r"bring\(secrets=<str>\) cannot be used"):
        crewd.bring(crew.home, secrets="KEY")
    with pytest.raises(UsageError, match="there is no file 'nothing'"):
        crew.exec(["cat"], stdin="nothing")


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
