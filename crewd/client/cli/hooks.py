"""Verbs about hooks: hooks, trust (docs/hooks.md).

Tests: tests/client/test_hooks.py.
"""

from __future__ import annotations

import click
import msgspec

from crewd.client.cli.common import Options, out, say, table, verb
from crewd.client.hooks import PROJECT_FILE, distrust, found_hooks, trust
from crewd.client.inventory import disabled
from crewd.model.errors import Refused


@click.command()
@verb
def hooks(options: Options) -> None:
    """List the commands that are asked before and after each step that is started here, in their order, and their state."""
    off = disabled()
    rows = [
        {
            **msgspec.structs.asdict(each.hook),
            "state": "disabled" if each.state != "shadowed" and f"hook:{each.hook.name}" in off else each.state,
            "reason": off.get(f"hook:{each.hook.name}", each.reason) if each.state != "shadowed" else each.reason,
        }
        for each in found_hooks()
    ]
    if options.json:
        out(rows)
        return
    words = ("blocks", "remarks")
    table(
        ("NAME", "ON", "IT", "FROM", "STATE", "RUNS"),
        [
            (row["name"], row["on"], words[not row["blocking"]], row["source"], row["state"], row["reason"] or row["run"])
            for row in rows
        ],
    )


@click.command("trust")
@click.option("--revoke", is_flag=True, help="Trust them no more.")
@verb
def trust_(options: Options, revoke: bool) -> None:  # noqa: FBT001 (a flag)
    """Let the hooks of this project run, as they are now. What they are is printed. A file that changes is not trusted."""
    if revoke:
        if not distrust():
            raise Refused("the hooks of this project are not trusted", hint="crew hooks lists them")
        if options.json:
            out({"trusted": []})
        else:
            say(f"{PROJECT_FILE} is not trusted any more")
        return
    trusted = trust()
    if options.json:
        out({"trusted": [msgspec.structs.asdict(hook) for hook in trusted]})
        return
    say(f"{PROJECT_FILE} is trusted as it is now:")
    for hook in trusted:
        say(f"  {hook.name}, {hook.on}: {hook.run}")
