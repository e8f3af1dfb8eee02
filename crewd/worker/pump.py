"""Carries what a command writes from a pipe to one of the worker's files, on a thread of its own.

Tests: tests/worker/test_command.py.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import termios
import threading

from crewd.model.known_secrets import KnownSecrets

CHUNK_BYTES = 1 << 18
"""Read at once: as much as the pipe holds."""
_F_SETPIPE_SZ = 1031


class Pump:
    """Copies from `source` to `target` until the end of the pipe.

    A target that refuses (a full disk) is noted in `error`, and the pipe is read on, so that the command is not held up.
    """

    def __init__(self, name: str, source: int, target: int, known: KnownSecrets) -> None:
        self._source, self._target = source, target
        self._known, self._held = known, b""
        self.written = self._taken = 0
        self.error = ""
        self._lock = threading.Lock()
        with contextlib.suppress(OSError):  # not on every platform; a smaller pipe works as well
            fcntl.fcntl(source, _F_SETPIPE_SZ, CHUNK_BYTES)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the pipe; whether it was reached."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def wait_for_pending(self) -> None:
        """Wait until what is in the pipe now is in the file: a slow machine loses nothing of it."""
        held = array.array("i", [0])
        with self._lock:
            try:
                fcntl.ioctl(self._source, termios.FIONREAD, held)
            except OSError:
                return
            wanted = self._taken + held[0]
        while self.written < wanted and not self.wait(0.01):
            pass

    def _run(self) -> None:
        readable = select.poll()  # not select(), which takes no descriptor above 1,023
        readable.register(self._source, select.POLLIN)
        while True:
            readable.poll()
            try:
                with self._lock:
                    data = os.read(self._source, CHUNK_BYTES)
                    self._taken += len(data)
            except OSError:
                return
            if not data:
                self._write(memoryview(self._known.in_bytes(self._held)))
                return
            self._write(memoryview(self._masked(data)))
            self.written += len(data)

    def _masked(self, data: bytes) -> bytes:
        """The data without secrets that are known; the beginning of what may be one is held back for what follows."""
        if not self._known:
            return data
        clean = self._known.in_bytes(self._held + data)
        held = self._known.unfinished(clean)
        self._held = clean[len(clean) - held :]
        return clean[: len(clean) - held]

    def _write(self, rest: memoryview) -> None:
        try:
            while rest:
                rest = rest[os.write(self._target, rest) :]
        except OSError as error:
            self.error = error.strerror or str(error)
