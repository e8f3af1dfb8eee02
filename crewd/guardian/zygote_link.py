"""The guardian's end of the socket to its zygote: starts the zygote, passes orders to fork on, and reads its reports.

Tests: tests/guardian/test_zygote.py.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import selectors
import signal
import socket
import traceback
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from crewd import worker_files
from crewd.guardian import processes
from crewd.guardian.zygote import ORDER_FILE, PACKET_BYTES_MAX, zygote_main
from crewd.model.pulse import ASK_SECONDS, GIVE_UP_SECONDS, Pulse
from crewd.protocol import guardian as gd

if TYPE_CHECKING:
    from crewd.clock import SystemClock
    from crewd.model.home import Home

_log = logging.getLogger("crewd.guardian")
CLOSE_SECONDS = 2.0
"""For the zygote and its children to end by themselves."""
DEATHS_MAX = 5
"""Zygotes that may die within a minute; after that the next one is started with a pause."""
AGAIN_SECONDS = 10.0
"""That pause. Starts are refused meanwhile."""


_ALWAYS = ("task", "epoch", "marker", "start", "nice", "secrets", "directory")
"""What of an order is in its packet, however large the rest is. Secrets are never written to a file."""


class ZygoteSays(NamedTuple):
    """A report of the zygote. `value` is why a start failed, or the wait status of the worker's process that ended."""

    kind: Literal["forked", "failed", "ended"]
    task: str
    epoch: int
    pid: int
    value: Any


class ZygoteLink:
    """`pid` is the zygote's, 0 before there is one; `heard_at` is when it last reported something (monotonic)."""

    def __init__(
        self, home: Home, preload: tuple[str, ...], passed: tuple[str, ...], warm: int,
        selector: selectors.BaseSelector, clock: SystemClock,
    ) -> None:  # fmt: skip
        self._home = home
        self._preload = preload
        self._passed = passed
        self._warm = warm
        self._selector = selector
        self._clock = clock
        self._link: socket.socket | None = None
        self._waiting: deque[bytes] = deque()
        self._deaths: list[float] = []
        self._pulse = Pulse(0.0)
        self._tend_at = 0.0
        self.pid = 0
        self.heard_at = 0.0

    @property
    def stands(self) -> bool:
        """Whether there is a zygote."""
        return self._link is not None

    def silent(self) -> float:
        """For how many seconds the zygote has not answered; 0 if it does, or if there is none."""
        return self._pulse.silent(self._clock.monotonic(), at_work=processes.is_at_work(self.pid)) if self.stands else 0.0

    def tend(self) -> None:
        """To be called every turn: start a zygote if there is none, ask whether it lives, and kill one that hangs."""
        now = self._clock.monotonic()
        if self._link is None:
            if len(self._deaths) <= DEATHS_MAX or now - self._deaths[-1] > AGAIN_SECONDS:
                self.start()
        elif now >= self._tend_at:
            self._tend_at = now + ASK_SECONDS
            self._pulse.ask(now)
            with contextlib.suppress(OSError):
                self._link.send(gd.pack(None))
            given_up = self._pulse.is_given_up(now, at_work=processes.is_at_work(self.pid))
            proc = processes.look(self.pid) if given_up else None
            if proc is not None and processes.send(proc, signal.SIGKILL):
                _log.warning("the zygote (pid %s) has not answered for %g s, and is replaced", self.pid, GIVE_UP_SECONDS)

    def start(self) -> None:
        """Fork a zygote. If none can be forked, that counts as a death."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET if processes.LINUX else socket.SOCK_DGRAM)
        except OSError as error:
            self._not_started(error)
            return
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            self._not_started(error)
            return
        if pid == 0:
            try:
                signal.set_wakeup_fd(-1)
                keep = theirs.fileno()
                os.closerange(3, keep)
                os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))  # the lock and crewd's connection are the guardian's
                zygote_main(theirs, self._preload, self._passed, self._warm, self._home)
            except BaseException:  # noqa: BLE001 (must not unwind into the guardian's loop)
                traceback.print_exc()
            finally:
                os._exit(70)
        theirs.close()
        ours.setblocking(False)
        self._link, self.pid = ours, pid
        self._pulse = Pulse(self._clock.monotonic())
        self._selector.register(ours, selectors.EVENT_READ, lambda: None)  # heard every round

    def _not_started(self, error: OSError) -> None:
        _log.warning("no process to fork workers from can be started: %s", error)
        self._note_death()

    def _note_death(self) -> None:
        now = self._clock.monotonic()
        self._deaths = [*(t for t in self._deaths if t > now - 60.0), now]

    def died(self) -> None:
        """The zygote is gone, with the orders that it had not read."""
        self._note_death()
        self._waiting.clear()
        if self._link is not None:
            self._selector.unregister(self._link)
            self._link.close()
            self._link = None

    def expect(self, task: str) -> None:
        """A worker for this task will be ordered. A zygote that is busy hears of it with the order."""
        if self._link is not None and not self._waiting:
            with contextlib.suppress(OSError):
                self._link.send(gd.pack(task))

    def order(self, order: dict[str, Any]) -> None:
        """Have a worker forked. What is too large for a packet goes into a file. Raises OSError if it cannot be done."""
        if self._link is None:
            raise OSError(errno.EAGAIN, "no process to fork workers from; see guardian.log")
        packet = gd.pack(order)
        if len(packet) > PACKET_BYTES_MAX:
            worker_files.write(Path(order["directory"]), ORDER_FILE, gd.pack({**order, "secrets": {}}))
            packet = gd.pack({key: order[key] for key in _ALWAYS} | {"file": ORDER_FILE})
            if len(packet) > PACKET_BYTES_MAX:
                raise OSError(errno.E2BIG, "the secrets and variables that are not kept are too large to hand over")
        self._waiting.append(packet)
        self.send()

    def send(self) -> None:
        """Hand over what the zygote takes. To wait for it would be a deadlock: it may be waiting for the guardian to read."""
        if self._link is None:
            return
        try:
            while self._waiting:
                self._link.send(self._waiting[0])
                self._waiting.popleft()
        except BlockingIOError:
            pass
        except OSError:
            return  # it is dead: its end is heard of
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._waiting else 0)
        self._selector.modify(self._link, wanted, lambda: None)

    def heard(self) -> Iterator[ZygoteSays]:
        """What it has said since."""
        while self._link is not None:
            try:
                packet = self._link.recv(PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if not packet:
                return  # it is dead: its end is heard of
            now = self._clock.monotonic()
            self._pulse.heard(now)
            word = gd.unpack(packet)
            if word is not None:
                self.heard_at = now
                yield ZygoteSays(*word)

    def close(self) -> None:
        """Let the zygote end, and wait for it and for what it had forked ahead. Who hangs is killed."""
        if self._link is None:
            return
        self._link.close()
        with contextlib.suppress(ChildProcessError):
            self._wait_for_all()
            for proc in processes.table().values():
                if proc.ppid in {os.getpid(), self.pid}:
                    processes.send(proc, signal.SIGKILL)
            self._wait_for_all()

    def _wait_for_all(self) -> None:
        until = self._clock.monotonic() + CLOSE_SECONDS
        while self._clock.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                self._clock.sleep(0.005)
