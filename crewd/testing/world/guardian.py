"""The simulated guardian: what `supervisor.guardian` does, over simulated processes, with the production ladder and codec.

It outlives crewd, may be killed itself, and is then replaced by one that adopts what carries a marker. Its exit records are
on a disk of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from crewd.protocol import hands
from crewd.protocol.limits import TERM_SECONDS_GRACEFUL, TERM_SECONDS_NOW
from crewd.protocol.rows import ExitStatus, Survivor
from crewd.supervisor.guardian import ladder as ladders
from crewd.supervisor.guardian.ladder import Ladder
from crewd.supervisor.guardian.tree import Key

if TYPE_CHECKING:
    from crewd.testing.world.processes import Process, Processes

HOME_KEY = "simulated"


@dataclass(slots=True, eq=False)
class Charge:
    """A worker in the guardian's care."""

    key: Key
    on_orphan: str = "keep"
    orphan_grace_seconds: float = 600.0
    main: Process | None = None
    adopted: bool = False
    status: tuple[int | None, int | None] = (None, None)
    main_over: bool = False
    cause: hands.Cause = "exited"
    ladder: Ladder | None = None
    look_at: float = 0.0
    orphan_at: float | None = None
    born: bool = field(default=False)


class SimGuardian:
    """One guardian process. `say` gives bytes to crewd's end of the connection."""

    def __init__(self, processes: Processes, exits: dict[Key, hands.Exited], now: Callable[[], float]) -> None:
        self._processes = processes
        self._exits = exits
        self._now = now
        self._charges: dict[Key, Charge] = {}
        self._orders: hands.StreamCodec[hands.Order] = hands.StreamCodec(hands.ORDERS)
        self._notices: hands.StreamCodec[hands.Notice] = hands.StreamCodec(hands.NOTICES)
        self.say: Callable[[bytes], None] | None = None
        self.retiring = False
        self._adopt()

    @property
    def over(self) -> bool:
        """Whether it ends by itself."""
        return self.retiring and not self._charges

    def charged(self) -> list[Key]:
        """The workers in its care."""
        return list(self._charges)

    # -- crewd --------------------------------------------------------------------------------------------------

    def attach(self, say: Callable[[bytes], None]) -> None:
        """Crewd has connected; an older connection is given up."""
        self.say = say
        self._orders = hands.StreamCodec(hands.ORDERS)

    def hang_up(self) -> None:
        """Crewd is gone: orphan clocks begin to run."""
        self.say = None
        for charge in self._charges.values():
            charge.orphan_at = self._now() + (charge.orphan_grace_seconds if charge.on_orphan == "keep" else 0.0)

    def hear(self, chunk: bytes) -> None:
        """Bytes from crewd."""
        for order in self._orders.feed(chunk):
            self._obey(order)

    def _tell(self, notice: hands.Notice) -> None:
        if self.say is not None:
            self.say(self._notices.encode(notice))

    def _obey(self, order: hands.Order) -> None:
        match order:
            case hands.Attach():
                for charge in self._charges.values():
                    charge.orphan_at = None
                    self._tell_started(charge)
                for record in self._exits.values():
                    self._tell(record)
                self._tell(hands.Attached(pid=1, workers=len(self._charges), answers=True))
            case hands.Ping():
                self._tell(hands.Pong(zygote=1))
            case hands.Expect() | hands.LeaveFile():
                pass
            case hands.Spawn(bootstrap):
                self._spawn(bootstrap)
            case hands.End(task, epoch, grace_seconds, term_seconds, whole):
                self._end((task, epoch), grace_seconds, term_seconds, "ended", whole=whole)
            case hands.Signal():
                pass  # no simulated worker does anything about it
            case hands.Confirm(task, epoch):
                self._exits.pop((task, epoch), None)
            case hands.Query(task, epoch, number):
                self._say_what_of((task, epoch), number)
            case hands.Retire():
                self.retiring = True
                for charge in list(self._charges.values()):
                    self._end(charge.key, 0.0, TERM_SECONDS_NOW, "ended")
            case _:
                assert_never(order)

    def _say_what_of(self, key: Key, number: int | None = None) -> None:
        charge = self._charges.get(key)
        if charge is not None:
            self._tell_started(charge)
        else:
            record = self._exits.get(key)
            if record is None and (words := self._processes.take_last_words(key)):
                record = self._exits[key] = hands.Exited(task=key[0], epoch=key[1], last_words=words)
            unborn = key not in self._processes.begun
            self._tell(record or hands.Gone(task=key[0], epoch=key[1], number=number, unborn=unborn))

    def _tell_started(self, charge: Charge) -> None:
        if charge.main is not None:
            self._tell(
                hands.Started(
                    task=charge.key[0], epoch=charge.key[1], pid=charge.main.pid, start_time=charge.main.start,
                    boot_id="simulated", adopted=charge.adopted,
                )
            )  # fmt: skip

    # -- workers ------------------------------------------------------------------------------------------------

    def _spawn(self, bootstrap: hands.Bootstrap) -> None:
        key = (bootstrap.task, bootstrap.epoch)
        record = self._exits.get(key)
        if record is not None:
            self._tell(record)
            return
        known = self._charges.get(key)
        if known is not None:
            self._tell_started(known)
            return
        charge = Charge(key, bootstrap.worker.on_orphan, bootstrap.worker.orphan_grace_seconds)
        self._charges[key] = charge
        if any(process.leader and process.key[0] == key[0] for process in self._processes.table.values()):
            self._close(charge, cause="spawn_failed", error="another incarnation of this worker lives: it holds the lock")
            return
        self._processes.fork(key, bootstrap, lambda process: self._born(charge, process))

    def _born(self, charge: Charge, process: Process | None) -> None:
        if self._charges.get(charge.key) is not charge:
            return
        if process is None:
            self._close(charge, cause="spawn_failed", error="fork failed")
            return
        charge.main = process
        self._tell_started(charge)
        if charge.ladder is not None:
            charge.look_at = self._now()

    def _adopt(self) -> None:
        for key, procs in self._processes.marked().items():
            charge = Charge(key, main=min(procs, key=lambda proc: (not proc.leader, proc.pid)), adopted=True)
            charge.orphan_at = self._now() + charge.orphan_grace_seconds
            self._exits.pop(key, None)
            self._charges[key] = charge
            if charge.main is not None and not charge.main.leader:
                self._main_gone(charge, None, None)

    def _end(
        self, key: Key, grace_seconds: float, term_seconds: float, cause: hands.Cause, *, whole: bool = False
    ) -> None:  # fmt: skip
        charge = self._charges.get(key)
        if charge is None:
            self._say_what_of(key)
            return
        now = self._now()
        if not charge.main_over:
            charge.cause = cause
        if charge.ladder is None:
            charge.ladder = ladders.begin(now, grace_seconds, term_seconds, whole=whole)
        else:
            charge.ladder = ladders.hasten(charge.ladder, now, grace_seconds, term_seconds, whole=whole)
        charge.look_at = now

    def reap(self, process: Process) -> None:
        """A process that this guardian started, or adopted, has ended."""
        charge = self._charges.get(process.key)
        if charge is None or charge.main is not process or charge.main_over:
            return
        if charge.adopted:
            self._main_gone(charge, None, None)
        else:
            self._main_gone(charge, process.code, process.signal)

    def _main_gone(self, charge: Charge, code: int | None, signal: int | None) -> None:
        charge.main_over, charge.status = True, (code, signal)
        now = self._now()
        charge.ladder = ladders.first_gone(charge.ladder, now, TERM_SECONDS_GRACEFUL)
        charge.look_at = now

    # -- time ---------------------------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """When there is something to do."""
        dues = [charge.look_at for charge in self._charges.values() if charge.ladder is not None and charge.main is not None]
        dues += [charge.orphan_at for charge in self._charges.values() if charge.orphan_at is not None]
        return min(dues, default=None)

    def tick(self) -> None:
        """Do what is due."""
        now = self._now()
        for charge in list(self._charges.values()):
            if charge.orphan_at is not None and now >= charge.orphan_at:
                charge.orphan_at = None
                self._end(charge.key, 0.0, TERM_SECONDS_GRACEFUL, "orphaned")
            if charge.ladder is not None and charge.main is not None and charge.look_at <= now:
                self._climb(charge, charge.ladder)

    def _climb(self, charge: Charge, ladder: Ladder) -> None:
        now = self._now()
        alive = {process.pid: process for process in self._processes.alive(charge.key)}
        charge.ladder, step = ladders.climb(ladder, frozenset(alive), now)
        for pid in sorted(step.term):
            self._processes.term(alive[pid])
        for pid in sorted(step.kill):
            self._processes.kill(alive[pid])
        charge.look_at = step.look_again_at
        if step.over:
            left = self._processes.alive(charge.key)
            self._close(charge, survivors=tuple(Survivor(p.pid, "worker", now - p.start, "D") for p in left))

    def _close(
        self, charge: Charge, *, cause: hands.Cause | None = None, error: str = "", survivors: tuple[Survivor, ...] = ()
    ) -> None:
        task, epoch = charge.key
        record = hands.Exited(
            task=task, epoch=epoch, cause=cause or charge.cause, error=error,
            exit=ExitStatus(code=charge.status[0], signal=charge.status[1]),
 survivors=survivors, last_words=self._processes.take_last_words(charge.key),
        )  # fmt: skip
        del self._charges[charge.key]
        self._exits[charge.key] = record
        self._tell(record)


