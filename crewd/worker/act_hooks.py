"""The process below which the hooks of an act run. The client that wants the act starts it, and talks to it over pipes.

It reads `HooksToAsk` as one line of JSON and writes `HooksAsked` as another one. When its standard input ends, which it does
when that program has ended, it kills the hook that runs. What hooks leave behind ends with it; on Linux so does what has lost
its parent.

Tests: tests/client/test_acts.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
from pathlib import Path

import msgspec
import psutil

from crewd.clock import SystemClock
from crewd.model.hooks import HookRun, HooksAsked, HooksToAsk, as_json
from crewd.model.known_secrets import KnownSecrets
from crewd.worker.hook_command import Asking, ask
from crewd.worker.token import CancellationToken

_INPUT = 0
_PR_SET_CHILD_SUBREAPER = 36
SWEEP_SECONDS = 0.1
"""How long to wait for killed processes before looking for others."""
SWEEPS_MAX = 20
"""How often to look: a process may start another one while it is killed."""


def main() -> None:
    """Ask the hooks on standard input."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a hook that reads nothing is no reason to die
    _adopt()
    line = _line()
    if not line.endswith(b"\n"):
        return  # nobody asks
    order = msgspec.convert(json.loads(line), HooksToAsk)
    token = CancellationToken(SystemClock())
    threading.Thread(target=_listen, args=(token,), name="listen", daemon=True).start()
    runs: list[HookRun] = []
    asking = Asking(token, _here(), KnownSecrets(), runs.append)
    about, blocked = ask(order.hooks, order.on, order.given, order.about, asking)
    _sweep()
    if not token.cancelled:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.buffer.write(as_json(HooksAsked(tuple(runs), about, blocked)))
            sys.stdout.buffer.flush()


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "/"  # the directory is gone


def _line() -> bytes:
    """The first line, and nothing after it."""
    data = bytearray()
    while not data.endswith(b"\n") and (more := os.read(_INPUT, 1 << 16)):
        data += more
    return bytes(data)


def _listen(token: CancellationToken) -> None:
    """Wait until nobody listens any more. The thread may still wait when this process ends: it holds no lock of a stream."""
    while os.read(_INPUT, 1 << 16):
        pass
    token.cancel("hung up", 0.0)


def _adopt() -> None:
    """Become the parent of processes below this one whose parents end."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _sweep() -> None:
    """Kill what hooks have left behind."""
    for _ in range(SWEEPS_MAX):
        left = psutil.Process().children(recursive=True)
        if not left:
            return
        for each in left:
            with contextlib.suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(left, timeout=SWEEP_SECONDS)
