"""The guardian's loop: a selector over crewd's connection, the zygote, ended children, and the next due time.

It decides nothing: `guard` does, and this carries out what it answers.

Tests: tests/guardian/test_survivors.py, tests/guardian/test_escapes.py.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import selectors
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, assert_never

import msgspec
import psutil

from crewd import __version__, limit_mark, worker_files
from crewd.clock import SystemClock
from crewd.guardian import care as cr
from crewd.guardian import guard_effects as gu
from crewd.guardian import marker, processes
from crewd.guardian.care_record import CareRecord
from crewd.guardian.cgroups import Cgroups
from crewd.guardian.connection import CrewdConnection, Listener
from crewd.guardian.examine import examine
from crewd.guardian.exits import ExitRecords
from crewd.guardian.file_service import FileService
from crewd.guardian.files import Files
from crewd.guardian.folder import Folder
from crewd.guardian.guard import Guard
from crewd.guardian.guard_effects import GuardEffect, Mark
from crewd.guardian.output import Output, cap
from crewd.guardian.output_files import EXIT_FILE, tail_of
from crewd.guardian.prepared import was_begun
from crewd.guardian.tree import Key, Proc
from crewd.guardian.worker_folder import leave_file, noted, prepare, take_unsent_reports
from crewd.guardian.zygote import PACKET_BYTES_MAX
from crewd.guardian.zygote_link import ZygoteLink
from crewd.model.errors import UsageError
from crewd.model.home import Home
from crewd.model.ids import marker as make_marker
from crewd.model.known_secrets import KnownSecrets
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.redact import clip
from crewd.private_files import is_open_as, make_directory
from crewd.protocol import guardian as gd
from crewd.protocol.bootstrap import Bootstrap

_log = logging.getLogger("crewd.guardian")
REAP_SECONDS = 0.01
"""How long children that have ended are reaped before everything else has its turn."""
REAP_LOOKS = 20
"""Of them, in one turn, how many are looked at."""
CHASE_SECONDS = 0.02
"""How long a chase lasts (see `care.Chase`), where a look at the whole table is too slow."""
CHASE_MISSES = 20
"""Looks at the guardian's children, one after the other, that find nobody: then a chase is over."""
LISTEN_SECONDS = 1.0
"""Between two looks at whether the files of its sockets are there."""
CAP_SECONDS = 2.0
"""Between two looks at the sizes of output files that may have to be cut."""
TRANSIENT = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS})
"""Errors of a start after which another try may succeed."""
TAIL_CHARS = 1_000
"""Of a worker's standard error, in the record of its end."""
UNOWNED_MAX = 20
"""Processes of unknown owner that an end names."""
INLINE_BYTES_MAX = PACKET_BYTES_MAX // 2
"""A bootstrap of at most this size goes with the order to fork; a larger one, or one for a new interpreter, goes in a file."""
EXAMINE_REST = 9.0
"""The pause after a look at the machine, as a multiple of how long the look took: looks take a tenth of the time at most."""


class Settings(NamedTuple):
    """What the configuration says about workers' processes: see `Config`."""

    preload: tuple[str, ...]
    passed: tuple[str, ...]
    warm: int
    cgroups: bool
    run_output_bytes: int
    open_files: int


def made_as(settings: Settings) -> str:
    """What a guardian was started as: the release of crewd, and a digest of the settings."""
    return f"{__version__} {hashlib.sha256(msgspec.json.encode(settings)).hexdigest()[:16]}"


