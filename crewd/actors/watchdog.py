"""The watchdog: names an actor whose turn takes too long, with its stack. The only thread that looks at other threads.

A thread cannot be ended from outside, so all it can do is to say who it is: in the log, and for `crew doctor`.

Tests: tests/actors/test_monitors_and_metrics.py.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from crewd.actors.metrics import LongTurn

if TYPE_CHECKING:
    from crewd.actors.dispatch import Turn
    from crewd.actors.ref import AnyRef
    from crewd.actors.system import ActorSystem

WARN_SECONDS = 1.0
DUMP_SECONDS = 10.0
"""A turn that long is named again."""
LOOK_SECONDS = 0.25


class Watchdog:
    """Looks at all dispatchers of a system now and then. `report` is called on the watchdog's own thread."""

    def __init__(self, system: ActorSystem, report: Callable[[LongTurn], None]) -> None:
        self._system = system
        self._report = report
        self._named: dict[tuple[AnyRef, float], float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="crewd-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; waits for the thread."""
        self._stop.set()
        self._thread.join()

    def look(self) -> list[LongTurn]:
        """Every turn that has passed a limit since the last look."""
        now = self._system.clock.monotonic()
        found: list[LongTurn] = []
        running = {}
        for dispatcher in self._system.dispatchers():
            busy = dispatcher.busy
            if busy.actor is None or busy.actor.works_long:
                continue
            turn = (busy.actor.ref, busy.since)
            named = running[turn] = self._named.get(turn, 0.0)
            seconds = now - busy.since
            limit = DUMP_SECONDS if named >= WARN_SECONDS else WARN_SECONDS
            if seconds >= limit and named < DUMP_SECONDS:
                running[turn] = seconds
                found.append(LongTurn(busy.actor.ref, seconds, _stack(busy)))
        self._named = running
        self._system.long_turns += found
        return found

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            for long_turn in self.look():
                self._report(long_turn)


def _stack(busy: Turn) -> str:
    frame = sys._current_frames().get(busy.thread or 0)  # noqa: SLF001 (the interpreter's documented way)
    return "" if frame is None else "".join(traceback.format_stack(frame)[-12:])
