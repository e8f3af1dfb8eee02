"""Where files of agents, teams and workflows name each other, and how such a name is changed. Pure: texts in, texts out.

An agent is named by a role of a team (`agent=NAME`) and by a step (`agent: NAME`), a workflow by a team (`defaultWorkflow:
NAME`), a skill by an agent, a role or a step (`skills: NAME, NAME`). Nothing names a team.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from crewd.client.resources import Kind

_ROLE = r"(?:^\s*[-*]\s+[^\s:]+:.*?(?<!\S)"
_WAYS: dict[tuple[Kind, Kind], tuple[str, ...]] = {
    ("agents", "teams"): (rf"{_ROLE}agent=)(?P<names>\S+)",),
    ("agents", "workflows"): (r"^(?:agent:[ \t]+)(?P<names>\S+)",),
    ("workflows", "teams"): (r"^(?:defaultWorkflow:[ \t]+)(?P<names>\S+)",),
    ("skills", "teams"): (rf"{_ROLE}skills=)(?P<names>\S+)",),
    ("skills", "agents"): (r"^(?:skills:[ \t]+)(?P<names>[^#\n]+)",),
    ("skills", "workflows"): (r"^(?:skills:[ \t]+)(?P<names>[^#\n]+)",),
}
"""By what is named and in what it is named: the lines that do, and the names in them."""
_LISTED = re.compile(r"^skills:[ \t]*$(?P<items>(?:\n[ \t]*-[ \t]+\S+[ \t]*$)+)", re.MULTILINE)
_ONE = re.compile(r"[^\s,\[\]\"']+")


def referring_kinds(kind: Kind) -> list[Kind]:
    """The kinds of files that can name one of this kind."""
    return [where for named, where in _WAYS if named == kind]


def names_in(text: str, kind: Kind, where: Kind) -> list[str]:
    """The names of files of `kind` in the text of a file of the kind `where`, as they are written."""
    return [match[0] for place in _places(text, kind, where) for match in _ONE.finditer(text, *place)]


def renamed(text: str, kind: Kind, where: Kind, new: Callable[[str], str]) -> str:
    """The text with `new(name)` for each such name, and nothing else changed."""
    for begin, end in reversed(list(_places(text, kind, where))):
        text = text[:begin] + _ONE.sub(lambda match: new(match[0]), text[begin:end]) + text[end:]
    return text


def with_name(text: str, name: str) -> str:
    """The text of a file whose front matter says its name, with another one. A file that says none is left as it is."""
    head = re.match(r"---[ \t]*\n(?:.*\n)*?---[ \t]*$", text, re.MULTILINE)
    if head is None:
        return text
    return re.sub(r"(?m)^(name:[ \t]+)\S+", lambda match: f"{match[1]}{name}", head[0], count=1) + text[head.end() :]


def _places(text: str, kind: Kind, where: Kind) -> Iterator[tuple[int, int]]:
    found = {match.span("names") for way in _WAYS.get((kind, where), ()) for match in re.finditer(way, text, re.MULTILINE)}
    if kind == "skills" and where != "teams":
        for match in _LISTED.finditer(text):
            begin = match.start("items")
            items = re.finditer(r"(?m)^[ \t]*-[ \t]+(\S+)", match["items"])
            found |= {(begin + item.start(1), begin + item.end(1)) for item in items}
    yield from sorted(found)
