"""What stands between foreign text and a screen: workers' output, names, notes, errors and questions steer no terminal."""

from __future__ import annotations

import re
import shutil
import sys
import unicodedata
from collections.abc import Collection, Iterable, Sequence

_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\|\Z)|[ -/]*[0-~]|\Z)|\x9b[0-?]*[ -/]*[@-~]|\x9d.*?(?:\x07|\x9c|\Z)",
    re.DOTALL,
)
"""Control sequences of terminals (ECMA-48): CSI, OSC and other strings, and single escapes."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Other control characters, and those that turn the direction of text round."""
_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_ERASES = re.compile(r"\A\x1b\[2?K|\x1b\[0?K\Z")
"""What takes away the rest of a line, or all of it, before or after a piece is written."""
NARROWEST = 8
"""Columns that a shortened cell keeps."""


def plain(text: str) -> str:
    """The text without anything that a terminal obeys, but for line ends and tabs."""
    if text.isprintable():
        return text
    text = _SEQUENCE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", text)


def escaped(text: str) -> str:
    r"""The text with each character in sight: what `plain` leaves out stands as an escape, as `\x1b` or `\u202e`.

    For what people read before they let it run: commands, prompts, skills.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each in "\n\t" or (each.isprintable() and not _CONTROL.match(each)) else
        ascii(each)[1:-1]
        for each in text
    )  # fmt: skip


def one_line(text: str) -> str:
    """The text as one line: what stood on several is joined."""
    return " ".join(plain(text).split())


def in_line(text: str) -> str:
    """The same, with the blanks that the text begins with."""
    return " " * (len(text) - len(text.lstrip(" "))) + one_line(text)


def overwritten(text: str) -> str:
    """Each line as a terminal would leave it: what was written after a carriage return stands over what was there before."""
    if "\r" not in text:
        return text
    return "\n".join(_left_of(line) if "\r" in line else line for line in text.split("\n"))


def _left_of(line: str) -> str:
    kept = ""
    for piece in line.rstrip("\r").split("\r"):
        shown = plain(piece)
        kept = shown if _ERASES.search(piece) else shown + kept[len(shown) :]
    return kept


def for_json(text: str) -> str:
    """A JSON document in which no character steers a terminal, or ends a line: they are escaped, as JSON allows."""
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def width_of(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) or unicodedata.category(each) in {"Mn", "Me", "Cf"} else
        2 if unicodedata.east_asian_width(each) in {"W", "F"} else 1
        for each in text
    )  # fmt: skip


def shorten(text: str, columns: int) -> str:
    """The text in at most so many columns; an ellipsis says that something is missing."""
    if width_of(text) <= columns:
        return text
    kept, used = "", 0
    for each in text:
        used += width_of(each)
        if used > columns - 1:
            break
        kept += each
    return f"{kept.rstrip()}…" if columns > 0 else ""


def screen_columns() -> int | None:
    """The width of the screen; None where the output goes to a program and nothing says otherwise."""
    columns = shutil.get_terminal_size((0, 0)).columns
    return columns or (80 if sys.stdout.isatty() else None)


def lay_out(
    headers: Sequence[str], rows: Iterable[Iterable[object]], columns: int | None, whole: Collection[str] = ()
) -> list[str]:
    """Lines of a table whose columns stand in the order of their importance, the name or id of the row first.

    In what does not fit, columns that are empty in each row are left out first. The others are shortened, from the widest
    column on, and then left out, from the last column on. Columns that are `whole` (ids, which people type) are never
    shortened; the first column is shortened only on a narrow screen, and if it is whole on one that is narrower than it.
    """
    lines = [[one_line(str(cell)) for cell in row] for row in (headers, *rows)]
    widths = [max(width_of(line[i]) for line in lines) for i in range(len(headers))]
    if columns is not None and sum(widths) + 2 * (len(widths) - 1) > columns and len(lines) > 1:
        kept = [i for i in range(len(headers)) if i == 0 or any(line[i] for line in lines[1:])]
        headers, lines = [headers[i] for i in kept], [[line[i] for i in kept] for line in lines]
        widths = [widths[i] for i in kept]
    if columns is not None:
        least = [
            width if header in whole else min(width, max(width_of(header), NARROWEST))
            for header, width in zip(headers, widths, strict=True)
        ]
        if headers[0] not in whole:
            least[0] = min(widths[0], max(NARROWEST, columns // 2))
        widths = _fitted(widths, least, columns)
    shown = []
    for line in lines:
        cells = [shorten(cell, width) for cell, width in zip(line, widths, strict=False)]
        padded = (cell + " " * (width - width_of(cell)) for cell, width in zip(cells, widths, strict=False))
        shown.append("  ".join(padded).rstrip())
    return shown


def _fitted(widths: list[int], least: list[int], columns: int) -> list[int]:
    count = len(widths)
    while count > 1 and sum(least[:count]) + 2 * (count - 1) > columns:
        count -= 1
    widths, least = widths[:count], least[:count]
    left = columns - 2 * (count - 1)
    while sum(widths) > left:
        widest = max(range(count), key=lambda i: (widths[i] > least[i], i > 0, widths[i] - least[i]))
        if widths[widest] <= least[widest]:
            widths[0] = max(1, left)
            break
        widths[widest] -= 1
    return widths
