from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.client.cli.screen import (
    escaped,
    for_json,
    lay_out,
    one_line,
    overwritten,
    plain,
    shorten,
    shorten_name,
    width_of,
    wrapped,
)

STEERING = [
    "\x1b[31m",
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x1b]8;;http://x\x1b\\",
    "\x9b2J",
    "\x1bc",
    "\x07",
    "\x08",
    "\x0e",
    "\x7f",
    "\x85",
    "\u202e",
    "\u2066",
    "\x1bP1;2q\x1b\\",
    "\x1b(0",
    "\x1b",
    "\x1b[",
    "\x1b]never ends",
]


@pytest.mark.parametrize("text", STEERING)
def test_nothing_that_steers_a_terminal_passes(text: str) -> None:
    assert plain(f"a{text}") in {"a", "a\n"}
    assert set(for_json(json.dumps(f"a{text}", ensure_ascii=False))) <= {chr(n) for n in range(32, 127)}


@given(st.text())
def test_what_passes_is_printable_lines(text: str) -> None:
    for each in plain(text):
        assert each in "\n\t" or not (ord(each) < 32 or 127 <= ord(each) < 160)
    assert "\n" not in one_line(text)
    assert plain(plain(text)) == plain(text)


@pytest.mark.parametrize("text", STEERING)
def test_what_is_read_before_it_is_run_is_shown_whole(text: str) -> None:
    shown = escaped(f"a{text}; touch x")
    assert plain(shown) == shown
    assert shown.startswith("a")
    assert shown.endswith("; touch x")
    assert shown.replace("\\", "") != "a; touch x", "that something is there is seen"


@given(st.text())
def test_nothing_that_is_read_before_it_is_run_is_left_out(text: str) -> None:
    assert plain(escaped(text)) == escaped(text)
    assert all(each in escaped(text) for each in text if each.isprintable())


@given(st.text())
def test_json_means_the_same(text: str) -> None:
    assert json.loads(for_json(json.dumps(text, ensure_ascii=False))) == text


def test_a_carriage_return_goes_back_over_its_line() -> None:
    assert overwritten("10%\r20%\r30%\nok\r\nend\r") == "30%\nok\nend"


ROWS = [
    ["nightly-build-of-everything", "running", "3m", "compiling something very long\nindeed", "r_01m8aq3dwre00bpwwd83d01d3y"],
    ["日本語の名前です", "failed", "1h", "", "r_01m8aq3dwre00bpwwd83d01d3z"],
]
HEADERS = ["NAME", "STATUS", "AGE", "NOW", "ID"]


@pytest.mark.parametrize("columns", range(20, 301, 7))
def test_a_table_is_never_wider_than_the_screen(columns: int) -> None:
    lines = lay_out(HEADERS, ROWS, columns, whole={"ID"})
    assert len(lines) == 3, "a row is a line"
    assert max(map(width_of, lines)) <= columns
    assert "STATUS" in lines[0], "what matters most stays"
    assert ("ID" in lines[0]) == (ROWS[0][4] in lines[1]), "an id is whole or not there"


@pytest.mark.parametrize("columns", range(28, 81, 4))
def test_an_id_in_the_first_column_is_whole(columns: int) -> None:
    rows = [(row[4], "r_3y/build", "choice", "May I?") for row in ROWS]
    lines = lay_out(("QUESTION", "TASK", "KIND", "TEXT"), rows, columns, whole={"QUESTION", "TASK"})
    assert max(map(width_of, lines)) <= columns
    assert all(row[4] in line for row, line in zip(ROWS, lines[1:], strict=True))


def test_without_a_screen_everything_is_shown() -> None:
    lines = lay_out(HEADERS, ROWS, None)
    assert "compiling something very long indeed" in lines[1]


@given(st.text(), st.integers(1, 40))
def test_what_is_shortened_fits(text: str, columns: int) -> None:
    assert width_of(shorten(one_line(text), columns)) <= columns
    assert width_of(shorten_name(one_line(text), columns)) <= columns


@pytest.mark.parametrize("columns", range(40, 161, 8))
def test_rows_with_long_names_can_still_be_told_apart(columns: int) -> None:
    names = [f"{'n' * 60}{each}" for each in ("one", "two")]
    rows = [(name, "completed", "halfway through", "asks", "12 MiB", f"r3y{i}ab") for i, name in enumerate(names)]
    lines = lay_out(("NAME", "STATUS", "NOW", "WAITING", "MEM", "ID"), rows, columns, ("ID",))
    assert max(map(width_of, lines)) <= columns
    assert all(row[1] in line and row[5] in line for row, line in zip(rows, lines[1:], strict=True))
    assert all(line.startswith("n") and f"{row[0][-3:]} " in line for row, line in zip(rows, lines[1:], strict=True))


def test_an_empty_column_goes_before_a_word_is_cut() -> None:
    rows = [("nightly", "completed", "", "r_01m8j77vrbe00aaadd48w6wsym")]
    assert lay_out(("NAME", "STATUS", "NOW", "ID"), rows, 50, ("ID",)) == [
        "NAME     STATUS     ID",
        "nightly  completed  r_01m8j77vrbe00aaadd48w6wsym",
    ]
    assert lay_out(("NAME", "STATUS", "NOW", "ID"), rows, 80, ("ID",))[0] == "NAME     STATUS     NOW  ID", (
        "there is room for it"
    )
    assert lay_out(("NAME", "NOW"), [], 5) == ["NAME"]


@given(
    st.lists(st.sampled_from(["a", "word", "失敗しました", "e\u0301te\u0301", "👩‍👩‍👧", "path/to/some/file"])),
    st.integers(30, 80),
)
def test_wrapped_lines_fit_and_say_the_same(words: list[str], columns: int) -> None:
    text = "  " + " ".join(words)
    lines = wrapped(text, columns)
    assert max(map(width_of, lines)) <= columns
    assert "".join("".join(lines).split()) == "".join(words)
    assert all(line.startswith("    ") for line in lines[1:])


def test_a_path_is_not_broken_however_long_it_is() -> None:
    path = "/" + "long/" * 30
    assert wrapped(f"see {path} there", 40) == ["see", f"  {path}", "  there"]
