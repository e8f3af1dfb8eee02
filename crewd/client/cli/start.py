"""Verbs that start something: run, exec, call."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from crewd.client import shapes
from crewd.client.blocking import Crew, RunHandle, connect
from crewd.client.cli.common import EXIT_OF_STATUS, Options, out, say, verb
from crewd.client.cli.follow import follow
from crewd.protocol.errors import UsageError
from crewd.protocol.workflow import Workflow


def _options(function: Any) -> Any:
    for option in (
        click.option("--request-id", default="", help="Starting twice with the same id starts once."),
        click.option("-f", "--follow", "following", is_flag=True, help="Show live progress until the end."),
        click.option("-d", "--detach", is_flag=True, help="Print the id and return (the default)."),
        click.option("--name", default="", help="The run's name."),
        click.option("--cwd", type=click.Path(exists=True, file_okay=False), default=".", help="Where workers run."),
    ):
        function = option(function)
    return function


def _begin(options: Options, workflow: Workflow, goal: str, given: dict[str, Any]) -> None:
    with connect(options.home, start=options.start) as crew:
        run = crew.run(workflow, goal, cwd=given["cwd"], name=given["name"], request_id=given["request_id"])
        if given["following"] and not given["detach"]:
            sys.exit(_follow(options, crew, run))
        if options.json:
            out({"id": run.id, "name": run.name})
        else:
            say(f"{run.id}  {run.name}")


def _follow(options: Options, crew: Crew, run: RunHandle) -> int:
    follow(crew, run.id, as_json=options.json)
    return EXIT_OF_STATUS[crew.show(run.id).run.status.value]


@click.command()
@click.argument("goal", default="")
@click.option("--workflow", "-w", "source", required=True, help="A workflow file, or NAME for workflows/NAME.workflow.md.")
@_options
@verb
def run(options: Options, goal: str, source: str, **given: Any) -> None:
    """Run a workflow for GOAL ('-': from stdin)."""
    goal = sys.stdin.read().strip() if goal == "-" else goal
    _begin(options, shapes.load_workflow(source), goal, given)


@click.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--stdin", type=click.Choice(["none", "lines"]), default="none", help="'lines': a steer becomes a line of input.")
@click.option("--on-orphan", type=click.Choice(["keep", "end"]), default="keep", help="When crewd is away.")
@click.option("-e", "--env", multiple=True, metavar="K=V", help="Set for the command.")
@_options
@verb
def exec_(options: Options, argv: tuple[str, ...], stdin: str, on_orphan: str, env: tuple[str, ...], **given: Any) -> None:
    """Run a command as a worker: crew exec -- CMD ARGS."""
    pairs = {key: value for key, _, value in (pair.partition("=") for pair in env)}
    _begin(options, shapes.exec_workflow(argv, stdin=stdin, env=pairs, on_orphan=on_orphan), "", given)


@click.command()
@click.argument("target")
@click.option("--arg", "args", multiple=True, metavar="K=JSON", help="A keyword argument.")
@click.option("--start", type=click.Choice(["fork", "spawn"]), default="fork", help="From the warm process, or fresh.")
@click.option("--on-orphan", type=click.Choice(["keep", "end"]), default="keep", help="When crewd is away.")
@_options
@verb
def call(options: Options, target: str, args: tuple[str, ...], start: str, on_orphan: str, **given: Any) -> None:
    """Run a Python callable as a worker: crew call MODULE:FUNC --arg depth=2."""
    _begin(options, shapes.call_workflow(target, arguments(args), start=start, on_orphan=on_orphan), "", given)


def arguments(pairs: tuple[str, ...]) -> dict[str, object]:
    """Keyword arguments from `KEY=JSON`; UsageError for what is not that."""
    found: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--arg {pair!r} is not KEY=JSON", hint="for example --arg depth=2")
        try:
            found[key] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            found[key] = value  # a bare word is a string: what everybody means by it
    return found
