"""The `crewd` command: take the home, start the tree, run the brain on the main thread, end in order.

Tests: tests/test_lifecycle.py, tests/hostile/test_signals.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import msgspec
import platformdirs

from crewd import __version__
from crewd.clock import SystemChance, SystemClock
from crewd.model.errors import CrewdError, Unavailable, UsageError
from crewd.model.home import Home
from crewd.model.limits import GRACE_SECONDS_SHORT
from crewd.private_files import check_plain, check_socket, is_open_as, make_directory, open_file
from crewd.respawn import EX_SOFTWARE, SERVES, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crewd.actors import ExitReason
    from crewd.store.database import Database

EX_UNAVAILABLE = 69
HOME_SECONDS = 5.0
"""Between two looks at whether the home is still this crewd's."""
RETIRE_SECONDS = 10.0
FORCE_SIGNALS = 3
COLLECT_AFTER = (100_000, 50, 20)
"""Of `gc.set_threshold`: crewd makes few cycles, and many values that live for a while."""
STOP_SECONDS = 30.0
"""For the end of the whole tree once no run is live; an actor that is stuck then is named and left behind."""


def find_home(option: str | None) -> Home:
    """`--home`, else `CREWD_HOME`, else the platform's state directory; absolute and free of links."""
    chosen = option or os.environ.get("CREWD_HOME") or platformdirs.user_state_dir("crewd", appauthor=False)
    return Home(Path(os.path.realpath(Path(chosen).expanduser())))


