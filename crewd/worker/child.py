"""A process that this one has started, with a process group of its own: waited for once, and signalled only until then.

Its number is its own until it is reaped, and so is that of its group: it is signalled only under the lock that reaping needs.

Tests: tests/worker/test_command.py.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crewd import limit_mark

if TYPE_CHECKING:
    from crewd.worker.token import CancellationToken

HANDLES_MAX = 256
"""Processes left behind whose end is waited for: each takes a descriptor. The others get TERM all the same."""
LOOK_SECONDS = 0.1
"""A grace may be made shorter while it runs: so often it is looked at."""


class ChildProcess:
    """The process of `popen`. `wait` is called on one thread, the rest on any."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.popen = popen
        self._reaping = threading.Lock()
        self._exited = threading.Event()
        self.group_terminated = False
        """Whether its group has got TERM."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.popen.pid

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it is not over."""
        return self.popen.returncode

    def wait(self) -> int:
        """Wait for its end and reap it: the exit code."""
        if hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._reaping:
            code = self.popen.wait()
        self._exited.set()
        return code

    def has_exited(self, seconds: float | None = None) -> bool:
        """Wait until `wait` on its thread has seen its end, at most so many seconds: whether it has."""
        return self._exited.wait(seconds)

    def signal(self, number: int) -> None:
        """Send it a signal, unless it is over."""
        with self._reaping, contextlib.suppress(OSError):
            if self.popen.returncode is None:
                os.kill(self.pid, number)

    def forward(self, numbers: Sequence[int]) -> None:
        """Let these signals reach it that this process gets."""

        def on_signal(number: int, _frame: object) -> None:
            # On a thread of its own: this one may just reap it, and holds the lock that sending a signal needs.
            threading.Thread(target=self.signal, args=(number,), name="signal", daemon=True).start()

        for number in numbers:
            signal.signal(number, on_signal)

    def signal_group(self, number: int) -> None:
        """Send a signal to it and to all that is in its group, unless it is over."""
        with self._reaping, contextlib.suppress(OSError):
            if self.popen.returncode is None:
                os.killpg(self.pid, number)
                self.group_terminated = self.group_terminated or number == signal.SIGTERM


class LeftBehind:
    """What a command has started and left behind when it ended: every other process of this worker.

    They are known by the number that this process bears, too. There is none of them where nobody bears one (not on Linux).
    """

    def __init__(self, child: ChildProcess) -> None:
        self._child = child
        self._handles: list[int] = []
        self._lock = threading.Lock()

    def terminate(self) -> None:
        """Send TERM to each of them that has not got it with the command's group: many programs take a second one as haste."""
        with self._lock:
            self._terminate()

    def _terminate(self) -> None:
        number = limit_mark.own()
        if number is None or not hasattr(os, "pidfd_open"):
            return
        for name in os.listdir("/proc"):  # noqa: PTH208 (as many as there are processes)
            if not name.isdigit() or int(name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                pid, handle = int(name), os.pidfd_open(int(name))
                if limit_mark.read(pid) != number:  # else it is this very process that the handle is of
                    os.close(handle)
                    continue
                try:
                    if not (self._child.group_terminated and os.getpgid(pid) == self._child.pid):
                        signal.pidfd_send_signal(handle, signal.SIGTERM)
                finally:
                    if len(self._handles) < HANDLES_MAX:
                        self._handles.append(handle)
                    else:
                        os.close(handle)

    def wait(self, token: CancellationToken) -> None:
        """Wait until those that got TERM have ended, at most until the grace is over."""
        with self._lock:
            for handle in self._handles:
                ends, ended = select.poll(), False  # `select` takes no descriptor above 1,023
                ends.register(handle, select.POLLIN)
                while not ended and (left := token.remaining()) > 0:
                    ended = bool(ends.poll(1_000 * min(left, LOOK_SECONDS)))
                os.close(handle)
            self._handles.clear()
