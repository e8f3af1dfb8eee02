"""Reading one's own writes: what is asked waits until all that was committed before can be read.

A slow flush is waited for. Where the disk refuses it, what is read is stale, and who reads must know. A store that ends takes
its followers with it (they stand below it in the tree), so that nobody waits for an answer that cannot come.

Tests: tests/store/test_store.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from crewd.actors import Actor, Lane
from crewd.store.messages import Flush, Flushed

if TYPE_CHECKING:
    from crewd.actors import Ref
    from crewd.store.messages import ToStore
    from crewd.store.overlay import Overlay

M = TypeVar("M")


class Follower(Actor[Flushed | M], Generic[M]):
    """Reads the tables that the store writes. Hands `Flushed` to `flushed`. `stale`: what is read now is not the newest."""

    stale = False

    def __init__(self, overlay: Overlay, store: Callable[[], Ref[ToStore] | None]) -> None:
        super().__init__()
        self._overlay = overlay
        self._store_of = store
        self._waiting: list[Callable[[], None]] = []  # for the flush that was asked for
        self._later: list[Callable[[], None]] = []  # what came after it was asked for: something may have been committed since
        self._asked = False

    def when_flushed(self, act: Callable[[], None]) -> None:
        """Do this when everything that is committed now can be read: at once, if nothing is behind."""
        if self._asked:
            self._later.append(act)
        elif not (self._overlay.behind or self._overlay.waits):
            act()
        else:
            self._waiting.append(act)
            self._ask()

    def _ask(self) -> None:
        store, self._asked = self._store_of(), True
        if store is None or not store.offer(Flush(self.ref), lane=Lane.CONTROL):
            self.flushed(stale=True)

    def flushed(self, *, stale: bool) -> None:
        """The tables are as new as they can be."""
        self._asked = False
        ready, self._waiting, self._later = self._waiting, self._later, []
        self.stale = stale
        for act in ready:
            act()
        self.stale = False
        if self._waiting:
            self._ask()
