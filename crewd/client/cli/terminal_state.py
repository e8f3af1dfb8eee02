"""What a program has switched on in a terminal, and what it has asked it: to leave it as it was found. Pure.

The sequences are those of ECMA-48 and of xterm's "Control Sequences" (private modes, reports).
"""

from __future__ import annotations

import re

_QUERIES = re.compile(
    rb"\x05"  # ENQ
    rb"|\x1b\[[>=?]?[0-9;]*c"  # device attributes
    rb"|\x1b\[\??[0-9;]*n"  # status and cursor position
    rb"|\x1b\[\??[0-9;]*\$p"  # which mode is on
    rb"|\x1b\[[0-9;]*t"  # the window
    rb"|\x1b\[>[0-9]*q|\x1b\[\?u"  # version, keyboard
    rb"|\x1b\][0-9;]*;?\?[^\x07\x1b]*(?:\x07|\x1b\\)"  # colours
    rb"|\x1bP[+$]q[^\x1b]*\x1b\\"  # settings
)
_MODE = re.compile(rb"\x1b\[\?([0-9;]+)([hl])|\x1b([=>])")
_UNDONE = frozenset({1, 9, 12, 25, 47, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1047, 1049, 2004, 2026})
"""Private modes that are put back: cursor, keys, mouse, focus, the alternate screen, pasting."""
_ON = frozenset({25})
"""Those of them that are on in a terminal at rest."""
_KEYPAD = 66
CUT_BYTES = 64
"""A sequence may be cut by the end of what was read; so much of it is looked at again."""


def without_queries(shown: bytes) -> bytes:
    """What a program showed before, without what a terminal would answer: its program has had the answers already."""
    return _QUERIES.sub(b"", shown)


class Modes:
    """Which modes differ from those of a terminal at rest."""

    def __init__(self) -> None:
        self._on: dict[int, bool] = {}
        self._tail = b""

    def show(self, data: bytes) -> None:
        """The terminal is shown this."""
        data = self._tail + data
        for found in _MODE.finditer(data):
            if found[3] is not None:
                self._on[_KEYPAD] = found[3] == b"="
                continue
            for number in found[1].split(b";"):
                if number and int(number[:6]) in _UNDONE:
                    self._on[int(number[:6])] = found[2] == b"h"
        self._tail = data[-CUT_BYTES:]

    def undo(self) -> bytes:
        """What puts the terminal back to how it is at rest; empty if nothing was changed."""
        changed = [mode for mode, on in self._on.items() if on is not (mode in _ON)]
        back = [f"\x1b[?{mode}{'h' if mode in _ON else 'l'}" for mode in sorted(changed, reverse=True) if mode != _KEYPAD]
        keypad = ["\x1b>"] if _KEYPAD in changed else []
        return "".join([*back, *keypad, "\x1b[0m"] if changed else []).encode()
