"""One crewd, from the lock on its home to the end of its process: puts the actor tree together, runs it, and ends it in order.

The module is imported only by the process that serves: a guardian that re-imports the main module does not load the daemon.

Tests: tests/test_lifecycle.py, tests/hostile/test_signals.py.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

import msgspec
from loguru import logger

from crewd import __version__
from crewd.actors import ActorSystem, BrainDispatcher, ChildSpec, ExitReason, Lane, LongTurn, Watchdog
from crewd.actors.exits import SHUTDOWN, STUCK, StartFailed
from crewd.clock import SystemChance
from crewd.guardian.processes import reap_strangers
from crewd.model.home import Home
from crewd.model.ids import EVENT, IdSource
from crewd.model.limits import GRACE_SECONDS_SHORT
from crewd.private_files import is_open_as
from crewd.protocol.guardian import Retire
from crewd.respawn import EX_SOFTWARE, SERVES, say
from crewd.store.database import Database
from crewd.store.health import admit, open_database
from crewd.store.readonly import ReadOnly
from crewd.supervisor import commands as cm
from crewd.supervisor.config import HeldConfig, load_config
from crewd.supervisor.daemon_log import start_log
from crewd.supervisor.directory import FRONT, GUARDIAN, Directory
from crewd.supervisor.examine import examine
from crewd.supervisor.files_link import FilesLink
from crewd.supervisor.gateway.wire import ZmqWire
from crewd.supervisor.guardian_socket import UnixGuardianSocket
from crewd.supervisor.home_lock import take_home
from crewd.supervisor.kept_clock import KeptClock
from crewd.supervisor.open_files import budget, raise_limit
from crewd.supervisor.poller import ZmqPoller
from crewd.supervisor.process_limits import check_limits
from crewd.supervisor.service import BEAT, ServiceBeat, ServiceManager
from crewd.supervisor.services import Services
from crewd.supervisor.tokens import Tokens, load_secret
from crewd.supervisor.tree import Ports, root

EX_UNAVAILABLE = 69
HOME_SECONDS = 5.0
"""Between two looks at whether the home is still this crewd's."""
RETIRE_SECONDS = 10.0
"""How long a guardian that is told to retire may take."""
FORCE_SIGNALS = 3
COLLECT_AFTER = (100_000, 50, 20)
"""Of `gc.set_threshold`: crewd makes few cycles, and many values that live for a while."""
STOP_SECONDS = 30.0
"""For the end of the whole tree once no run is live; an actor that is stuck then is named and left behind."""


def serve(home: Home, level: str) -> int:
    """Serve until stopped. The exit code of the process.

    Raises UsageError and Unavailable if the home, a file in it or the machine's limits do not allow that.
    """
    return _Crewd(home, level).run()


