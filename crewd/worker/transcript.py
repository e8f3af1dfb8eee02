"""What an agent has said and done, in two files of its attempt: text for people, and its own records.

Tests: tests/worker/test_agent.py.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crewd.model.known_secrets import KnownSecrets

RECORDS = "records.jsonl"
RECORDS_BYTES_MAX = 16 << 20
"""Of an agent's own records; what comes after them is not kept."""


class Transcript:
    """`say` goes to the worker's standard output, which `crew logs` shows; `keep` into the file of records."""

    def __init__(self, directory: Path, known: KnownSecrets) -> None:
        self._path = directory / RECORDS
        self._known = known
        self._left = RECORDS_BYTES_MAX

    def say(self, text: str) -> None:
        """Lines for people."""
        with contextlib.suppress(OSError):
            os.write(1, self._known.in_bytes(text.rstrip("\n").encode("utf-8", "replace")) + b"\n")

    def keep(self, line: bytes) -> None:
        """A record of the agent, as it came."""
        if self._left <= 0:
            return
        clean = self._known.in_bytes(line) + b"\n"
        self._left -= len(clean)
        with contextlib.suppress(OSError), self._path.open("ab") as file:
            file.write(clean)
            if self._left <= 0:
                file.write(b'{"crewd": "what came after this is not kept"}\n')
