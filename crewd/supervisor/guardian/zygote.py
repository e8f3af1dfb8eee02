"""The warm process that workers are forked from: it has imported what a worker needs, and does nothing else.

It forks twice, so that a worker's parent is gone at once and the worker belongs to the guardian (subreaper), which alone
reaps it. A preload that crashes or starts threads hurts only this process: the guardian makes another one.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import resource
import select
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
WARM_SECONDS = 1.0
"""A warm process takes its work within this, or another one is forked."""
REFILL_REST = 0.05
"""Seconds without a birth before the pool is filled up: what a warm process rehearses would take the processor from a birth."""
LOCK = "lock"
"""The file, beside the directories of a task's attempts, that a living worker holds."""
WORKER_MAIN = "crewd.worker.host"
"""What runs in a worker process, by name: this room knows of the worker's code no more than where it begins."""
ALLOWED = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TERM", "TZ", "TMPDIR", "VIRTUAL_ENV",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "COLORTERM", "CREWD_KEYS",
    }
)  # fmt: skip
ALLOWED_PREFIXES = ("LC_", "XDG_")
"""What a worker inherits of the daemon's environment (ecosystem.md §15, trap 20); the rest comes from its own spec."""


def zygote_main(link: socket.socket, preload: tuple[str, ...], passed: tuple[str, ...], warm: int) -> NoReturn:
    """Serve until the guardian closes the link. Called in a child of the guardian; never returns."""
    processes.set_name("crewd-zygote")
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    zygote = Zygote(link, marker.find_slot(), withhold(passed))
    for name in (WORKER_MAIN, *preload):
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001 (a broken preload must not stop workers that do not need it)
            sys.stderr.write(f"preload of {name} failed:\n{traceback.format_exc()}")
    gc.collect()
    gc.freeze()
    rest = 0.0
    while True:
        if len(zygote.pool) < warm and not select.select([link], [], [], rest)[0]:
            zygote.warm_up()
            rest = 0.0
            continue
        packet = link.recv(PACKET_BYTES_MAX)
        if not packet:
            os._exit(0)
        zygote.bear(packet)
        rest = REFILL_REST


def withhold(passed: tuple[str, ...]) -> dict[str, str]:
    """Take out of this process's environment what no worker inherits, and give it back: a spec may ask for some of it."""
    withheld = {
        name: value
        for name, value in os.environ.items()
        if name not in ALLOWED and name not in passed and name != marker.VARIABLE and not name.startswith(ALLOWED_PREFIXES)
    }
    for name in withheld:
        del os.environ[name]
    return withheld


class Zygote:
    """Bears workers: from the pool of processes that wait for one, or by a fork. A process of the pool is used once."""

    def __init__(self, link: socket.socket, slot: int | None, withheld: dict[str, str]) -> None:
        self._link = link
        self._slot = slot
        self._withheld = withheld
        self.pool: list[socket.socket] = []

    def bear(self, packet: bytes) -> None:
        """Start the worker that is ordered, and say when it is in the process table, marked."""
        order: dict[str, Any] = msgpack.unpackb(packet)
        # A new interpreter needs no warm one, and `nice` is for a thread: a warm process has made its others already.
        if order["start"] == "spawn" or order["nice"] or not self._use_warm(packet):
            middle = os.fork()
            if middle == 0:
                self._fork_once_more(order)
            os.waitpid(middle, 0)
        # An end may hit a middle child, which carries the marker too, before or after it forked: from here on the worker
        # is in the process table, or it will never be.
        self._link.send(pack(["forked", order["task"], order["epoch"], 0]))

    def warm_up(self) -> None:
        """One more process that waits."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET if processes.LINUX else socket.SOCK_DGRAM)
        middle = os.fork()
        if middle == 0:
            ours.close()
            self._wait_for_work(theirs)
        theirs.close()
        os.waitpid(middle, 0)
        self.pool.append(ours)

    def _use_warm(self, packet: bytes) -> bool:
        while self.pool:
            chosen = self.pool.pop(0)
            try:
                chosen.settimeout(WARM_SECONDS)
                chosen.send(packet)
                if chosen.recv(1):  # it carries its marker now
                    return True
            except OSError:
                pass
            finally:
                chosen.close()
        return False

    def _fork_once_more(self, order: dict[str, Any]) -> NoReturn:
        """In the middle child: mark this memory first, so that the worker carries its marker from its first instant."""
        try:
            marker.write(self._slot, order["marker"])
            if os.fork() != 0:
                os._exit(0)
            os.setsid()
        except BaseException as error:  # noqa: BLE001 (must not unwind into the zygote's loop)
            self._fail(order, error)
        self._live(order)

    def _wait_for_work(self, link: socket.socket) -> NoReturn:
        """In the middle child of a warm process, and in that process: what is left to do is done when there is work."""
        try:
            if os.fork() != 0:
                os._exit(0)
            processes.set_name("crewd-warm")
            _signals_as_usual()
            importlib.import_module(WORKER_MAIN).rehearse()
            packet = link.recv(PACKET_BYTES_MAX)
            if not packet:
                os._exit(0)  # the zygote is gone, or needs no more
            order: dict[str, Any] = msgpack.unpackb(packet)
            marker.write(self._slot, order["marker"])
            os.setsid()
            link.send(b"!")
            link.close()
        except BaseException:  # noqa: BLE001 (the zygote sees the closed link, and forks instead)
            traceback.print_exc()
            os._exit(127)
        self._live(order)

    def _fail(self, order: dict[str, Any], error: BaseException) -> NoReturn:
        self._link.send(pack(["failed", order["task"], order["epoch"], f"{type(error).__name__}: {error}"]))
        os._exit(127)

    def _live(self, order: dict[str, Any]) -> NoReturn:
        for waiting in self.pool:
            waiting.close()
        try:
            _set_up(order, self._withheld)
        except BaseException as error:  # noqa: BLE001 (as above)
            self._fail(order, error)
        self._link.send(pack(["started", order["task"], order["epoch"], os.getpid()]))
        self._link.close()
        code = 70
        try:
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


def _signals_as_usual() -> None:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _set_up(order: dict[str, Any], withheld: dict[str, str]) -> None:
    processes.set_name("crewd-worker")
    _signals_as_usual()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(f"{order['directory']}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    _take_lock(f"{os.path.dirname(order['directory'])}/{LOCK}", inherit=order["start"] == "spawn")  # noqa: PTH120 (fast)
    os.environ.update((name, withheld[name]) for name in order["env_pass"] if name in withheld)
    os.environ.update(CREWD_HOME=order["home"], CREWD_AUTOSTART="0")  # a worker that starts workers asks its own crewd
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    if order["umask"] is not None:
        os.umask(order["umask"])
    for name, value in order["rlimits"].items():
        number = getattr(resource, f"RLIMIT_{name.upper()}")
        hard = resource.getrlimit(number)[1]
        resource.setrlimit(number, (value, value if os.geteuid() == 0 or hard in {-1, value} else hard))
    if order["nice"]:
        os.nice(order["nice"])
    if order["cgroup"]:
        with contextlib.suppress(OSError):  # the other nets hold without it
            Path(order["cgroup"]).write_text("0")


def _take_lock(path: str, *, inherit: bool) -> None:
    """The worker itself holds a lock for as long as it lives: there is one living incarnation of it, and no second (R8)."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RuntimeError("another incarnation of this worker lives: it holds the lock") from None
    os.set_inheritable(lock, inherit)
