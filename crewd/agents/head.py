"""The front matter of a file that defines an agent, a team or a skill: its fields, and what is below it. Pure.

Tests: tests/agents/test_definition.py, tests/agents/test_team.py, tests/agents/test_skills.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from crewd.model.markdown import SourceLine, did_you_mean, front_matter, wrong
from crewd.model.yaml_text import Yaml, read_yaml


class Head(NamedTuple):
    """The front matter, its fields, and the lines of text below it."""

    yaml: Yaml
    fields: dict[str, Any]
    lines: list[SourceLine]


def read_head(
    text: str, known: Collection[str], unused: Collection[str], meant: Mapping[str, str], example: str
) -> Head:  # fmt: skip
    """The head of a file's text. Raises UsageError with the line of a field that is neither `known` nor `unused`.

    `meant` maps other words for a field to the field. `example` is a field as it is written.
    """
    head_text, lines = front_matter(text)
    yaml = read_yaml(head_text, 2)
    if yaml.value is not None and not isinstance(yaml.value, dict):
        raise wrong(2, "the front matter is no list of fields", example)
    fields: dict[str, Any] = yaml.value or {}
    for key in fields:
        if key not in known and key not in unused:
            raise wrong(yaml.line(key), f"there is no field {key!r}", did_you_mean(key, known, meant))
    return Head(yaml, fields, lines)
