"""Labels of runs: the caller's own words, `NAME=VALUE`.

Tests: tests/test_follow.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from crewd.model.errors import UsageError
from crewd.model.pairs import add_pair


def parse_labels(pairs: Iterable[str]) -> dict[str, str]:
    """Labels from `NAME=VALUE`. UsageError for what is not that, and for two values of one name."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise UsageError(f"label {pair!r} is not NAME=VALUE", hint="for example team=search")
        add_pair(found, name, value, "label")
    return found
