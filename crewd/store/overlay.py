"""What readers cannot see in the tables yet: coalesced values, and whether something was committed and not flushed.

Tests: tests/store/test_store.py.
"""

from __future__ import annotations

import threading

from loguru import logger

FLUSH_SECONDS = 0.05
"""A value is on disk at the latest after this."""
KEYS_MAX = 50_000
"""Unwritten keys; one more value for a new key is dropped (progress is sampled, the next one comes)."""


class Overlay:
    """Written by the store's actor, read by any thread.

    `behind`: something was committed that the tables do not show yet. Set before anybody hears of the commit. `waits`: a fact
    waits for a disk that refuses it. `refused`: why the disk takes no new work, in words; empty if it does.
    """

    def __init__(self) -> None:
        self.behind = self.waits = False
        self.refused = ""
        self._lock = threading.Lock()
        self._dirty: dict[str, bytes | None] = {}
        self._flushing: dict[str, bytes | None] = {}

    def refuses(self, why: str) -> None:
        """Say how the disk is; a change is logged."""
        if why and not self.refused:
            logger.error("crewd cannot write as it should, and takes no new work: {}", why)
        elif self.refused and not why:
            logger.info("crewd can write again, and takes new work")
        self.refused = why

    def put(self, key: str, value: bytes | None) -> bool:
        """The newest value of `key` (None deletes it); False if the overlay is full. The last one per key wins."""
        with self._lock:
            if key not in self._dirty and len(self._dirty) >= KEYS_MAX:
                return False
            self._dirty[key] = value
            return True

    def take(self) -> list[tuple[str, bytes | None]]:
        """What the next flush writes. Stays readable until `written`."""
        with self._lock:
            self._flushing = {**self._flushing, **self._dirty}
            self._dirty = {}
            return list(self._flushing.items())

    def written(self) -> None:
        """The flush went through."""
        with self._lock:
            self._flushing = {}

    @property
    def waiting(self) -> bool:
        """Whether something is not on disk yet."""
        with self._lock:
            return bool(self._dirty or self._flushing)

    def pending(self) -> dict[str, bytes | None]:
        """What is not on disk yet. Ask before you read the database: what was pending then is in one of the two."""
        with self._lock:
            return {**self._flushing, **self._dirty}


def over(pending: dict[str, bytes | None], stored: dict[str, bytes], prefix: str) -> dict[str, bytes]:
    """`stored` as it will be when all that is pending is written, for keys with this prefix."""
    merged: dict[str, bytes | None] = {**stored, **{k: v for k, v in pending.items() if k.startswith(prefix)}}
    return {key: value for key, value in merged.items() if value is not None}