class _Crewd:
    """What is made once for the process, and what its actors, signals and timers call."""

    def __init__(self, home: Home, level: str) -> None:
        self._home = home
        self._lock = take_home(home)
        of_workers, files = raise_limit()
        check_limits(files)
        self._asked_for = load_config(home.config)
        self._share = budget(files, self._asked_for.workers_max)
        config = msgspec.structs.replace(self._asked_for, workers_max=self._share.workers)
        self._held = HeldConfig(config, self._asked_for)
        clock, chance = KeptClock(home.clock), SystemChance()
        admit(home, clock)
        start_log(home, level)
        self._manager = ServiceManager()
        self._poller = ZmqPoller()
        self._brain = BrainDispatcher(self._poller, clock)
        self._system = ActorSystem(clock, chance, self._brain, wake=self._poller.wake, reporter=self._report)
        secret = home.root / "secret"
        if home.database.exists() and not secret.exists():
            # Tokens of workers are made with it: the guardian ends those whose tokens are not recognised.
            logger.warning("{} was missing, and a new one was made: workers of before are not recognised, and end", secret)
        self._services = Services(
            clock, chance, IdSource(clock, chance), Tokens(load_secret(secret, chance)), home, self._held, Directory(),
            os.getpid(), wall_times=lambda: clock.times,
        )  # fmt: skip
        self._guardian = UnixGuardianSocket(home, config, self._poller, of_workers)
        self._wire = ZmqWire(home, self._poller, self._share.connections, self._share.workers)
        self._failures: list[ExitReason] = []
        self._is_failing = False  # the last start of an actor has failed, and the log says so
        self._stopping = threading.Event()  # nobody waits for the guardian any more, which may have retired
        self._retired = False
        self._signals = 0

    def run(self) -> int:
        """Run the tree until it has ended, and close what was opened. The exit code of the process."""
        self._top = self._system.spawn(ChildSpec("root", lambda: root(self._services, self._ports(), self._stopped)), None)
        self._system.on_end(self._top, self._ended)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if os.getpid() == 1:
            signal.signal(signal.SIGCHLD, lambda *_: reap_strangers(self._guardian.guardian))
        reading = hear_signals(self._poller, (signal.SIGTERM, signal.SIGINT), self._ask_to_stop)
        logger.info("crewd {} serves {} (pid {})", __version__, self._home.root, os.getpid())
        watchdog = Watchdog(self._system, _say_busy)
        watchdog.start()
        self._system.spawn(ChildSpec("home", lambda: ServiceBeat(HOME_SECONDS, self._look_at_home)), None)
        if self._manager.beat_seconds:
            beat = ChildSpec(
                "service-watchdog", lambda: ServiceBeat(self._manager.beat_seconds, lambda: self._manager.say(BEAT))
            )
            self._system.spawn(beat, None)
        gc.collect()
        gc.freeze()  # what is here now stays: a collection need not look at it
        gc.set_threshold(*COLLECT_AFTER)
        try:
            self._brain.run(self._system.timers)
        finally:
            watchdog.stop()
            signal.set_wakeup_fd(-1)
            self._poller.unregister(reading)
            os.close(reading)
        return self._close()

    def _close(self) -> int:
        if self._system.stuck:
            logger.critical("left behind, its thread does not come back: {}", self._system.stuck)
            self._failures.append(STUCK)
        if self._failures:
            first = self._failures[0]
            logger.critical("the tree gave up: {}; workers are left to the guardian, start crewd again", first)
            logger.complete()
            os._exit(EX_SOFTWARE)  # threads of stuck actors must not hold up the end
        if self._retired:
            self._guardian.retire(RETIRE_SECONDS)
        self._poller.close()
        logger.info("crewd has stopped")
        logger.complete()
        with contextlib.suppress(OSError):
            os.ftruncate(self._lock, 0)
        os.close(self._lock)
        if not self._retired:
            os._exit(0)  # multiprocessing would wait for the guardian, which stays
        return 0

    # -- the tree -----------------------------------------------------------------------------------------------

    def _ports(self) -> Ports:
        home = self._home
        return Ports(
            self._wire,
            self._guardian,
            self._open_store,
            lambda: ReadOnly(home.database),
            self._ready,
            lambda: examine(home, self._asked_for.workers_max, self._share),
            lambda: FilesLink(home.files_socket, self._stopping.wait),
        )

    def _open_store(self) -> Database:
        if not is_open_as(self._lock, self._home.daemon_lock):
            self._give_up("was moved or removed while crewd ran")
        database = open_database(self._home, self._services.ids.next(EVENT))
        self._services.ids.follow(database.last_run())
        return database

    def _ready(self) -> None:
        if self._is_failing:
            self._is_failing = False
            say(SERVES)
        self._manager.say(f"READY=1\nSTATUS=serves {self._home.root}")

    def _report(self, name: str, incarnation: int, reason: ExitReason) -> None:
        logger.opt(exception=reason.error).error("actor {}#{} ended: {}", name, incarnation, reason)
        if isinstance(reason.error, StartFailed):
            self._is_failing = True
            say(str(reason.error))

    # -- the end ------------------------------------------------------------------------------------------------

    def _ask_to_stop(self, number: int) -> None:
        """The second signal ends everything now; the third waits for nothing: the guardian keeps what still lives."""
        self._signals += 1
        self._manager.say("STOPPING=1")
        mode = self._held.now.on_sigterm if self._signals == 1 else "end"
        logger.info("signal {}: stopping ({})", signal.Signals(number).name, mode)
        front = self._services.directory.find(FRONT) if self._signals < FORCE_SIGNALS else None
        how = "graceful" if self._signals == 1 else "now"
        order = cm.stop(mode, GRACE_SECONDS_SHORT, self._services.clock.wall(), how)
        if front is None or not front.offer(order, lane=Lane.CONTROL):
            self._stop_tree()

    def _stopped(self, retire: bool) -> None:  # noqa: FBT001 (a callback)
        """The front has nothing more to do."""
        if retire:
            logger.info("no run is live: the guardian retires")
            self._retired = True
            self._services.directory.part(GUARDIAN).tell(cm.ToGuardian(Retire()), lane=Lane.CONTROL)
        else:
            logger.info("workers are kept for the next crewd")
        self._stop_tree()

    def _stop_tree(self) -> None:
        self._stopping.set()
        self._system.stop(self._top, SHUTDOWN, STOP_SECONDS)

    def _ended(self, reason: ExitReason) -> None:
        if reason.abnormal:
            self._failures.append(reason)
        self._brain.stop()

    def _look_at_home(self) -> None:
        if is_open_as(self._lock, self._home.daemon_lock) is False:
            self._give_up("was moved or removed, and is another crewd's now")
        self._wire.open_again()

    def _give_up(self, why: str) -> NoReturn:
        logger.critical("the home {} {}: crewd leaves its workers to the guardian, and ends", self._home.root, why)
        logger.complete()
        os._exit(EX_UNAVAILABLE)  # nothing may be written there


def _say_busy(turn: LongTurn) -> None:
    logger.warning("actor {} has been busy for {:.1f} s at\n{}", turn.ref, turn.seconds, turn.stack)


def hear_signals(poller: ZmqPoller, numbers: Sequence[int], heard: Callable[[int], None]) -> int:
    """Call `heard` for each of these signals, between two turns of actors; the descriptor that the poller looks at.

    A handler would run in the middle of whatever the main thread does: where that holds a lock, of an inbox or of the log, a
    handler that wants it waits for ever. So the handlers do nothing, and the numbers come through a pipe.
    """
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)

    def read() -> None:
        for number in os.read(reading, 4096):
            if number in numbers:
                heard(number)

    poller.register(reading, read)
    return reading
