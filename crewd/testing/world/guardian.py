"""The simulated guardian: the production `Guard` over simulated processes.

It outlives crewd, may be killed itself, and is then replaced by one that adopts what carries a marker. Its records are on a
disk of its own.

Tests: tests/testing/world/test_ports.py.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from crewd.guardian import care as cr
from crewd.guardian import guard_effects as gu
from crewd.guardian.care_record import CareRecord
from crewd.guardian.guard import Guard
from crewd.guardian.guard_effects import GuardEffect
from crewd.guardian.tree import Key, Proc
from crewd.model.rows import Survivor
from crewd.protocol import guardian as gd
from crewd.testing.world.processes import GUARDIAN, HOME_KEY

if TYPE_CHECKING:
    from crewd.protocol.bootstrap import Bootstrap
    from crewd.testing.world.processes import Processes, SimProcess

BOOT_ID = "simulated"
LOOK_SECONDS = 20.0
LOW_SECONDS = 1.0
"""Between two looks at workers that do not end. Nothing happens in this world between two looks that a look would see."""


@dataclass(slots=True)
class GuardianDisk:
    """What a guardian leaves to the next one: unconfirmed exits, and the workers in its care."""

    exits: dict[Key, gd.Exited] = field(default_factory=dict)
    records: dict[Key, CareRecord] = field(default_factory=dict)


class SimGuardian:
    """One guardian process. `say` gives bytes to crewd's end of the connection."""

    def __init__(
        self, processes: Processes, disk: GuardianDisk, now: Callable[[], float], memory: Callable[[], int]
    ) -> None:  # fmt: skip
        self._processes = processes
        self._disk = disk
        self._now = now
        self._memory = memory
        self._low_until: float | None = None
        self._guard = Guard(HOME_KEY, BOOT_ID, GUARDIAN, now(), look_seconds=LOOK_SECONDS)
        self._orders: gd.StreamCodec[gd.Order] = gd.StreamCodec(gd.ORDERS)
        self._notices: gd.StreamCodec[gd.Notice] = gd.StreamCodec(gd.NOTICES)
        self.say: Callable[[bytes], None] | None = None
        table = {**self._table(), **self._table()}
        marks = {pid: processes.mark(pid) for pid in table}
        self._perform(self._guard.adopt(table, marks, list(disk.records.values()), {}, list(disk.exits.values()), now()))

    @property
    def over(self) -> bool:
        """Whether it ends by itself."""
        return self._guard.retiring and not self._guard.cares

    def in_care(self) -> list[Key]:
        """The workers in its care."""
        return list(self._guard.cares)

    # -- crewd --------------------------------------------------------------------------------------------------

    def attach(self, say: Callable[[bytes], None]) -> None:
        """Crewd has connected; an older connection is given up."""
        self.say = say
        self._orders = gd.StreamCodec(gd.ORDERS)

    def hang_up(self) -> None:
        """Crewd is gone."""
        self.say = None
        self._perform(self._guard.hung_up(self._now()))

    def hear(self, chunk: bytes) -> None:
        """Bytes from crewd."""
        for order in self._orders.feed(chunk):
            self._perform(self._guard.ordered(order, self._now()))

    # -- processes ----------------------------------------------------------------------------------------------

    def reap(self, process: SimProcess) -> None:
        """A process has ended that this guardian, its zygote or its pidfd is told of."""
        care = self._guard.cares.get(process.key)
        if process.leader and care is not None:
            how = (None, None) if care.adopted else (process.code, process.signal)
            self._perform(self._guard.first_ended(process.key, process.pid, self._now(), *how))
        elif not process.leader and (process.parent is None or process.parent.dead):
            proc = Proc(process.pid, GUARDIAN, process.session, process.session, "Z", process.start)
            child = gu.ChildEnded(process.pid, process.code, process.signal, proc)
            self._perform(self._guard.children_ended((child,), self._now()))

    def _fork(self, bootstrap: Bootstrap) -> None:
        key = (bootstrap.task, bootstrap.epoch)
        if any(process.leader and process.key[0] == key[0] for process in self._processes.table.values()):
            error = "another incarnation of this worker lives: it holds the lock"
            self._perform(self._guard.not_forked(key, 0, error))
            return

        def forked(process: SimProcess | None) -> None:
            if process is None:
                self._perform(self._guard.not_forked(key, 0, "fork failed"))
            else:
                proc = Proc(process.pid, GUARDIAN, process.pid, process.pid, "S", process.start)
                self._perform(self._guard.forked(key, proc, self._now()))

        self._processes.fork(key, bootstrap, forked)

    def _table(self) -> dict[int, Proc]:
        return self._processes.snapshot(frozenset(key for key, care in self._guard.cares.items() if care.adopted))

    # -- time ---------------------------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """When there is something to do."""
        dues = [self._guard.due_at()] if self._guard.cares else []
        return min([*dues, *(() if self._low_until is None else (self._low_until,))], default=None)

    def tick(self) -> None:
        """Do what is due."""
        now, guard = self._now(), self._guard
        if self._low_until is not None and now >= self._low_until:
            self._pong()
        self._perform(guard.tick(now))
        if guard.cares and guard.wants_look(now):
            sorting = guard.begin_look(self._table(), {})
            marks = {proc.pid: self._processes.mark(proc.pid) for proc in sorting.unknown}
            output = dict.fromkeys(guard.cares, 0)
            self._perform(guard.looked(sorting, marks, {}, output, now=now, took=0.0, since_boot=now, heard_at=now))

    def _pong(self) -> None:
        """Send a `Pong`. Repeat it while memory is low, because the simulated crewd pings only after an order."""
        available = self._memory()
        self._low_until = None if available else self._now() + LOW_SECONDS
        self._tell(gd.Pong(zygote=1, memory_available_bytes=available))

    # -- effects ------------------------------------------------------------------------------------------------

    def _perform(self, effects: Iterable[GuardEffect]) -> None:
        for effect in effects:
            match effect:
                case cr.Tell(notice):
                    self._tell(notice)
                    if isinstance(notice, gd.Started):
                        self._pong()
                case cr.Signal(proc, number):
                    self._signal(proc, number)
                case cr.KillGroup(group):
                    for process in [each for each in self._processes.table.values() if each.session == group]:
                        self._processes.kill(process)
                case cr.Keep(record):
                    self._disk.records[record.task, record.epoch] = record
                case cr.Finish():
                    self._finish(effect)
                case gu.Fork(bootstrap):
                    self._fork(bootstrap)
                case gu.Inspect(key, number):
                    words = self._processes.take_unsent_reports(key)
                    if words:
                        self._disk.exits[key] = gd.Exited(task=key[0], epoch=key[1], unsent_reports=words)
                    unborn = key not in self._processes.begun
                    self._perform(self._guard.inspected(key, number, words, unborn=unborn))
                case gu.Examine(number):
                    self._tell(gd.Examined(number=number))
                case gu.Pong():
                    self._pong()
                case gu.Greet(workers):
                    self._tell(gd.Attached(pid=1, workers=workers, version=gd.VERSION))
                    self._pong()
                case gu.ForgetRecord(key):
                    self._disk.records.pop(key, None)
                case gu.ForgetExit(key):
                    self._disk.exits.pop(key, None)
                case _:
                    pass  # no cgroups, files or hidden processes here, and every end is heard of

    def _signal(self, proc: Proc, number: int) -> None:
        process = self._processes.at(proc)
        if process is not None and number == signal.SIGTERM:
            self._processes.term(process)
        elif process is not None and number == signal.SIGKILL:
            self._processes.kill(process)

    def _tell(self, notice: gd.Notice) -> None:
        if self.say is not None:
            self.say(self._notices.encode(notice))

    def _finish(self, effect: cr.Finish) -> None:
        now = self._now()
        self._disk.records.pop(effect.key, None)
        exited = msgspec.structs.replace(
            effect.exited,
            survivors=tuple(Survivor(proc.pid, "worker", now - proc.start, "D") for proc in effect.survivors),
            unsent_reports=self._processes.take_unsent_reports(effect.key),
        )
        self._disk.exits[effect.key] = exited
        self._perform(self._guard.recorded(exited))


