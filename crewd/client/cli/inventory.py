"""Verbs about what there is to run with: capabilities, disable, enable.

Tests: tests/client/cli/test_teams.py.
"""

from __future__ import annotations

import click
import msgspec

from crewd.client.blocking import connect
from crewd.client.cli.common import Options, out, say, table, verb
from crewd.client.inventory import disable, enable, inventory
from crewd.model.errors import NotFound, Refused
from crewd.model.events import RunInventory
from crewd.model.inventory import KINDS, Item


@click.command()
@click.option("--kind", type=click.Choice(KINDS), help="Only these.")
@click.option("--run", metavar="RUN", help="Those that there were when this run was started.")
@verb
def capabilities(options: Options, kind: str | None, run: str | None) -> None:
    """List agents, teams, workflows, skills, runtimes, hooks and extensions: active, disabled, shadowed, missing, and why."""
    found = [each for each in (_kept(options, run) if run else inventory()) if kind in {None, each.kind}]
    if options.json:
        out([msgspec.structs.asdict(each) for each in found])
        return
    why = {each.id: f"{each.name} means {each.shadowed_by}" if each.shadowed_by else each.reason for each in found}
    rows = [(each.id, each.source, each.state, why[each.id]) for each in found]
    table(("ID", "FROM", "STATE", "WHY"), rows)


def _kept(options: Options, run: str) -> tuple[Item, ...]:
    with connect(options.home, start=options.start) as crew:
        for event in crew.events(run.partition("/")[0], types=("run.inventory",)):
            if isinstance(event.body, RunInventory):
                return event.body.items
        hint = "runs keep it that crew run, crew parallel, MCP or ACP have started"
        raise NotFound(f"{crew.show(run).run.name} keeps no list of what there was to run with", hint=hint)


@click.command("disable")
@click.argument("key", metavar="KIND:NAME")
@click.option("--reason", default="", help="Why. A run that is refused shows it.")
@verb
def disable_(options: Options, key: str, reason: str) -> None:
    """Run nothing with an agent, a team, a workflow or a runtime any more, until it is enabled. Of a hook: do not ask it."""
    disable(key, reason)
    if options.json:
        out({"id": key, "state": "disabled", "reason": reason.strip()})
    else:
        say(f"{key} is disabled")


@click.command("enable")
@click.argument("key", metavar="KIND:NAME")
@verb
def enable_(options: Options, key: str) -> None:
    """Allow what was disabled. Exit 5 if it was not."""
    if not enable(key):
        raise Refused(f"{key} is not disabled", hint="crew capabilities lists what is")
    if options.json:
        out({"id": key, "state": "active"})
    else:
        say(f"{key} is enabled")
