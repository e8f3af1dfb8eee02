"""The guardian's loop: a selector over crewd's connection, the zygote, ended children, and the next due time."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, assert_never

import msgspec

from crewd import limit_mark, worker_files
from crewd.clock import SystemClock
from crewd.protocol import hands
from crewd.protocol.home import Home
from crewd.protocol.ids import marker as make_marker
from crewd.protocol.limits import NOTE_CHARS_MAX, TERM_SECONDS_GRACEFUL, TERM_SECONDS_NOW, WORKERS_MAX
from crewd.protocol.redact import clip
from crewd.protocol.rows import ExitStatus, Survivor
from crewd.store.output import EXIT_FILE, tail_of
from crewd.supervisor.guardian import ladder as ladders
from crewd.supervisor.guardian import marker, processes
from crewd.supervisor.guardian.births import Births
from crewd.supervisor.guardian.cgroups import Cgroups
from crewd.supervisor.guardian.charge import Charge, leave_file, make_room, noted, take_last_words, without
from crewd.supervisor.guardian.connection import Connection
from crewd.supervisor.guardian.exits import ExitRecords
from crewd.supervisor.guardian.folder import Folder
from crewd.supervisor.guardian.papers import Papers
from crewd.supervisor.guardian.tree import Key, Proc, Sorted, sort
from crewd.supervisor.guardian.usage import cap_output, differs, exceeded, mark_time, written
from crewd.supervisor.guardian.zygote import PACKET_BYTES_MAX

LOOK_SECONDS = 1.0
"""Between two looks at the process table while workers live: what a worker starts is remembered (R1)."""
REAP_SECONDS = 0.01
"""How long children that have ended are taken leave of before everything else has its turn."""
REAP_LOOKS = 20
"""Of them, in one turn, how many are looked at."""
ORPHANS_PER_SECOND_MAX = 1_000
"""A worker that leaves more processes to the guardian is a storm, and is ended."""
CHASE_SECONDS = 0.02
"""How long orphans are hit one after the other, where a look at the whole table is too slow."""
CHASE_MISSES = 20
"""Looks at the guardian's children, in a row, that find nobody."""
IDLE_LOOK_SECONDS = 10.0
"""The same while none lives, if somebody has become a child of the guardian or of the zygote."""
LINGER_SECONDS = 10.0
"""A guardian without workers and without crewd ends after this."""
LOOK_REST = 2.0
"""So many times as long as a look took until the next one: the guardian has other things to do as well."""
NEGATIVE_SECONDS = 2.0
"""A process older than this that had no marker will not get one (it would have been marked at its birth)."""
WORD_SECONDS = 3.0
"""Between the end of a worker's first process and its parent's word on how; after it, that is not known."""
ORDERED_SECONDS = 60.0
"""How long to wait for the zygote to say that it has forked a worker, while it says nothing of other workers either. A zygote
that gets no processor is slow for as long; after this, the start is tried again."""
TRANSIENT = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS})
"""Errors of a start after which another try may succeed."""
TAIL_CHARS = 1_000
"""Of a worker's standard error, in the record of its end."""
USED_SECONDS = 2.0
"""Between two words to crewd on what a worker uses."""
UNOWNED_MAX = 20
"""Processes of unknown owner that an end names."""
UNCLAIMED_MAX = 1_000
"""Exits remembered whose process nobody has claimed yet."""
INLINE_BYTES_MAX = PACKET_BYTES_MAX // 2
"""What a worker is told at birth goes with its order, and beyond this, or to a new interpreter, in a file."""


class Settings(NamedTuple):
    """What the configuration says of workers' births: see `Config`."""

    preload: tuple[str, ...]
    passed: tuple[str, ...]
    warm: int
    cgroups: bool
    run_output_bytes: int
    open_files: int


