"""Verbs about what there is to run with: capabilities, disable, enable.

Tests: tests/client/cli/test_teams.py.
"""

from __future__ import annotations

import click
import msgspec

from crewd.agents.given import INVENTORY_FILE, items_in
from crewd.client.blocking import Crew, connect
from crewd.client.cli.common import Options, out, say, table, verb, warn
from crewd.client.faults import wrong_files
from crewd.client.inventory import disable, enable, inventory
from crewd.client.keeping import artifact_bytes
from crewd.model.agent import AGENT_RUNTIMES
from crewd.model.errors import NotFound, Refused
from crewd.model.events import RunInventory
from crewd.model.ids import split_task_id
from crewd.model.inventory import KINDS, Item


@click.command()
@click.option("--kind", type=click.Choice(KINDS), metavar="KIND", help=f"Only one kind: {', '.join(KINDS)}.")
@click.option(
    "--run", metavar="RUN[/STEP]", help="Those that there were when this run was started; what an agent's step was given."
)
@verb
def capabilities(options: Options, kind: str | None, run: str | None) -> None:
    """List agents, teams, workflows, skills, runtimes, tools, providers, hooks and extensions, and whether each may be used."""
    found = [each for each in (_kept(options, run) if run else _now()) if kind in {None, each.kind}]
    if options.json:
        out([msgspec.structs.asdict(each) for each in found])
        return
    why = [f"{each.name} means {each.shadowed_by}" if each.shadowed_by else each.reason for each in found]
    rows = [(each.id, each.source, each.state, reason) for each, reason in zip(found, why, strict=True)]
    table(("ID", "FROM", "STATE", "WHY"), rows, empty="there is nothing of this kind")
    for each in found:
        if each.state == "missing" and each.reason:  # the table may have cut it
            warn(f"{each.id} is missing: {each.reason}")


def _now() -> list[Item]:
    """What there is; nobody can use a file that is wrong."""
    wrong = wrong_files()
    return [
        msgspec.structs.replace(each, state="missing", reason=wrong[each.id])
        if each.id in wrong and each.state == "active" else each
        for each in inventory()
    ]  # fmt: skip


def _kept(options: Options, run: str) -> tuple[Item, ...]:
    with connect(options.home, start=options.start) as crew:
        if split_task_id(run)[1]:
            return _given(crew, run)
        for event in crew.events(run, types=("run.inventory",)):
            if isinstance(event.body, RunInventory):
                return event.body.items
        hint = "runs keep it that crew run, crew parallel, MCP or ACP have started"
        raise NotFound(f"{crew.show(run).run.name} keeps no list of what there was to run with", hint=hint)


def _given(crew: Crew, step: str) -> tuple[Item, ...]:
    """What the latest attempt of an agent's step was given."""
    shown = crew.show(step)
    name = split_task_id(step)[1]  # a run is shown whole
    agents = {task.id for task in shown.tasks if task.runtime in AGENT_RUNTIMES and split_task_id(task.id)[1] == name}
    kept = [row for row in shown.artifacts if row.name == INVENTORY_FILE and row.task in agents]
    if not kept:
        hint = f"only coding agents have one, once they have started; crew capabilities --run {step.partition('/')[0]}"
        raise NotFound(f"{step} keeps no list of what it was given", hint=hint)
    last = max(kept, key=lambda row: row.epoch)
    return items_in(artifact_bytes(crew, last))


@click.command("disable")
@click.argument("key", metavar="KIND:NAME")
@click.option("--reason", default="", help="Why. A run that is refused shows it.")
@verb
def disable_(options: Options, key: str, reason: str) -> None:
    """Run nothing with an agent, a team, a tool and so on (crew capabilities) until it is enabled. Of a hook: do not ask it."""
    key = disable(key, reason)
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