class SimHands:
    """crewd's end of the guardian's socket (`supervisor.hands.Hands`)."""

    def __init__(self, permitted: Callable[[], bool], house: House) -> None:
        self._permitted = permitted
        self._house = house
        self._on_ready: Callable[[], None] | None = None
        self._incoming = bytearray()
        self._eof = False
        self._guardian: SimGuardian | None = None

    def connect(self, on_ready: Callable[[], None]) -> bool:
        """See `Hands`."""
        if not self._permitted() or self._house.guardian is None:
            return False
        self._guardian = self._house.guardian
        self._incoming.clear()
        self._eof = False
        self._on_ready = on_ready
        self._house.connected(self, self._guardian)
        return True

    def start_guardian(self) -> None:
        """See `Hands`."""
        if self._permitted():
            self._house.start()

    def start_failed(self) -> bool:
        """See `Hands`."""
        return self._house.start_failed

    def is_at_work(self) -> bool:
        """See `Hands`."""
        return False

    def kill(self) -> bool:
        """See `Hands`."""
        if not self._permitted() or self._guardian is None or self._house.guardian is not self._guardian:
            return False
        self._house.kill()
        return True

    def read(self) -> bytes | None:
        """See `Hands`."""
        if not self._permitted():
            return None
        if self._incoming:
            size = self._house.piece(len(self._incoming))
            chunk = bytes(self._incoming[:size])
            del self._incoming[:size]
            return chunk
        return b"" if self._eof else None

    def write(self, data: bytes) -> int:
        """See `Hands`."""
        if not self._permitted():
            return len(data)
        if self._eof or self._guardian is None or self._house.guardian is not self._guardian:
            return -1
        size = self._house.piece(len(data))
        self._house.to_guardian(self, data[:size])
        return size

    def close(self) -> None:
        """See `Hands`."""
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
        self.hands: SimHands | None = None
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
        if self.hands is not None:
            hands_, self.hands = self.hands, None
            hands_.end()

    def hang(self) -> None:
        """It does nothing any more, until it is killed."""
        self.hung = self.guardian is not None

    def connected(self, ours: SimHands, guardian: SimGuardian) -> None:
        """Crewd has connected."""
        self.hands = ours
        self.inbound.clear()
        self.outbound.clear()
        guardian.attach(self.outbound.extend)
        self._attached()

    def disconnected(self, ours: SimHands, guardian: SimGuardian) -> None:
        """Crewd hung up; what it had written still arrives."""
        if self.hands is ours:
            self.hands = None
            if guardian is self.guardian:
                if self.inbound and not self.hung:
                    guardian.hear(bytes(self.inbound))
                guardian.hang_up()
            self.inbound.clear()
            self.outbound.clear()

    def to_guardian(self, ours: SimHands, data: bytes) -> None:
        """Bytes are on their way to the guardian."""
        if self.hands is ours:
            self._ordered(data)
            self.inbound += data

    def carry_in(self) -> None:
        """The guardian reads."""
        size = self.piece(len(self.inbound))
        chunk = bytes(self.inbound[:size])
        del self.inbound[:size]
        if self.guardian is not None:
            self.guardian.hear(chunk)
        if self.hands is not None:
            self.hands.ready()

    def carry_out(self) -> None:
        """Crewd's socket gets what the guardian said."""
        size = self.piece(len(self.outbound))
        chunk = bytes(self.outbound[:size])
        del self.outbound[:size]
        if self.hands is not None:
            self.hands.arrive(chunk)

    def tick(self) -> None:
        """The guardian does what is due, and ends if it is over."""
        if self.guardian is not None:
            self.guardian.tick()
            if self.guardian.over and not self.outbound:
                self.guardian = None
                if self.hands is not None:
                    hands_, self.hands = self.hands, None
                    hands_.end()
