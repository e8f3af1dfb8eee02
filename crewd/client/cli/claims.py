"""The verbs for people and programs that carry out a task themselves: claim, release, finish.

Tests: tests/test_claims.py.
"""

from __future__ import annotations

import click
import msgspec

from crewd.client.blocking import connect
from crewd.client.cli.common import SECONDS, Options, out, say, verb
from crewd.clock import with_zone
from crewd.model.errors import Refused, UsageError
from crewd.model.limits import LEASE_SECONDS_DEFAULT
from crewd.model.statuses import TaskStatus


@click.command()
@click.argument("target")
@click.option("--seconds", type=SECONDS, default=LEASE_SECONDS_DEFAULT, show_default=True, help="How long the lease runs.")
@click.option("--token", default="", help="Of a claim that you hold: renew it.")
@click.option("--note", default="", help="What you are doing; crew ps shows it.")
@click.option("--force", is_flag=True, help="Also a task of another owner that is not meant for others.")
@click.option("--intent", default="", help="Why.")
@verb
def claim(
    options: Options, target: str, seconds: float, token: str, note: str, force: bool, intent: str  # noqa: FBT001 (a flag)
) -> None:  # fmt: skip
    """Carry out the waiting task TARGET yourself: crewd does not start it while the lease runs. Prints the token."""
    with connect(options.home, start=False) as crew:
        claimed = crew.claim(target, seconds=seconds, token=token, note=note, force=force, intent=intent)
    if options.json:
        out({"task": claimed.task, "token": claimed.token, "until": claimed.until})
    else:
        say(f"{claimed.token}  {claimed.task} until {with_zone(claimed.until)}")


@click.command()
@click.argument("target")
@click.option("--token", required=True, help="What crew claim printed.")
@verb
def release(options: Options, target: str, token: str) -> None:
    """Give a claimed task back: it is queued again."""
    with connect(options.home, start=False) as crew:
        waits = [task for task in crew.show(target).tasks if task.id.endswith(f"/{target.rpartition('/')[2]}")]
        if waits and waits[0].status is TaskStatus.QUEUED:
            raise Refused(f"{target} is queued: nobody holds it", hint="crew claim takes it")
        crew.release(target, token)


@click.command()
@click.argument("target")
@click.option("--token", required=True, help="What crew claim printed.")
@click.option("--result", "text", default="null", metavar="JSON", help="The task's result.")
@click.option("--failed", default="", metavar="TEXT", help="It has failed, and why.")
@verb
def finish(options: Options, target: str, token: str, text: str, failed: str) -> None:
    """Say how a claimed task has ended."""
    try:
        result = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise UsageError(f"--result is no JSON: {error}", hint="quote strings: '\"done\"'") from None
    with connect(options.home, start=False) as crew:
        crew.finish(target, token, result, error=failed)
