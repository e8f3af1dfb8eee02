"""A terminal for a command that needs one: what it shows goes into the worker's log as it is, and steers type.

Tests: tests/worker/test_command.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import termios

from crewd.protocol.reports import Deliver

ENTER, END_OF_INPUT = b"\r", b"\x04"
SIDE_MAX = 10_000
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


class Terminal:
    """A pseudo-terminal of `size` (rows, columns). `master` is the end that crewd holds."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.master, self._slave = os.openpty()
        self._resize(*size)

    def _resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def start(self, argv: list[str]) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own, which this is the terminal of. Raises OSError."""
        environment = {**os.environ, "TERM": os.environ.get("TERM") or "xterm-256color"}
        # The function runs in the child before it executes; no Python thread of this process holds a lock at this time.
        process = subprocess.Popen(  # noqa: S603 (its purpose)
            argv, stdin=self._slave, stdout=self._slave, stderr=self._slave, env=environment, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 (see above)
        )  # fmt: skip
        os.close(self._slave)
        return process

    def close(self) -> None:
        """Give both ends back."""
        for end in (self.master, self._slave):
            with contextlib.suppress(OSError):
                os.close(end)

    def type(self, steer: Deliver) -> str:
        """Do what the steer says; a note for its receipt. Raises OSError if nobody reads, ValueError for what is no size."""
        if steer.typed == "size":
            size = _SIZE.fullmatch(steer.text)
            if size is None or not all(1 <= int(side) <= SIDE_MAX for side in size.groups()):
                raise ValueError(steer.text)
            self._resize(int(size[1]), int(size[2]))
            return f"the terminal has {size[1]} rows and {size[2]} columns"
        text = steer.text.encode()
        if steer.typed != "keys":
            text = text.replace(b"\n", ENTER) + (ENTER if steer.text or not steer.eof else b"")
        rest = memoryview(text + (END_OF_INPUT if steer.eof else b""))
        while rest:
            rest = rest[os.write(self.master, rest) :]
        return "typed"
