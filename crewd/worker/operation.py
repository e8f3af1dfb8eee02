"""What a worker does inside its attempt, shown to people; a steer that comes `now` may break it off.

How it is broken off depends on where it runs: an exception on the main thread, a cancelled await in a coroutine. Elsewhere
it is only asked to stop (`Operation.interrupted`), and the steer waits for the next safe point.

Tests: tests/test_end_to_end.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from crewd.model.errors import UsageError
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.redact import clip
from crewd.protocol.reports import OpClosed
from crewd.worker.token import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from crewd.worker.desk import Desk

SIGNAL = signal.SIGURG
"""Nobody else uses it, and a process that does not know it ignores it."""
AGAIN_SECONDS = 0.01
"""Until the signal is tried again when it came into code that must be whole."""
_WHOLE = frozenset({__name__, "crewd.worker.desk", "crewd.worker.context", "crewd.worker.message"})
"""What must not be cut short: reports are numbered there, and a message that was taken is handed over."""


class Interrupted(BaseException):
    """The open operation is broken off: its `with` block ends here, and the work goes on after it."""


class Skipped(UsageError):
    """The operation was queued, and skipped when a steer came: it is not to begin any more."""


class Operation:
    """An operation, as a context manager: it is open in the `with` block.

    `id` is its name in the log; `interrupted` has the message that it was broken off for, `skipped` the one that it was not
    begun for.
    """

    def __init__(
        self, key: str, desk: Desk, opened: Callable[[], None], closed: Callable[[], None], *, interruptible: bool
    ) -> None:
        self.id = key
        self.interrupted = ""
        self.skipped = ""
        self.begun = False
        self._desk = desk
        self._opened = opened
        self._closed = closed
        self._interruptible = interruptible
        self._open = False
        self._outer: tuple[Callable[[str], bool] | None, Any] = (None, None)
        self._task: asyncio.Task[object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __str__(self) -> str:
        return self.id

    def skip(self, message: str) -> None:
        """A steer came before it began: it never will."""
        self.skipped = message
        self._desk.report(OpClosed(id=self.id, outcome="skipped", reason=f"steer {message}"))

    def __enter__(self) -> Self:
        if self.skipped:
            raise Skipped(f"operation {self.id} was skipped for {self.skipped}", hint="ctx.queued() gives those that were not")
        if self.begun:
            raise UsageError(f"operation {self.id} has begun already: it is one 'with' block", hint="make another operation")
        self._opened()
        self._open = self.begun = True
        if self._interruptible:
            with contextlib.suppress(RuntimeError):
                self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
            handler = None
            if self._task is None and threading.current_thread() is threading.main_thread():
                handler = signal.signal(SIGNAL, self._on_signal)
            self._outer, self._desk.interruptible = (self._desk.interruptible, handler), self._interrupt
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._open = False
        if self._interruptible:
            self._desk.interruptible, handler = self._outer
            self._desk.breaking = False
            if handler is not None:
                signal.signal(SIGNAL, handler)
        cancelled = isinstance(error, asyncio.CancelledError) and not self._desk.token.cancelled
        broken = self.interrupted != "" and (isinstance(error, Interrupted) or cancelled)
        if broken and self._task is not None:
            self._task.uncancel()
        if error is None:
            report = OpClosed(id=self.id, outcome="done")
        elif broken:
            report = OpClosed(id=self.id, outcome="cancelled", reason=f"interrupted by {self.interrupted}")
        elif isinstance(error, Interrupted):  # the one around it was
            report = OpClosed(id=self.id, outcome="cancelled", reason="interrupted")
        elif isinstance(error, Cancelled):
            report = OpClosed(id=self.id, outcome="cancelled", reason=error.reason)
        else:
            report = OpClosed(id=self.id, outcome="failed", reason=clip(repr(error), NOTE_CHARS_MAX))
        self._desk.report(report)
        self._closed()
        return broken

    def _interrupt(self, message: str) -> bool:
        """A steer comes now (on the link's thread). Whether the operation is broken off for it."""
        if not self._open or self.interrupted:
            return False
        self.interrupted = message
        if self._task is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel_task)
            return True
        if signal.getsignal(SIGNAL) != self._on_signal:
            return False
        self._send_signal()
        return True

    def _send_signal(self) -> None:
        if self._open:
            signal.pthread_kill(threading.main_thread().ident or 0, SIGNAL)

    def _cancel_task(self) -> None:
        if self._open and self._task is not None:
            self._task.cancel()

    def _on_signal(self, _number: int, frame: FrameType | None) -> None:
        """On the main thread, between two bytecodes: at once, or as soon as code that must be whole is left."""
        if not self._open:
            return
        self._desk.breaking = _must_be_whole(frame)
        if self._desk.breaking:
            again = threading.Timer(AGAIN_SECONDS, self._send_signal)
            again.daemon = True
            again.start()
            return
        raise Interrupted


def _must_be_whole(frame: FrameType | None) -> bool:
    """Whether crewd's own code is under way there; a sleep, or a wait for crewd's reply, may be cut short."""
    while frame is not None:
        if frame.f_globals.get("__name__") in _WHOLE:
            return frame.f_code.co_name not in {"sleep", "wait_reply"}
        frame = frame.f_back
    return False
