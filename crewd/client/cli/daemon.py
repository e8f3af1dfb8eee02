"""`crew daemon`: start, stop, status, logs.

Tests: tests/client/test_cli.py, tests/test_lifecycle.py.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from typing import Literal

import click
import msgspec
import psutil

from crewd.client.blocking import connect
from crewd.client.cli.common import SECONDS, Options, one_of_flags, out, say, verb
from crewd.client.cli.group import Group
from crewd.client.discover import RESPAWN, find_home, holder, restarter, silent_holder, unreachable
from crewd.clock import SystemClock
from crewd.model.errors import CrewdError, DaemonUnreachable, DeadlineExceeded, Refused, Unavailable
from crewd.model.limits import GRACE_SECONDS_SHORT
from crewd.model.quantities import counted

STOP_SECONDS = 60.0


@click.group(cls=Group)
def daemon() -> None:
    """Start, stop and look at the daemon."""


def _pid(options: Options) -> int | None:
    return holder(find_home(options.home))


@daemon.command()
@verb
def start(options: Options) -> None:
    """Start the daemon in the background; nothing happens if it runs."""
    with connect(options.home, start=True) as crew:
        home = crew.home.root
    if options.json:
        out({"home": str(home), "pid": _pid(options)})
    else:
        say(f"crewd serves {home} (pid {_pid(options)})")


@daemon.command()
@one_of_flags(
    "mode",
    {
        "--drain": ("drain", "Take no new work, wait for what is live (the default)."),
        "--end": ("end", "End every worker first."),
        "--keep": ("keep", "Leave the workers to the next daemon, for an upgrade."),
    },
    default="drain",
)
@click.option("--grace", type=SECONDS, default=GRACE_SECONDS_SHORT, help="How long workers may take to stop (with --end).")
@click.option("--intent", default="", help="Why, in words.")
@click.option("--timeout", type=SECONDS, help="Give up waiting after this; the stop itself goes on.")
@verb
def stop(options: Options, mode: Literal["drain", "end", "keep"], grace: float, intent: str, timeout: float | None) -> None:
    """Stop the daemon; returns when it is gone. With nothing live, all three ways are the same."""
    pid = _pid(options)
    clock = SystemClock()
    try:
        crew = connect(options.home, start=False)
    except DaemonUnreachable:
        _stop_unheard(options, clock, mode, grace, STOP_SECONDS + grace if timeout is None else timeout)
        return
    with crew:
        live, runs = 1, "its live runs"
        with contextlib.suppress(CrewdError):  # a crewd that cannot say how it is can be stopped, too
            live = int(crew.doctor().counts["runs_live"])
            runs = counted(live, "live run")
        starter = _starter(pid)
        crew.stop_daemon(grace, mode, intent=intent)
    if mode == "drain" and live and not options.json:
        say(f"waiting for {runs}; 'crew daemon stop --end' ends them, '--keep' leaves them")
    drains, taken_back = mode == "drain" and timeout is None, False
    deadline = clock.monotonic() + (timeout if timeout is not None else STOP_SECONDS + grace)
    looked = clock.monotonic()
    while pid is not None and _pid(options) == pid:
        if mode == "drain" and clock.monotonic() > looked + 1.0:
            looked = clock.monotonic()
            with contextlib.suppress(CrewdError), connect(options.home, start=False) as crew:
                taken_back = not crew.draining
            if taken_back:
                raise Refused("the stop was taken back (crew daemon resume): crewd goes on", hint="crew daemon stop")
        if clock.monotonic() > deadline and not drains:
            raise DeadlineExceeded(f"crewd (pid {pid}) has not stopped yet", hint="crew daemon logs")
        clock.sleep(0.02)
    deadline = clock.monotonic() + STOP_SECONDS
    if starter is not None:
        _wake(starter)
    while (
        starter is not None and _lives(starter) and clock.monotonic() < deadline
    ):  # it ends with a crewd that stops, and starts one again that was killed
        again = _pid(options)
        if again is not None:
            raise Unavailable(f"crewd was killed while it stopped, and serves again (pid {again})", hint="crew daemon stop")
        clock.sleep(0.02)
    if options.json:
        out({"running": False, "mode": mode, "pid": pid})
    else:
        say("crewd has stopped" + ("; its workers go on" if mode == "keep" and live else ""))


def _stop_unheard(options: Options, clock: SystemClock, mode: str, grace: float, seconds: float) -> None:
    """End a crewd that does not answer, or the process that would start one again, within so many seconds.

    DaemonUnreachable if there is neither. A crewd that is there is sent SIGTERM if its workers are to be ended (`--end`), and
    another one after the grace, which ends them now; else it may only be busy, and is not touched.
    """
    home = find_home(options.home)
    pid, starter = silent_holder(home), restarter(home)
    if (pid is None and starter is None) or (pid is not None and mode != "end"):
        raise unreachable(home)
    ending = [process for process in (starter, None if pid is None else _process(pid)) if process is not None]
    _terminate(ending)
    begun, again = clock.monotonic(), False
    while living := [process for process in ending if _lives(process)]:
        if clock.monotonic() > begun + grace and not again:
            again = True
            _terminate(living)
        if clock.monotonic() > begun + seconds:
            pids = " ".join(str(process.pid) for process in living)
            raise DeadlineExceeded(
                f"crewd does not answer, and has not ended (pid {pids})",
                hint=f"kill -9 {pids} ends it; its guardian keeps the workers for the next crewd",
            )
        clock.sleep(0.02)
    if options.json:
        out({"running": False, "mode": None if pid is None else mode, "pid": pid})
    else:
        say("crewd was being started, and is not any more" if pid is None else "crewd did not answer, and has stopped")


def _process(pid: int) -> psutil.Process | None:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid)
    return None


def _terminate(ending: list[psutil.Process]) -> None:
    """SIGTERM for the first one, which passes it on; each of them hears of it only if it is not stopped."""
    for process in ending[:1]:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in ending:
        _wake(process)


def _wake(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.resume()


def _starter(pid: int | None) -> psutil.Process | None:
    """The process that starts crewd again when it is killed, if crewd has one."""
    with contextlib.suppress(psutil.Error):
        parent = None if pid is None else psutil.Process(pid).parent()
        return parent if parent is not None and RESPAWN in parent.cmdline() else None
    return None


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@daemon.command()
@verb
def resume(options: Options) -> None:
    """Take a stop back that waits for live runs (--drain): new work is taken again."""
    with connect(options.home, start=False) as crew:
        crew.resume_daemon()
    if options.json:
        out({"draining": False})
    else:
        say("crewd takes new work again")


@daemon.command()
@verb
def reload(options: Options) -> None:
    """Read crewd.toml again: what has changed takes effect where it can, and the rest is named."""
    with connect(options.home, start=False) as crew:
        reloaded = crew.reload_config()
    if options.json:
        out(reloaded)
        return
    for keys, what in ((reloaded.live, "in effect"), (reloaded.waiting, "in effect when crewd starts again")):
        if keys:
            say(f"{', '.join(keys)}: {what}")
    if not reloaded.live and not reloaded.waiting:
        say("nothing has changed")


@daemon.command()
@verb
def status(options: Options) -> None:
    """Whether the daemon runs; exit 69 if not."""
    home = find_home(options.home)
    try:
        with connect(options.home, start=False) as crew:
            counts, draining = crew.doctor().counts, crew.draining
    except DaemonUnreachable as error:
        pid = silent_holder(home)
        if options.json:
            out({"running": False, "home": str(home.root), "pid": pid})
        else:
            say(f"no crewd serves {home.root}" if pid is None and restarter(home) is None else error.message)
        sys.exit(DaemonUnreachable.exit_code)
    if options.json:
        out({"running": True, "home": str(home.root), "pid": _pid(options), "draining": draining, "counts": counts})
    else:
        live, workers = int(counts["runs_live"]), int(counts["workers_connected"])
        state = ", draining" if draining else ""
        busy = f"{counted(live, 'live run')}, {counted(workers, 'worker')} connected"
        say(f"crewd serves {home.root} (pid {_pid(options)}): {busy}{state}")


@daemon.command("logs")
@click.option("--tail", default=50, help="Lines.")
@verb
def daemon_logs(options: Options, tail: int) -> None:
    """Print the daemon's own log."""
    path = find_home(options.home).daemon_log
    if not path.exists():
        raise DaemonUnreachable(f"there is no log at {path}", hint="crew daemon start")
    with path.open(encoding="utf-8") as file:
        for line in deque(file, maxlen=max(1, tail)):
            if options.json:
                sys.stdout.write(line)
            else:
                record = msgspec.json.decode(line)["record"]
                say(f"{record['time']['repr'][11:23]} {record['level']['name']:<8} {record['message']}")
