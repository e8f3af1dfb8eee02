"""What the user has disabled, by id (`agent:explorer`), kept in the user's own configuration. A project cannot change it.

Tests: tests/client/test_inventory.py.
"""

from __future__ import annotations

from crewd.client.user_file import read_json, write_json

_FILE = "disabled.json"


def disabled() -> dict[str, str]:
    """What the user has disabled: ids, with the reasons. UsageError if the file that says so cannot be read."""
    return read_json(_FILE, dict[str, str], {}, "nothing is disabled")


def write_disabled(off: dict[str, str]) -> None:
    """Keep it. Unavailable if that cannot be; nothing is changed then."""
    write_json(_FILE, dict(sorted(off.items())))
