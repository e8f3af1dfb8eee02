"""The warm process that workers are forked from: it has imported what a worker needs, and does nothing else.

It is its workers' parent, and reports each end to the guardian before it reaps the process: if the zygote dies, its
children are the guardian's (subreaper), with what nobody had heard of their ends. A preload that crashes or starts threads
hurts only this process: the guardian makes another one.
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

from crewd import limit_mark, worker_files
from crewd.clock import SystemClock
from crewd.guardian import marker, prepared, processes
from crewd.model.home import Home
from crewd.protocol.guardian import EXPECTED_MAX, pack, unpack

PACKET_BYTES_MAX = 65_536
ORDER_FILE = "order"
"""In the worker's directory: an order that is larger than a packet."""
ORDER_BYTES_MAX = 64 << 20
REFILL_REST = 0.05
"""Seconds without a start before the pool is filled: a warm process that rehearses would take the processor from a start."""
EXPECT_SECONDS = 1.0
"""After so long without a start or another expectation, processes that were forked ahead are ended."""
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
KEPT_IF_CLEAN = frozenset({"PATH", "HOME", "CREWD_HOME", "CREWD_AUTOSTART", marker.VARIABLE})
"""What a worker that wants a clean environment inherits; the rest is what its own spec and run say."""
ALLOWED_PREFIXES = ("LC_", "XDG_")
"""What a worker inherits of the daemon's environment; the rest comes from its own spec."""


