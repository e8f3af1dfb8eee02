"""Simulated processes: the table that a guardian looks at, and what signals do to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from crewd.supervisor.guardian.tree import Key

if TYPE_CHECKING:
    from crewd.protocol.hands import Bootstrap
    from crewd.testing.world.worker import SimWorker


class Process:
    """One process. `leader` is a worker's first one; `code` and `signal` say how it ended."""

    __slots__ = ("code", "dead", "deaf", "key", "leader", "pid", "signal", "start", "undying", "worker")

    def __init__(self, pid: int, key: Key, start: float, *, leader: bool, deaf: bool, undying: bool) -> None:
        self.pid = pid
        self.key = key
        self.start = start
        self.leader = leader
        self.deaf = deaf
        self.undying = undying
        self.dead = False
        self.code: int | None = None
        self.signal: int | None = None
        self.worker: SimWorker | None = None


class Processes:
    """The process table. `ended` is called when a process has ended, once; `take_last_words` reads a worker's file, once."""

    def __init__(
        self,
        now: Callable[[], float],
        birth: Callable[[Key, Bootstrap, Callable[[Process | None], None]], None],
        ended: Callable[[Process], None],
    ) -> None:
        self._now = now
        self._birth = birth
        self._ended = ended
        self._pids = 1_000
        self.table: dict[int, Process] = {}
        self.last_words: dict[Key, bytes] = {}
        self.births: dict[Key, int] = {}
        self.begun: set[Key] = set()
        """Workers of which an order to start them was carried out, perhaps in part."""

    def fork(self, key: Key, bootstrap: Bootstrap, born: Callable[[Process | None], None]) -> None:
        """Begin a birth; `born` hears of it later, with None if it failed."""
        self.begun.add(key)
        self._birth(key, bootstrap, born)

    def make(self, key: Key, *, leader: bool, deaf: bool = False, undying: bool = False) -> Process:
        """A process exists."""
        self._pids += 1
        process = Process(self._pids, key, self._now(), leader=leader, deaf=deaf, undying=undying)
        self.table[process.pid] = process
        if leader:
            self.births[key] = self.births.get(key, 0) + 1
        return process

    def alive(self, key: Key) -> list[Process]:
        """The living processes of a worker: its first one and its descendants."""
        return [process for process in self.table.values() if process.key == key]

    def marked(self) -> dict[Key, list[Process]]:
        """Every living process by the worker whose marker it carries."""
        found: dict[Key, list[Process]] = {}
        for process in self.table.values():
            found.setdefault(process.key, []).append(process)
        return found

    def term(self, process: Process) -> None:
        """SIGTERM."""
        if process.dead or process.deaf or process.undying:
            return
        if process.worker is not None and process.worker.handles_term():
            process.worker.termed()
        else:
            self.end(process, signal=15)

    def kill(self, process: Process) -> None:
        """SIGKILL. A process in uninterruptible sleep stays where it is; it says and does nothing any more."""
        if process.undying:
            if process.worker is not None:
                process.worker.freeze()
        elif not process.dead:
            self.end(process, signal=9)

    def end(self, process: Process, *, code: int | None = None, signal: int | None = None) -> None:
        """The process is over."""
        if process.dead:
            return
        process.dead, process.code, process.signal = True, code, signal
        del self.table[process.pid]
        if process.worker is not None:
            process.worker.died()
        self._ended(process)

    def take_last_words(self, key: Key) -> bytes:
        """What a worker left in its directory; the exit record keeps it from here on."""
        return self.last_words.pop(key, b"")
