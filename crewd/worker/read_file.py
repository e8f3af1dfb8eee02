"""Reads what goes into an agent's prompt: the beginning of a file that another step has left, and the agent's own notes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from crewd.agents.prompt import READ_BYTES_MAX, ReadText
from crewd.model.agent import Agent
from crewd.private_files import open_plain


def read_file(path: Path) -> ReadText:
    """What the file begins with. Links and pipes, which another worker may have put there, are none."""
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(READ_BYTES_MAX)
    except OSError as error:
        why = "it is not there" if isinstance(error, FileNotFoundError) else "it is no plain file"
        return ReadText(path.name, str(path), 0, None, why)
    if b"\0" in data:
        return ReadText(path.name, str(path), size, None, "it is no text")
    text = data.decode("utf-8", "replace")
    return ReadText(path.name, str(path), size, text.rstrip("\ufffd") if size > len(data) else text)


def notes_of(agent: Agent) -> ReadText | None:
    """The agent's notes; None if it has none. The directory for them is made."""
    if not agent.memory:
        return None
    path = Path(agent.memory)
    if agent.keeps_memory:
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = read_file(path)
    return None if found.text is None else found
