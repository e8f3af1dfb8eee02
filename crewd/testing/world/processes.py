"""Simulated processes: the table that a guardian reads, and what signals do to them.

Tests: tests/testing/world/test_world.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

from crewd.guardian.guard_effects import Mark
from crewd.guardian.tree import Key, Proc
from crewd.model import worker_number

if TYPE_CHECKING:
    from crewd.protocol.bootstrap import Bootstrap


class Code(Protocol):
    """What runs in a process, as far as its signals reach it."""

    def handles_term(self) -> bool:
        """Whether it has a handler for SIGTERM."""
        ...

    def termed(self) -> None:
        """SIGTERM reached the handler."""
        ...

    def freeze(self) -> None:
        """It is stopped where it is."""
        ...

    def died(self) -> None:
        """Its process is gone."""
        ...


INIT, GUARDIAN, ZYGOTE = 1, 900, 901
HOME_KEY = "simulated"
Escape = Literal["", "session", "orphan", "clean", "bare"]
"""How a descendant leaves: not at all, into a session of its own, also from its parent, or also without its marker.

One that is `bare` has dropped the number in its resource limit, too: only its parent proves whose it is, while it lives.
"""


class SimProcess:
    """One process. `leader` is a worker's first one; `code` and `signal` say how it ended. `parent` is None for an orphan."""

    __slots__ = (
        "code",
        "dead",
        "deaf",
        "escape",
        "key",
        "leader",
        "marked",
        "numbered",
        "parent",
        "pid",
        "session",
        "signal",
        "start",
        "undying",
        "worker",
    )

    def __init__(
        self, pid: int, key: Key, start: float, parent: SimProcess | None, *, escape: Escape, deaf: bool, undying: bool
    ) -> None:  # fmt: skip
        self.pid = pid
        self.key = key
        self.start = start
        self.leader = parent is None
        self.escape = escape
        self.parent = None if escape == "orphan" else parent
        self.session: int = pid if parent is None or escape else parent.session
        self.deaf = deaf
        self.undying = undying
        self.dead = False
        self.code: int | None = None
        self.signal: int | None = None
        self.worker: Code | None = None
        self.numbered: bool = escape != "bare" and (parent is None or parent.numbered)
        self.marked: bool = self.numbered and escape != "clean" and (parent is None or parent.marked)


class Processes:
    """The process table. `ended` is called when a process has ended, once; `take_unsent_reports` reads a file of a worker."""

    def __init__(
        self,
        now: Callable[[], float],
        start: Callable[[Key, Bootstrap, Callable[[SimProcess | None], None]], None],
        ended: Callable[[SimProcess], None],
        hides: Callable[[], bool],
    ) -> None:
        self._hides = hides
        self._hidden: set[int] = set()
        self._now = now
        self._start = start
        self._ended = ended
        self._pids = 1_000
        self.table: dict[int, SimProcess] = {}
        self.adopter = INIT
        """Whose children the workers are that were forked by a guardian which is gone."""
        self.unsent_reports: dict[Key, bytes] = {}
        self.starts: dict[Key, int] = {}
        self.proven: set[int] = set()
        """Processes that a look of the guardian of now could give to their worker."""
        self.begun: set[Key] = set()
        """Workers of which an order to start them was carried out, perhaps in part."""

    def fork(self, key: Key, bootstrap: Bootstrap, forked: Callable[[SimProcess | None], None]) -> None:
        """Begin to start a worker; `forked` hears of it later, with None if it failed."""
        self.begun.add(key)
        self._start(key, bootstrap, forked)

    def make(
        self, key: Key, parent: SimProcess | None, *, escape: Escape = "", deaf: bool = False, undying: bool = False
    ) -> SimProcess:  # fmt: skip
        """A process exists: a worker's first one, or one that `parent` has started."""
        self._pids += 1
        process = SimProcess(self._pids, key, self._now(), parent, escape=escape, deaf=deaf, undying=undying)
        self.table[process.pid] = process
        if process.leader:
            self.starts[key] = self.starts.get(key, 0) + 1
        return process

    def alive(self, key: Key) -> list[SimProcess]:
        """The living processes of a worker that a guardian can know: its first one and its descendants."""
        return [process for process in self.known() if process.key == key]

    def known(self) -> list[SimProcess]:
        """The living processes but those that left every trace of their worker before a guardian looked."""
        return [process for process in self.table.values() if process.numbered or process.pid in self.proven]

    def snapshot(self, adopted: frozenset[Key]) -> dict[int, Proc]:
        """The table as a guardian reads it. It is not the subreaper of workers that an earlier guardian has started.

        A process that hides is not seen by this look, and is by the next one. One without any trace of its worker hides only
        before it was seen: `/proc` lists each process that is there as long as it is listed.
        """
        table = {pid: Proc(pid, INIT, pid, pid, "S", 0.0) for pid in (GUARDIAN, ZYGOTE)}
        hidden, self._hidden = self._hidden, set()
        for pid, process in self.table.items():
            may_hide = not process.leader and pid not in hidden and (process.numbered or pid not in self.proven)
            if may_hide and self._hides():
                self._hidden.add(pid)
                continue
            parent = process.parent
            if process.numbered or (parent is not None and parent.pid in table and parent.pid in self.proven):
                self.proven.add(pid)
            if parent is not None and not parent.dead:
                above = parent.pid
            else:
                above = INIT if process.key in adopted else ZYGOTE if process.leader else GUARDIAN
            table[pid] = Proc(pid, above, process.session, process.session, "S", process.start)
        return table

    def mark(self, pid: int) -> Mark:
        """What a process bears."""
        process = self.table.get(pid)
        if process is None or not process.numbered:
            return Mark()
        return Mark(process.key) if process.marked else Mark(number=worker_number.number_of(HOME_KEY, *process.key))

    def at(self, proc: Proc) -> SimProcess | None:
        """The living process that a guardian has seen, if it is still that one."""
        process = self.table.get(proc.pid)
        return process if process is not None and process.start == proc.start else None

    def term(self, process: SimProcess) -> None:
        """SIGTERM."""
        if process.dead or process.deaf or process.undying:
            return
        if process.worker is not None and process.worker.handles_term():
            process.worker.termed()
        else:
            self.end(process, signal=15)

    def kill(self, process: SimProcess) -> None:
        """SIGKILL. A process in uninterruptible sleep stays where it is; it says and does nothing any more."""
        if process.undying:
            if process.worker is not None:
                process.worker.freeze()
        elif not process.dead:
            self.end(process, signal=9)

    def end(self, process: SimProcess, *, code: int | None = None, signal: int | None = None) -> None:
        """The process is over."""
        if process.dead:
            return
        process.dead, process.code, process.signal = True, code, signal
        del self.table[process.pid]
        if process.worker is not None:
            process.worker.died()
        self._ended(process)

    def take_unsent_reports(self, key: Key) -> bytes:
        """What a worker left in its directory; the exit record keeps it from here on."""
        return self.unsent_reports.pop(key, b"")
