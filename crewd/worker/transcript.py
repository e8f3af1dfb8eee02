"""What an agent has said and done, in three files of its attempt: text for people, its own records, and its acts.

The acts are the same for every agent: JSON objects, one on a line, each with its `type` and time (docs/agents.md).

Tests: tests/worker/test_agent.py.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from crewd.clock import SystemClock
from crewd.model.agent import AGENT_FILES
from crewd.model.redact import blot

if TYPE_CHECKING:
    from crewd.model.known_secrets import KnownSecrets

RECORDS, ACTS = AGENT_FILES["records"], AGENT_FILES["acts"]
FILE_BYTES_MAX = 16 << 20
"""Of an agent's own records, and of its acts; what comes after them is not kept."""
ActType = Literal["prompt", "text", "thought", "tool", "tool_ended", "note", "ask"]


class Transcript:
    """`say` goes to the worker's standard output, which `crew logs` shows; `keep` and `tell` into the two other files."""

    def __init__(self, directory: Path, known: KnownSecrets) -> None:
        self._directory = directory
        self._known = known
        self._left = {RECORDS: FILE_BYTES_MAX, ACTS: FILE_BYTES_MAX}
        self._clock = SystemClock()

    def say(self, text: str) -> None:
        """Lines for people."""
        with contextlib.suppress(OSError):
            os.write(1, self._known.in_bytes(text.rstrip("\n").encode("utf-8", "replace")) + b"\n")

    def keep(self, line: bytes) -> None:
        """A record of the agent, as it came."""
        self._append(RECORDS, line)

    def tell(self, what: ActType, **fields: str) -> None:
        """An act of the agent."""
        act = {"type": what, "at": round(self._clock.wall(), 3), **self._known.in_value(fields)}
        self._append(ACTS, json.dumps(act, ensure_ascii=False).encode("utf-8", "replace"))

    def _append(self, name: str, line: bytes) -> None:
        if self._left[name] <= 0:
            return
        clean = blot(self._known.in_bytes(line)) + b"\n"  # nobody scrubs these files later, as output is
        self._left[name] -= len(clean)
        with contextlib.suppress(OSError), (self._directory / name).open("ab") as file:
            file.write(clean)
            if self._left[name] <= 0:
                file.write(b'{"crewd": "what came after this is not kept"}\n')
