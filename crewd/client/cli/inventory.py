"""Verbs about what there is to run with: capabilities, disable, enable.

Tests: tests/client/cli/test_teams.py.
"""

from __future__ import annotations

import click
import msgspec

from crewd.client.cli.common import Options, out, say, table, verb
from crewd.client.inventory import KINDS, disable, enable, inventory
from crewd.model.errors import Refused


@click.command()
@click.option("--kind", type=click.Choice(KINDS), help="Only these.")
@verb
def capabilities(options: Options, kind: str | None) -> None:
    """List agents, teams, workflows, skills, runtimes, hooks and extensions: active, disabled, shadowed, missing, and why."""
    found = [each for each in inventory() if kind in {None, each.kind}]
    if options.json:
        out([msgspec.structs.asdict(each) for each in found])
        return
    why = {each.id: f"{each.name} means {each.shadowed_by}" if each.shadowed_by else each.reason for each in found}
    rows = [(each.id, each.source, each.state, why[each.id]) for each in found]
    table(("ID", "FROM", "STATE", "WHY"), rows)


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