class Guardian:
    """See the package's text."""

    def __init__(self, home: Home, settings: Settings) -> None:
        self._home = home
        self._settings = settings
        self._clock = SystemClock()
        self._selector = selectors.DefaultSelector()
        self._boot_id = processes.boot_id()
        self._charges: dict[Key, Charge] = {}
        self._exits = ExitRecords(home.exits)
        self._unmarked: dict[int, float] = {}
        self._home_number = limit_mark.home_number(home.key)
        self._numbers: dict[int, Key] = {}
        """The workers in its care, by the numbers that their processes bear."""
        self._sweeping = self._left_behind = self._reaping = False
        self._unowned: tuple[Proc, ...] = ()
        """Its children of which nobody can say whose they are, as the last look has seen them."""
        self._crewd = Connection(self._selector, self._obey, self._left_alone)
        self._next_look = self._rested_at = 0.0
        self._births = Births(home, settings.preload, settings.passed, settings.warm, self._selector, self._clock)
        self._next_log_check = 0.0
        self._alone_since = self._clock.monotonic()
        self._retiring = False
        self._unclaimed: dict[int, int] = {}
        self._cgroups = Cgroups(home.key, wanted=settings.cgroups)
        self._papers = Folder(home.root / "charges", Papers)

    # -- life ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until retired, or until alone with nothing to guard."""
        self._hear_signals()
        self._crewd.listen(self._home.guardian_socket)
        self._births.start()
        self._adopt()
        while not self._is_over():
            for key, _ in self._selector.select(self._timeout()):
                key.data()
            self._hear_births()
            self._births.send()
            self._reap()
            self._tick()
        self._home.guardian_socket.unlink(missing_ok=True)
        self._cgroups.close()
        self._births.close()

    def _is_over(self) -> bool:
        if self._charges:
            return False
        if self._retiring:
            return not self._crewd.has_more_to_say
        return not self._crewd.stands and self._clock.monotonic() - self._alone_since > LINGER_SECONDS

    def _hear_signals(self) -> None:
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if processes.LINUX else os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

        def heard() -> None:
            with contextlib.suppress(BlockingIOError):
                if signal.SIGTERM in os.read(reading, 4096):
                    self._retire()

        self._selector.register(reading, selectors.EVENT_READ, heard)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)

    def _timeout(self) -> float:
        now = self._clock.monotonic()
        if self._reaping:
            return 0.0
        if not self._charges:
            return max(0.0, self._rested_at - now) if self._sweeping else 1.0
        due = min(self._next_look, *(c.look_at for c in self._charges.values() if c.ladder), now + 1.0)
        due = min(due, *(c.orphan_at for c in self._charges.values() if c.orphan_at is not None), now + 1.0)
        return max(0.0, max(due, self._rested_at) - now)

    # -- crewd --------------------------------------------------------------------------------------------------

    def _left_alone(self) -> None:
        """Crewd is gone: orphan clocks begin to run."""
        now = self._alone_since = self._clock.monotonic()
        for charge in self._charges.values():
            charge.orphan_at = now + charge.papers.seconds_alone

    def _tell(self, notice: hands.Notice) -> None:
        self._crewd.tell(notice)

    def _obey(self, order: hands.Order) -> None:
        match order:
            case hands.Attach():
                for charge in self._charges.values():
                    charge.orphan_at = None
                    self._tell_started(charge)
                for record in self._exits.all():
                    self._tell(record)
                attached = hands.Attached(
                    os.getpid(), len(self._charges), self._cgroups.path, expects=True, leaves=True, answers=True
                )
                self._tell(attached)
            case hands.Expect(task, directory, shared):
                self._births.expect(task)
                if directory:
                    make_room(directory, shared)
            case hands.LeaveFile(shared, name, data, if_absent):
                leave_file(shared, name, data, if_absent=if_absent)
            case hands.Spawn(bootstrap):
                self._spawn(bootstrap)
            case hands.End(task, epoch, grace_seconds, term_seconds, whole):
                self._end((task, epoch), grace_seconds, term_seconds, "ended", whole=whole)
            case hands.Signal():
                self._signal(order)
            case hands.Confirm(task, epoch):
                self._exits.confirm((task, epoch))
            case hands.Query(task, epoch, number):
                self._say_what_of((task, epoch), number)
            case hands.Ping():
                self._tell(hands.Pong(self._births.pid if self._births.stands else 0, self._births.silent()))
            case hands.Retire():
                self._retire()
            case _:
                assert_never(order)

    def _say_what_of(self, key: Key, number: int | None = None) -> None:
        charge = self._charges.get(key)
        if charge is not None:
            self._tell_started(charge)
        else:
            record = self._exits.get(key) or self._found_dead(key)
            unborn = not self._home.attempt(*key).exists()  # each birth begins with its directory
            self._tell(record or hands.Gone(task=key[0], epoch=key[1], number=number, unborn=unborn))

    def _found_dead(self, key: Key) -> hands.Exited | None:
        """A worker that ended while no guardian looked, and left its last words: they are its exit record."""
        words = take_last_words(self._home.attempt(*key))
        if not words:
            return None
        record = hands.Exited(task=key[0], epoch=key[1], last_words=words)
        self._exits.add(record)
        return record

    def _tell_started(self, charge: Charge) -> None:
        if charge.main is not None:
            self._tell(
                hands.Started(
                    task=charge.key[0], epoch=charge.key[1], pid=charge.main.pid, start_time=charge.main.start,
                    boot_id=self._boot_id, adopted=charge.adopted,
                )
            )  # fmt: skip

    def _retire(self) -> None:
        self._retiring = True
        for charge in list(self._charges.values()):
            self._end(charge.key, 0.0, TERM_SECONDS_NOW, "ended")

    # -- starting -----------------------------------------------------------------------------------------------

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
        worker = bootstrap.worker
        papers = Papers(
            *key, on_orphan=worker.on_orphan, orphan_grace_seconds=worker.orphan_grace_seconds, limits=worker.limits
        )  # fmt: skip
        number = limit_mark.number_of(self._home.key, *key)
        charge = Charge(key, Path(bootstrap.directory), papers, number, ordered_at=self._clock.monotonic())
        self._take_charge(charge)
        try:
            if len(self._charges) > WORKERS_MAX:
                raise OSError(errno.EAGAIN, f"{WORKERS_MAX} workers run already")
            if not os.path.isdir(bootstrap.cwd):  # noqa: PTH112 (hot path)
                raise OSError(f"the working directory {bootstrap.cwd} is not there")
            worker_files.make(Path(bootstrap.directory))
            worker_files.make(Path(bootstrap.shared))
            told = msgspec.msgpack.encode(msgspec.structs.replace(bootstrap, env={}, secrets={}))
            charge.known_secrets = bootstrap.known
            path = f"{bootstrap.directory}/bootstrap"
            inline = worker.start != "spawn" and len(told) <= INLINE_BYTES_MAX
            if not inline:
                worker_files.write(Path(bootstrap.directory), "bootstrap", told)
            order = {
                "task": bootstrap.task,
                "epoch": bootstrap.epoch,
                "marker": make_marker(self._home.key, *key),
                "number": charge.number,
                "start": worker.start,
                "bootstrap": path,
                "inline": told if inline else b"",
                "directory": bootstrap.directory,
                "cwd": bootstrap.cwd,
                "env": bootstrap.env or worker.env,
                "secrets": bootstrap.secrets,
                "clean": worker.clean_env,
                "env_pass": worker.env_pass,
                "umask": worker.umask,
                "nice": worker.nice,
                "open_files": self._settings.open_files,
                "rlimits": worker.rlimits,
                "cgroup": self._cgroups.make(key, worker.limits.processes),
            }
            self._births.order(order)
        except OSError as error:
            self._spawn_failed(charge, error.strerror or str(error), transient=error.errno in TRANSIENT)

    def _spawn_failed(self, charge: Charge, error: str, *, transient: bool = False) -> None:
        self._close(charge, cause="spawn_failed", error=error, transient=transient)

    def _hear_births(self) -> None:
        for kind, task, epoch, pid, value in self._births.heard():
            charge = self._charges.get((task, epoch))
            if charge is None:
                proc = processes.look(pid) if kind == "forked" else None
                if proc is not None and proc.ppid == self._births.pid:  # given up, and born after all
                    processes.send(proc, signal.SIGKILL)
            elif kind == "forked":
                self._born(charge, pid)
            elif charge.main is not None and charge.main.pid != pid:
                continue  # another process is the worker
            elif kind == "failed":
                self._spawn_failed(charge, str(value), transient=pid == 0)  # nothing was forked: the machine is full
            elif not charge.main_over:
                self._main_gone(charge, value)

    def _born(self, charge: Charge, pid: int) -> None:
        main = processes.look(pid) or Proc(pid, os.getpid(), pid, pid, "X", 0.0)
        charge.main = main
        charge.known |= {(pid, main.start)}
        charge.papers = msgspec.structs.replace(charge.papers, pid=pid, start=main.start, boot_id=self._boot_id)
        self._tell_started(charge)
        self._papers.keep(charge.key, charge.papers)
        status = self._unclaimed.pop(pid, None)
        if status is not None and (main.state == "X" or main.dead):  # else it was another process of the same pid
            self._main_gone(charge, status)
        if charge.ladder is not None:
            charge.look_at = self._clock.monotonic()

    def _adopt(self) -> None:
        """Find what an earlier guardian of this home left: by the marker, its notes, and cgroups where there are some."""
        found: dict[Key, dict[int, Proc]] = {}
        table = {pid: proc for pid, proc in processes.table().items() if not proc.dead}
        noted = {(papers.task, papers.epoch): papers for papers in self._papers.all()}
        self._numbers = {limit_mark.number_of(self._home.key, *key): key for key in noted}
        for proc in table.values():
            key = self._marked(proc)
            if key is not None and key[0]:
                found.setdefault(key, {})[proc.pid] = proc
        for key, papers in noted.items():
            for pid, start in papers.members(self._boot_id):
                if pid in table and table[pid].start == start:
                    found.setdefault(key, {})[pid] = table[pid]
        for key in self._cgroups.found():
            found.setdefault(key, {}).update({pid: table[pid] for pid in self._cgroups.pids(key) if pid in table})
        for key, members in found.items():
            procs = list(members.values())
            if not procs:
                self._cgroups.remove(key)
                continue
            number = limit_mark.number_of(self._home.key, *key)
            charge = Charge(key, self._home.attempt(*key), noted.pop(key, Papers(*key)), number, adopted=True)
            first = charge.papers.first(self._boot_id)
            oldest = min(
                procs, key=lambda proc: ((proc.pid, proc.start) != first, proc.pid != proc.session, proc.start, proc.pid)
            )
            charge.main = oldest
            charge.known = frozenset((proc.pid, proc.start) for proc in procs)
            charge.orphan_at = self._clock.monotonic() + charge.papers.seconds_alone
            with contextlib.suppress(OSError, AttributeError):
                charge.pidfd = os.pidfd_open(oldest.pid)
                self._selector.register(charge.pidfd, selectors.EVENT_READ, lambda c=charge: self._main_gone(c, None))
            self._exits.confirm(key)  # a record of a worker that still has processes is not true
            self._take_charge(charge)
            if first is not None and (oldest.pid, oldest.start) != first:
                self._main_gone(charge, None)  # it ended while nobody looked: what it left behind is ended too
        for key in noted:
            self._papers.forget(key)  # nothing of it lives
        self._numbers = {charge.number: key for key, charge in self._charges.items()}

    def _take_charge(self, charge: Charge) -> None:
        self._charges[charge.key] = charge
        self._numbers[charge.number] = charge.key

    def _marked(self, proc: Proc) -> Key | None:
        if self._unmarked.get(proc.pid) == proc.start:
            return None
        key = marker.owner(marker.read(proc.pid) or "", self._home.key)
        if key is not None and (key[0] or proc.ppid != self._births.pid):  # its marker may be half-written: it is being born
            return key
        number = limit_mark.read(proc.pid)
        if number is not None and limit_mark.home_part(number) == self._home_number:
            return self._numbers.get(number, ("", number))
        now = processes.since_boot()
        if now - proc.start > NEGATIVE_SECONDS and proc.ppid != self._births.pid:  # in the pool it gets one with its order
            self._unmarked[proc.pid] = proc.start
        return None

    # -- ending -------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Take leave of children that have ended: for a moment, so that orders and ends do not wait for a storm of orphans.

        Of a storm only some are looked at; whose they are, so are the others.
        """
        until = self._clock.monotonic() + REAP_SECONDS
        mains = {c.main.pid: c for c in self._charges.values() if c.main is not None and not c.main_over}
        looked, orphans = 0, 0
        sampled: list[Charge] = []
        self._reaping = False
        for pid, status in processes.ended():
            if pid == self._births.pid:
                self._zygote_died()
                continue
            charge = mains.pop(pid, None)
            if charge is not None and charge.main is not None and _same(charge.main, processes.look(pid)):
                self._main_gone(charge, status)
                continue
            orphans += 1
            if looked < REAP_LOOKS:
                looked += 1
                owner = self._stir(processes.look(pid))
                sampled += [] if owner is None else [owner]
            # An orphan of a worker's, or a worker whose zygote has died, before its birth was read: `_born` looks here.
            self._unclaimed[pid] = status
            while len(self._unclaimed) > UNCLAIMED_MAX:
                del self._unclaimed[next(iter(self._unclaimed))]
            if self._clock.monotonic() > until:
                self._reaping = True
                break
        for charge in sampled:
            charge.orphans += orphans / looked

    def _stir(self, last: Proc | None) -> Charge | None:
        """A child has ended. If it was a worker's, that worker may still be forking: look again. The worker, if it is known."""
        if last is None:
            return None
        for charge in self._charges.values():
            if of_it := {last.session, last.group} & charge.led:
                charge.stirred = True
                charge.stirring |= of_it
        number = limit_mark.read(last.pid)
        if number is None or limit_mark.home_part(number) != self._home_number:
            return None
        owner = self._charges.get(self._numbers.get(number, ("", number)))
        if owner is not None:
            owner.stirred = True
        else:
            self._left_behind, self._next_look = True, 0.0
        return owner

    def _main_gone(self, charge: Charge, status: int | None) -> None:
        """The worker's first process has ended: whatever it left behind is ended too."""
        if charge.pidfd is not None:
            self._selector.unregister(charge.pidfd)
            os.close(charge.pidfd)
            charge.pidfd = None
        charge.main_over, charge.status = True, status
        now = self._clock.monotonic()
        charge.ladder = ladders.first_gone(charge.ladder, now, TERM_SECONDS_GRACEFUL)
        charge.look_at = now

    def _zygote_died(self) -> None:
        self._hear_births()  # its last words
        self._births.died()  # who marks itself after this sees the closed line, and ends
        self._unmarked.clear()
        self._look()
        for charge in list(self._charges.values()):
            if charge.main is None:
                born = [pid for pid, _ in charge.known]
                if born:
                    self._born(charge, min(born))
                else:
                    self._spawn_failed(charge, "the zygote died before it forked the worker", transient=True)

    def _signal(self, order: hands.Signal) -> None:
        """A signal that somebody asked for: only processes that are certainly the worker's get it."""
        charge = self._charges.get((order.task, order.epoch))
        if charge is None:
            return
        table = self._look()
        members = [table[pid] for pid, start in sorted(charge.known) if pid in table and table[pid].start == start]
        host = charge.main.pid if charge.main is not None else 0
        for proc in members:
            meant = proc.pid == order.pid or (order.tree and (proc.pid != host or order.pid == host))
            if meant and not proc.dead:
                processes.send(proc, order.number)

    def _end(
        self, key: Key, grace_seconds: float, term_seconds: float, cause: hands.Cause, *, whole: bool = False
    ) -> None:  # fmt: skip
        charge = self._charges.get(key)
        if charge is None:
            self._say_what_of(key)
            return
        now = self._clock.monotonic()
        if not charge.main_over and not charge.limit:
            charge.cause = cause
        if charge.ladder is None:
            charge.ladder = ladders.begin(now, grace_seconds, term_seconds, whole=whole)
        else:
            charge.ladder = ladders.hasten(charge.ladder, now, grace_seconds, term_seconds, whole=whole)
        charge.look_at = now

    def _look(self) -> dict[int, Proc]:
        began = self._clock.monotonic()
        table = processes.table()
        own = frozenset({os.getpid(), self._births.pid})
        memory = {
            key: c.known | {(pid, table[pid].start) for pid in self._cgroups.pids(key) if pid in table}
            for key, c in self._charges.items()
        }
        led = {leader: key for key, charge in self._charges.items() for leader in charge.led}
        result = sort(table, memory, self._marked, own, led)
        for key, charge in list(self._charges.items()):
            charge.known = result.memory.get(key, frozenset())
            members = [table[pid] for pid in result.members.get(key, ())]
            charge.led = {
                leader for pid, _ in charge.known for leader in (table[pid].session, table[pid].group)
            } | charge.stirring
            charge.led.discard(self._births.pid)  # where a worker is for an instant, and others wait to become one
            charge.stirring.clear()
            self._remember_unmarked(charge, members)
            self._measure(charge, members)
            if charge.ladder is None and charge.main is not None and self._main_vanished(charge, self._clock.monotonic()):
                self._main_gone(charge, None)
        self._sweeping = self._sweep(result, table)
        self._cgroups.tidy()
        self._give_up_births()
        self._unmarked = {pid: start for pid, start in self._unmarked.items() if pid in table}
        now = self._clock.monotonic()
        self._rested_at = now + LOOK_REST * (now - began)
        pause = LOOK_SECONDS if self._charges else IDLE_LOOK_SECONDS
        self._next_look = self._rested_at if self._sweeping else now + pause
        return table

    def _sweep(self, result: Sorted, table: dict[int, Proc]) -> bool:
        """End what belongs to nobody living; whether there was something. It is looked for again soon then.

        That is what is left of a worker that is over, and, while there is no worker, whatever has become a child of the
        guardian or of the zygote. Nobody knows whose such a child is while there are workers.
        """
        left = {pid for key, pids in result.members.items() if key not in self._charges for pid in pids}
        zygote = table.get(self._births.pid)
        strays = [
            table[pid]
            for pid in result.strays
            if zygote is None or table[pid].ppid != zygote.pid or table[pid].session != zygote.session  # else it waits for work
        ]
        self._unowned = tuple(strays) if self._charges else ()
        over = [table[pid] for pid in left] + ([] if self._charges else strays)
        for proc in over:
            processes.send(proc, signal.SIGKILL)
        if over or self._left_behind:
            self._left_behind = self._chase(lambda key: key is not None and key not in self._charges)
        return bool(over) or self._left_behind

    def _chase(self, meant: Callable[[Key | None], bool]) -> bool:
        """KILL to children of the guardian, one by one as they come, for a moment; whether one was hit.

        A chain of forks, each in a session of its own, is gone when the whole table was read. Its orphans come here.
        """
        until, hit, misses = self._clock.monotonic() + CHASE_SECONDS, False, 0
        while misses < CHASE_MISSES and self._clock.monotonic() < until:
            misses += 1
            for pid in processes.children():
                proc = processes.look(pid) if pid != self._births.pid else None
                if proc is not None and not proc.dead and meant(self._marked(proc)) and processes.send(proc, signal.SIGKILL):
                    hit, misses = True, 0
        return hit

    def _give_up_births(self) -> None:
        """A zygote that hangs holds up nobody: what it forks after all is ended."""
        now = self._clock.monotonic()
        for charge in list(self._charges.values()):
            unborn = charge.main is None and not charge.known
            if unborn and now - max(charge.ordered_at, self._births.heard_at) > ORDERED_SECONDS:
                self._spawn_failed(charge, f"the zygote has not answered for {ORDERED_SECONDS:g} s", transient=True)

    def _remember_unmarked(self, charge: Charge, members: list[Proc]) -> None:
        """What has no marker is known to this guardian alone: its successor must find it written down."""
        unmarked = tuple(sorted((p.pid, p.start) for p in members if self._unmarked.get(p.pid) == p.start))
        if unmarked != charge.papers.unmarked and charge.papers.pid:
            charge.papers = msgspec.structs.replace(charge.papers, unmarked=unmarked)
            self._papers.keep(charge.key, charge.papers)

    def _measure(self, charge: Charge, members: list[Proc]) -> None:
        """What the worker uses; crewd hears of it now and then, and what is too much ends the worker at once."""
        now, memory = self._clock.monotonic(), sum(proc.memory for proc in members)
        charge.memory_peak = max(charge.memory_peak, memory)
        charge.cpu = max(charge.cpu, self._cgroups.cpu_seconds(charge.key) or sum(proc.cpu for proc in members))
        reached = exceeded(charge.papers.limits, memory, charge.cpu, len(members))
        rate = charge.orphans / max(now - charge.measured_at, LOOK_SECONDS / 2) if charge.measured_at else 0.0
        charge.orphans, charge.measured_at = 0.0, now
        if rate > ORPHANS_PER_SECOND_MAX:
            reached = ("processes", f"{rate:.0f} orphans in a second, {ORPHANS_PER_SECOND_MAX} are allowed")
        if reached is not None and charge.ladder is None:
            self._end(charge.key, 0.0, TERM_SECONDS_GRACEFUL, "limit")
            charge.limit, charge.limit_text = reached
        mark_time(charge, self._clock.wall())
        if not self._crewd.stands or charge.main is None or now - charge.used_at < USED_SECONDS:
            return
        used = hands.Used(*charge.key, memory, round(charge.cpu, 2), len(members), sum(written(charge.directory)))
        charge.used_at = now
        if charge.used is None or differs(charge.used, used):
            charge.used = used
            self._tell(used)

    def _tick(self) -> None:
        now = self._clock.monotonic()
        if not self._retiring:
            self._births.tend()
        for charge in list(self._charges.values()):
            if charge.orphan_at is not None and now >= charge.orphan_at:
                charge.orphan_at = None
                self._end(charge.key, 0.0, TERM_SECONDS_GRACEFUL, "orphaned")
        climbing = [c for c in self._charges.values() if c.ladder is not None and c.look_at <= now]
        if climbing and now < self._rested_at:
            return  # many ends share a look: with a thousand processes it costs tens of milliseconds
        if climbing:
            table = self._look()
            for charge in climbing:
                self._climb(charge, table)
        elif now >= max(self._next_look, self._rested_at) and (self._charges or processes.have_children(self._births.pid)):
            self._look()
        if self._charges and now >= self._next_log_check:
            self._next_log_check = now + 2.0
            cap_output(self._charges.values(), self._settings.run_output_bytes)

    def _climb(self, charge: Charge, table: dict[int, Proc]) -> None:
        if charge.ladder is None or (charge.main is None and not charge.known):
            charge.look_at = self._clock.monotonic() + 0.005  # ordered to end before it was born: wait for the birth
            return
        alive = frozenset(pid for pid, _ in charge.known if pid in table and not table[pid].dead)
        now = self._clock.monotonic()
        stirred = charge.stirred or bool(self._cgroups.pids(charge.key) - alive)
        stirred = stirred or (not alive and self._cgroups.is_populated(charge.key))
        charge.stirred = False
        charge.ladder, step = ladders.climb(charge.ladder, alive, now, stirred=stirred)
        for pid in step.term:
            processes.send(table[pid], signal.SIGTERM)
            processes.send(table[pid], signal.SIGCONT)
        if step.kill or step.hit_groups:
            charge.killed = True
            self._cgroups.kill(charge.key)
            members = [table[pid] for pid, start in charge.known if pid in table and table[pid].start == start]
            for group in _own_groups(step.kill, table) | self._left_groups(charge, table):
                # Atomic against a fork bomb, unlike one process after another.
                processes.kill_group(group, [proc for proc in members if proc.group == group])
            for pid in step.kill:
                processes.send(table[pid], signal.SIGKILL)
            self._chase(lambda key: key == charge.key)
        charge.look_at = step.look_again_at
        if step.over and (charge.main_over or charge.adopted or alive or self._main_vanished(charge, now)):
            survivors = tuple(processes.describe(table[pid], processes.since_boot()) for pid in sorted(alive))
            self._close(charge, survivors=survivors)

    def _left_groups(self, charge: Charge, table: dict[int, Proc]) -> set[int]:
        """Groups that its processes were seen in, and nobody else is in: they hit who forks faster than a table is read."""
        foreign = {proc.group for proc in table.values() if (proc.pid, proc.start) not in charge.known and not proc.dead}
        return charge.led - foreign - {os.getpgrp(), 0, 1}

    def _main_vanished(self, charge: Charge, now: float) -> bool:
        """Whether the first process has ended, and nobody says how for a while (the zygote hangs, or died with that word)."""
        if charge.main is not None:
            proc = processes.look(charge.main.pid)
            if proc is not None and proc.start == charge.main.start and not proc.dead:
                return False
        if charge.vanished_at is None:
            charge.vanished_at = now
        return now - charge.vanished_at > WORD_SECONDS

    def _close(
        self, charge: Charge, *, cause: hands.Cause | None = None, error: str = "", survivors: tuple[Survivor, ...] = (),
        transient: bool = False,
    ) -> None:  # fmt: skip
        status, tail = charge.status, ""
        errors: list[str] = []
        with noted(errors):
            worker_files.remove(charge.directory, "bootstrap")
        self._papers.forget(charge.key)
        with noted(errors):
            if charge.directory.is_dir():
                mark_time(charge, self._clock.wall(), last=True)
                ends = without(tail_of(charge.directory), charge.known_secrets)
                tail = ends.stderr.decode("utf-8", "replace").strip()[-TAIL_CHARS:]
                worker_files.write(charge.directory, EXIT_FILE, msgspec.msgpack.encode(ends))
        self._cgroups.remove(charge.key)
        record = hands.Exited(
            task=charge.key[0],
            epoch=charge.key[1],
            cause=cause or charge.cause,
            error=clip(error or charge.limit_text, NOTE_CHARS_MAX),
            exit=ExitStatus(
                code=os.WEXITSTATUS(status) if status is not None and os.WIFEXITED(status) else None,
                signal=os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None,
                timed_out=charge.limit,
                killed=charge.killed,
                drain_seconds=self._clock.monotonic() - charge.ladder.begun_at if charge.ladder else 0.0,
                cleanup_errors=tuple(clip(each, NOTE_CHARS_MAX) for each in errors),
                memory_peak_bytes=charge.memory_peak,
                cpu_seconds=round(charge.cpu, 3),
                unowned=tuple(processes.describe(proc, processes.since_boot()) for proc in self._unowned[:UNOWNED_MAX]),
            ),
            survivors=survivors,
            last_words=take_last_words(charge.directory),
            tail=tail,
            transient=transient,
        )
        del self._charges[charge.key]
        self._numbers.pop(charge.number, None)
        if charge.pidfd is not None:
            self._selector.unregister(charge.pidfd)
            os.close(charge.pidfd)
        self._exits.add(record)
        self._tell(record)
        if not self._charges:
            self._look()  # strays are nobody's now: they end


def _same(main: Proc, last: Proc | None) -> bool:
    """Whether who has ended is this process, as far as it can be seen."""
    return last is None or not main.start or last.start == main.start


def _own_groups(pids: frozenset[int], table: dict[int, Proc]) -> set[int]:
    groups = {table[pid].group for pid in pids if pid in table}
    foreign = {proc.group for proc in table.values() if proc.pid not in pids and not proc.dead}
    return groups - foreign - {os.getpgrp(), 0}