def take_home(home: Home) -> int:
    """Make the home's directories, check that they are ours alone, and lock. The descriptor holds the lock for life.

    Raises UsageError for a directory or a lock that others could use, Unavailable if another crewd serves this home.
    """
    for directory in (home.root, home.run, home.logs):
        make_directory(directory)
    for socket in (home.clients_socket, home.workers_socket, home.guardian_socket, home.files_socket):
        check_socket(socket)
    lock = open_file(home.daemon_lock, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(lock, 32).decode("ascii", "replace").strip()
        os.close(lock)
        raise Unavailable(f"another crewd (pid {pid}) serves {home.root}", hint="crew daemon status") from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def start_log(home: Home, level: str) -> Any:
    """One JSON-lines sink with rotation, and readable lines on stderr; the standard library's loggers go there too."""
    import logging
    import traceback

    from loguru import logger

    from crewd.model.redact import redact

    def clean(record: Any) -> None:
        if record["exception"] is not None:
            record["message"] += "\n" + "".join(traceback.format_exception(*record["exception"]))
            record["exception"] = None
        record["message"] = redact(record["message"])

    class ToLoguru(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logger.opt(exception=record.exc_info).log(record.levelname, record.getMessage())

    check_plain(home.daemon_log)
    logger.remove()
    logger.configure(patcher=clean)
    line = "<dim>{time:HH:mm:ss.SSS}</dim> <level>{level: <7}</level> {message}"
    if sys.stderr is not None:  # it is None if it was closed before the start
        logger.add(sys.stderr, level=level.upper(), format=line, backtrace=False, diagnose=False)  # diagnose shows values
    place = str(home.daemon_log).replace("{", "{{").replace("}", "}}")  # loguru formats the name of the file
    logger.add(place, level="DEBUG", serialize=True, rotation="10 MB", retention=5, enqueue=True, diagnose=False)
    logging.basicConfig(handlers=[ToLoguru()], level=logging.INFO, force=True)
    logging.getLogger("pykka").setLevel(logging.WARNING)
    return logger


def serve(home: Home, level: str) -> int:  # noqa: PLR0915 (the one place where everything is put together)
    """Serve until stopped. The exit code of the process."""
    # Imported here, so that a guardian that re-imports this program's main module does not load the daemon.
    from crewd.actors import ActorSystem, BrainDispatcher, ChildSpec, Lane, LongTurn, Watchdog
    from crewd.actors.exits import SHUTDOWN, STUCK, StartFailed
    from crewd.guardian.processes import reap_strangers
    from crewd.model.ids import EVENT, IdSource
    from crewd.protocol.guardian import Retire
    from crewd.store.health import admit, open_database
    from crewd.store.readonly import ReadOnly
    from crewd.supervisor import commands as cm
    from crewd.supervisor.config import HeldConfig, load_config
    from crewd.supervisor.directory import FRONT, GUARDIAN, Directory
    from crewd.supervisor.examine import examine
    from crewd.supervisor.files_link import FilesLink
    from crewd.supervisor.front import shutdown
    from crewd.supervisor.gateway.wire import ZmqWire
    from crewd.supervisor.guardian_socket import UnixGuardianSocket
    from crewd.supervisor.kept_clock import KeptClock
    from crewd.supervisor.open_files import budget, raise_limit
    from crewd.supervisor.poller import ZmqPoller
    from crewd.supervisor.process_limits import check_limits
    from crewd.supervisor.service import BEAT, Heartbeat, ServiceManager
    from crewd.supervisor.services import Services
    from crewd.supervisor.tokens import Tokens, load_secret
    from crewd.supervisor.tree import Ports, root

    lock = take_home(home)
    (of_workers, files), manager = raise_limit(), ServiceManager()
    check_limits(files)
    asked_for = load_config(home.config)
    shared_out = budget(files, asked_for.workers_max)
    config = msgspec.structs.replace(asked_for, workers_max=shared_out.workers)
    held = HeldConfig(config, asked_for)
    clock, chance = KeptClock(home.clock), SystemChance()
    admit(home, clock)
    logger = start_log(home, level)
    poller = ZmqPoller()
    brain = BrainDispatcher(poller, clock)
    failed: list[ExitReason] = []
    failing = threading.Event()  # the last start of an actor has failed, and the log says so
    stopping = threading.Event()  # nobody waits for the guardian any more, which may have retired

    def report(name: str, incarnation: int, reason: ExitReason) -> None:
        logger.opt(exception=reason.error).error("actor {}#{} ended: {}", name, incarnation, reason)
        if isinstance(reason.error, StartFailed):
            failing.set()
            say(str(reason.error))

    def ready() -> None:
        if failing.is_set():
            failing.clear()
            say(SERVES)
        manager.say(f"READY=1\nSTATUS=serves {home.root}")

    system = ActorSystem(clock, chance, brain, wake=poller.wake, reporter=report)
    secret = home.root / "secret"
    if home.database.exists() and not secret.exists():
        # Tokens of workers are made with it: the guardian ends those whose tokens are not recognised.
        logger.warning("{} was missing, and a new one was made: workers of before are not recognised, and end", secret)  # noqa: PLE1205
    services = Services(
        clock,
        chance,
        IdSource(clock, chance),
        Tokens(load_secret(secret, chance)),
        home,
        held,
        Directory(),
        os.getpid(),
        wall_times=lambda: clock.times,
    )

    def give_up(why: str) -> NoReturn:
        logger.critical("the home {} {}: crewd leaves its workers to the guardian, and ends", home.root, why)  # noqa: PLE1205
        logger.complete()
        os._exit(EX_UNAVAILABLE)  # nothing may be written there

    def look_at_home() -> None:
        if is_open_as(lock, home.daemon_lock) is False:
            give_up("was moved or removed, and is another crewd's now")
        wire.open_again()

    def open_store() -> Database:
        if not is_open_as(lock, home.daemon_lock):
            give_up("was moved or removed while crewd ran")
        database = open_database(home, services.ids.next(EVENT))
        services.ids.follow(database.last_run())
        return database

    port = UnixGuardianSocket(home, config, poller, of_workers)
    wire = ZmqWire(home, poller, shared_out.connections, shared_out.workers)
    ports = Ports(
        wire,
        port,
        open_store,
        lambda: ReadOnly(home.database),
        ready,
        lambda: examine(home, asked_for.workers_max, shared_out),
        lambda: FilesLink(home.files_socket, stopping.wait),
    )

    retired: list[bool] = []

    def stopped(retire: bool) -> None:  # noqa: FBT001 (a callback)
        if retire:
            logger.info("no run is live: the guardian retires")
            retired.append(True)
            services.directory.part(GUARDIAN).tell(cm.ToGuardian(Retire()), lane=Lane.CONTROL)
        else:
            logger.info("workers are kept for the next crewd")
        stopping.set()
        system.stop(top, SHUTDOWN, STOP_SECONDS)

    top = system.spawn(ChildSpec("root", lambda: root(services, ports, stopped)), None)

    def ended(reason: ExitReason) -> None:
        if reason.abnormal:
            failed.append(reason)
        brain.stop()

    system.on_end(top, ended)

    def say_busy(turn: LongTurn) -> None:
        logger.warning("actor {} has been busy for {:.1f} s at\n{}", turn.ref, turn.seconds, turn.stack)  # noqa: PLE1205

    asked: list[int] = []

    def ask_to_stop(number: int) -> None:
        asked.append(number)
        manager.say("STOPPING=1")
        mode = held.now.on_sigterm if len(asked) == 1 else "end"
        logger.info("signal {}: stopping ({})", signal.Signals(number).name, mode)  # noqa: PLE1205 (loguru's format)
        # The second signal ends everything now; the third waits for nothing: the guardian keeps what still lives.
        front = services.directory.find(FRONT) if len(asked) < FORCE_SIGNALS else None
        order = shutdown(services, mode, GRACE_SECONDS_SHORT, "graceful" if len(asked) == 1 else "now")
        if front is None or not front.offer(order, lane=Lane.CONTROL):
            stopping.set()
            system.stop(top, SHUTDOWN, STOP_SECONDS)

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.getpid() == 1:
        signal.signal(signal.SIGCHLD, lambda *_: reap_strangers(port.guardian))
    reading = _hear_signals(poller, (signal.SIGTERM, signal.SIGINT), ask_to_stop)
    logger.info("crewd {} serves {} (pid {})", __version__, home.root, os.getpid())  # noqa: PLE1205 (loguru's format)
    watchdog = Watchdog(system, say_busy)
    watchdog.start()
    system.spawn(ChildSpec("home", lambda: Heartbeat(HOME_SECONDS, look_at_home)), None)
    if manager.beat_seconds:
        system.spawn(
            ChildSpec("service-watchdog", lambda: Heartbeat(manager.beat_seconds, lambda: manager.say(BEAT))),
            None,
        )
    gc.collect()
    gc.freeze()  # what is here now stays: a collection need not look at it
    gc.set_threshold(*COLLECT_AFTER)
    try:
        brain.run(system.timers)
    finally:
        watchdog.stop()
        signal.set_wakeup_fd(-1)
        poller.unregister(reading)
        os.close(reading)
    if system.stuck:
        logger.critical("left behind, its thread does not come back: {}", system.stuck)  # noqa: PLE1205 (loguru's format)
        failed.append(STUCK)
    if failed:
        logger.critical("the tree gave up: {}; workers are left to the guardian, start crewd again", failed[0])  # noqa: PLE1205 (loguru's format)
        logger.complete()
        os._exit(EX_SOFTWARE)  # threads of stuck actors must not hold up the end
    if retired:
        port.retire(RETIRE_SECONDS)
    poller.close()
    logger.info("crewd has stopped")
    logger.complete()
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
    os.close(lock)
    if not retired:
        os._exit(0)  # multiprocessing would wait for the guardian, which stays
    return 0


def _hear_signals(poller: Any, numbers: Sequence[int], heard: Callable[[int], None]) -> int:
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


@click.group(invoke_without_command=True)
@click.option("--home", type=click.Path(file_okay=False), help="Where state lives (else CREWD_HOME, else the platform's).")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]), show_default=True)
@click.version_option(__version__, prog_name="crewd")
@click.pass_context
def main(context: click.Context, home: str | None, log_level: str) -> None:
    """Run the crewd daemon in the foreground. `crew daemon start` runs it in the background."""
    try:
        context.obj = find_home(home)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    if context.invoked_subcommand is None:
        _exit_with(lambda: serve(context.obj, log_level))


