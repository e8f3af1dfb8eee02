"""The verb `news`: what happened to one's runs since one last looked.

Tests: tests/client/test_news.py.
"""

from __future__ import annotations

import click

from crewd.client.cli.common import Options, look_at, out, say_within, verb
from crewd.client.cli.screen import one_line
from crewd.client.news import BATCH_SECONDS, Teller, in_words, parse_hours
from crewd.clock import SystemClock, minute_of_day
from crewd.model.news import Severity

LOOK_SECONDS = 1.0
"""Between two looks with --follow."""


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on as it happens: failures at once, successes together.")
@click.option("-a", "--all", "everyone", is_flag=True, help="Of all runs, not only of one's own.")
@click.option(
    "--severity",
    type=click.Choice([each.name.lower() for each in Severity]),
    default="info",
    help="At least this; the rest counts as seen.",
)
@click.option("--quiet-hours", default="", metavar="HH:MM-HH:MM", help="With --follow: then only what is critical.")
@click.option("--keep", is_flag=True, help="Do not note that it was seen: it is told again.")
@verb
def news(
    options: Options, follow: bool, everyone: bool, severity: str, quiet_hours: str, keep: bool  # noqa: FBT001 (flags)
) -> None:  # fmt: skip
    """Tell what happened to your runs since you last looked: ends, questions, notices. Each is told once."""
    clock, hours = SystemClock(), parse_hours(quiet_hours)
    teller = Teller(
        minute_of_day, hours if follow else None, Severity[severity.upper()],
        BATCH_SECONDS if follow else 0.0,
    )  # fmt: skip
    with look_at(options) as crew:
        after = last = noted = 0
        while True:
            reply = crew.news(after=after, everyone=everyone)
            after = reply.upto
            last = reply.items[-1].seq if reply.items else last
            for together in teller.take(reply.items, clock.wall()):
                if options.json:
                    out({"v": 1, "news": together})
                else:
                    say_within(one_line(in_words(together)))
            upto = teller.upto(last)
            if upto > noted and not keep:
                crew.seen(upto)
                noted = upto
            if not reply.more:
                if not follow:
                    return
                clock.sleep(LOOK_SECONDS)
