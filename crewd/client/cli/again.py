"""Verbs that take up what has ended or is blocked: retry, resume, approve, reject, dead, dismiss.

Tests: tests/test_lifecycle.py.
"""

from __future__ import annotations

import click

from crewd.client.blocking import RunHandle, connect
from crewd.client.cli.common import Options, ago, look_at, out, say, short_task, table, verb
from crewd.client.environment import secret
from crewd.clock import SystemClock

_INTENT = click.option("--intent", default="", help="Why; it stands in the event.")
_SECRET = click.option(
    "--secret", "secrets", multiple=True, metavar="NAME[=@FILE]", help="The value of a secret of the run, which is not kept."
)
_FORCE = click.option("--force", is_flag=True, help="Also if another client owns the run; needs an --intent.")


@click.command()
@click.argument("target")
@_INTENT
@_FORCE
@_SECRET
@verb
def retry(options: Options, target: str, intent: str, force: bool, secrets: tuple[str, ...]) -> None:  # noqa: FBT001 (a flag)
    """Do again what failed or was parked, of a run or of one task (RUN/STEP)."""
    with connect(options.home, start=options.start) as crew:
        _tell(options, crew.retry(target, intent=intent, force=force, secrets=dict(map(secret, secrets))))


@click.command()
@click.argument("target")
@_INTENT
@_FORCE
@_SECRET
@verb
def resume(options: Options, target: str, intent: str, force: bool, secrets: tuple[str, ...]) -> None:  # noqa: FBT001 (a flag)
    """Go on with a run that was cancelled or has failed; what is completed stays as it is."""
    with connect(options.home, start=options.start) as crew:
        _tell(options, crew.resume(target, intent=intent, force=force, secrets=dict(map(secret, secrets))))


def _tell(options: Options, run: RunHandle) -> None:
    if options.json:
        out({"id": run.id, "name": run.name})
    else:
        say(f"{run.id}  {run.name}")


@click.command()
@click.argument("target", metavar="RUN")
@_INTENT
@_FORCE
@verb
def approve(options: Options, target: str, intent: str, force: bool) -> None:  # noqa: FBT001 (a flag)
    """Let a blocked run go on: its plan is right, or what is said of a worker is no reason to stop."""
    with connect(options.home, start=options.start) as crew:
        crew.approve(target, intent=intent, force=force)
    _tell_done(options, target, "approved")


@click.command()
@click.argument("target", metavar="RUN")
@_INTENT
@_FORCE
@verb
def reject(options: Options, target: str, intent: str, force: bool) -> None:  # noqa: FBT001 (a flag)
    """End a blocked run: it is cancelled, and says that it was rejected."""
    with connect(options.home, start=options.start) as crew:
        crew.reject(target, intent=intent, force=force)
    _tell_done(options, target, "rejected")


@click.command()
@verb
def dead(options: Options) -> None:
    """List dead letters: tasks that failed for good. `crew retry` takes one up, `crew dismiss` puts it away."""
    with look_at(options) as crew:
        found = crew.dead()
    if options.json:
        out(found)
        return
    now = SystemClock().wall()
    rows = (
        [short_task(t.id), t.epoch, t.reason, ago(now - (t.ended_at or now)), t.error.replace("\n", " ")[:80]]
        for t in found.tasks
    )
    table(["TASK", "TRIES", "REASON", "AGE", "ERROR"], rows, whole={"TASK"}, empty="there are no dead letters")


@click.command()
@click.argument("target")
@_INTENT
@_FORCE
@verb
def dismiss(options: Options, target: str, intent: str, force: bool) -> None:  # noqa: FBT001 (a flag)
    """Put a dead letter away: a task (RUN/STEP), or all of a run."""
    with connect(options.home, start=options.start) as crew:
        crew.dismiss(target, intent=intent, force=force)
    _tell_done(options, target, "dismissed")


def _tell_done(options: Options, target: str, done: str) -> None:
    if options.json:
        out({"target": target, "done": done})
    else:
        say(done)
