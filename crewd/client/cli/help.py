"""The verbs `help` and `version`.

Tests: tests/client/cli/test_verbs.py.
"""

from __future__ import annotations

import click

from crewd import __version__
from crewd.client.cli.common import EXIT_CODES, Options, out, say, verb


@click.command("help")
@click.argument("topic", default="")
@click.pass_context
def help_(context: click.Context, topic: str) -> None:
    """Help on a verb, or on 'exit-codes'; without either, the list of all verbs."""
    root = context.find_root()
    options = context.find_object(Options)
    if options is not None and options.json and topic in {"", "exit-codes"}:
        verbs = {} if topic or not isinstance(root.command, click.Group) else {"verbs": root.command.list_commands(root)}
        out({"exit_codes": EXIT_CODES} if topic else verbs)
        return
    if topic == "exit-codes":
        for code, meaning in EXIT_CODES.items():
            say(f"{code:>4}  {meaning}")
        return
    group = root.command
    if not topic or not isinstance(group, click.Group):
        say(root.get_help())
        return
    _, command, _ = group.resolve_command(root, [topic])
    if command is not None and options is not None and options.json:
        with click.Context(command, info_name=topic, parent=root) as below:
            out({"verb": topic, "help": command.get_help(below)})
    elif command is not None:
        with click.Context(command, info_name=topic, parent=root) as below:
            say(command.get_help(below))


@click.command()
@verb
def version(options: Options) -> None:
    """Print the version."""
    if options.json:
        out({"version": __version__})
    else:
        say(f"crew, version {__version__}")