def zygote_main(link: socket.socket, preload: tuple[str, ...], passed: tuple[str, ...], warm: int, home: Home) -> NoReturn:
    """Serve until the guardian closes the link. Called in a child of the guardian; never returns."""
    processes.set_name("crewd-zygote")
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    withheld = withhold(passed)
    for name, value in (("CREWD_HOME", str(home.root)), ("CREWD_AUTOSTART", "0")):
        os.environ[name] = value  # a worker that starts workers asks its own crewd
        withheld.pop(name, None)
    zygote = Zygote(link, marker.find_slot(), withheld, warm, home.workers_endpoint)
    for name in (WORKER_MAIN, *preload):
        try:
            importlib.import_module(name)
        except (Exception, SystemExit):  # noqa: BLE001 (a broken preload must not stop workers that do not need it)
            sys.stderr.write(f"preload of {name} failed:\n{traceback.format_exc()}")
    try:
        for _ in importlib.import_module(WORKER_MAIN).rehearse():
            pass
    except Exception:  # noqa: BLE001 (it costs time at each start, and nothing else)
        traceback.print_exc()
    gc.collect()
    gc.freeze()
    processes.give_way()  # only now: on a busy machine the first start would wait long for what is read in above
    zygote.serve()


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
    """Starts workers: in a process of the pool, or in a new one. A process of the pool is used once."""

    def __init__(self, link: socket.socket, slot: int | None, withheld: dict[str, str], warm: int, endpoint: str) -> None:
        self._link = link
        self._slot = slot
        self._withheld = withheld
        self._warm = warm
        self._endpoint = endpoint
        self._pool: list[tuple[int, socket.socket]] = []
        self._expected: dict[str, None] = {}
        self._children: dict[int, tuple[str, int]] = {}
        self._clock = SystemClock()
        self._tidy_at: float | None = None
        self._hearing, self._heard = os.pipe()

    def serve(self) -> NoReturn:
        """Until the link is closed."""
        for end in (self._hearing, self._heard):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._heard, warn_on_full_buffer=False)
        self._link.send(pack(None))  # it has read in what there is, and is ready
        self._tidy_in(0.0 if self._warm else None)
        while True:
            ready = self._wait()
            if self._hearing in ready:
                self._say_who_ended()
            if self._link in ready:
                packet = self._link.recv(PACKET_BYTES_MAX)
                if not packet:
                    os._exit(0)
                said: str | dict[str, Any] | None = unpack(packet)
                if said is None:  # the guardian asks whether this process lives
                    self._link.send(packet)
                    continue
                if isinstance(said, str):
                    self._expect(said)
                else:
                    self._start(said, packet)
                self._tidy_in(EXPECT_SECONDS if self._expected else REFILL_REST)
            elif not ready:
                self._tidy_in(self._tidy())

    def _tidy_in(self, seconds: float | None) -> None:
        self._tidy_at = None if seconds is None else self._clock.monotonic() + seconds

    def _wait(self) -> list[object]:
        both: list[Any] = [self._link, self._hearing]
        seconds = None if self._tidy_at is None else max(0.0, self._tidy_at - self._clock.monotonic())
        return select.select(both, [], [], seconds)[0]

    def _tidy(self) -> float | None:
        """No worker is being started: fill the pool, one process at a time, or make it smaller. In so many seconds again."""
        self._expected.clear()
        added = len(self._pool) < self._warm and self._add_to_pool()
        for _, waiting in self._pool[self._warm :]:
            waiting.close()
        del self._pool[self._warm :]
        if len(self._pool) >= self._warm:
            return None
        return 0.0 if added else EXPECT_SECONDS

    def _say_who_ended(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._hearing, 4096)
        for pid, status in processes.ended():
            if pid in self._children:
                self._link.send(pack(["ended", *self._children.pop(pid), pid, status]))
            for each in [each for each in self._pool if each[0] == pid]:  # it has died while it waited
                self._pool.remove(each)
                each[1].close()

    def _expect(self, task: str) -> None:
        """A worker will be ordered: fork a process for it ahead."""
        if len(self._expected) < EXPECTED_MAX:
            self._expected[task] = None
        if len(self._pool) < len(self._expected):
            self._add_to_pool()

    def _start(self, order: dict[str, Any], packet: bytes) -> None:
        """Start the worker that is ordered, and say who will be it."""
        self._expected.pop(order["task"], None)
        # A new interpreter needs no warm one, and `nice` is for a thread: a warm process has made its others already.
        pid = None if order["start"] == "spawn" or order["nice"] else self._use_pool(packet)
        if pid is None:
            try:
                pid = os.fork()
            except OSError as error:
                self._link.send(pack(["failed", order["task"], order["epoch"], 0, f"no process can be forked: {error}"]))
                return
            if pid == 0:
                self._run_forked(order)
        self._children[pid] = order["task"], order["epoch"]
        self._link.send(pack(["forked", order["task"], order["epoch"], pid, None]))

    def _add_to_pool(self) -> bool:
        """One more process that waits, if there can be one."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET if processes.LINUX else socket.SOCK_DGRAM)
        except OSError:
            return False
        try:
            pid = os.fork()
        except OSError:  # the start that follows reports it, if it is still true
            ours.close()
            theirs.close()
            return False
        if pid == 0:
            ours.close()
            self._wait_for_work(theirs)
        theirs.close()
        self._pool.append((pid, ours))
        return True

    def _use_pool(self, packet: bytes) -> int | None:
        while self._pool:
            pid, chosen = self._pool.pop(0)
            with chosen, contextlib.suppress(OSError):  # it may have died
                chosen.send(packet)
                return pid
        return None

    def _run_forked(self, order: dict[str, Any]) -> NoReturn:
        """In the child: mark this process first."""
        try:
            order = _whole(order)
            marker.write(self._slot, order["marker"])
            self._let_go()
        except BaseException as error:  # noqa: BLE001 (must not unwind into the zygote's loop)
            self._fail(order, error)
        self._run_worker(order)

    def _wait_for_work(self, link: socket.socket) -> NoReturn:
        """In a process of the pool: what is left to do when there is work is done then."""
        try:
            self._let_go()
            processes.set_name("crewd-warm")
            host = importlib.import_module(WORKER_MAIN)
            host.prepare(self._endpoint)
            for _ in host.rehearse():
                if select.select([link], [], [], 0)[0]:
                    break
            packet = link.recv(PACKET_BYTES_MAX)
            if not packet:
                os._exit(0)  # the zygote is gone, or needs no more
            order: dict[str, Any] = _whole(unpack(packet))
            marker.write(self._slot, order["marker"])
            link.close()
        except BaseException:  # noqa: BLE001 (the zygote tells of its end)
            traceback.print_exc()
            os._exit(127)
        self._run_worker(order)

    def _let_go(self) -> None:
        """What a child of the zygote has of it that is not its own."""
        signal.set_wakeup_fd(-1)
        os.close(self._hearing)
        os.close(self._heard)
        for _, waiting in self._pool:
            waiting.close()
        for number in signal.valid_signals():
            with contextlib.suppress(OSError, ValueError):  # KILL and STOP have no disposition
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _fail(self, order: dict[str, Any], error: BaseException) -> NoReturn:
        with contextlib.suppress(OSError):
            text = (
                str(error) if isinstance(error, RuntimeError) else f"{type(error).__name__}: {error}"
            )  # ours, or the system's
            self._link.send(pack(["failed", order["task"], order["epoch"], os.getpid(), text]))
        os._exit(127)

    def _run_worker(self, order: dict[str, Any]) -> NoReturn:
        try:
            _set_up(order, self._withheld)
            prepared.begin(order["directory"])  # before the look below: a successor must not take this start for none
            if _hung_up(self._link):
                raise RuntimeError("the guardian is gone, and its successor may not know of this worker")
        except BaseException as error:  # noqa: BLE001 (as above)
            self._fail(order, error)
        self._link.close()
        code = 70
        try:
            if order["start"] == "spawn":
                os.execv(sys.executable, [sys.executable, "-m", "crewd.worker", order["bootstrap"]])  # noqa: S606 (no shell)
            host = importlib.import_module(WORKER_MAIN)
            code = host.host_main(order["inline"] or host.take_bootstrap(Path(order["bootstrap"])))
        except BaseException:  # noqa: BLE001 (the outermost frame of the worker's process)
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except (ValueError, AttributeError):
                    pass  # the code has closed or replaced it
                except OSError:
                    code = code or 74
            os._exit(code)


def _hung_up(link: socket.socket) -> bool:
    poll = select.poll()
    poll.register(link, 0)  # a hang-up is told of unasked
    return bool(poll.poll(0))


def _whole(order: dict[str, Any]) -> dict[str, Any]:
    """The order, also if it was too large for a packet."""
    if "file" not in order:
        return order
    directory = Path(order["directory"])
    whole: dict[str, Any] = unpack(worker_files.read(directory, order["file"], ORDER_BYTES_MAX))
    worker_files.remove(directory, order["file"])
    return {**whole, "secrets": order["secrets"]}


def _set_up(order: dict[str, Any], withheld: dict[str, str]) -> None:
    processes.set_name("crewd-worker")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null:
        os.close(null)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        try:
            file = worker_files.open_to_append(Path(order["directory"]), name)
        except worker_files.NotOurs as error:  # an earlier attempt may have put something else in its place
            raise RuntimeError(f"{error.filename}: {error.strerror}") from None
        os.dup2(file, descriptor)
        os.close(file)
    _take_lock(f"{os.path.dirname(order['directory'])}/{LOCK}", inherit=order["start"] == "spawn")  # noqa: PTH120 (fast)
    for name in tuple(os.environ) if order["clean"] else ():
        if name not in KEPT_IF_CLEAN:
            del os.environ[name]
    for name in order["env_pass"]:
        if name in withheld:
            os.environ[name] = withheld[name]
    os.environ.update(order["env"])
    os.environ.update(order["secrets"])
    try:
        os.chdir(order["cwd"])
    except FileNotFoundError:
        raise RuntimeError(f"the working directory {order['cwd']} is not there") from None
    limit_mark.write(order["number"])
    if order["umask"] is not None:
        os.umask(order["umask"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (order["open_files"], resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
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
    """The worker itself holds a lock for as long as it lives: there is one living incarnation of it, and no second."""
    lock = worker_files.open_to_append(Path(path).parent, LOCK)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RuntimeError("another incarnation of this worker lives: it holds the lock") from None
    os.set_inheritable(lock, inherit)
