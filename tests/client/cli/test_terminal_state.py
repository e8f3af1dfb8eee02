"""A terminal that a program was shown on is left as it was found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.client.cli.terminal_state import Modes, without_queries


@pytest.mark.parametrize(
    "query",
    [
        b"\x1b[6n", b"\x1b[5n", b"\x1b[?6n", b"\x1b[c", b"\x1b[>c", b"\x1b[>0;1c", b"\x1b]10;?\x07", b"\x1b]11;?\x1b\\",
        b"\x1b]4;1;?\x07", b"\x1b[?2026$p", b"\x1bP+q544e\x1b\\", b"\x1bP$qm\x1b\\",
        b"\x1b[>q", b"\x1b[?u", b"\x1b[14t", b"\x05",
    ],
)  # fmt: skip
def test_what_a_terminal_would_answer_is_not_asked_again(query: bytes) -> None:
    assert without_queries(b"before " + query + b" after") == b"before  after"


@pytest.mark.parametrize("shown", [b"\x1b[31mred\x1b[0m", b"\x1b[2J\x1b[1;1H", b"\x1b]0;title\x07", b"plain", b"\x1b[?25l"])
def test_everything_else_is_shown_again(shown: bytes) -> None:
    assert without_queries(shown) == shown


def test_what_was_switched_on_is_switched_off_and_nothing_else() -> None:
    modes = Modes()
    modes.show(b"\x1b[?1049h\x1b[?1000;1006h\x1b[?2004h\x1b[?1h\x1b=\x1b[?25l")
    modes.show(b"work\x1b[?1000l")
    undone = modes.undo()
    for each in (b"\x1b[?1049l", b"\x1b[?1006l", b"\x1b[?2004l", b"\x1b[?1l", b"\x1b>", b"\x1b[?25h", b"\x1b[0m"):
        assert each in undone
    assert b"1000" not in undone, "the program has done that"
    modes.show(undone)
    assert modes.undo() == b""


def test_a_program_that_changes_nothing_has_nothing_undone() -> None:
    modes = Modes()
    modes.show(b"\x1b[31mred\x1b[0m\r\n\x1b[?25h\x1b[?7l")
    assert modes.undo() == b""


@given(
    st.lists(st.sampled_from([b"\x1b[?1049h", b"\x1b[?25l", b"\x1b[?25h", b"text", b"\x1b[?1049l"]), max_size=8),
    st.integers(1, 9),
)
def test_it_does_not_matter_how_it_comes_in_pieces(parts: list[bytes], size: int) -> None:
    whole, pieces, data = Modes(), Modes(), b"".join(parts)
    whole.show(data)
    for at in range(0, len(data), size):
        pieces.show(data[at : at + size])
    assert whole.undo() == pieces.undo()
