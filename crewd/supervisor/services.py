"""What every actor of crewd is given: time, ids, tokens, paths, and the directory. One value, made in `program`.

Tests: tests/testing/world/test_machine.py.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from crewd.clock import Chance, Clock
from crewd.model.config import Config
from crewd.model.home import Home
from crewd.model.ids import IdSource
from crewd.model.wall_times import WallTimes
from crewd.supervisor.config import HeldConfig
from crewd.supervisor.directory import Directory
from crewd.supervisor.tokens import Tokens
from crewd.supervisor.vault import Vault


class Services(msgspec.Struct, frozen=True):
    """See the module's text."""

    clock: Clock
    chance: Chance
    ids: IdSource
    tokens: Tokens
    home: Home
    settings: HeldConfig
    directory: Directory
    pid: int
    vault: Vault = msgspec.field(default_factory=Vault)
    wall_times: Callable[[], WallTimes] = WallTimes
    """What is known of how the wall clock was set."""

    @property
    def config(self) -> Config:
        """The settings that hold now."""
        return self.settings.now
