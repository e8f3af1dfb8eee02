"""Skills: texts that an agent is given beside its system prompt, by name. Pure.

---
name: append-only-history
description: how to change something that only grows
---
What to do, in a few lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from crewd.agents.head import read_head
from crewd.model.agent import GivenSkill
from crewd.model.markdown import wrong
from crewd.model.yaml_text import field_text

NAMES_MAX = 32
CHARS_MAX = 1_500
"""The characters of one skill. A longer text is cut, and ends with an ellipsis."""
ALL_CHARS_MAX = 6_000
"""The characters of all skills of one agent. Skills that do not fit are left out, and named."""
NONE: Final = ("false",)
"""This value drops the skills that the levels before it have named."""
_FIELDS = ("name", "description")


class Skill(msgspec.Struct, frozen=True):
    """A skill as its file says it."""

    name: str
    description: str
    text: str

    @property
    def note(self) -> str:
        """What of it no agent is told, in words; empty if that is nothing."""
        size = len(self.text)
        return "" if size <= CHARS_MAX else f"its text has {size:,} characters, and an agent is given the first {CHARS_MAX:,}"


def parse_skill(text: str, default_name: str) -> Skill:
    """The skill in a file's text. UsageError with the line for what is wrong."""
    head, _, lines = read_head(text, _FIELDS, (), {}, "description: what it is for")
    body = "\n".join(line.text for line in lines).strip()
    if not body:
        raise wrong(head.line(), f"skill {default_name} says nothing", "write below the second --- what is to be done")
    return Skill(default_name, field_text(head, "description"), body)


def names_of(*levels: Sequence[str]) -> tuple[str, ...]:
    """The skills that these levels name together, each once: those of the agent, the role, the step, and who asks, in order."""
    names: dict[str, None] = {}
    for level in levels:
        if tuple(level) == NONE:
            names.clear()
        else:
            names.update(dict.fromkeys(level))
    return tuple(names)


def fitting(skills: Iterable[Skill]) -> tuple[tuple[GivenSkill, ...], tuple[str, ...]]:
    """The skills that an agent is given, and the names of those for which there is no room."""
    given: list[GivenSkill] = []
    left_out: list[str] = []
    room = ALL_CHARS_MAX
    for at, skill in enumerate(skills):
        text = skill.text if len(skill.text) <= CHARS_MAX else skill.text[: CHARS_MAX - 2] + " …"
        if at >= NAMES_MAX or len(text) > room:
            left_out.append(skill.name)
            continue
        room -= len(text)
        given.append(GivenSkill(skill.name, text))
    return tuple(given), tuple(left_out)
