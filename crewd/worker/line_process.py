"""A process that this one has started and speaks to in lines, over its standard input and output.

A line ends with LF and nothing else: U+2028 and CR are text. It may be as long as a bound; a longer one is dropped whole, and
what follows it is read on.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING

from crewd.worker.child import ChildProcess
from crewd.worker.pump import Pump

if TYPE_CHECKING:
    from crewd.model.known_secrets import KnownSecrets

CHUNK_BYTES = 1 << 16
PIPES_SECONDS = 3.0
"""How long a descendant may hold its output open after it has exited."""
BEGINNING_BYTES = 80
"""Of a line that was dropped."""


class LineProcess:
    """`line` is called with each line, `dropped` with the beginning of one that is too long, `closed` once, at the end.

    They are called on a thread of its own; while one of them runs, nothing is read. `start` comes first, once.
    """

    def __init__(
        self,
        argv: Sequence[str],
        known: KnownSecrets,
        line_bytes_max: int,
        *,
        line: Callable[[bytes], None],
        dropped: Callable[[bytes], None],
        closed: Callable[[], None],
    ) -> None:
        self._argv = list(argv)
        self._known = known
        self._line_bytes_max = line_bytes_max
        self._line, self._dropped, self._closed = line, dropped, closed
        self._child: ChildProcess | None = None
        self._errors: Pump | None = None
        self._writing = threading.Lock()
        self._over = threading.Event()
        self._told = threading.Lock()

    def start(self) -> None:
        """Start it, with a process group of its own; its standard error is this worker's. Raises OSError or ValueError."""
        process = subprocess.Popen(  # noqa: S603 (its purpose)
            self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0, bufsize=0
        )
        self._child = ChildProcess(process)
        if process.stderr is not None:
            self._errors = Pump("stderr", process.stderr.fileno(), 2, self._known)
        for work in (self._read, self._child.wait, self._expire):
            threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True).start()

    @property
    def child(self) -> ChildProcess | None:
        """The process; None if it was not started."""
        return self._child

    @property
    def pid(self) -> int:
        """Its process id; 0 if it was not started."""
        return 0 if self._child is None else self._child.pid

    def has_exited(self, seconds: float | None = None) -> bool:
        """Wait for its end, at most so many seconds: whether it has ended, or was never started."""
        return self._child is None or self._child.has_exited(seconds)

    def write(self, line: bytes) -> bool:
        """Write a line, which ends with LF. It waits while the process reads nothing. Whether its input took the line."""
        stdin = None if self._child is None else self._child.popen.stdin
        if stdin is None:
            return False
        rest = memoryview(line)
        with self._writing:
            try:
                while rest:
                    rest = rest[os.write(stdin.fileno(), rest) :]
            except (OSError, ValueError):
                return False
        return True

    def close_input(self) -> None:
        """End its input. A line that is being written is given up."""
        with contextlib.suppress(OSError):
            if self._child is not None and self._child.popen.stdin is not None:
                self._child.popen.stdin.close()

    def wait_for_errors(self) -> None:
        """Wait until its standard error is in the file, for some seconds at most."""
        if self._errors is None or self._child is None or self._child.popen.stderr is None:
            return
        if self._errors.wait(PIPES_SECONDS):
            self._child.popen.stderr.close()

    # -- threads ------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        if self._child is not None and self._child.popen.stdout is not None:
            with contextlib.suppress(OSError, ValueError), self._child.popen.stdout as source:
                self._read_lines(source)
        self.has_exited()
        self._close()

    def _expire(self) -> None:
        self.has_exited()
        self._over.wait(PIPES_SECONDS)
        self._close()

    def _close(self) -> None:
        with self._told:
            if self._over.is_set():
                return
            self._over.set()
        self._closed()

    def _read_lines(self, source: IO[bytes]) -> None:
        rest, searched, dropping = bytearray(), 0, False
        while data := os.read(source.fileno(), CHUNK_BYTES):
            rest += data
            begin = 0
            while (at := rest.find(b"\n", max(begin, searched))) >= 0:
                if not dropping:
                    self._line(bytes(rest[begin:at]))
                begin, searched, dropping = at + 1, 0, False
            del rest[:begin]
            searched = len(rest)
            if searched > self._line_bytes_max:
                if not dropping:
                    self._dropped(bytes(rest[:BEGINNING_BYTES]))
                rest.clear()
                searched, dropping = 0, True
        if rest and not dropping:
            self._line(bytes(rest))