class Guardian:
    """See the package's text. `lock` is the descriptor of the file by which it holds the home."""

    def __init__(self, home: Home, settings: Settings, lock: int) -> None:
        self._home = home
        self._lock = lock
        self._listeners: tuple[Listener, ...] = ()
        self._listen_at = 0.0
        self._unheard = False
        self._settings = settings
        self._clock = SystemClock()
        self._selector = selectors.DefaultSelector()
        self._examined: gd.Examined | None = None
        self._examine_at = 0.0
        self._guard = Guard(
            home.key, processes.boot_id(), os.getpid(), self._clock.monotonic(), home_file=home.root.stat().st_ino
        )
        self._exits = ExitRecords(home.exits)
        self._records = Folder(home.root / "charges", CareRecord)
        self._cgroups = Cgroups(home.key, wanted=settings.cgroups)
        self._crewd = CrewdConnection(self._selector, self._ordered, self._hung_up)
        self._files = FileService(self._selector, Files(home, self._clock).answer)
        self._zygote = ZygoteLink(home, settings.preload, settings.passed, settings.warm, self._selector, self._clock)
        self._outputs: dict[Key, Output] = {}
        self._secrets: dict[Key, KnownSecrets] = {}
        self._pidfds: dict[Key, int] = {}
        self._reaping = False
        self._cap_at = 0.0

    # -- life ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until retired, or until alone with nothing to guard."""
        self._hear_signals()
        self._listeners = (
            Listener(self._selector, self._home.files_socket, self._files.accepted),
            Listener(self._selector, self._home.guardian_socket, self._crewd.accepted),
        )
        self._zygote.start()
        self._adopt()
        while not self._is_over():
            seconds = 0.0 if self._reaping else self._guard.seconds_left(self._clock.monotonic())
            for key, _ in self._selector.select(seconds):
                key.data()
            self._hear_zygote()
            self._zygote.send()
            self._reap()
            self._tick()
        for listener in self._listeners:
            listener.close()
        self._cgroups.close()
        self._zygote.close()

    def _keep_listening(self) -> None:
        """Make a socket again whose file was removed, unless the home at this place is another one by now."""
        for listener in self._listeners:
            if not listener.is_there and is_open_as(self._lock, self._home.guardian_lock):
                try:
                    make_directory(self._home.run)
                    listener.listen()
                    self._unheard = False
                except (OSError, UsageError) as error:
                    if not self._unheard:
                        _log.warning("crewd cannot reach this guardian: %s", error)
                    self._unheard = True

    def _is_over(self) -> bool:
        if self._guard.retiring and self._crewd.has_more_to_say:
            return False
        return self._guard.is_over(self._clock.monotonic())

    def _hear_signals(self) -> None:
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if processes.LINUX else os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

        def heard() -> None:
            with contextlib.suppress(BlockingIOError):
                if signal.SIGTERM in os.read(reading, 4096):
                    self._perform(self._guard.retire(self._clock.monotonic()))

        self._selector.register(reading, selectors.EVENT_READ, heard)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)

    # -- events -------------------------------------------------------------------------------------------------

    def _ordered(self, order: gd.Order) -> None:
        self._perform(self._guard.ordered(order, self._clock.monotonic()))

    def _hung_up(self) -> None:
        self._perform(self._guard.hung_up(self._clock.monotonic()))

    def _adopt(self) -> None:
        self._guard.zygote = self._zygote.pid
        table = {**processes.table(), **processes.table()}  # one reading can miss what is forked while it lasts
        marks = {pid: self._mark(proc) for pid, proc in table.items() if not proc.dead}
        cgroups = {key: self._cgroups.pids(key) for key in self._cgroups.found()}
        effects = self._guard.adopt(
            table, marks, list(self._records.all()), cgroups, self._exits.all(), self._clock.monotonic()
        )
        for key, care in self._guard.cares.items():
            self._outputs[key] = Output(key, self._home.attempt(*key), care.record.limits.output_bytes)
        self._perform(effects)
        for key in cgroups:
            if key not in self._guard.cares:
                self._cgroups.remove(key)

    def _hear_zygote(self) -> None:
        self._guard.zygote = self._zygote.pid if self._zygote.stands else 0
        for kind, task, epoch, pid, value in self._zygote.heard():
            key, now = (task, epoch), self._clock.monotonic()
            if kind == "forked":
                proc = processes.look(pid) or Proc(pid, os.getpid(), pid, pid, "X", 0.0)
                self._perform(self._guard.forked(key, proc, now))
            elif kind == "failed":  # with pid 0 nothing was forked: the machine is full
                self._perform(self._guard.not_forked(key, pid, str(value), transient=pid == 0))
            else:
                self._perform(self._guard.first_ended(key, pid, now, *_how(value)))

    def _reap(self) -> None:
        """Reap children that have ended: for a moment only, so that orders and ends do not wait for a storm of orphans."""
        until = self._clock.monotonic() + REAP_SECONDS
        ended: list[gu.ChildEnded] = []
        looked_at = 0
        self._reaping = False
        for pid, status in processes.ended():
            if pid == self._zygote.pid:
                self._hear_zygote()  # what it had said before
                self._zygote.died()  # a worker that starts after this sees the closed socket, and ends
                self._guard.zygote_died()
                continue
            first = self._guard.is_first(pid)
            look = first or looked_at < REAP_LOOKS
            looked_at += look and not first
            last = processes.look(pid) if look else None
            number = limit_mark.read(pid) if look and not first else None
            ended.append(gu.ChildEnded(pid, *_how(status), last, number, looked_at=look))
            if self._clock.monotonic() > until:
                self._reaping = True
                break
        if ended:
            self._perform(self._guard.children_ended(ended, self._clock.monotonic()))

    def _tick(self) -> None:
        now = self._clock.monotonic()
        if now >= self._listen_at:
            self._listen_at = now + LISTEN_SECONDS
            self._keep_listening()
        if not self._guard.retiring:
            self._zygote.tend()
        self._perform(self._guard.tick(now))
        if self._guard.wants_look(now):
            if self._guard.cares or processes.have_children(self._zygote.pid):
                if not self._guard.leaves_out(processes.newest(), now):
                    self._look()
            else:
                self._guard.nothing_to_look_at(now)
        if self._guard.cares and now >= self._cap_at:
            self._cap_at = now + CAP_SECONDS
            cap(self._outputs.values(), self._settings.run_output_bytes)

    def _look(self) -> None:
        began = self._clock.monotonic()
        guard = self._guard
        guard.zygote = self._zygote.pid if self._zygote.stands else 0
        newest = processes.newest()
        table = processes.table()
        cgroups = self._look_at_cgroups()
        sorting = guard.begin_look(table, cgroups)
        marks = {proc.pid: self._mark(proc) for proc in sorting.unknown if not guard.has_no_mark(proc)}
        wall = self._clock.wall()
        output = {key: self._outputs[key].note_time(wall) for key in guard.cares}
        now = self._clock.monotonic()
        self._perform(
            guard.looked(
                sorting, marks, cgroups, output,
                now=now, took=now - began, since_boot=processes.since_boot(), heard_at=self._zygote.heard_at,
                newest=newest, zygote_answers=self._zygote.stands and not self._zygote.silent(),
            )
        )  # fmt: skip
        self._cgroups.tidy()

    def _look_at_cgroups(self) -> Mapping[Key, cr.CgroupSeen]:
        if not self._cgroups.path:
            return {}
        of = self._cgroups
        return {key: cr.CgroupSeen(of.pids(key), of.is_populated(key), of.cpu_seconds(key)) for key in self._guard.cares}

    def _mark(self, proc: Proc) -> Mark:
        key = marker.owner(marker.read(proc.pid) or "", self._home.key)
        return Mark(key, None if key is not None and key[0] else limit_mark.read(proc.pid))

    # -- effects ------------------------------------------------------------------------------------------------

    def _perform(self, effects: Iterable[GuardEffect]) -> None:
        for effect in effects:
            match effect:
                case cr.Tell(notice):
                    self._crewd.tell(notice)
                    if isinstance(notice, gd.Started):
                        self._pong()
                case cr.Signal(proc, number):
                    processes.send(proc, number)
                case cr.KillGroup(group, members):
                    processes.kill_group(group, members)
                case cr.KillCgroup(key):
                    self._cgroups.kill(key)
                case cr.Chase(key):
                    self._chase(key)
                case cr.Keep(record):
                    self._records.keep((record.task, record.epoch), record)
                case cr.StopWatching(key):
                    self._stop_watching(key)
                case cr.Finish():
                    self._finish(effect)
                case gu.Fork(bootstrap, number):
                    self._fork(bootstrap, number)
                case gu.Inspect(key, number):
                    directory = self._home.attempt(*key)
                    words, unborn = take_unsent_reports(directory), not was_begun(directory)
                    if words:
                        self._exits.add(gd.Exited(task=key[0], epoch=key[1], unsent_reports=words))
                    self._perform(self._guard.inspected(key, number, words, unborn=unborn))
                case gu.Prepare(order):
                    self._zygote.expect(order.task)
                    if order.directory:
                        prepare(order.directory, order.shared)
                case gu.LeaveFile(order):
                    leave_file(order.shared, order.name, order.data, if_absent=order.if_absent)
                case gu.Examine(number):
                    self._examine(number)
                case gu.Pong():
                    self._pong()
                case gu.Greet(workers):
                    self._crewd.tell(gd.Attached(os.getpid(), workers, self._cgroups.path, gd.VERSION, made_as(self._settings)))
                    self._pong()
                case gu.ForgetRecord(key):
                    self._records.forget(key)
                case gu.ForgetExit(key):
                    self._exits.confirm(key)
                case gu.WatchProcess(key, pid):
                    self._watch(key, pid)
                case _:
                    assert_never(effect)

    def _pong(self) -> None:
        zygote = self._zygote.pid if self._zygote.stands else 0
        self._crewd.tell(gd.Pong(zygote, self._zygote.silent(), psutil.virtual_memory().available))

    def _examine(self, number: int) -> None:
        """Look at the machine, or repeat the last finding: many questions must not delay the end of a worker."""
        began = self._clock.monotonic()
        if self._examined is None or began >= self._examine_at:
            self._examined = examine(number, self._home.key, self._guard.cares)
            ended = self._clock.monotonic()
            self._examine_at = ended + EXAMINE_REST * (ended - began)
        self._crewd.tell(msgspec.structs.replace(self._examined, number=number))

    def _fork(self, bootstrap: Bootstrap, number: int) -> None:
        key, worker, directory = (bootstrap.task, bootstrap.epoch), bootstrap.worker, Path(bootstrap.directory)
        self._outputs[key] = Output(key, directory, worker.limits.output_bytes)
        self._secrets[key] = bootstrap.known
        try:
            if not os.path.isdir(bootstrap.cwd):  # noqa: PTH112 (hot path)
                raise OSError(f"the working directory {bootstrap.cwd} is not there")
            worker_files.make(directory)
            worker_files.make(Path(bootstrap.shared))
            told = msgspec.msgpack.encode(msgspec.structs.replace(bootstrap, env={}, secrets={}))
            inline = worker.start != "spawn" and len(told) <= INLINE_BYTES_MAX
            if not inline:
                worker_files.write(directory, "bootstrap", told)
            order = {
                "task": bootstrap.task,
                "epoch": bootstrap.epoch,
                "marker": make_marker(self._home.key, *key),
                "number": number,
                "start": worker.start,
                "bootstrap": f"{bootstrap.directory}/bootstrap",
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
            self._zygote.order(order)
        except OSError as error:
            transient = error.errno in TRANSIENT
            self._perform(self._guard.not_forked(key, 0, error.strerror or str(error), transient=transient))

    def _watch(self, key: Key, pid: int) -> None:
        with contextlib.suppress(OSError, AttributeError):  # a look finds out later
            self._pidfds[key] = os.pidfd_open(pid)

            def ended() -> None:
                self._perform(self._guard.first_ended(key, pid, self._clock.monotonic()))

            self._selector.register(self._pidfds[key], selectors.EVENT_READ, ended)

    def _stop_watching(self, key: Key) -> None:
        pidfd = self._pidfds.pop(key, None)
        if pidfd is not None:
            self._selector.unregister(pidfd)
            os.close(pidfd)

    def _chase(self, key: Key | None) -> None:
        """See `care.Chase`. A chain of forks, each in a session of its own, is gone when the whole table was read."""
        until, hit, misses = self._clock.monotonic() + CHASE_SECONDS, False, 0
        while misses < CHASE_MISSES and self._clock.monotonic() < until:
            misses += 1
            for pid in processes.children():
                proc = processes.look(pid) if pid != self._zygote.pid else None
                if proc is None or proc.dead or self._guard.has_no_mark(proc):
                    continue
                owner = self._guard.whose(proc, self._mark(proc))
                meant = owner == key if key is not None else owner is not None and owner not in self._guard.cares
                if meant and processes.send(proc, signal.SIGKILL):
                    hit, misses = True, 0
        if key is None:
            self._guard.chased(hit=hit)

    def _finish(self, effect: cr.Finish) -> None:
        """The worker is over: complete its exit record with what its directory holds, and remove what nobody needs."""
        key, tail = effect.key, ""
        errors: list[str] = []
        self._stop_watching(key)
        output = self._outputs.pop(key, None) or Output(key, self._home.attempt(*key), 0)
        secrets = self._secrets.pop(key, KnownSecrets())
        with noted(errors):
            worker_files.remove(output.directory, "bootstrap")
        self._records.forget(key)
        with noted(errors):
            if output.directory.is_dir():
                output.note_time(self._clock.wall(), last=True)
                ends = tail_of(output.directory, secrets)
                tail = ends.stderr.decode("utf-8", "replace").strip()[-TAIL_CHARS:]
                if ends.stdout_at or ends.stdout or ends.stderr_at or ends.stderr:  # a file costs more than all else here
                    worker_files.write(output.directory, EXIT_FILE, msgspec.msgpack.encode(ends))
        self._cgroups.remove(key)
        now = processes.since_boot()
        status = msgspec.structs.replace(
            effect.exited.exit,
            cleanup_errors=tuple(clip(each, NOTE_CHARS_MAX) for each in errors),
            unowned=tuple(processes.describe(proc, now) for proc in self._guard.unowned[:UNOWNED_MAX]),
        )
        exited = msgspec.structs.replace(
            effect.exited,
            exit=status,
            survivors=tuple(processes.describe(proc, now) for proc in effect.survivors),
            unsent_reports=take_unsent_reports(output.directory),
            tail=tail,
        )
        self._exits.add(exited)
        self._perform(self._guard.recorded(exited))


def _how(status: int | None) -> tuple[int | None, int | None]:
    """Exit code and signal number of a wait status."""
    if status is None:
        return None, None
    return (
        os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
    )
