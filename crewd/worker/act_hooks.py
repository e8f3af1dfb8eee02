"""The process below which hooks of an act, or a command of an extension, run. A client starts it and talks to it over pipes.

It reads `HooksToAsk` or `CommandToRun` as one line of JSON, and writes `HooksAsked` or `CommandEnded` as another one. When its
standard input ends, which it does when that program has ended, it kills what runs. What is left behind ends with it; on Linux
so does what has lost its parent.

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
from crewd.model.hooks import CommandEnded, CommandToRun, Hook, HookRun, HooksAsked, HooksToAsk, as_json
from crewd.model.known_secrets import KnownSecrets
from crewd.worker.hook_command import ANSWER_BYTES_MAX, Asking, ask, run_command
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
    order: HooksToAsk | CommandToRun = msgspec.convert(json.loads(line), HooksToAsk | CommandToRun)
    token = CancellationToken(SystemClock())
    threading.Thread(target=_listen, args=(token,), name="listen", daemon=True).start()
    said = _command(order, token) if isinstance(order, CommandToRun) else _hooks(order, token)
    _sweep()
    if not token.cancelled:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.buffer.write(as_json(said))
            sys.stdout.buffer.flush()


def _hooks(order: HooksToAsk, token: CancellationToken) -> HooksAsked:
    runs: list[HookRun] = []
    about, blocked = ask(order.hooks, order.on, order.given, order.about, Asking(token, _here(), KnownSecrets(), runs.append))
    return HooksAsked(tuple(runs), about, blocked)


def _command(order: CommandToRun, token: CancellationToken) -> CommandEnded:
    hook = Hook("command", "before_run_start", order.run, timeout_seconds=order.seconds, directory=order.directory)
    asking = Asking(token, _here(), KnownSecrets(), lambda _run: None)
    ended = run_command(hook, order.data, asking, only_beginning=order.only_beginning)
    cut = len(ended.output) > ANSWER_BYTES_MAX
    return CommandEnded(ended.code, ended.output[:ANSWER_BYTES_MAX], ended.error, cut)


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
