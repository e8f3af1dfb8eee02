"""A text that comes in pieces and has no announced end, such as an answer over ACP. Pure.

Tests: tests/agents/test_acp.py.
"""

from __future__ import annotations

BLOCK_CHARS_MAX = 1 << 20
"""A block that is as long is over, although the text goes on: what comes in pieces has no end that it must keep."""
PIECES_MAX = 512
"""So many are kept as they came: a word as a text of its own takes ten times the memory that it takes in a longer one."""


class Pieces:
    """The pieces that have come, as one text."""

    def __init__(self) -> None:
        self._joined: list[str] = []
        self._pieces: list[str] = []
        self._size = 0

    def add(self, piece: str) -> str:
        """Add a piece. The block, if it is full now; else an empty text."""
        if piece:
            self._pieces.append(piece)
            self._size += len(piece)
        if len(self._pieces) >= PIECES_MAX:
            self._joined.append("".join(self._pieces))
            self._pieces.clear()
        return self.take() if self._size >= BLOCK_CHARS_MAX else ""

    def take(self) -> str:
        """What has come since the last block."""
        text = "".join((*self._joined, *self._pieces))
        self._joined.clear()
        self._pieces.clear()
        self._size = 0
        return text