class SimGuardianSocket:
    """crewd's end of the guardian's socket (`supervisor.guardian_socket.GuardianSocket`)."""

    def __init__(self, permitted: Callable[[], bool], house: House) -> None:
        self._permitted = permitted
        self._house = house
        self._on_ready: Callable[[], None] | None = None
        self._incoming = bytearray()
        self._eof = False
        self._guardian: SimGuardian | None = None

    def connect(self, on_ready: Callable[[], None]) -> bool:
        """See `GuardianSocket`."""
        if not self._permitted() or self._house.guardian is None:
            return False
        self._guardian = self._house.guardian
        self._incoming.clear()
        self._eof = False
        self._on_ready = on_ready
        self._house.connected(self, self._guardian)
        return True

    @property
    def made_as(self) -> str:
        """See `GuardianSocket`."""
        return ""

    def start_guardian(self) -> None:
        """See `GuardianSocket`."""
        if self._permitted():
            self._house.start()

    def start_failed(self) -> bool:
        """See `GuardianSocket`."""
        return self._house.start_failed

    def is_at_work(self) -> bool:
        """See `GuardianSocket`."""
        return False

    def kill(self) -> bool:
        """See `GuardianSocket`."""
        if not self._permitted() or self._guardian is None or self._house.guardian is not self._guardian:
            return False
        self._house.kill()
        return True

    def read(self) -> bytes | None:
        """See `GuardianSocket`."""
        if not self._permitted():
            return None
        if self._incoming:
            size = self._house.piece(len(self._incoming))
            chunk = bytes(self._incoming[:size])
            del self._incoming[:size]
            return chunk
        return b"" if self._eof else None

    def write(self, data: bytes) -> int:
        """See `GuardianSocket`."""
        if not self._permitted():
            return len(data)
        if self._eof or self._guardian is None or self._house.guardian is not self._guardian:
            return -1
        size = self._house.piece(len(data))
        self._house.to_guardian(self, data[:size])
        return size

    def close(self) -> None:
        """See `GuardianSocket`."""
        if self._permitted():
            self.drop()

    # -- the world's side ---------------------------------------------------------------------------------------

    def drop(self) -> None:
        """The connection ends from crewd's side."""
        if self._guardian is not None:
            self._house.disconnected(self, self._guardian)
        self._guardian, self._on_ready = None, None

    def arrive(self, data: bytes) -> None:
        """Bytes from the guardian have arrived."""
        self._incoming += data
        self.ready()

    def end(self) -> None:
        """The guardian is gone."""
        self._eof = True
        self.ready()

    def ready(self) -> None:
        """There is something to read, or room to write."""
        if self._on_ready is not None:
            self._on_ready()


