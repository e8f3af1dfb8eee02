"""Secrets of runs: variables whose values are known to crewd while it runs, and to nobody after it.

Rule: a value is never put into an event, a row, a log or a file. After a restart of crewd, and after the end of a run, only
the names are known; who resumes the run gives the values again.

Tests: tests/test_secrets.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from crewd.model.known_secrets import KnownSecrets

_NONE = KnownSecrets()


class Vault:
    """The values by run."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[str, str]] = {}

    def put(self, run: str, secrets: Mapping[str, str]) -> None:
        """Keep these beside those that are there."""
        if secrets:
            self._runs.setdefault(run, {}).update(secrets)

    def of(self, run: str) -> dict[str, str]:
        """Those of a run."""
        return dict(self._runs.get(run, {}))

    def values(self, run: str, names: tuple[str, ...]) -> tuple[str, ...]:
        """The values of these, as far as they are known."""
        known = self._runs.get(run, {})
        return tuple(known[name] for name in names if name in known)

    def known(self, run: str, names: tuple[str, ...]) -> KnownSecrets:
        """The same, to mask them."""
        return KnownSecrets(self.values(run, names)) if names else _NONE

    def lacks(self, run: str, names: tuple[str, ...]) -> list[str]:
        """Which of these have no value."""
        known = self._runs.get(run, {})
        return [name for name in names if name not in known]

    def drop(self, run: str) -> None:
        """The run is over."""
        self._runs.pop(run, None)
