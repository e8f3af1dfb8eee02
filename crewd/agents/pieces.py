"""A text that comes in pieces and has no announced end, such as an answer over ACP. Pure.

Tests: tests/agents/test_acp.py.
"""

from __future__ import annotations

import io

BLOCK_CHARS_MAX = 1 << 20
"""A block that is as long is over, although the text goes on: what comes in pieces has no end that it must keep."""


class Pieces:
    """The pieces that have come, as one text."""

    def __init__(self) -> None:
        self._text = io.StringIO()

    def add(self, piece: str) -> str:
        """Add a piece. The block, if it is full now; else an empty text."""
        self._text.write(piece)
        return self.take() if self._text.tell() >= BLOCK_CHARS_MAX else ""

    def take(self) -> str:
        """What has come since the last block."""
        text = self._text.getvalue()
        self._text = io.StringIO()
        return text
