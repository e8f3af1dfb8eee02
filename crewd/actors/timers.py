"""Timers: a heap of (due, ref, message). They fire in order of due time, then of setting.

Tests: tests/actors/test_runtime.py.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crewd.actors.ref import AnyRef


SWEPT_FROM = 1_024
"""Timers in the heap from which on cancelled ones are taken out, each time that it has twice as many as were left."""


class Timer:
    """A message that will be told to an actor, unless it is cancelled first."""

    __slots__ = ("_owner", "cancelled", "due", "message", "ref")

    def __init__(self, due: float, ref: AnyRef, message: object, owner: set[Timer]) -> None:
        self.due = due
        self.ref: AnyRef | None = ref
        self.message = message
        self.cancelled = False
        self._owner = owner
        owner.add(self)

    def cancel(self) -> None:
        """Never tell it. Safe to repeat; only on the thread of the actor that set it."""
        self.cancelled = True
        self._owner.discard(self)
        self.ref = self.message = None  # the timer stays in the heap until its due time, and must keep no actor alive

    def fire(self) -> None:
        """Tell it now."""
        ref, message = self.ref, self.message
        if ref is not None and not self.cancelled:
            self._owner.discard(self)
            self.cancelled = True
            ref.signal(message)


class Timers:
    """All timers of a system. `set` from any thread; `fire` from the brain only."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._wake = wake
        self._swept_at = SWEPT_FROM

    def set(self, due: float, ref: AnyRef, message: object, owner: set[Timer]) -> Timer:
        """A timer due at `due` (monotonic)."""
        timer = Timer(due, ref, message, owner)
        with self._lock:
            if len(self._heap) >= self._swept_at:
                self._heap = [each for each in self._heap if not each[2].cancelled]
                heapq.heapify(self._heap)
                self._swept_at = max(SWEPT_FROM, 2 * len(self._heap))
            heapq.heappush(self._heap, (due, next(self._order), timer))
            first = self._heap[0][2] is timer
        if first:
            self._wake()
        return timer

    def __len__(self) -> int:
        """How many lie in the heap, cancelled ones too."""
        return len(self._heap)

    def next_due(self) -> float | None:
        """When the next living timer is due; None if there is none."""
        with self._lock:
            while self._heap and self._heap[0][2].cancelled:
                heapq.heappop(self._heap)
            return self._heap[0][0] if self._heap else None

    def fire(self, now: float) -> int:
        """Fire all that are due at `now`; how many."""
        fired = 0
        while True:
            with self._lock:
                while self._heap and self._heap[0][2].cancelled:
                    heapq.heappop(self._heap)
                if not self._heap or self._heap[0][0] > now:
                    return fired
                timer = heapq.heappop(self._heap)[2]
            timer.fire()
            fired += 1
