"""What the user has disabled, by id (`agent:explorer`), kept in the user's own configuration. A project cannot change it.

Tests: tests/client/test_inventory.py.
"""

from __future__ import annotations

from collections.abc import Callable

from crewd.client.user_file import change_json, read_json

_FILE = "disabled.json"
_OTHERWISE = "nothing is disabled"


def disabled() -> dict[str, str]:
    """What the user has disabled: ids, with the reasons. UsageError if the file that says so cannot be read."""
    return read_json(_FILE, dict[str, str], {}, _OTHERWISE)


def change_disabled(change: Callable[[dict[str, str]], dict[str, str]]) -> bool:
    """Keep what `change` makes of it; whether that is something else. Unavailable if it cannot be kept; it stays as it was."""
    return change_json(_FILE, dict[str, str], {}, _OTHERWISE, lambda off: dict(sorted(change(off).items())))
