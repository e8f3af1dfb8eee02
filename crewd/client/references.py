"""Where files of agents, teams and workflows name each other, and how such a name is changed. Pure: texts in, texts out.

An agent is named by a role of a team (`agent=NAME`) and by a step (`agent: NAME`), a workflow by a team (`defaultWorkflow:
NAME`), a skill by an agent, a role or a step (`skills: NAME, NAME`). Nothing names a team. Only the front matter, roles and
fields of steps are looked at: a prompt may say what it likes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from crewd.client.resources import Kind

_ROLE = r"(?:^[ \t]*[-*][ \t]+[^\s:]+:.*?(?<!\S)"
_FIELD = r"(?:^[\"']?{}[\"']?[ \t]*:[ \t]+)"
_WAYS: dict[tuple[Kind, Kind], tuple[str, ...]] = {
    ("agents", "teams"): (rf"{_ROLE}agent=)(?P<names>\S+)",),
    ("agents", "workflows"): (_FIELD.format("agent") + r"(?P<names>[^\s#]+)",),
    ("workflows", "teams"): (_FIELD.format("defaultWorkflow") + r"(?P<names>[^\s#]+)",),
    ("skills", "teams"): (rf"{_ROLE}skills=)(?P<names>\S+)",),
    ("skills", "agents"): (_FIELD.format("skills") + r"(?P<names>\[[^\]]*\]|[^#\n]+)",),
    ("skills", "workflows"): (_FIELD.format("skills") + r"(?P<names>\[[^\]]*\]|[^#\n]+)",),
}
"""By what is named and in what it is named: the lines that do, and the names in them."""
_LISTED = re.compile(
    r"^[\"']?skills[\"']?[ \t]*:[ \t]*(?:#.*)?$(?P<items>(?:\n[ \t]*(?:-[ \t]+\S+[ \t]*)?(?:#.*)?\r?$)+)", re.MULTILINE
)
_ITEM = re.compile(r"^[ \t]*-[ \t]+([^\s#]+)", re.MULTILINE)
_ONE = re.compile(r"[^\s,\[\]\"']+")


def referring_kinds(kind: Kind) -> list[Kind]:
    """The kinds of files that can name one of this kind."""
    return [where for named, where in _WAYS if named == kind]


def renamed(text: str, kind: Kind, where: Kind, new: Callable[[str], str]) -> str:
    """The text of a file of the kind `where`, with `new(name)` for each name of a file of `kind`, and nothing else changed."""
    for begin, end in reversed(list(_places(text, kind, where))):
        text = text[:begin] + _ONE.sub(lambda match: new(match[0]), text[begin:end]) + text[end:]
    return text


def with_name(text: str, name: str) -> str:
    """The text of a file whose front matter says its name, with another one. A file that says none is left as it is."""
    end = _head_end(text)
    head = re.sub(r"(?m)^(name[ \t]*:[ \t]+)[^\s#]+", lambda match: f"{match[1]}{name}", text[:end], count=1)
    return head + text[end:]


def _head_end(text: str) -> int:
    """Where the front matter ends; 0 if there is none."""
    head = re.match(r"\ufeff?---[ \t]*\r?\n(?:.*\n)*?---[ \t]*\r?$", text, re.MULTILINE)
    return head.end() if head else 0


def _places(text: str, kind: Kind, where: Kind) -> Iterator[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    for begin, end in _regions(text, where):
        for way in _WAYS.get((kind, where), ()):
            found |= {match.span("names") for match in re.compile(way, re.MULTILINE).finditer(text, begin, end)}
        if kind == "skills" and where != "teams":
            for match in _LISTED.finditer(text, begin, end):
                found |= {item.span(1) for item in _ITEM.finditer(text, *match.span("items"))}
    yield from sorted(found)


def _regions(text: str, where: Kind) -> Iterator[tuple[int, int]]:
    """The parts of a file in which names mean something."""
    head = _head_end(text)
    if where == "agents":
        yield 0, head
        return
    if where == "teams":
        yield 0, len(text)
        return
    at, fence, begun = head, "", -1
    for line in text[head:].splitlines(keepends=True):
        bare = line.strip()
        mark = re.match(r"`{3,}|~{3,}", bare)
        if fence:
            fence = "" if bare.startswith(fence) and not bare.strip(fence[0]) else fence
        elif mark:
            fence = mark[0]
        elif re.match(r"##[ \t]+\S", line):
            begun = at + len(line)
        elif begun >= 0 and not bare and text[begun:at].strip():
            yield begun, at  # a blank line ends the fields of a step
            begun = -1
        at += len(line)
    if begun >= 0:
        yield begun, len(text)
