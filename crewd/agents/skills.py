"""Skills: texts that an agent is given beside its system prompt, by name. Pure.

---
name: append-only-history
description: how to change something that only grows
---
What to do, in a few lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from crewd.model.markdown import did_you_mean, front_matter, wrong
from crewd.model.yaml_text import read_yaml

NAMES_MAX = 32
CHARS_MAX = 1_500
"""Of one skill; what is longer is cut, and says so."""
ALL_CHARS_MAX = 6_000
"""Of all skills of one agent; those for which there is no room are left out, and named."""
NONE: Final = ("false",)
"""Where this is said, nothing that was said before counts."""
_FIELDS = ("name", "description")


@dataclass(frozen=True, slots=True)
class Skill:
    """A skill as its file says it."""

    name: str
    description: str
    text: str


def parse_skill(text: str, default_name: str) -> Skill:
    """The skill in a file's text. UsageError with the line for what is wrong."""
    head_text, lines = front_matter(text)
    head = read_yaml(head_text, 2)
    if head.value is not None and not isinstance(head.value, dict):
        raise wrong(2, "the front matter is no list of fields", "description: what it is for")
    given = head.value or {}
    for key in given:
        if key not in _FIELDS:
            raise wrong(head.line(key), f"there is no field {key!r}", did_you_mean(key, _FIELDS, {}))
    body = "\n".join(line.text for line in lines).strip()
    if not body:
        raise wrong(head.line(), f"skill {default_name} says nothing", "write below the second --- what is to be done")
    return Skill(default_name, str(given.get("description") or ""), body)


def names_of(*levels: Sequence[str]) -> tuple[str, ...]:
    """The skills that these levels name together, each once: those of the agent, the role, the step, and who asks, in order."""
    names: dict[str, None] = {}
    for level in levels:
        if tuple(level) == NONE:
            names.clear()
        else:
            names.update(dict.fromkeys(level))
    return tuple(names)


def rendered(skills: Iterable[Skill]) -> tuple[str, tuple[str, ...]]:
    """The text that an agent is given, and the names of the skills that are not in it for want of room."""
    parts: list[str] = []
    left_out: list[str] = []
    room = ALL_CHARS_MAX
    for at, skill in enumerate(skills):
        text = skill.text if len(skill.text) <= CHARS_MAX else skill.text[: CHARS_MAX - 2] + " …"
        part = f"## Skill: {skill.name}\n\n{text}"
        if at >= NAMES_MAX or len(part) > room:
            left_out.append(skill.name)
            continue
        room -= len(part)
        parts.append(part)
    return "\n\n".join(parts), tuple(left_out)
