"""Everything that the guardian decides, for all of its workers: events in, effects out. Pure: no clock, process or file.

The shell (`program`) reads sockets and the process table, and carries the effects out in their order. The simulated world
drives the same code with a process table of its own. What concerns one worker is decided by `care.decide`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from typing import assert_never

import msgspec

from crewd.guardian import care as cr
from crewd.guardian.care import Care, Chase, Signal, Tell
from crewd.guardian.care_record import CareRecord
from crewd.guardian.guard_effects import (
    ChildEnded,
    Examine,
    ForgetExit,
    ForgetRecord,
    Fork,
    Greet,
    GuardEffect,
    Inspect,
    LeaveFile,
    Mark,
    Pong,
    Prepare,
    WatchProcess,
)
from crewd.guardian.tree import Key, Proc, Sorted, Sorting, owners_of_groups
from crewd.model import worker_number
from crewd.model.limits import TERM_SECONDS_NOW, WORKERS_MAX
from crewd.protocol import guardian as gd
from crewd.protocol.bootstrap import Bootstrap

LOOK_SECONDS = 1.0
"""Between two looks at the process table while workers live: what a worker starts is remembered."""
LOOKS_LEFT_OUT = 9
"""The most in a row, where the last one found nothing and hardly a process was started since."""
FEW_PROCESSES = 20
"""A worker that has started no more than these since the last look has not exceeded its limit of processes unseen."""
IDLE_LOOK_SECONDS = 10.0
"""Between two looks while no worker lives, if the guardian or the zygote has children."""
LOOK_REST = 2.0
"""The least pause after a look, in multiples of the time that it took: the guardian has other work to do."""
LINGER_SECONDS = 10.0
"""A guardian without workers and without crewd ends after this."""
ORDERED_SECONDS = 60.0
"""How long to wait for the zygote to report a fork, while it reports nothing of other workers either. A zygote that gets no
processor is slow for as long; after this the start is tried again."""
NEGATIVE_SECONDS = 2.0
"""A process older than this that had no marker will not get one: it would have been marked when it was started."""
SWEEPS_MAX = 20
"""How often in a row a process that belongs to nobody living is killed without a pause. One in uninterruptible sleep stays."""
UNCLAIMED_MAX = 1_000
"""Exit statuses that are kept of processes whose fork was not reported yet."""


class Guard:
    """The guardian's decisions. Times are monotonic seconds; `since_boot` is on the clock of processes' starts.

    Every method that takes an event answers the effects, in the order in which they are to be carried out.
    """

    def __init__(
        self, home_key: str, boot_id: str, own_pid: int, now: float, look_seconds: float = LOOK_SECONDS, home_file: int = 0
    ) -> None:  # fmt: skip
        self._home_key = home_key
        self._home_number = worker_number.home_number(home_key)
        self._home_file = home_file
        self._boot_id = boot_id
        self._own_pid = own_pid
        self._look_seconds = look_seconds
        self._cares: dict[Key, Care] = {}
        self._numbers: dict[int, Key] = {}
        """The workers in care, by the numbers that their processes bear."""
        self._records: dict[Key, gd.Exited] = {}
        self._firsts: dict[int, Key] = {}
        """The first processes that have not ended, by pid."""
        self._negative: dict[int, float] = {}
        """Processes that have no marker and will not get one: pid and start."""
        self._unclaimed: dict[int, ChildEnded] = {}
        self._asked: list[tuple[Key, cr.SignalAsked]] = []
        self._hits: dict[tuple[int, float], int] = {}
        """What was swept by the last look, by pid and start, and how often in a row."""
        self._attached = self._retiring = False
        self._sweeping = self._left_behind = self._zygote_lost = False
        self._alone_since = now
        self._next_look = self._rested_at = 0.0
        self._quiet, self._left_out = False, 0
        self._newest: int | None = None
        self.zygote = 0
        """The pid of the process that workers are forked from, 0 if there is none."""
        self.unowned: tuple[Proc, ...] = ()
        """Children of the guardian of which the last look could not say whose they are."""

    # -- what the shell asks ------------------------------------------------------------------------------------

    @property
    def cares(self) -> Mapping[Key, Care]:
        """The workers in care."""
        return self._cares

    @property
    def retiring(self) -> bool:
        """Whether the guardian ends as soon as its workers have."""
        return self._retiring

    def is_first(self, pid: int) -> bool:
        """Whether a worker's first process has this pid."""
        return pid in self._firsts

    def is_over(self, now: float) -> bool:
        """Whether there is nothing left to do."""
        if self._cares:
            return False
        return self._retiring or (not self._attached and now - self._alone_since > LINGER_SECONDS)

    def seconds_left(self, now: float) -> float:
        """How long nothing is due."""
        if not self._cares:
            return max(0.0, self._rested_at - now) if self._sweeping or self._next_look <= now else 1.0
        return max(0.0, min(self.due_at(), now + 1.0) - now)

    def due_at(self) -> float:
        """When something is due for a worker."""
        due = self._next_look
        for care in self._cares.values():
            if care.look_at is not None and care.look_at < due:
                due = care.look_at
            if care.orphan_at is not None and care.orphan_at < due:
                due = care.orphan_at
        return max(due, self._rested_at)

    def wants_look(self, now: float) -> bool:
        """Whether the process table is to be read now: for an end that goes on, or because it is time.

        Many ends share a look: with a thousand processes it costs tens of milliseconds.
        """
        if self._asked or self._zygote_lost:
            return True
        if now < self._rested_at:
            return False
        return now >= self._next_look or any(c.look_at is not None and c.look_at <= now for c in self._cares.values())

    # -- crewd --------------------------------------------------------------------------------------------------

    def ordered(self, order: gd.Order, now: float) -> list[GuardEffect]:
        """Crewd has sent an order."""
        match order:
            case gd.Attach():
                return self._attach()
            case gd.Expect():
                return [Prepare(order)]
            case gd.LeaveFile():
                return [LeaveFile(order)]
            case gd.Spawn(bootstrap):
                return self._spawn(bootstrap, now)
            case gd.End(task, epoch, grace_seconds, term_seconds, whole):
                key = (task, epoch)
                if key not in self._cares:
                    return self._tell_of(key, None)
                return self._decide(key, cr.EndOrdered(now, grace_seconds, term_seconds, "ended", whole))
            case gd.Signal(task, epoch, pid, number, tree):
                if (task, epoch) in self._cares:
                    self._asked.append(((task, epoch), cr.SignalAsked(pid, number, tree)))
                return []
            case gd.Confirm(task, epoch):
                return [ForgetExit((task, epoch))] if self._records.pop((task, epoch), None) is not None else []
            case gd.Query(task, epoch, number):
                return self._tell_of((task, epoch), number)
            case gd.Ping():
                return [Pong()]
            case gd.Examine(number):
                return [Examine(number)]
            case gd.Retire():
                return self.retire(now)
            case _:
                assert_never(order)

    def hung_up(self, now: float) -> list[GuardEffect]:
        """The connection to crewd is gone: each worker lives on for as long as was agreed."""
        self._attached, self._alone_since = False, now
        return self._decide_all(cr.HungUp(now))

    def retire(self, now: float) -> list[GuardEffect]:
        """End every worker quickly, then the guardian."""
        self._retiring = True
        return self._decide_all(cr.EndOrdered(now, 0.0, TERM_SECONDS_NOW, "ended"))

    def _attach(self) -> list[GuardEffect]:
        self._attached = True
        effects = self._decide_all(cr.Attached())
        return [*effects, *(Tell(record) for record in self._records.values()), Greet(len(self._cares))]

    def _tell_of(self, key: Key, number: int | None) -> list[GuardEffect]:
        care, record = self._cares.get(key), self._records.get(key)
        if care is not None:
            return [] if care.started is None else [Tell(care.started)]
        return [Inspect(key, number)] if record is None else [Tell(record)]

    def inspected(self, key: Key, number: int | None, unsent_reports: bytes, *, unborn: bool) -> list[GuardEffect]:
        """What the directory of a worker that nobody knows shows: it may have ended while no guardian was there."""
        if unsent_reports:
            return self.recorded(gd.Exited(task=key[0], epoch=key[1], unsent_reports=unsent_reports))
        return [Tell(gd.Gone(task=key[0], epoch=key[1], number=number, unborn=unborn))]

    def recorded(self, record: gd.Exited) -> list[GuardEffect]:
        """An exit record is complete, and on the disk. Crewd hears it on every connection until it confirms."""
        self._records[record.task, record.epoch] = record
        return [Tell(record)]

    # -- starting -----------------------------------------------------------------------------------------------

    def _spawn(self, bootstrap: Bootstrap, now: float) -> list[GuardEffect]:
        key = (bootstrap.task, bootstrap.epoch)
        if key in self._records or key in self._cares:
            return self._tell_of(key, None)
        worker = bootstrap.worker
        number = worker_number.number_of(self._home_key, *key)
        record = CareRecord(
            *key, on_orphan=worker.on_orphan, orphan_grace_seconds=worker.orphan_grace_seconds, limits=worker.limits,
            home=self._home_file,
        )  # fmt: skip
        self._put(Care(key, number, record, cr.Starting(now)))
        if len(self._cares) > WORKERS_MAX:
            return self.not_forked(key, 0, f"{WORKERS_MAX} workers run already", transient=True)
        if record == CareRecord(*key, home=self._home_file):  # what a successor assumes
            return [Fork(bootstrap, number)]
        return [cr.Keep(record), Fork(bootstrap, number)]  # first: the worker may live, and this guardian not hear of it

    def forked(self, key: Key, proc: Proc, now: float) -> list[GuardEffect]:
        """The zygote has forked the first process of a worker."""
        care = self._cares.get(key)
        if care is None:  # the start was given up, and has succeeded after all
            return [Signal(proc, signal.SIGKILL)] if proc.ppid == self.zygote else []
        if care.main is not None:
            return []
        self._next_look = min(self._next_look, now + self._look_seconds)
        effects = self._decide(key, cr.Forked(now, proc, self._boot_id))
        ended = self._unclaimed.pop(proc.pid, None)
        if ended is not None and (proc.state == "X" or proc.dead):  # else it was an earlier process with this pid
            effects += self._decide(key, cr.MainEnded(now, ended.code, ended.signal))
        return effects

    def not_forked(self, key: Key, pid: int, error: str, *, transient: bool = False) -> list[GuardEffect]:
        """A worker could not be started. `pid` is the process that tried, 0 if there was none."""
        care = self._cares.get(key)
        if care is None or (pid and care.main is not None and care.main.pid != pid):
            return []
        return self._decide(key, cr.NotForked(error, transient))

    def first_ended(
        self, key: Key, pid: int, now: float, code: int | None = None, number: int | None = None
    ) -> list[GuardEffect]:
        """The first process of a worker has ended with this code or signal number, as its parent or a pidfd reports."""
        care = self._cares.get(key)
        if care is None or (care.main is not None and care.main.pid != pid):
            return []
        return self._decide(key, cr.MainEnded(now, code, number))

    def zygote_died(self) -> None:
        """The zygote is gone with the forks that it had not reported: the next look shows which have happened."""
        self.zygote, self._zygote_lost = 0, True
        self._negative.clear()

    def adopt(
        self, table: Mapping[int, Proc], marks: Mapping[int, Mark], records: Iterable[CareRecord],
        cgroups: Mapping[Key, frozenset[int]], exits: Iterable[gd.Exited], now: float,
    ) -> list[GuardEffect]:  # fmt: skip
        """Find what an earlier guardian of this home left: by marker, by its records on disk, and by cgroup."""
        self._records = {(exited.task, exited.epoch): exited for exited in exits}
        noted = {(record.task, record.epoch): record for record in records if record.home in {0, self._home_file}}
        numbers = {worker_number.number_of(self._home_key, *key): key for key in noted}
        living = {pid: proc for pid, proc in table.items() if not proc.dead}
        found: dict[Key, dict[int, Proc]] = {}
        for pid, proc in living.items():
            key = self._whose(proc, marks.get(pid, Mark()), numbers)
            if key is not None and key[0]:
                found.setdefault(key, {})[pid] = proc
        for key, record in noted.items():
            for pid, start in record.members(self._boot_id):
                if pid in living and living[pid].start == start:
                    found.setdefault(key, {})[pid] = living[pid]
        for key, pids in cgroups.items():
            found.setdefault(key, {}).update({pid: living[pid] for pid in pids if pid in living})
        effects: list[GuardEffect] = []
        for key, members in found.items():
            if members:
                effects += self._take_over(
                    key, tuple(members.values()), noted.pop(key, CareRecord(*key, home=self._home_file)), now
                )
        return [*effects, *(ForgetRecord(key) for key in noted)]

    def _take_over(self, key: Key, procs: tuple[Proc, ...], record: CareRecord, now: float) -> list[GuardEffect]:
        first = record.first(self._boot_id)
        main = min(procs, key=lambda proc: ((proc.pid, proc.start) != first, proc.pid != proc.session, proc.start, proc.pid))
        seen = cr.Seen(known=frozenset((proc.pid, proc.start) for proc in procs))
        number = worker_number.number_of(self._home_key, *key)
        if first is None:  # what is noted is of an earlier boot of the machine
            record = msgspec.structs.replace(record, pid=0, start=0.0, unmarked=(), boot_id=self._boot_id)
        self._put(
            Care(key, number, record, cr.Running(main), adopted=True, orphan_at=now + record.seconds_alone, seen=seen)
        )  # fmt: skip
        effects: list[GuardEffect] = [WatchProcess(key, main.pid)]
        if self._records.pop(key, None) is not None:  # a worker that still has processes is not over
            effects.append(ForgetExit(key))
        if first is not None and (main.pid, main.start) != first:  # it ended while nobody looked, and left these behind
            effects += self._decide(key, cr.MainEnded(now))
        return effects

    # -- ended children -----------------------------------------------------------------------------------------

    def children_ended(self, ended: Iterable[ChildEnded], now: float) -> list[GuardEffect]:
        """Children of the guardian were reaped. If there were very many, only some were looked at; the rest count as alike."""
        effects: list[GuardEffect] = []
        looked_at = orphans = 0
        sampled: list[Key] = []
        for child in ended:
            key = self._firsts.get(child.pid)
            main = None if key is None else self._cares[key].main
            if key is not None and main is not None and _same(main, child.last):
                effects += self._decide(key, cr.MainEnded(now, child.code, child.signal))
                continue
            orphans += 1
            if child.looked_at:
                looked_at += 1
                owner = self._member_ended(child)
                sampled += [] if owner is None else [owner]
            # An orphan of a worker, or a worker whose zygote has died before its fork was heard of: `forked` looks here.
            self._unclaimed[child.pid] = child
            while len(self._unclaimed) > UNCLAIMED_MAX:
                del self._unclaimed[next(iter(self._unclaimed))]
        for key in sampled:
            effects += self._decide(key, cr.OrphansSeen(orphans / looked_at))
        return effects

    def _member_ended(self, child: ChildEnded) -> Key | None:
        """A worker of which a process has ended may be forking: look again. The worker, if its number is known."""
        last = child.last
        if last is None:
            return None
        for key, care in list(self._cares.items()):
            if of_it := {last.session, last.group} & care.seen.leaders:
                self._decide(key, cr.MemberEnded(frozenset(of_it)))
        if child.number is None or worker_number.home_part(child.number) != self._home_number:
            return None
        owner = self._numbers.get(child.number)
        if owner is None or owner not in self._cares:
            self._left_behind, self._next_look = True, 0.0
            return None
        self._decide(owner, cr.MemberEnded(frozenset()))
        return owner

    # -- looks and time -----------------------------------------------------------------------------------------

    def begin_look(self, table: Mapping[int, Proc], cgroups: Mapping[Key, cr.CgroupSeen]) -> Sorting:
        """The process table was read. The marks of `Sorting.unknown` are to be read next, but for those in `negative`."""
        memory = {
            key: care.seen.known
            | {(pid, table[pid].start) for pid in cgroups.get(key, cr.CgroupSeen()).pids if pid in table}
            for key, care in self._cares.items()
        }  # fmt: skip
        leaders = {leader: key for key, care in self._cares.items() for leader in care.seen.leaders}
        return Sorting(table, memory, frozenset({self._own_pid, self.zygote} - {0}), leaders)

    def has_no_mark(self, proc: Proc) -> bool:
        """Whether this process was looked at before, and had no marker, and will get none."""
        return self._negative.get(proc.pid) == proc.start

    def looked(
        self, sorting: Sorting, marks: Mapping[int, Mark], cgroups: Mapping[Key, cr.CgroupSeen], output: Mapping[Key, int],
        *, now: float, took: float, since_boot: float, heard_at: float, newest: int | None = None,
        zygote_answers: bool = False,
    ) -> list[GuardEffect]:  # fmt: skip
        """What the table shows. `output`: bytes that each worker has written; `heard_at`: when the zygote last reported a fork.

        `took` is how long the look has taken, `newest` the process that was started last before it.
        """
        table = sorting.table
        marked: dict[int, Key] = {}
        for pid, mark in marks.items():
            key = self._whose(table[pid], mark, self._numbers)
            if key is not None:
                marked[pid] = key
            elif since_boot - table[pid].start > NEGATIVE_SECONDS and table[pid].ppid != self.zygote:
                self._negative[pid] = table[pid].start  # in the pool it gets a marker with its order
        found = sorting.finish(marked)
        owners = owners_of_groups(found, table)
        for group in (table[self._own_pid].group if self._own_pid in table else 0,):
            owners[group] = None
        effects: list[GuardEffect] = []
        for key, care in list(self._cares.items()):
            procs = found.members.get(key, ())
            effects += self._decide(
                key,
                cr.Looked(
                    now, procs, owners, self.zygote,
                    unmarked=tuple((p.pid, p.start) for p in procs if not p.dead and self._negative.get(p.pid) == p.start),
                    main=None if care.main is None else table.get(care.main.pid),
                    cgroup=cgroups.get(key, cr.CgroupSeen()),
                    output_bytes=output.get(key) if self._attached else None,
                    status_may_come=zygote_answers and care.main is not None and care.main.ppid == self.zygote,
                ),
            )  # fmt: skip
        effects += self._signals(found)
        effects += self._forks_lost(found, now)
        effects += self._late_forks(now, heard_at)
        effects += self._sweep(found, table)
        self._negative = {pid: start for pid, start in self._negative.items() if pid in table}
        self._rested_at = now + LOOK_REST * took
        self._next_look = (
            self._rested_at if self._sweeping else now + (self._look_seconds if self._cares else IDLE_LOOK_SECONDS)
        )
        self._quiet = (
            bool(self._cares) and self._attached and not effects and all(care.is_quiet for care in self._cares.values())
        )
        self._left_out, self._newest = 0, newest
        if any(isinstance(effect, cr.Finish) for effect in effects) and not self._cares:
            self._next_look = 0.0  # strays are nobody's now: they end
        return effects

    def leaves_out(self, newest: int | None, now: float) -> bool:
        """Whether a look that `wants_look` asks for can be left out. `newest`: the process that was started last, if known.

        Every worker lives, has no limit but that of its processes, and the last look had nothing to tell.
        """
        if not self._quiet or newest is None or self._newest is None or self._left_out >= LOOKS_LEFT_OUT:
            return False
        if self._asked or self._zygote_lost or not 0 <= newest - self._newest <= FEW_PROCESSES:
            return False
        if not all(care.is_quiet for care in self._cares.values()):
            return False
        self._left_out += 1
        self._next_look = now + self._look_seconds
        return True

    def tick(self, now: float) -> list[GuardEffect]:
        """Time has passed."""
        if not any(care.orphan_at is not None and care.orphan_at <= now for care in self._cares.values()):
            return []
        return self._decide_all(cr.Tick(now))

    def nothing_to_look_at(self, now: float) -> None:
        """There are no workers, and neither the guardian nor the zygote has children."""
        self._sweeping, self._next_look = False, now + IDLE_LOOK_SECONDS

    def chased(self, *, hit: bool) -> None:
        """Whether a chase of what workers that are over have left behind has found one: look again soon, then."""
        self._left_behind = hit
        if hit:
            self._sweeping, self._next_look = True, self._rested_at

    def whose(self, proc: Proc, mark: Mark) -> Key | None:
        """The worker that a process is marked for; ("", n) for one of this home that is in nobody's care."""
        return self._whose(proc, mark, self._numbers)

    def _whose(self, proc: Proc, mark: Mark, numbers: Mapping[int, Key]) -> Key | None:
        if mark.key is not None and (mark.key[0] or proc.ppid != self.zygote):  # else it may be half-written: it is starting
            return mark.key
        if mark.number is not None and worker_number.home_part(mark.number) == self._home_number:
            return numbers.get(mark.number, ("", mark.number))
        return None

    def _signals(self, found: Sorted) -> list[GuardEffect]:
        asked, self._asked = self._asked, []
        effects: list[GuardEffect] = []
        for key, each in asked:
            if key in self._cares:
                living = tuple(proc for proc in found.members.get(key, ()) if not proc.dead)
                effects += cr.signals(self._cares[key], each, living)
        return effects

    def _forks_lost(self, found: Sorted, now: float) -> list[GuardEffect]:
        """After the zygote's death: a worker that is to be seen was forked, and any other was not."""
        if not self._zygote_lost:
            return []
        self._zygote_lost = False
        effects: list[GuardEffect] = []
        for key, care in list(self._cares.items()):
            if care.main is None:
                procs = found.members.get(key, ())
                if procs:
                    effects += self.forked(key, procs[0], now)
                else:
                    effects += self.not_forked(key, 0, "the zygote died before it forked the worker", transient=True)
        return effects

    def _late_forks(self, now: float, heard_at: float) -> list[GuardEffect]:
        """Give up starts that a zygote which hangs was to make: what it forks after all is ended."""
        error = f"the zygote has not answered for {ORDERED_SECONDS:g} s"
        effects: list[GuardEffect] = []
        for key, care in list(self._cares.items()):
            state = care.state
            if not isinstance(state, cr.Starting | cr.StartingToEnd) or care.seen.known:
                continue
            if now - max(state.ordered_at, heard_at) > ORDERED_SECONDS:
                effects += self.not_forked(key, 0, error, transient=True)
        return effects

    def _sweep(self, found: Sorted, table: Mapping[int, Proc]) -> list[GuardEffect]:
        """End what belongs to nobody living, and look for it again soon.

        That is what is left of a worker that is over, and, while there is no worker, whatever has become a child of the
        guardian or of the zygote. While there are workers nobody can say whose such a child is.
        """
        left = [proc for key, procs in found.members.items() if key not in self._cares for proc in procs if not proc.dead]
        zygote = table.get(self.zygote)
        strays = tuple(
            proc
            for proc in found.strays
            if zygote is None or proc.ppid != zygote.pid or proc.session != zygote.session  # else it waits for work
        )
        self.unowned = strays if self._cares else ()
        over = [*left, *(() if self._cares else strays)]
        self._hits = {(p.pid, p.start): self._hits.get((p.pid, p.start), 0) + 1 for p in over}
        self._sweeping = any(hits <= SWEEPS_MAX for hits in self._hits.values())
        effects: list[GuardEffect] = [Signal(proc, signal.SIGKILL) for proc in over]
        return [*effects, Chase(None)] if over or self._left_behind else effects

    # -- one worker ---------------------------------------------------------------------------------------------

    def _put(self, care: Care) -> None:
        self._cares[care.key] = care
        self._numbers[care.number] = care.key
        if care.main is not None and not isinstance(care.state, cr.Draining):
            self._firsts[care.main.pid] = care.key

    def _decide_all(self, event: cr.Event) -> list[GuardEffect]:
        effects: list[GuardEffect] = []
        for key in list(self._cares):
            effects += self._decide(key, event)
        return effects

    def _decide(self, key: Key, event: cr.Event) -> list[GuardEffect]:
        before = self._cares[key]
        after, effects = cr.decide(before, event)
        main = before.main
        if main is not None and self._firsts.get(main.pid) == key:
            del self._firsts[main.pid]
        if after is not None:
            self._put(after)
            return list(effects)
        del self._cares[key]
        self._numbers.pop(before.number, None)
        if not self._cares:
            self._next_look = 0.0
        return list(effects)


def _same(main: Proc, last: Proc | None) -> bool:
    """Whether the process that has ended is this one, as far as it can be seen."""
    return last is None or not main.start or last.start == main.start
