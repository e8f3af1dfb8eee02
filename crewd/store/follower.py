"""Reading one's own writes: what is asked waits until all that was committed before can be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from crewd.actors import Actor, Lane
from crewd.store.messages import Flush, Flushed

if TYPE_CHECKING:
    from crewd.actors import Ref
    from crewd.actors.timers import Timer
    from crewd.store.overlay import Overlay

PATIENCE_SECONDS = 2.0
"""A store that has not flushed by then has ended, or its disk refuses: what is read is as old as it is."""


class Follower(Actor):
    """Reads the tables that the store writes. Hands `Flushed` to `flushed`. `stale`: what is read now is not the newest."""

    stale = False

    def __init__(self, overlay: Overlay, store: Callable[[], Ref[Any] | None]) -> None:
        super().__init__()
        self._overlay = overlay
        self._store_of = store
        self._waiting: list[Callable[[], None]] = []  # for the flush that was asked for
        self._later: list[Callable[[], None]] = []  # what came after it was asked for: something may have been committed since
        self._patience: Timer | None = None

    def when_flushed(self, act: Callable[[], None]) -> None:
        """Do this when everything that is committed now can be read: at once, if nothing is behind."""
        if self._patience is not None:
            self._later.append(act)
        elif not self._overlay.behind:
            act()
        else:
            self._waiting.append(act)
            self._ask()

    def _ask(self) -> None:
        store = self._store_of()
        self._patience = self.context.after(PATIENCE_SECONDS, Flushed(stale=True))
        if store is None or not store.offer(Flush(self.ref), lane=Lane.CONTROL):
            self.flushed(stale=True)

    def flushed(self, *, stale: bool) -> None:
        """The tables are as new as they can be."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        ready, self._waiting, self._later = self._waiting, self._later, []
        self.stale = stale
        for act in ready:
            act()
        self.stale = False
        if self._waiting:
            self._ask()
