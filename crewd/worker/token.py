"""A cancellation token: why, until when, and a way to wait that ends at once when it fires.

Tests: tests/worker/test_desk.py.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crewd.clock import Clock


class Cancelled(BaseException):
    """The worker is to stop. Clean up within `grace_seconds`, and let it pass."""

    def __init__(self, reason: str, grace_seconds: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.grace_seconds = grace_seconds

    def __reduce__(self) -> tuple[type[Cancelled], tuple[str, float]]:
        return (type(self), (self.reason, self.grace_seconds))


class CancellationToken:
    """Fires once; a second cancel is ignored. Children fire with their parent, never the other way."""

    def __init__(self, clock: Clock, parent: CancellationToken | None = None) -> None:
        self.clock = clock
        self._fired = threading.Event()
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], object]] = []
        self.reason = ""
        self.intent = ""
        self.deadline: float | None = None
        if parent is not None:
            parent.listen(lambda: self.cancel(parent.reason, parent.remaining(), parent.intent))

    @property
    def cancelled(self) -> bool:
        """Whether it has fired."""
        return self._fired.is_set()

    def cancel(self, reason: str, grace_seconds: float, intent: str = "") -> bool:
        """Fire; False if it had fired before (then nothing changes)."""
        with self._lock:
            if self._fired.is_set():
                return False
            self.reason, self.intent = reason, intent
            self.deadline = self.clock.monotonic() + grace_seconds
            self._fired.set()
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()
        return True

    def remaining(self) -> float:
        """Seconds of grace left; infinite before it fires."""
        return float("inf") if self.deadline is None else max(0.0, self.deadline - self.clock.monotonic())

    def check(self) -> None:
        """Raise `Cancelled` if it has fired."""
        if self._fired.is_set():
            raise Cancelled(self.reason, self.remaining())

    def wait(self, seconds: float) -> None:
        """Wait, at most until it fires; then raise `Cancelled`."""
        self._fired.wait(seconds)
        self.check()

    async def wait_async(self, seconds: float) -> None:
        """As `wait`, without holding up the loop. A running task is cancelled by its runtime, so this need not wake up."""
        self.check()  # a task that has caught its cancel is not cancelled again
        await asyncio.sleep(seconds)
        self.check()

    def listen(self, listener: Callable[[], object]) -> None:
        """Call `listener` when it fires (at once if it has)."""
        with self._lock:
            if not self._fired.is_set():
                self._listeners.append(listener)
                return
        listener()

    def child(self) -> CancellationToken:
        """A token for a part of the work: it fires with this one, or alone."""
        return CancellationToken(self.clock, self)
