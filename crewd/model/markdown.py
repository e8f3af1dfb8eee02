"""The sections of a Markdown file: its front matter and its level-2 headings, with line numbers. Pure.

A heading inside a fenced code block or an HTML comment is none. What follows a heading directly, up to the first blank line,
are its fields; the rest, up to the next heading, is its text. In a field whose value is the indented lines below it, a fence, a
heading or the beginning of a comment is a part of the value.

Tests: tests/model/test_workflow.py.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from crewd.model.errors import UsageError

BLOCK = re.compile(r"[|>](?:[+-]?[1-9]?|[1-9][+-])(?:[ \t]+#.*)?")
"""How a value begins that is the indented lines below it (YAML's headers of block scalars)."""
_FIELD_WITH_BLOCK = re.compile(rf"[A-Za-z][A-Za-z0-9_-]*[ \t]*:[ \t]+{BLOCK.pattern}[ \t]*")
_HEADING = re.compile(r" {0,3}##(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*\Z")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)\Z")


class SourceLine(msgspec.Struct, frozen=True):
    """A line of the file: its number, its text, and whether it is in a code block (`code`), a comment or a value (`block`)."""

    number: int
    text: str
    code: bool = False
    comment: bool = False
    block: bool = False

    @property
    def heading(self) -> str | None:
        """The title, if this is a level-2 heading."""
        found = None if self.code or self.comment or self.block else _HEADING.match(self.text)
        return None if found is None else (found[1] or "").strip()


def wrong(line: int, message: str, hint: str = "") -> UsageError:
    """An error about a line of the file."""
    return UsageError(f"line {line}: {message}", hint=hint, line=line)


def did_you_mean(word: str, known: Iterable[str], meant: Mapping[str, str]) -> str:
    """A hint that names what is known, and before it what the word may stand for; empty if nothing is known.

    `meant` are other systems' words for it.
    """
    known = tuple(dict.fromkeys(known))
    if not known:
        return ""
    same = next((each for each in known if each.lower() == word.replace("-", "").replace("_", "").lower()), None)
    guess = same or meant.get(word.lower().replace("-", "_"))
    close = [guess] if guess in known else difflib.get_close_matches(word, known, 1)
    listed = f"known: {', '.join(known)}"
    return f"did you mean {close[0]}? {listed}" if close else listed


def front_matter(text: str) -> tuple[str, list[SourceLine]]:
    """The text between the two `---` at the top (empty if there is none), and the lines that follow.

    Byte order marks and Windows line ends are taken away. Raises UsageError for a front matter, a code block or a comment
    that does not end, and for NUL bytes.
    """
    lines = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise wrong(number, "there are NUL bytes: the file is no text")
    if re.match(r"---+\s*(#.*)?\Z", lines[0]) and lines[0].rstrip() != "---":
        raise wrong(1, f"{lines[0].strip()!r} begins no front matter", "write '---', and nothing else, in that line")
    if lines[0].rstrip() != "---":
        return "", list(_classified(lines, 1))
    for end in range(1, len(lines)):
        if lines[end].rstrip() in {"---", "..."}:
            return "\n".join(lines[1:end]), list(_classified(lines[end + 1 :], end + 2))
    raise wrong(1, "the front matter that begins here has no end", "close it with a line '---'")


def _check_behind(line: int, text: str) -> None:
    """UsageError for what stands behind a comment, in its last line: it would be lost."""
    if re.sub(r"<!--.*?-->", "", text).strip():
        raise wrong(line, f"{text.strip()[:40]!r} stands behind a comment", "give it a line of its own")


def _classified(lines: list[str], first: int) -> Iterator[SourceLine]:
    fence, opened, comment = "", 0, 0
    fields = block = False
    for number, text in enumerate(lines, first):
        mark = _FENCE.match(text)
        block = block and (not text.strip() or text[0] in " \t")
        if block:
            yield SourceLine(number, text, block=True)
            continue
        if comment:
            yield SourceLine(number, text, comment=True)
            if "-->" in text:
                comment = 0
                _check_behind(number, text.partition("-->")[2])
        elif fence:
            closes = mark is not None and mark[1].startswith(fence) and not mark[2].strip()
            yield SourceLine(number, text, code=True)
            fence = "" if closes else fence
        elif mark is not None and not (mark[1][0] == "`" and "`" in mark[2]):
            fence, opened = mark[1], number
            yield SourceLine(number, text, code=True)
        elif text.lstrip().startswith("<!--"):
            comment = 0 if "-->" in text else number
            _check_behind(number, text.partition("-->")[2])
            yield SourceLine(number, text, comment=True)
        else:
            line = SourceLine(number, text)
            block = fields and _FIELD_WITH_BLOCK.fullmatch(text) is not None
            fields = line.heading is not None or block or (fields and (text[:1] in {" ", "\t"} or ":" in text or not text))
            yield line
    if fence:
        raise wrong(opened, "the code block that begins here has no end", f"close it with a line {fence!r}")
    if comment:
        raise wrong(comment, "the comment that begins here has no end", "close it with -->")
