"""The `crewd` command: serve a home, or mend one, and say in a sentence what is wrong.

Tests: tests/test_lifecycle.py, tests/hostile/test_signals.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
import platformdirs

from crewd import __version__
from crewd.clock import SystemClock
from crewd.model.errors import CrewdError, Unavailable, UsageError
from crewd.model.home import Home
from crewd.respawn import say
from crewd.supervisor.home_lock import take_home

if TYPE_CHECKING:
    from collections.abc import Callable


def find_home(option: str | None) -> Home:
    """`--home`, else `CREWD_HOME`, else the platform's state directory; absolute and free of links."""
    chosen = option or os.environ.get("CREWD_HOME") or platformdirs.user_state_dir("crewd", appauthor=False)
    return Home(Path(os.path.realpath(Path(chosen).expanduser())))


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

        def act() -> int:
            from crewd.supervisor.serve import serve  # a guardian that re-imports this module does not load the daemon

            return serve(context.obj, log_level)

        _exit_with(act)


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
    """Take back what `crew backup` has written. Exit 1 if bundles of archived runs are not in it; everything else is back."""
    from crewd.protocol.keeping import lacking_words
    from crewd.store.health import restore as take_back

    def act() -> int:
        lock = take_home(home)
        events, lacks = take_back(home, backup, SystemClock(), replace=replace)
        os.close(lock)
        if lacks:
            click.echo(f"crewd: {lacking_words(lacks, len(lacks))}; what is known of these runs without it is here", err=True)
        click.echo(f"{events} events were taken back; what came after the backup is not here; 'crew daemon start'")
        return 1 if lacks else 0  # as `crew backup` exits

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