@main.command()
@click.option("--anyway", is_flag=True, help="Also of one that looks whole: its rows are made again from its log.")
@click.pass_obj
def salvage(home: Home, anyway: bool) -> None:  # noqa: FBT001 (a flag)
    """Make a new database of what can be read of a damaged one. What was damaged is kept."""
    from crewd.store.health import salvage as save
    from crewd.store.health import unknown_bundles

    def act() -> int:
        lock = take_home(home)
        saved, lost = save(home, SystemClock(), anyway=anyway)
        os.close(lock)
        click.echo(f"{saved} events were saved, {lost} are lost; 'crew daemon start', then 'crew doctor --rebuild'")
        for path in unknown_bundles(home):
            click.echo(f"a run is not known any more, but its bundle is here: crew import {path}")
        return 0

    _exit_with(act)


@main.command()
@click.argument("backup", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="The home has a database: put it into the quarantine.")
@click.pass_obj
def restore(home: Home, backup: Path, replace: bool) -> None:  # noqa: FBT001 (a flag)
    """Take back what `crew backup` has written."""
    from crewd.protocol.keeping import lacking_words
    from crewd.store.health import restore as take_back

    def act() -> int:
        lock = take_home(home)
        events, lacks = take_back(home, backup, SystemClock(), replace=replace)
        os.close(lock)
        if lacks:
            click.echo(f"crewd: {lacking_words(lacks, len(lacks))}; what is known of these runs without it is here", err=True)
        click.echo(f"{events} events were taken back; what came after the backup is not here; 'crew daemon start'")
        return 0

    _exit_with(act)


def _exit_with(act: Callable[[], int]) -> NoReturn:
    try:
        try:
            sys.exit(act())
        except OSError as error:  # of the home's own files; the daemon itself lives with whatever a disk does
            where = f"{error.filename or 'the home'}: {error.strerror or error}"
            raise Unavailable(f"the home cannot be written: {where}", hint="look at the disk, or use another --home") from None
    except CrewdError as error:
        click.echo(f"crewd: {error}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 (the reason has to be the last line of the log, as after any other error)
        import traceback

        traceback.print_exc()
        say(f"an error of crewd itself: {error!r}")
        sys.exit(1)  # not EX_SOFTWARE: it would be started again, and fail again
