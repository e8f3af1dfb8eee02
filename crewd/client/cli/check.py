"""The verb `check`: what a workflow file is understood as, and what is wrong with files. No daemon is asked.

Tests: tests/client/test_cli.py, tests/client/cli/test_teams.py.
"""

from __future__ import annotations

import click

from crewd.client import shapes
from crewd.client.cli.common import Options, verb
from crewd.client.cli.resources import check_all
from crewd.client.cli.understood import tell_workflow


@click.command()
@click.argument("source", metavar="[FILE]", default="")
@verb
def check(options: Options, source: str) -> None:
    """Show what a workflow FILE ('-': from stdin) is understood as: inputs, steps, edges, commands. Exit 2 if it is not.

    Without a FILE all files of agents, teams and workflows are looked at. Exit 1 if something is wrong with one.
    """
    if not source:
        check_all(options)
        return
    tell_workflow(options, shapes.understand_workflow("/dev/stdin" if source == "-" else source))