class House:
    """The guardian's machine: it starts guardians (one at a time holds the home), and carries bytes between it and crewd."""

    def __init__(
        self,
        make: Callable[[], SimGuardian],
        later: Callable[[str, float], None],
        piece: Callable[[int], int],
        ordered: Callable[[bytes], None],
        attached: Callable[[], None],
    ) -> None:
        self._make = make
        self._later = later
        self._ordered = ordered
        self._attached = attached
        self.piece = piece
        self.guardian: SimGuardian | None = None
        self.start_failed = False
        self.starting = 0
        self.hung = False
        self.guardian_socket: SimGuardianSocket | None = None
        self.inbound = bytearray()
        self.outbound = bytearray()

    def start(self) -> None:
        """A guardian process begins to start."""
        self.starting += 1
        self.start_failed = False
        self._later("guardian", 0.15)

    def started(self) -> None:
        """It is there; it ends at once if another one holds the home."""
        self.starting -= 1
        if self.guardian is None:
            self.guardian = self._make()

    def kill(self) -> None:
        """SIGKILL of the guardian, or of one that was starting."""
        if self.guardian is None:
            self.start_failed = self.starting > 0
            self.starting = 0
            return
        self.guardian, self.hung = None, False
        self.inbound.clear()
        self.outbound.clear()
        self.start_failed = True
        if self.guardian_socket is not None:
            socket, self.guardian_socket = self.guardian_socket, None
            socket.end()

    def hang(self) -> None:
        """It does nothing any more, until it is killed."""
        self.hung = self.guardian is not None

    def connected(self, ours: SimGuardianSocket, guardian: SimGuardian) -> None:
        """Crewd has connected."""
        self.guardian_socket = ours
        self.inbound.clear()
        self.outbound.clear()
        guardian.attach(self.outbound.extend)
        self._attached()

    def disconnected(self, ours: SimGuardianSocket, guardian: SimGuardian) -> None:
        """Crewd hung up; what it had written still arrives."""
        if self.guardian_socket is ours:
            self.guardian_socket = None
            if guardian is self.guardian:
                if self.inbound and not self.hung:
                    guardian.hear(bytes(self.inbound))
                guardian.hang_up()
            self.inbound.clear()
            self.outbound.clear()

    def to_guardian(self, ours: SimGuardianSocket, data: bytes) -> None:
        """Bytes are on their way to the guardian."""
        if self.guardian_socket is ours:
            self._ordered(data)
            self.inbound += data

    def carry_in(self) -> None:
        """The guardian reads."""
        size = self.piece(len(self.inbound))
        chunk = bytes(self.inbound[:size])
        del self.inbound[:size]
        if self.guardian is not None:
            self.guardian.hear(chunk)
        if self.guardian_socket is not None:
            self.guardian_socket.ready()

    def carry_out(self) -> None:
        """Crewd's socket gets what the guardian said."""
        size = self.piece(len(self.outbound))
        chunk = bytes(self.outbound[:size])
        del self.outbound[:size]
        if self.guardian_socket is not None:
            self.guardian_socket.arrive(chunk)

    def tick(self) -> None:
        """The guardian does what is due, and ends if it is over."""
        if self.guardian is not None:
            self.guardian.tick()
            if self.guardian.over and not self.outbound:
                self.guardian = None
                if self.guardian_socket is not None:
                    socket, self.guardian_socket = self.guardian_socket, None
                    socket.end()
