"""Names with values that a caller gives one by one, such as `--label NAME=VALUE`: two values of one name are a mistake.

Tests: tests/client/cli/test_verbs.py.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TypeVar

from crewd.model.errors import UsageError

T = TypeVar("T")


def add_pair(found: MutableMapping[str, T], name: str, value: T, said: str, *, shown: bool = True) -> None:
    """Take one in. UsageError if the name has another value already, which is told if it may be `shown`."""
    if name in found and found[name] != value:
        values = f": {found[name]!r} and {value!r}" if shown else ""
        raise UsageError(f"{said} gives {name} two values{values}", hint="leave one of them out")
    found[name] = value
