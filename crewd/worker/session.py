"""The worker's side of the protocol without a socket: what to say now, what was heard, when to speak next.

Rule: nothing is lost in between. On every new connection the worker says hello, hears which of its reports are durable,
and sends the others again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from crewd.model.errors import PeerError
from crewd.model.limits import FRAME_BYTES_MAX
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.protocol.reports import (
    Ack,
    CancelOrder,
    Deliver,
    FromWorker,
    Heartbeat,
    ProgressReport,
    Recall,
    Report,
    Reports,
    StopDeferred,
    StopGranted,
    WorkerError,
    WorkerHello,
    WorkerWelcome,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from crewd.clock import Clock
    from crewd.worker.desk import Desk

REPORTS = "reports"
"""The id of every batch of reports: an error that names it is about them."""
HELLO_SECONDS = 0.5
"""Between two hellos while nobody has answered."""
HELLOS_PER_CONNECTION = 10
"""After this many without an answer the connection is made again: a ROUTER that still holds an old connection of this
identity ignores a newer one for ever."""
PORTION_BYTES = FRAME_BYTES_MAX // 2
"""Of reports that are sent together; one alone may be larger."""
_ENCODER = msgspec.msgpack.Encoder()
PROGRESS_SECONDS = 0.1
"""Progress is sampled: what comes faster is merged, the last one wins."""


def _portions(reports: list[Report]) -> Iterator[Reports]:
    """As few messages as may be: each must fit a frame."""
    portion: list[Report] = []
    size = 0
    for report in reports:
        more = len(_ENCODER.encode(report))
        if portion and size + more > PORTION_BYTES:
            yield Reports(tuple(portion))
            portion, size = [], 0
        portion.append(report)
        size += more
    if portion:
        yield Reports(tuple(portion))


class Session:
    """See the module's text. `heard`, `speak` and the rest belong to one thread; `progress` and `beat` to the code's."""

    def __init__(self, hello: WorkerHello, desk: Desk, clock: Clock) -> None:
        self._hello = hello
        self._desk = desk
        self._clock = clock
        self._welcomed = False
        self._refused = False
        self._progress: ProgressReport | None = None
        self._beats = 0
        self._heartbeat_seconds = 2.0
        self._idle_seconds = 0.0
        self._said_beats, self._said_at = -1, 0.0
        self._next_hello = 0.0
        self._hellos = 0
        self._next_beat = 0.0
        self._next_progress = 0.0

    def progress(self, report: ProgressReport) -> None:
        """Send this sample soon."""
        self._progress = report
        self._beats = report.beats

    def beat(self, beats: int) -> None:
        """The code gave a sign of life."""
        self._beats = beats

    def connected(self) -> None:
        """There is a new connection: say hello at once."""
        self._welcomed = False
        self._next_hello = 0.0

    def disconnected(self) -> None:
        """The connection is gone; what was in flight may be."""
        self._welcomed = False

    def wants_connection(self) -> bool:
        """Whether the connection should be made again, because nobody has answered on it for long. True once."""
        if not self._welcomed and self._hellos >= HELLOS_PER_CONNECTION:
            self._hellos = 0
            return True
        return False

    def next_due(self) -> float:
        """When to speak next if nothing happens before (monotonic)."""
        due = self._next_beat if self._welcomed else self._next_hello
        return min(due, self._next_progress) if self._welcomed and self._progress is not None else due

    def hear(self, frames: Sequence[bytes]) -> None:
        """Take a message in; one that cannot be read is of a newer crewd and changes nothing."""
        try:
            parcel = codec.to_worker.decode(frames)
        except PeerError:
            return
        order = parcel.body
        match order:
            case WorkerWelcome(reports, heartbeat_seconds, idle_seconds):
                self._welcomed, self._hellos = True, 0
                self._heartbeat_seconds, self._idle_seconds = heartbeat_seconds, idle_seconds
                self._next_beat = self._clock.monotonic() + heartbeat_seconds
                self._desk.heard_welcome(reports)
            case Deliver():
                self._desk.heard_message(order)
            case Recall(key, outcome):
                self._desk.heard_recall(key, outcome)
            case Ack(upto):
                self._desk.heard_ack(upto)
            case StopGranted():
                self._desk.heard_verdict(granted=True)
            case StopDeferred():
                self._desk.heard_verdict(granted=False)
            case CancelOrder():
                self._desk.heard_cancel(order)
            case rl.ReceiptReply() | rl.EndReply() | rl.ErrorReply():
                self._desk.heard_reply(parcel.id, order)
            case WorkerError(error):
                self._welcomed = False
                unreadable = parcel.id == REPORTS and error.code in {"malformed", "oversized"}
                if error.code == "not_permitted" or unreadable:  # no other try would end in another way
                    self._refused = True
                    self._desk.refused(error.code)

    def speak(self, send: Callable[[FromWorker, str], bool]) -> None:
        """Say all that is due, each under its id, if it has one.

        `send` is False when the message was not taken; then the worker says hello again, later.
        """
        now = self._clock.monotonic()
        if self._refused:
            return
        if not self._welcomed:
            if now >= self._next_hello:
                self._next_hello = now + HELLO_SECONDS
                self._hellos += 1
                send(self._hello, "")
            return
        for reports in _portions(self._desk.unsent()):
            if not send(reports, REPORTS):
                self.connected()
                return
        for key, request in self._desk.unasked():
            if not send(request, key):
                self.connected()
                return
        if self._progress is not None and now >= self._next_progress:
            progress, self._progress = self._progress, None
            self._next_progress = now + PROGRESS_SECONDS
            self._next_beat = now + self._heartbeat_seconds
            send(progress, "")
        if now >= self._next_beat:
            self._next_beat = now + self._heartbeat_seconds
            if self._beats != self._said_beats or now - self._said_at >= self._idle_seconds:
                self._said_beats, self._said_at = self._beats, now
                send(Heartbeat(beats=self._beats), "")
