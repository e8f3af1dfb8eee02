"""The verb `check`: what a workflow file is understood as, and what is wrong with files. No daemon is asked.

Tests: tests/client/test_cli.py, tests/client/cli/test_teams.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from crewd.client import shapes
from crewd.client.cli.common import Options, say_error, verb, warn
from crewd.client.cli.resources import check_all, check_one, resource_in
from crewd.client.cli.understood import tell_workflow
from crewd.client.faults import Fault, faults_of_steps, in_lines, remarks_on_steps
from crewd.model.errors import UsageError
from crewd.model.verification import with_verifications
from crewd.model.workflow import check_workflow


@click.command()
@click.argument("source", metavar="[FILE]", default="")
@verb
def check(options: Options, source: str) -> None:
    """Show what a workflow FILE ('-': from stdin) is understood as: inputs, steps, edges, commands. Exit 2 if it is not.

    With the file of an agent, a team or a skill that one is looked at. Without a FILE all files of agents, teams, workflows,
    skills and hooks are. Exit 1 if something is wrong with one, or with what it names.
    """
    if not source:
        check_all(options)
        return
    only = resource_in(source)
    if only is not None:
        check_one(options, only)
        return
    try:
        understood = shapes.understand_workflow("/dev/stdin" if source == "-" else source)
    except UsageError as error:
        _tell_wrong(options, error)
    text = Path(source).read_text("utf-8", "replace") if Path(source).is_file() else ""
    try:  # the runtime and the access of a step may be an agent's or a team's, who are not known here
        check_workflow(with_verifications(understood.workflow))
    except UsageError as error:
        (fault,) = in_lines(text, [Fault(error.message, error.hint)])
        raise UsageError(f"{source}: {fault.wrong}", hint=fault.hint) from None
    tell_workflow(options, understood)
    remarks, faults = (in_lines(text, each(understood.workflow)) for each in (remarks_on_steps, faults_of_steps))
    for fault in (*remarks, *faults):
        warn(f"{'' if source == '-' else f'{source}: '}{fault.wrong}{f' ({fault.hint})' if fault.hint else ''}")
    if faults:
        sys.exit(1)


def _tell_wrong(options: Options, error: UsageError) -> NoReturn:
    """Say what is wrong in a file: the first error as everywhere, and a line for each further one."""
    say_error(error, as_json=options.json)
    for other in str(error.values.get("further", "")).splitlines() if not options.json else ():
        warn(f"also, {other}")
    sys.exit(error.exit_code)
