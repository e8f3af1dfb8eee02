"""What an agent is told: its system prompt and its first prompt, as parts that say where each comes from. Pure.

The same values give the same bytes. Nothing else puts a prompt together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from crewd.model.agent import Agent

PROMPT_FILE: Final = "prompt.md"
SYSTEM_PROMPT_FILE: Final = "system-prompt.md"
SOURCES_FILE: Final = "prompt.json"
"""Artifacts of each attempt of an agent."""


class Part(msgspec.Struct, frozen=True):
    """A text and its source: `agent:NAME`, `skill:NAME`, `step`, `goal`, or `reads`."""

    source: str
    text: str


class Prompt(msgspec.Struct, frozen=True):
    """What goes into the system prompt, and what the agent is asked first."""

    system: tuple[Part, ...]
    first: tuple[Part, ...]

    @property
    def system_text(self) -> str:
        """The system prompt as the agent gets it."""
        return joined(self.system)

    @property
    def first_text(self) -> str:
        """The first prompt as the agent gets it."""
        return joined(self.first)

    @property
    def sources(self) -> list[dict[str, object]]:
        """Each part: into what it goes, its source, its size in bytes, and the SHA-256 of its text."""
        return [
            {"in": where, "source": part.source, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for where, parts in (("system", self.system), ("first", self.first))
            for part in parts
            for data in (part.text.encode("utf-8", "replace"),)
        ]


def prompt_of(agent: Agent, *, text: str, goal: str, reads: Sequence[str]) -> Prompt:
    """The prompt of a step: its text, the goal if that is not in the text, and the paths of the files to read."""
    system = [Part(f"agent:{agent.name}" if agent.name else "agent", agent.system_prompt)]
    system += [Part(f"skill:{skill.name}", f"## Skill: {skill.name}\n\n{skill.text}") for skill in agent.skills]
    first = [Part("step", text), Part("goal", "" if goal in text else goal)]
    if reads:
        files = "\n".join(f"- {path}" for path in reads)
        first.append(Part("reads", f"What earlier steps have left for you:\n{files}"))
    return Prompt(tuple(part for part in system if part.text), tuple(part for part in first if part.text))


def joined(parts: Sequence[Part]) -> str:
    """Parts as one text."""
    return "\n\n".join(part.text for part in parts)
