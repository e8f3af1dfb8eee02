"""The warm process that workers are forked from: it has imported what a worker needs, and does nothing else.

It forks twice, so that a worker's parent is gone at once and the worker belongs to the guardian (subreaper), which alone
reaps it. A preload that crashes or starts threads hurts only this process: the guardian makes another one.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import msgpack

from crewd.protocol.hands import pack
from crewd.supervisor.guardian import marker, processes

PACKET_BYTES_MAX = 65_536
WORKER_MAIN = "crewd.worker.host"
"""What runs in a worker process, by name: this room knows of the worker's code no more than where it begins."""
ALLOWED = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TERM", "TZ", "TMPDIR", "VIRTUAL_ENV",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "COLORTERM",
    }
)  # fmt: skip
ALLOWED_PREFIXES = ("LC_", "XDG_")
"""What a worker inherits of the daemon's environment (ecosystem.md §15, trap 20); the rest comes from its own spec."""


def zygote_main(link: socket.socket, preload: tuple[str, ...], passed: tuple[str, ...]) -> NoReturn:
    """Serve until the guardian closes the link. Called in a child of the guardian; never returns."""
    processes.set_name("crewd-zygote")
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for name in (WORKER_MAIN, *preload):
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001 (a broken preload must not stop workers that do not need it)
            sys.stderr.write(f"preload of {name} failed:\n{traceback.format_exc()}")
    slot = marker.find_slot()
    gc.collect()
    gc.freeze()
    while True:
        packet = link.recv(PACKET_BYTES_MAX)
        if not packet:
            os._exit(0)
        order: dict[str, Any] = msgpack.unpackb(packet)
        middle = os.fork()
        if middle == 0:
            _be_born(link, order, slot, passed)
        os.waitpid(middle, 0)
        # An end may hit the middle child, which carries the marker too, before or after it forked: from here on the worker
        # is in the process table, or it will never be.
        link.send(pack(["forked", order["task"], order["epoch"], 0]))


def _be_born(link: socket.socket, order: dict[str, Any], slot: int | None, passed: tuple[str, ...]) -> NoReturn:
    """In the middle child: mark this memory first, so that the worker carries its marker from its first instant."""
    try:
        marker.write(slot, order["marker"])
        if os.fork() != 0:
            os._exit(0)
        os.setsid()
        _set_up(order, passed)
    except BaseException as error:  # noqa: BLE001 (must not unwind into the zygote's loop)
        link.send(pack(["failed", order["task"], order["epoch"], f"{type(error).__name__}: {error}"]))
        os._exit(127)
    link.send(pack(["started", order["task"], order["epoch"], os.getpid()]))
    link.close()
    code = 70
    try:
        gc.unfreeze()
        if order["start"] == "spawn":
            os.execv(sys.executable, [sys.executable, "-m", "crewd.worker", order["bootstrap"]])  # noqa: S606 (no shell)
        code = importlib.import_module(WORKER_MAIN).host_main(Path(order["bootstrap"]))
    except BaseException:  # noqa: BLE001 (the outermost frame of the worker's process)
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                code = code or 74
        os._exit(code)


def _set_up(order: dict[str, Any], passed: tuple[str, ...]) -> None:
    processes.set_name("crewd-worker")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        path = Path(order["directory"]) / name
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ALLOWED or name in passed or name == marker.VARIABLE or name.startswith(ALLOWED_PREFIXES)
    }
    os.environ.clear()
    os.environ.update(kept)
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
