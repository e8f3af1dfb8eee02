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
NARROWEST = 10
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


def wrapped(text: str, columns: int) -> list[str]:
    """The text as lines of at most so many columns, those after the first indented further than it.

    They are broken at blanks, and in words of wide characters, which are written without blanks. Any other word that is
    longer than a line, such as a path, stays whole.
    """
    start = " " * (len(text) - len(text.lstrip()))
    room, line, lines = max(columns, len(start) + 10), start, list[str]()
    for blank, word in re.findall(r"(\s*)(\S+)", text.strip()):
        pieces = [word] if width_of(word) == len(word) else list(word)
        for piece in (" " * len(blank) + pieces[0], *pieces[1:]):
            if line.strip() and width_of(line) + width_of(piece) > room:
                lines.append(line)
                line = f"{start}  {piece.strip()}"
            else:
                line += piece
    return [*lines, line]


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


def shorten_name(text: str, columns: int) -> str:
    """The same, with the end of the text: names that are long often differ there."""
    if width_of(text) <= columns:
        return text
    end = ""
    for each in reversed(text):
        if width_of(each + end) > columns // 3:
            break
        end = each + end
    return f"{shorten(text, columns - width_of(end))}{end}"


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
    shortened, but for the first one on a screen that is narrower than it; where the first column is shortened, they are left
    out after others.
    """
    lines = [[one_line(str(cell)) for cell in row] for row in (headers, *rows)]
    widths = [max(width_of(line[i]) for line in lines) for i in range(len(headers))]
    kept = list(range(len(headers)))
    if columns is not None and _needed(widths) > columns:
        if len(lines) > 1:
            kept = [i for i in kept if i == 0 or any(line[i] for line in lines[1:])]
        least = [
            width if header in whole else min(width, max(width_of(header), NARROWEST))
            for header, width in zip(headers, widths, strict=True)
        ]
        if headers[0] not in whole:
            least[0] = min(widths[0], max(NARROWEST, columns // 3))
        first_is_cut = widths[0] > least[0]
        while len(kept) > 1 and _needed([least[i] for i in kept]) > columns:
            others = [i for i in kept[2:] if headers[i] not in whole] if first_is_cut else []
            kept.remove((others or kept)[-1])
        widths = _fitted([widths[i] for i in kept], [least[i] for i in kept], columns)
    shown = []
    for line in lines:
        cells = [(shorten if i else shorten_name)(line[i], width) for i, width in zip(kept, widths, strict=True)]
        padded = (cell + " " * (width - width_of(cell)) for cell, width in zip(cells, widths, strict=True))
        shown.append("  ".join(padded).rstrip())
    return shown


def _needed(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _fitted(widths: list[int], least: list[int], columns: int) -> list[int]:
    """The widths of columns that fit: those with most to spare are shortened first."""
    while _needed(widths) > columns:
        spare = [width - smallest for width, smallest in zip(widths, least, strict=True)]
        widest = max(range(len(widths)), key=lambda i: (spare[i], i > 0))
        if spare[widest] <= 0:
            widths[0] = max(1, columns - (_needed(widths) - widths[0]))
            break
        widths[widest] -= 1
    return widths
