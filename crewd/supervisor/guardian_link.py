"""The guardian link: starts a guardian when there is none, attaches again when it dies, and carries orders and notices.

Rule: starts of workers wait here while no guardian is attached. Every other order is sent again then: each controller asks.

Tests: tests/testing/world/test_ports.py.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias, assert_never

import msgspec

from crewd.actors import Actor, Lane, Timer
from crewd.model.errors import PeerError
from crewd.model.events import Draft, GuardianLost
from crewd.model.limits import TERM_SECONDS_GRACEFUL
from crewd.model.pulse import ASK_SECONDS, Pulse
from crewd.model.statuses import ATTEMPT_TERMINAL
from crewd.protocol import guardian as gd
from crewd.store.messages import Append, AttemptIs, Committed, Delayed, Journaled, Known, LoadAttempt, Rejected
from crewd.supervisor import commands as cm
from crewd.supervisor.directory import GATEWAY, GUARDIAN, STORE
from crewd.supervisor.guardian_socket import RETRY_SECONDS, GuardianSocket

if TYPE_CHECKING:
    from crewd.supervisor.services import Services

AGAIN_SECONDS = 0.2
"""After a start until the next one, if the guardian that was started has died."""
START_SECONDS = 10.0
"""After this without a connection another guardian is started."""
JUDGE_SECONDS = 5.0
"""After this the rows are asked about a worker, or an exit, that nobody claims: a worker whose attempt is over is ended, such
an exit is confirmed."""
OUT_BYTES_MAX = 64 << 20
"""Unsent bytes to a guardian that does not read; past it the connection is given up."""


class _Ready(msgspec.Struct, frozen=True):
    """The socket has something."""


class _Reach(msgspec.Struct, frozen=True):
    """It is time to connect."""


class _Ask(msgspec.Struct, frozen=True):
    """It is time to ask whether the guardian lives."""


class _Judge(msgspec.Struct, frozen=True):
    """It is time to decide on what nobody has claimed."""

    task: str
    epoch: int


LinkMessage: TypeAlias = cm.ToGuardian | AttemptIs | Journaled | _Ready | _Reach | _Ask | _Judge
"""What the guardian link takes."""


class GuardianLink(Actor[LinkMessage]):
    """See the module's text."""

    def __init__(self, services: Services, port: GuardianSocket, asks_always: bool = True) -> None:  # noqa: FBT001, FBT002 (see Ports)
        super().__init__()
        self._asks_always = asks_always
        self._unanswered = False
        self._services = services
        self._port = port
        self._codec: gd.StreamCodec[gd.Notice] = gd.StreamCodec(gd.NOTICES)
        self._orders: gd.StreamCodec[gd.Order] = gd.StreamCodec(gd.ORDERS)
        self._out: deque[bytes] = deque()
        self._out_bytes = 0
        self._connected = False
        self._attached = False
        self._waiting: list[gd.Order] = []
        self._theirs: set[tuple[str, int]] = set()
        """Workers that the guardian has, or is told to start."""
        self._started_at: float | None = None
        self._retry: Timer | None = None
        self._ready_told = False
        self._retiring = False
        self._unclaimed: dict[tuple[str, int], type[gd.Notice]] = {}
        self._pulse: Pulse | None = None
        self._why = ""
        self._asking: Timer | None = None

    def on_start(self) -> None:
        """Reach the guardian, or start one."""
        self._services.directory.enter(GUARDIAN, self.ref)
        self._reach()

    def on_stop(self) -> None:
        """Hang up; the guardian keeps its workers."""
        self._services.directory.leave(GUARDIAN, self.ref)
        if self._connected and self._retiring and not self._attached:
            self._write(gd.Retire())
        self._port.close()

    def receive(self, message: LinkMessage) -> None:
        """See the module's text."""
        match message:
            case cm.ToGuardian(order):
                self._order(order)
            case _Ready():
                self._ready_told = False
                self._listen()
            case _Reach():
                self._retry = None
                self._reach()
            case _Ask():
                self._ask()
            case _Judge(task, epoch):
                self._judge(task, epoch)
            case AttemptIs(task, epoch, row):
                self._judged(task, epoch, over=row is None or row.status in ATTEMPT_TERMINAL)
            case Committed() | Known() | Rejected() | Delayed():
                return
            case _:
                self.unexpected(message)

    def _reach(self) -> None:
        now = self.context.now()
        if self._port.connect(self._on_ready):
            self._connected = True
            self._started_at = None
            self._codec = gd.StreamCodec(gd.NOTICES)
            self._write(gd.Attach(home_key=self._services.home.key))
            self._pulse, self._why = Pulse(now), ""
            self._ask_later()
            return
        if self._retiring:
            return
        overdue = AGAIN_SECONDS if self._started_at is not None and self._port.start_failed() else START_SECONDS
        if self._started_at is None or now - self._started_at > overdue:
            self._started_at = now
            self._port.start_guardian()
        if self._retry is None:
            self._retry = self.context.after(RETRY_SECONDS, _Reach())

    def _ask(self) -> None:
        """Ask whether the guardian is there. One that hangs is killed: its successor adopts the workers."""
        self._asking = None
        self._listen()
        pulse, guardian, silent = self._pulse, self._services.directory.guardian, self._services.directory.silent
        if pulse is None:
            return
        now = self.context.now()
        pulse.ask(now)
        if guardian is not None and guardian.version:
            self._write(gd.Ping())
        elif guardian is not None:
            pulse.heard(now)  # one of an older crewd does not answer
        silent.pop("guardian", None)
        at_work = self._port.is_at_work()
        if seconds := pulse.silent(now, at_work=at_work):
            silent["guardian"] = now - seconds
        if pulse.is_given_up(now, at_work=at_work) and self._port.kill():
            self._why = f"it had not answered for {seconds:.0f} s, and was killed"
            self._pulse = None  # the connection ends when it has
        self._ask_later()

    def _ask_later(self) -> None:
        wanted = self._asks_always or self._unanswered or not self._attached
        if self._asking is None and self._pulse is not None and wanted:
            self._asking = self.context.after(ASK_SECONDS, _Ask())

    def _on_ready(self) -> None:
        if not self._ready_told:
            self._ready_told = self.ref.offer(_Ready(), lane=Lane.CONTROL)

    def _listen(self) -> None:
        if not self._connected:
            return
        self._flush()
        while self._connected:
            chunk = self._port.read()
            if chunk is None:
                return
            try:
                if not chunk:
                    raise PeerError("the guardian is gone")
                for notice in self._codec.feed(chunk):
                    self._hear(notice)
            except PeerError:
                self._lost()

    def _lost(self) -> None:
        """The guardian died, or talks nonsense: reach it again, or start another one, which adopts the workers."""
        self._port.close()
        was_attached = self._attached
        self._connected = self._attached = False
        self._theirs.clear()
        self._pulse = None
        self._services.directory.guardian = self._services.directory.zygote = None
        self._services.directory.silent.clear()
        self._out.clear()
        self._out_bytes = 0
        if self._retiring:
            return
        store = self._services.directory.find(STORE)
        if store is not None and was_attached:  # else it was dying already when it was reached
            store.offer(Append((Draft(GuardianLost(why=self._why)),), self.ref, 0))
        self._reach()

    def _hear(self, notice: gd.Notice) -> None:
        now, directory = self.context.now(), self._services.directory
        if self._pulse is not None:
            self._pulse.heard(now)
            directory.silent.pop("guardian", None)
        match notice:
            case gd.Pong(zygote, silent_seconds, memory_available):
                self._unanswered = False
                directory.zygote, directory.memory_available = zygote, memory_available
                directory.silent.pop("zygote", None)
                if silent_seconds:
                    directory.silent["zygote"] = now - silent_seconds
            case gd.Examined():
                gateway = directory.find(GATEWAY)
                if gateway is not None:
                    gateway.offer(notice)
            case gd.Attached():
                self._attached = True
                self._services.directory.guardian = notice
                waiting, self._waiting = self._waiting, []
                for order in waiting:
                    self._order(order)  # which looks whether this guardian understands it
                for controller in self._services.directory.attempts.values():
                    controller.offer(cm.GuardianAttached(), lane=Lane.CONTROL)
                self._replace_idle()
            case (
                gd.Started(task, epoch) | gd.Exited(task, epoch) | gd.Gone(task, epoch)
                | gd.Used(task, epoch)
            ):  # fmt: skip
                self._count(notice)
                claimant = self._services.directory.attempts.get((task, epoch))
                if claimant is not None:
                    lane = Lane.DATA if isinstance(notice, gd.Used) else Lane.CONTROL
                    claimant.offer(cm.GuardianSays(notice), lane=lane)
                elif not isinstance(notice, gd.Gone | gd.Used):
                    self._unclaimed[task, epoch] = type(notice)
                    self.context.after(JUDGE_SECONDS, _Judge(task, epoch))
            case _:
                assert_never(notice)

    def _count(self, notice: gd.Started | gd.Exited | gd.Gone | gd.Used) -> None:
        if isinstance(notice, gd.Started):
            self._theirs.add((notice.task, notice.epoch))
        elif not isinstance(notice, gd.Used):
            self._theirs.discard((notice.task, notice.epoch))
            self._replace_idle()

    def _replace_idle(self) -> None:
        """A guardian of another release, or with other settings, goes when it has no worker; orders wait for the next."""
        guardian = self._services.directory.guardian
        idle = self._attached and not self._retiring and not self._theirs
        if idle and guardian is not None and guardian.made_as != self._port.made_as:
            self._write(gd.Retire())
            self._attached = False

    def _judge(self, task: str, epoch: int) -> None:
        """Nobody claimed this worker, or this exit, when it was heard of: the rows say whether its attempt is over."""
        if (task, epoch) in self._services.directory.attempts or not self._attached:
            self._unclaimed.pop((task, epoch), None)  # its controller asks for itself
            return
        store = self._services.directory.find(STORE)
        if store is None or not store.offer(LoadAttempt(task, epoch, self.ref)):
            self.context.after(JUDGE_SECONDS, _Judge(task, epoch))

    def _judged(self, task: str, epoch: int, *, over: bool) -> None:
        if not over:  # its controller is about to be there
            self.context.after(JUDGE_SECONDS, _Judge(task, epoch))
        elif self._unclaimed.pop((task, epoch), None) is gd.Started:
            self._order(gd.End(task=task, epoch=epoch, grace_seconds=0.0, term_seconds=TERM_SECONDS_GRACEFUL))
        else:
            self._order(gd.Confirm(task=task, epoch=epoch))

    def _order(self, order: gd.Order) -> None:
        if isinstance(order, gd.Retire):
            self._retiring = True
        guardian = self._services.directory.guardian
        if isinstance(order, gd.Expect) and (guardian is None or not guardian.version):
            return
        if isinstance(order, gd.LeaveFile) and self._attached and (guardian is None or not guardian.version):
            return
        self._unanswered = True
        self._ask_later()
        if self._attached:
            if isinstance(order, gd.Spawn):
                self._theirs.add((order.bootstrap.task, order.bootstrap.epoch))
            self._write(order)
        elif isinstance(order, gd.Spawn | gd.LeaveFile | gd.Retire):
            self._waiting.append(order)
        elif isinstance(order, gd.End):
            self._waiting = [each for each in self._waiting if not _is_birth_of(each, order)]

    def _write(self, order: gd.Order) -> None:
        data = self._orders.encode(order)
        self._out.append(data)
        self._out_bytes += len(data)
        if self._out_bytes > OUT_BYTES_MAX:
            self._lost()
            return
        self._flush()

    def _flush(self) -> None:
        while self._out:
            head = self._out[0]
            sent = self._port.write(head)
            if sent < 0:
                return  # the read that follows finds out
            self._out_bytes -= sent
            if sent < len(head):
                self._out[0] = head[sent:]
                return
            self._out.popleft()


def _is_birth_of(order: gd.Order, end: gd.End) -> bool:
    return isinstance(order, gd.Spawn) and (order.bootstrap.task, order.bootstrap.epoch) == (end.task, end.epoch)
