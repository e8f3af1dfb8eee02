"""`crew daemon`: start, stop, status, logs."""

from __future__ import annotations

import sys
from collections import deque

import click
import msgspec
import psutil

from crewd.client.blocking import connect
from crewd.client.cli.common import Options, out, say, verb
from crewd.client.discover import find_home
from crewd.clock import SystemClock
from crewd.protocol.errors import DaemonUnreachable, DeadlineExceeded

STOP_SECONDS = 60.0


@click.group()
def daemon() -> None:
    """Start, stop and look at the daemon."""


def _pid(options: Options) -> int | None:
    try:
        text = find_home(options.home).daemon_lock.read_text().strip()
    except OSError:
        return None
    pid = int(text) if text.isdigit() else None
    return pid if pid is not None and psutil.pid_exists(pid) else None


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
@click.option("--grace", default=5.0, help="Seconds that workers get to stop by themselves.")
@verb
def stop(options: Options, grace: float) -> None:
    """End every worker, the guardian and the daemon; returns when the daemon is gone."""
    pid = _pid(options)
    clock = SystemClock()
    with connect(options.home, start=False) as crew:
        crew.stop_daemon(grace)
    deadline = clock.monotonic() + STOP_SECONDS + grace
    while pid is not None and _pid(options) == pid:
        if clock.monotonic() > deadline:
            raise DeadlineExceeded(f"crewd (pid {pid}) has not stopped yet", hint="crew daemon logs")
        clock.sleep(0.02)
    if not options.json:
        say("crewd has stopped")


@daemon.command()
@verb
def status(options: Options) -> None:
    """Whether the daemon runs; exit 69 if not."""
    home = find_home(options.home)
    try:
        with connect(options.home, start=False) as crew:
            counts = crew.doctor().counts
    except DaemonUnreachable:
        if options.json:
            out({"running": False, "home": str(home.root)})
        else:
            say(f"no crewd serves {home.root}")
        sys.exit(DaemonUnreachable.exit_code)
    if options.json:
        out({"running": True, "home": str(home.root), "pid": _pid(options), "counts": counts})
    else:
        live, workers = counts["runs_live"], counts["workers_connected"]
        say(f"crewd serves {home.root} (pid {_pid(options)}): {live} live runs, {workers} workers connected")


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
