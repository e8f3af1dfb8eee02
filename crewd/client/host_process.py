"""The process below which hooks of acts and commands of extensions run: not this one, and not crewd.

It is told what to run and says what came of it, both as a line of JSON. When this process ends, or hangs up, it ends with all
that it has started (`crewd.worker.act_hooks`).

Tests: tests/client/test_acts.py, tests/client/test_extension_commands.py.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from crewd.model.errors import InvariantError

_PACKAGES: Final = str(Path(__file__).resolve().parent.parent.parent)
_HOST: Final = f"import sys; sys.path.insert(0, {_PACKAGES!r}); from crewd.worker.act_hooks import main; main()"
BESIDE_SECONDS = 2.0
"""How long a command may take to be gone, beside its own time."""
END_SECONDS = 10.0
"""How long the process may take beside its commands."""


def start() -> subprocess.Popen[bytes]:
    """Start it: this very Python, which imports nothing from the directory that it is started in."""
    return subprocess.Popen(  # noqa: S603 (its purpose)
        [sys.executable, "-P", "-c", _HOST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    )


def answer(host: subprocess.Popen[bytes], question: bytes, seconds: float) -> Any:
    """What it says. Raises OSError or ValueError if it fails, or takes longer."""
    if host.stdin is None or host.stdout is None:
        raise InvariantError("the process has no pipes")
    host.stdin.write(question)
    host.stdin.flush()  # and it stays open: its end says that nobody waits any more
    waiting = select.poll()
    waiting.register(host.stdout, select.POLLIN)
    said = host.stdout.readline() if waiting.poll(seconds * 1_000) else b""
    return json.loads(said)


def close(host: subprocess.Popen[bytes]) -> None:
    """Nobody waits any more."""
    if host.stdin is not None:
        with contextlib.suppress(OSError):
            host.stdin.close()


def hang_up(host: subprocess.Popen[bytes]) -> None:
    """It ends now, with what it has started."""
    close(host)
    try:
        host.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        host.kill()
        host.wait()
    if host.stdout is not None:
        host.stdout.close()
