"""docs/contributing.md names places that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "contributing.md").read_text()


def test_every_place_is_there() -> None:
    places = set(re.findall(r"`((?:crewd|tests)/[\w/.]*)`", PAGE))
    assert len(places) > 15
    assert {place for place in places if not (ROOT / place).exists()} == set()


def test_a_change_is_small() -> None:
    """At most five rows for each change, and three for a runtime."""
    rows = {part.partition("\n")[0]: part.count("\n| ") - 1 for part in PAGE.split("\n## ")[1:]}
    assert rows.pop("A runtime of workers") == 3
    assert len(rows) == 5
    assert max(rows.values()) <= 5
