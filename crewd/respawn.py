"""`python -m crewd.respawn`: runs crewd, and starts it again when it has died of an accident.

This is what `crew daemon start` runs where no service manager does that. An accident is the end by a signal that nobody sent
through this process, or the exit code 70 (an error of crewd itself). Every other end is meant, and is this process's own end.
It imports next to nothing: it is there for as long as crewd is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from crewd.clock import SystemClock

EX_SOFTWARE = 70
STARTS = "starts"
"""What the log says at each start: what came before is of an earlier one."""
SERVES = "serves again"
"""What the log says when a start has succeeded after others had failed: their reasons are over."""
PAUSES = (0.2, 1.0, 2.0, 5.0, 10.0, 10.0)
"""Before the first new start, the second one, and so on: each is shorter than a client waits for an answer (15 s)."""
HEALTHY_SECONDS = 60.0
"""One that has lived for so long was well: the pauses start again."""


def is_accident(code: int) -> bool:
    """Whether a process that ended with this `Popen.returncode` is to be started again."""
    return code < 0 or code == EX_SOFTWARE


def pause_after(accidents: int) -> float | None:
    """Seconds until the next start after so many accidents in a row; None if it is given up."""
    return PAUSES[accidents - 1] if accidents <= len(PAUSES) else None


def say(text: str) -> None:
    """A line on stderr, which may be a file on a full disk: nothing depends on it."""
    with contextlib.suppress(OSError):
        os.write(2, f"crewd: {text}\n".encode())


def main(command: Sequence[str]) -> int:
    """Run the command until it ends as it is meant to; its exit code."""
    asked: list[int] = []
    child: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _frame: object) -> None:
        asked.append(number)
        if child:
            child[0].send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    accidents, clock = 0, SystemClock()
    while True:
        if accidents:
            say(STARTS)
        begun = clock.monotonic()
        child[:] = [subprocess.Popen(command)]  # noqa: S603 (our own program)
        code = child[0].wait()
        if asked or not is_accident(code):
            return code if code >= 0 else 128 - code
        accidents = 1 if clock.monotonic() - begun > HEALTHY_SECONDS else accidents + 1
        pause = pause_after(accidents)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if pause is None:
            say(f"it has died {accidents} times in a row (the last time: {how}), and is given up")
            return EX_SOFTWARE
        say(f"it has died ({how}), and is started again in {pause:g} s; its workers live on")
        deadline = clock.monotonic() + pause
        while not asked and clock.monotonic() < deadline:
            clock.sleep(min(0.1, pause))
        if asked:
            return 0


if __name__ == "__main__":
    sys.exit(main([sys.executable, "-m", "crewd", *sys.argv[1:]]))
