"""Verbs about hooks and extensions: hooks, trust, initialise (docs/hooks.md, docs/extensions.md).

Tests: tests/client/test_hooks.py.
"""

from __future__ import annotations

import sys

import click
import msgspec

from crewd.client.cli.common import Options, out, say, say_within, verb
from crewd.client.cli.screen import escaped
from crewd.client.disabled import disabled
from crewd.client.hooks import PROJECT_FILE, distrust, found_hooks, project_hooks, trust
from crewd.client.initialised import initialise_again
from crewd.model.errors import CrewdError, Refused
from crewd.model.hook_requests import hook_schema
from crewd.model.hooks import POINTS, HookPoint


@click.command()
@click.option(
    "--schema", "point", type=click.Choice(POINTS), metavar="POINT",
    help=f"Print what hooks at this point are given, as JSON Schema: {', '.join(POINTS)}.",
)  # fmt: skip
@verb
def hooks(options: Options, point: HookPoint | None) -> None:
    """List the commands that are asked before and after steps and before other acts, in their order, and their state."""
    if point is not None:
        out(hook_schema(point))
        return
    off = disabled()
    rows = [
        {
            **msgspec.structs.asdict(each.hook),
            "owner": each.owner,
            "state": "disabled" if each.state != "shadowed" and f"hook:{each.hook.name}" in off else each.state,
            "reason": off.get(f"hook:{each.hook.name}", each.reason) if each.state != "shadowed" else each.reason,
        }
        for each in found_hooks()
    ]
    if options.json:
        out(rows)
        return
    if not rows:
        say("there are no hooks (docs/hooks.md: hooks.toml)")
    for row in rows:
        say_within(f"{row['name']}  {row['on']}  {'blocks' if row['blocking'] else 'remarks'}  {row['owner']}  {row['state']}")
        if row["reason"]:
            say_within(f"  {row['reason']}")
        _say_command(str(row["run"]))


@click.command()
@click.argument("name", metavar="EXTENSION")
@verb
def initialise(options: Options, name: str) -> None:
    """Run an extension's initialise command again. Exit 1 if it fails."""
    fault = initialise_again(name)
    if options.json:
        out({"extension": name, "fault": fault})
    if fault:
        raise CrewdError(f"extension {name} could not be initialised: {fault}", hint="it brings nothing until that has worked")
    if not options.json:
        say(f"extension {name} is initialised")


@click.command("trust")
@click.option("--revoke", is_flag=True, help="Trust them no more.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@verb
def trust_(options: Options, revoke: bool, yes: bool) -> None:  # noqa: FBT001 (flags)
    """Show the hooks of this project and let them run, as they are now, once you say so. A changed file is not trusted."""
    if revoke:
        if not distrust():
            raise Refused("the hooks of this project are not trusted", hint="crew hooks lists them")
        if options.json:
            out({"trusted": []})
        else:
            say(f"{PROJECT_FILE} is not trusted any more")
        return
    project = project_hooks()
    if not options.json:
        for hook in project.hooks:
            say_within(f"{hook.name}  {hook.on}  {'blocks' if hook.blocking else 'remarks'}")
            _say_command(hook.run)
    if project.hooks and not yes:
        if options.json or sys.stdin is None or not sys.stdin.isatty():
            raise Refused("nothing is trusted yet", hint="crew trust --yes, once you have read them")
        if not click.confirm("Let these commands run?"):
            raise Refused("nothing is trusted", hint="crew hooks lists them")
    trust(project)
    if options.json:
        out({"trusted": [msgspec.structs.asdict(hook) for hook in project.hooks]})
    else:
        say(f"{PROJECT_FILE} is trusted as it is now")


def _say_command(command: str) -> None:
    """Print the whole command that the shell is given, each of its lines on its own."""
    for line in escaped(command).split("\n"):
        say_within(f"  {line}")
