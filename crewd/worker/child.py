"""A process that this one has started, with a process group of its own: waited for once, and signalled only until then.

Its number is its own until it is reaped, and so is that of its group. Whoever signals it holds the lock that reaping needs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading

from crewd import limit_mark


class Child:
    """The process of `popen`. `wait` is called on one thread, the rest on any."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.popen = popen
        self._reaping = threading.Lock()
        self._exited = threading.Event()

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

    def signal_group(self, number: int) -> None:
        """Send a signal to it and to all that is in its group, unless it is over."""
        with self._reaping, contextlib.suppress(OSError):
            if self.popen.returncode is None:
                os.killpg(self.pid, number)


def terminate_what_is_left(*spared: int) -> None:
    """TERM to every other process of this worker: what a command has started outlives it, in a session of its own.

    They are known by the number that this process bears, too. Nothing is done where there is none (not on Linux).
    """
    number = limit_mark.own()
    if number is None or not hasattr(os, "pidfd_open"):
        return
    for name in os.listdir("/proc"):  # noqa: PTH208 (as many as there are processes)
        if not name.isdigit() or int(name) in {os.getpid(), *spared}:
            continue
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(int(name))
            try:
                if limit_mark.read(int(name)) == number:  # it is this very process that the handle is of
                    signal.pidfd_send_signal(handle, signal.SIGTERM)
            finally:
                os.close(handle)
