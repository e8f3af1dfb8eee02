"""A bounded inbox with two lanes: control overtakes data, and closing happens under the same lock as putting.

So a message is either taken, refused (`ActorDead`, `InboxFull`), or returned by `close`. Safe from any thread.

Tests: tests/actors/test_pykka_pitfalls.py.
"""

from __future__ import annotations

import threading
from collections import deque
from enum import IntEnum
from typing import Any, NamedTuple

import pykka

from crewd.actors.exits import ActorDead, InboxFull

DATA_MAX = 10_000
"""Messages of the data lane: some seconds of work of one actor; the sender of one more hears `InboxFull`."""
CONTROL_MAX = 100_000
"""Messages of the control lane (cancel, stop, Down, timers). Its senders are ours and few; the bound catches a loop."""


class Lane(IntEnum):
    """Control is always taken before data; within a lane, first come first served."""

    CONTROL = 0
    DATA = 1


class Envelope(NamedTuple):
    """A message in an inbox. Past `deadline` (monotonic) it is dropped unhandled and its asker has stopped waiting.

    `at` is when it was told (monotonic); the age of the oldest one says how far an actor is behind. `sender` names the
    actor in whose turn it was told, if it was one.
    """

    message: object
    reply_to: pykka.Future[object] | None = None
    deadline: float | None = None
    at: float = 0.0
    sender: str = ""


class TwoLaneInbox:
    """See the module's text."""

    def __init__(self, data_max: int = DATA_MAX, control_max: int = CONTROL_MAX) -> None:
        self._lock = threading.Lock()
        self._lanes: tuple[deque[Envelope], deque[Envelope]] = (deque(), deque())
        self._bounds = (control_max, data_max)
        self._closed = False
        self.refused = 0
        self.peak = 0

    def put(self, envelope: Any, /) -> None:
        """Pykka's way in: the data lane."""
        self.offer(Envelope(envelope.message, envelope.reply_to), Lane.DATA)

    def get(self) -> Any:
        """Pykka's way out; raises IndexError if nothing is there, for an actor here never blocks on its inbox."""
        envelope = self.take()
        if envelope is None:
            raise IndexError("the inbox is empty")
        return envelope

    def offer(self, envelope: Envelope, lane: Lane) -> bool:
        """Take it; True if the inbox was empty before, so that its actor must be scheduled.

        Raises ActorDead after `close` and InboxFull at the lane's bound.
        """
        with self._lock:
            if self._closed:
                raise ActorDead("the actor has stopped")
            queue = self._lanes[lane]
            if len(queue) >= self._bounds[lane]:
                self.refused += 1
                raise InboxFull(f"{lane.name.lower()} lane holds {len(queue)} messages")
            was_empty = not self._lanes[0] and not self._lanes[1]
            queue.append(envelope)
            if len(queue) > self.peak:  # noqa: PLR1730 (a call for each message)
                self.peak = len(queue)
            return was_empty

    def take(self) -> Envelope | None:
        """The next message in its envelope, control first; None if there is none."""
        with self._lock:
            for queue in self._lanes:
                if queue:
                    return queue.popleft()
        return None

    def close(self) -> list[Envelope]:
        """Refuse everything from now on and hand back what was not handled."""
        with self._lock:
            self._closed = True
            left = [*self._lanes[0], *self._lanes[1]]
            for queue in self._lanes:
                queue.clear()
        return left

    def empty(self) -> bool:
        """Whether nothing waits."""
        with self._lock:
            return not self._lanes[0] and not self._lanes[1]

    def waiting(self, lane: Lane) -> list[object]:
        """The messages that wait in a lane, first one first."""
        with self._lock:
            return [envelope.message for envelope in self._lanes[lane]]

    def depth(self) -> tuple[int, int]:
        """Messages waiting in the control and the data lane."""
        with self._lock:
            return len(self._lanes[0]), len(self._lanes[1])

    def ages(self, now: float) -> tuple[float, float]:
        """Seconds for which the oldest message of the control and of the data lane has waited."""
        with self._lock:
            control, data = (max(0.0, now - queue[0].at) if queue else 0.0 for queue in self._lanes)
        return control, data
