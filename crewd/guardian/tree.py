"""Whose process is whose: from a process table and what is remembered to the members of each worker. Pure.

Four nets: memory (pid + start time), session and process group, parentage, and the marker in the environment. A
process that left its session, lost its parent and cleaned its environment between two looks is in none of them; it is
the guardian's own child then (subreaper) and appears as a stray.

The number of a session or group is used again when nobody is in it any more. It proves something only while a process that is
known by other means is in it, or about the guardian's own children: nobody else's process becomes one.

Tests: tests/guardian/test_ladder_and_tree.py, tests/guardian/test_care.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

Key = tuple[str, int]
"""Task id and epoch: one worker."""


class Proc(msgspec.Struct, frozen=True):
    """One line of the process table. `start` is what tells a pid from its reuse.

    `cpu` are seconds, of the process and of its children that it has waited for; `memory` are resident bytes.
    """

    pid: int
    ppid: int
    group: int
    session: int
    state: str
    start: float
    cpu: float = 0.0
    memory: int = 0
    threads: int = 1

    @property
    def dead(self) -> bool:
        """A zombie has ended; only its parent has not looked yet. One with more threads has only lost its first one."""
        return self.state in {"X", "x"} or (self.state == "Z" and self.threads <= 1)


class Sorted(msgspec.Struct, frozen=True):
    """`members` are the processes of each worker, zombies among them.

    `strays` are living children of the guardian or of its zygote that are no worker's.
    """

    members: Mapping[Key, tuple[Proc, ...]]
    strays: tuple[Proc, ...]


class Sorting:
    """Gives each process of a table its worker, in two steps: `unknown` are those whose marker must be read for `finish`.

    `memory` has a key for every worker in care. `own` are the guardian and its zygote. `leaders` are sessions and groups that
    workers' processes were seen in by the look before: they outlive their leader.
    """

    def __init__(
        self,
        table: Mapping[int, Proc],
        memory: Mapping[Key, frozenset[tuple[int, float]]],
        own: frozenset[int],
        leaders: Mapping[int, Key] = MappingProxyType({}),
    ) -> None:
        self.table = table
        self._memory = memory
        self._own = own
        self._owner: dict[int, Key] = {}
        self._held: dict[int, Key] = {}
        """Sessions and groups that a process of a worker is in now."""
        for worker, known in memory.items():
            for pid, start in known:
                proc = table.get(pid)
                if proc is not None and proc.start == start:
                    self._give(proc, worker)
        self._sessions = {**leaders, **{pid: key for key, known in memory.items() for pid, _ in known}}
        self._left = self._spread([proc for proc in table.values() if proc.pid not in self._owner and proc.pid not in own])

    @property
    def unknown(self) -> tuple[Proc, ...]:
        """Processes that nothing but a marker can prove to be a worker's."""
        return tuple(self._left)

    def finish(self, marked: Mapping[int, Key]) -> Sorted:
        """`marked` are the workers that the markers of `unknown` processes name, by pid."""
        found = [proc for proc in self._left if proc.pid in marked]
        for proc in found:
            self._give(proc, marked[proc.pid])
        left = [proc for proc in self._left if proc.pid not in marked]
        strays = self._spread(left) if found else left
        members: dict[Key, list[Proc]] = {key: [] for key in self._memory}
        for pid in sorted(self._owner):
            members.setdefault(self._owner[pid], []).append(self.table[pid])
        return Sorted(
            {key: tuple(procs) for key, procs in members.items()},
            tuple(proc for proc in strays if proc.ppid in self._own and not proc.dead),
        )

    def _give(self, proc: Proc, key: Key) -> None:
        self._owner[proc.pid] = key
        self._held.setdefault(proc.session, key)
        self._held.setdefault(proc.group, key)

    def _spread(self, waiting: list[Proc]) -> list[Proc]:
        """Give processes to the worker of their parent, session or group, until no more can be given. Those that are left."""
        progress = True
        while waiting and progress:
            progress = False
            left: list[Proc] = []
            for proc in waiting:
                kin = proc.ppid in self._own
                key = None if kin else self._owner.get(proc.ppid)
                key = key or _by_group(proc, self.table, self._owner, self._sessions, self._held, kin=kin)
                if key is None:
                    left.append(proc)
                else:
                    self._give(proc, key)
                    progress = True
            waiting = left
        return waiting


def owners_of_groups(found: Sorted, table: Mapping[int, Proc]) -> dict[int, Key | None]:
    """Whose each group with a living process is: None if it is not one worker's alone."""
    owner = {proc.pid: key for key, procs in found.members.items() for proc in procs}
    owners: dict[int, Key | None] = {}
    for proc in table.values():
        if not proc.dead:
            key = owner.get(proc.pid)
            owners[proc.group] = key if owners.get(proc.group, key) == key else None
    return owners


def _by_group(
    proc: Proc, table: Mapping[int, Proc], owner: Mapping[int, Key], sessions: Mapping[int, Key], held: Mapping[int, Key],
    *, kin: bool,
) -> Key | None:  # fmt: skip
    """A session or group led by a worker's process belongs to the worker, also after its leader is gone.

    A leader that is alive and not the worker's is a reused pid and proves nothing. Nor does the number of one that is gone,
    unless another process of the worker is in it (`held`), or the process has become the guardian's child (`kin`).
    """
    for leader in (proc.session, proc.group):
        if leader in owner:
            return owner[leader]
        if leader in sessions and leader not in table and (kin or held.get(leader) == sessions[leader]):
            return sessions[leader]
    return None
