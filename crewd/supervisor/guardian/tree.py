"""Whose process is whose: from a process table and what is remembered to the members of each worker. Pure.

Four nets (R1): memory (pid + start time), session and process group, parentage, and the marker in the environment. A
process that left its session, lost its parent and cleaned its environment between two looks is in none of them; it is
the guardian's own child then (subreaper) and appears as a stray.

The number of a session or group is used again when nobody is in it any more. It proves something only while a process that is
known by other means is in it, or about the guardian's own children: nobody else's process becomes one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

Key = tuple[str, int]
"""Task id and epoch: one worker."""


@dataclass(frozen=True, slots=True)
class Proc:
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


@dataclass(frozen=True, slots=True)
class Sorted:
    """`members` of each worker (living ones), what to remember of each, and strays."""

    members: Mapping[Key, frozenset[int]]
    memory: Mapping[Key, frozenset[tuple[int, float]]]
    strays: frozenset[int]


def sort(
    table: Mapping[int, Proc],
    memory: Mapping[Key, frozenset[tuple[int, float]]],
    marked: Callable[[Proc], Key | None],
    own: frozenset[int],
    led: Mapping[int, Key] = MappingProxyType({}),
) -> Sorted:
    """Give each process its worker. `own` are the guardian and its zygote; `memory` has a key for every known worker.

    `led` are sessions and groups that workers' processes were seen in by the look before: they outlive their leader.
    """
    guardian = own
    owner: dict[int, Key] = {}
    held: dict[int, Key] = {}
    """Sessions and groups that a process of a worker is in now."""

    def give(proc: Proc, key: Key) -> None:
        owner[proc.pid] = key
        held.setdefault(proc.session, key)
        held.setdefault(proc.group, key)

    for worker, known in memory.items():
        for pid, start in known:
            proc = table.get(pid)
            if proc is not None and proc.start == start:
                give(proc, worker)
    sessions = {**led, **{pid: key for key, known in memory.items() for pid, _ in known}}
    waiting = [proc for proc in table.values() if proc.pid not in owner and proc.pid not in guardian]
    progress = True
    first = True
    while waiting and progress:
        progress = False
        left: list[Proc] = []
        for proc in waiting:
            key = owner.get(proc.ppid) if proc.ppid not in guardian else None
            if key is None:
                key = _by_group(proc, table, owner, sessions, held, kin=proc.ppid in guardian)
            if key is None and first:
                key = marked(proc)
            if key is None:
                left.append(proc)
            else:
                give(proc, key)
                progress = True
        waiting, first = left, False
    members: dict[Key, set[int]] = {key: set() for key in memory}
    remembered: dict[Key, set[tuple[int, float]]] = {key: set() for key in memory}
    for pid, key in owner.items():
        proc = table[pid]
        remembered.setdefault(key, set()).add((pid, proc.start))
        if not proc.dead:
            members.setdefault(key, set()).add(pid)
    strays = frozenset(p.pid for p in waiting if p.ppid in guardian and not p.dead)
    return Sorted(
        {key: frozenset(pids) for key, pids in members.items()},
        {key: frozenset(pids) for key, pids in remembered.items()},
        strays,
    )


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
