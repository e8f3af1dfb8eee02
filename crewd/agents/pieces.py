"""A text that comes in pieces and has no announced end, such as an answer over ACP. Pure.

Tests: tests/agents/test_acp.py.
"""

from __future__ import annotations

TEXT_CHARS_MAX = 1 << 21
"""Of one text: more than a model says at once. What comes after it is not kept."""
PIECES_MAX = 512
"""How many pieces are kept as they came: a word as a text of its own takes ten times the memory."""


class Pieces:
    """The pieces that have come, as one text. `cut`: more came than is kept."""

    def __init__(self) -> None:
        self._joined: list[str] = []
        self._pieces: list[str] = []
        self._size = 0
        self.cut = False

    def add(self, piece: str) -> None:
        """Add a piece."""
        if self.cut or not piece:
            return
        self.cut = self._size + len(piece) > TEXT_CHARS_MAX
        self._pieces.append(piece[: TEXT_CHARS_MAX - self._size])
        self._size += len(piece)
        if len(self._pieces) >= PIECES_MAX:
            self._joined.append("".join(self._pieces))
            self._pieces.clear()

    def take(self) -> str:
        """The text so far; the next piece begins another one.

        A text that was cut ends with a whole line, because half of a secret at its end would not be recognised and masked.
        """
        text = "".join((*self._joined, *self._pieces))
        if self.cut:
            text = text[: text.rfind("\n") + 1] or text
        self._joined.clear()
        self._pieces.clear()
        self._size, self.cut = 0, False
        return text
