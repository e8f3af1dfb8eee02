from __future__ import annotations

import pytest

from crewd.client.references import renamed, with_name
from crewd.client.resources import Kind

CASES: list[tuple[Kind, Kind, str, list[str]]] = [
    ("agents", "teams", "- a: agent=x model=y about agent=z\n* b: model=m agent=user:q\n", ["x", "user:q"]),
    ("agents", "workflows", "## s\nagent: x\n\nthe agent: y\n", ["x"]),
    ("workflows", "teams", "---\ndefaultWorkflow: w\n---\n", ["w"]),
    ("skills", "agents", "---\nskills: [a, 'b']\n---\n", ["a", "b"]),
    ("skills", "agents", "---\nskills:\n  - a\n  - b\n---\n- c\n", ["a", "b"]),
    ("skills", "teams", "- r: agent=x skills=a,b\n", ["a", "b"]),
    ("teams", "workflows", "## s\nagent: x\n", []),
    ("agents", "workflows", "## s\nagent : x # who\n\ntext\n```yaml\nagent: y\n```\n## t\n\nagent: z\n", ["x", "z"]),
    ("skills", "agents", '---\n"skills": a\n---\nskills: b is good\n', ["a"]),
    ("skills", "agents", "---\nskills: # mine\n  - a # good\n\n  - b\n---\n", ["a", "b"]),
    ("skills", "agents", "---\r\nskills: [a,\r\n  b]\r\n---\r\n", ["a", "b"]),
]


@pytest.mark.parametrize(("kind", "where", "text", "names"), CASES)
def test_names_are_found_where_they_mean_something(kind: Kind, where: Kind, text: str, names: list[str]) -> None:
    assert names_in(text, kind, where) == sorted(names)
    assert names_in(renamed(text, kind, where, lambda name: f"{name}2"), kind, where) == sorted(f"{name}2" for name in names)
    assert renamed(text, kind, where, lambda name: name) == text


def names_in(text: str, kind: Kind, where: Kind) -> list[str]:
    """The names that a change is asked about, sorted."""
    names = list[str]()

    def same(name: str) -> str:
        names.append(name)
        return name

    renamed(text, kind, where, same)
    return sorted(names)


def test_a_file_says_its_own_name_in_its_front_matter_only() -> None:
    assert with_name("---\nname: a # mine\n---\nname: a\n", "b") == "---\nname: b # mine\n---\nname: a\n"
    assert with_name("name: a\n", "b") == "name: a\n"
