"""What an agent's prompt begins with of a file that another step has left."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from crewd.agents.prompt import READ_BYTES_MAX, ReadText
from crewd.model.agent import Agent
from crewd.worker.read_file import notes_of, read_file


def test_a_text_is_read_as_far_as_the_prompt_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "plan.md"
    path.write_text("1. Go")
    assert read_file(path) == ReadText("plan.md", str(path), 5, "1. Go")
    path.write_text("x" + "é" * READ_BYTES_MAX)
    found = read_file(path)
    assert found.text == "x" + "é" * ((READ_BYTES_MAX - 1) // 2)
    assert found.size == 1 + 2 * READ_BYTES_MAX


def test_what_is_no_text_is_named_and_what_is_no_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0\1\2")
    assert read_file(tmp_path / "a.bin") == ReadText("a.bin", str(tmp_path / "a.bin"), 3, None, "it is no text")
    (tmp_path / "latin").write_bytes("é!".encode("latin-1"))
    latin = read_file(tmp_path / "latin")
    assert latin.text == "\ufffd!"
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    for name, why in (("link", "it is no plain file"), ("pipe", "it is no plain file"), ("nothing", "it is not there")):
        assert read_file(tmp_path / name) == ReadText(name, str(tmp_path / name), 0, None, why)


def test_notes_are_read_and_their_directory_is_there(tmp_path: Path) -> None:
    path = tmp_path / "memory" / "scout.md"
    agent = Agent("pi", ("pi",), memory=str(path))
    assert notes_of(Agent("pi", ("pi",))) is None
    assert notes_of(msgspec.structs.replace(agent, keeps_memory=False)) is None
    assert not path.parent.exists()
    assert notes_of(agent) is None
    path.write_text("mind the gap")
    assert notes_of(agent) == ReadText("scout.md", str(path), 12, "mind the gap")
