"""`crew decisions`: what crewd has decided on a run by itself, and why."""

from __future__ import annotations

import click

from crewd.client.cli.common import Options, look_at, out, say, say_within, verb
from crewd.client.cli.screen import one_line
from crewd.clock import local_time
from crewd.model.decisions import TYPES, decisions


@click.command("decisions")
@click.argument("run")
@verb
def decisions_(options: Options, run: str) -> None:
    """List what crewd has decided on RUN, and why: retries, blocks, notices, ends (docs/lifecycle.md)."""
    with look_at(options) as crew:
        found = list(decisions(crew.events(crew.show(run).run.id, types=TYPES)))
    for each in found:
        if options.json:
            out(each)
        else:
            step = each.task.partition("/")[2]
            where = f"  {step}#{each.epoch}" if step and each.epoch else f"  {step}" if step else ""
            text = f"  {one_line(each.text)}" if each.text else ""
            say_within(f"{each.seq:>6}  {local_time(each.at)}  {each.action:<8}  {each.reason:<18}{where}{text}".rstrip())
    if not found and not options.json:
        say("crewd has decided nothing on it so far")
