"""Verbs that say in a bounded text how runs stand: summary, brief.

Tests: tests/client/test_summary.py, tests/client/cli/test_verbs.py.
"""

from __future__ import annotations

import click

from crewd.client.acts import RECENT_MAX, ask_brief, ask_summary
from crewd.client.cli.common import Options, look_at, out, say, say_hooks, verb
from crewd.client.summary import CHARS_DEFAULT, CHARS_LEAST, RUNS_MAX, bounded, run_summary
from crewd.client.summary import brief as brief_of
from crewd.clock import SystemClock

_CHARS = click.option(
    "--chars", type=click.IntRange(CHARS_LEAST, 1_000_000), default=CHARS_DEFAULT, show_default=True, help="Its greatest size."
)


@click.command()
@click.argument("target", metavar="RUN")
@_CHARS
@verb
def summary(options: Options, target: str, chars: int) -> None:
    """Say how a run stands: its tasks, what waits for somebody, its latest results, and what can be done next."""
    with look_at(options) as crew:
        found = crew.show(target)
        asked = ask_summary(crew, found.run.id, run_summary(found, SystemClock().wall(), chars))
        say_hooks(asked.hooks)
        text = bounded(str(asked.about["text"]), chars)
    out({"text": text}) if options.json else say(text)


@click.command()
@click.option("-a", "--all", "everyone", is_flag=True, help="Of all runs, not only of your own.")
@_CHARS
@verb
def brief(options: Options, everyone: bool, chars: int) -> None:  # noqa: FBT001 (a flag)
    """Say how your runs stand, those that live first: for an agent that goes on with what another one has begun."""
    with look_at(options) as crew:
        rows = [
            row
            for row in crew.runs(all=True, limit=RECENT_MAX).runs
            if not row.archived and (everyone or row.owner == crew.owner)
        ]
        rows.sort(key=lambda row: (row.ended_at is not None, -row.created_at))
        text = brief_of([crew.show(row.id) for row in rows[:RUNS_MAX]], SystemClock().wall(), chars, len(rows[RUNS_MAX:]))
    asked = ask_brief([row.id for row in rows[:RUNS_MAX]], text)
    say_hooks(asked.hooks)
    text = bounded(str(asked.about["text"]), chars)
    out({"text": text}) if options.json else say(text)
