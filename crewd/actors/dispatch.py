"""Who gives actors their turns: the brain (one thread for all that only decide) and pinned threads (for what must block).

A third body with the same interface, in `crewd.testing`, lets a test choose which actor runs next.

Tests: tests/actors/test_runtime.py.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

if TYPE_CHECKING:
    from crewd.actors.ref import AnyRef
    from crewd.actors.timers import Timers
    from crewd.clock import Clock

TURNS_PER_POLL = 256
POLL_SECONDS = 0.005
"""At most so many turns, and so long, between two polls of the sockets. Actors run until none is ready, within these bounds."""


class HasTurns(Protocol):
    """What a dispatcher needs of an actor."""

    works_long: ClassVar[bool]
    actor_stopped: threading.Event

    @property
    def ref(self) -> AnyRef:
        """Its address."""
        ...

    def turn(self) -> None:
        """Handle some messages. Never raises."""
        ...


class Turn(NamedTuple):
    """Whose turn it is on a dispatcher, since when (monotonic), on which thread; nobody's by default."""

    actor: HasTurns | None = None
    since: float = 0.0
    thread: int | None = None


class Dispatcher(Protocol):
    """Gives an actor a turn. `schedule` may be called from any thread, and often: turns of one actor never overlap."""

    def schedule(self, actor: HasTurns) -> None:
        """Call `actor.turn()` soon."""
        ...

    def owns_thread(self) -> bool:
        """Whether the calling thread is one on which actors run."""
        ...

    @property
    def busy(self) -> Turn:
        """Whose turn it is now. From any thread."""
        ...


class Poller(Protocol):
    """What the brain does when no actor has work: look at the world."""

    def poll(self, timeout: float | None) -> None:
        """Wait up to `timeout` seconds (None: for ever) for something, and tell the actors concerned."""
        ...

    def wake(self) -> None:
        """End a `poll` of another thread now."""
        ...


class BrainDispatcher:
    """Runs every deciding actor on the thread that called `run`; its idle function is the poller."""

    def __init__(self, poller: Poller, clock: Clock) -> None:
        self._poller = poller
        self._clock = clock
        self._ready: deque[HasTurns] = deque()
        self._thread: int | None = None
        self._stopping = False
        self.busy = Turn()

    def schedule(self, actor: HasTurns) -> None:
        """See `Dispatcher`."""
        self._ready.append(actor)
        if threading.get_ident() != self._thread:
            self._poller.wake()

    def owns_thread(self) -> bool:
        """See `Dispatcher`."""
        return threading.get_ident() == self._thread

    def stop(self) -> None:
        """Let `run` return after the present round. From any thread."""
        self._stopping = True
        self._poller.wake()

    def run(self, timers: Timers) -> None:
        """Give turns until `stop`."""
        self._thread = threading.get_ident()
        ready, clock = self._ready, self._clock
        while not self._stopping:
            now = clock.monotonic()
            until = now + POLL_SECONDS
            turns = 0
            while ready and turns < TURNS_PER_POLL and now < until:  # also those that become ready meanwhile
                turns += 1
                actor = ready.popleft()
                self.busy = Turn(actor, now, self._thread)
                actor.turn()
                now = clock.monotonic()
            self.busy = Turn()
            timers.fire(now)
            if ready:
                timeout: float | None = 0.0
            else:
                due = timers.next_due()
                timeout = None if due is None else max(0.0, due - clock.monotonic())
            self._poller.poll(timeout)
        self._thread = None


class PinnedDispatcher:
    """One thread for one actor that must block. The thread ends with the actor."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._clock = clock
        self.busy = Turn()
        self._wakeups = threading.Semaphore(0)
        self._actor: HasTurns | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def schedule(self, actor: HasTurns) -> None:
        """See `Dispatcher`."""
        if self._actor is None:
            self._actor = actor
            self._thread.start()
        self._wakeups.release()

    def owns_thread(self) -> bool:
        """See `Dispatcher`."""
        return threading.get_ident() == self._thread.ident

    def _run(self) -> None:
        actor = self._actor
        while actor is not None and not actor.actor_stopped.is_set():
            self._wakeups.acquire()
            self.busy = Turn(actor, self._clock.monotonic(), self._thread.ident)
            actor.turn()
            self.busy = Turn()
