from __future__ import annotations

from crewd.agents.records import at, is_piece, list_at, number_at, preview, record_of, text_at, texts_of


def test_what_is_missing_or_of_another_kind_is_empty() -> None:
    record = {"a": {"b": "text", "n": -3, "t": True, "l": [1]}}
    assert at(record, "a", "b", "c") is None
    assert (text_at(record, "a", "b"), text_at(record, "a", "n"), text_at("no record", "a")) == ("text", "", "")
    assert (number_at(record, "a", "n"), number_at(record, "a", "t"), number_at(record, "x")) == (0.0, 0.0, 0.0)
    assert (list_at(record, "a", "l"), list_at(record, "a")) == ([1], [])


def test_a_text_is_a_text_or_blocks_of_it() -> None:
    assert texts_of("plain") == "plain"
    assert texts_of([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}, 7]) == "ab"
    assert texts_of(None) == ""


def test_a_preview_says_what_says_most_in_one_line() -> None:
    assert preview({"timeout": 3, "command": "ls \n -l"}) == "ls -l"
    assert preview({"command": ["git", "status"]}) == "git status"
    assert preview({"depth": 2}) == '{"depth": 2}'
    assert preview({}) == preview(None) == ""
    assert 200 < len(preview("x" * 1_000)) <= 240


def test_pieces_are_told_from_what_holds_them_whole() -> None:
    assert is_piece({"type": "message_update"})
    assert is_piece({"method": "item/agentMessage/delta"})
    assert is_piece({"method": "session/update", "params": {"update": {"sessionUpdate": "agent_message_chunk"}}})
    assert not is_piece({"method": "session/update", "params": {"update": {"sessionUpdate": "tool_call"}}})
    assert not is_piece({"type": "result"})


def test_a_line_that_only_javascript_would_write_is_a_record() -> None:
    assert record_of(b'{"t": "half \\ud83d"}') == {"t": "half \ufffd"}
    assert record_of(b'{"t": "\xff"}') == {"t": "\ufffd"}
    assert record_of('{"t": "\u2028 \U0001f600"}'.encode()) == {"t": "\u2028 \U0001f600"}
    assert [record_of(line) for line in (b"[" * 50_000, b"[1]", b"Loading...", b"", b"{")] == [None] * 5


def test_a_number_that_nothing_counts_is_none() -> None:
    assert number_at({"n": 10**400}, "n") == number_at({"n": float("nan")}, "n") == 0.0
