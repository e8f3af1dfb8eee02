"""`crew stress`: the stress test of a worker from the command line."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import click

from crewd.client.cli.common import Options, out, say, verb
from crewd.client.cli.start import arguments
from crewd.protocol.errors import UsageError
from crewd.testing.stress.history import GRACE_SECONDS, History, parse
from crewd.testing.stress.laws import LAWS
from crewd.testing.stress.search import EXAMPLES, Found, Search, Try
from crewd.testing.stress.target import PATIENCE_SECONDS, Target, try_out
from crewd.testing.stress.trial import Trial


@click.command(epilog="Laws: " + "; ".join(LAWS) + ".")
@click.argument("target", metavar="MODULE:FUNC")
@click.option("--arg", "args", multiple=True, metavar="K=JSON", help="A keyword argument.")
@click.option("--examples", default=EXAMPLES, show_default=True, help="Drawn histories, after every single point was tried.")
@click.option("--seed", default=0, show_default=True, help="What the drawn histories are drawn from.")
@click.option("--grace", default=GRACE_SECONDS, show_default=True, help="Seconds between a cancel and the worker's end.")
@click.option(
    "--patience", default=PATIENCE_SECONDS, show_default=True, help="Seconds of real time for one start of the worker."
)
@click.option("--files", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Copied to where the worker runs.")
@click.option("--appends", multiple=True, metavar="PATTERN", help="Files that grow line by line: a beginning is no half.")
@click.option("--without", multiple=True, metavar="LAW", help="Do not look at this law.")
@click.option("--history", "text", help="Only this history, as a story gave it.")
@click.option("--real", is_flag=True, help="Real processes under a real daemon, instead of in process; slower.")
@click.option("--here", is_flag=True, help="In this very process, for a debugger; needs --history.")
@verb
def stress(
    options: Options, target: str, args: tuple[str, ...], examples: int, seed: int, text: str | None, **given: Any
) -> None:
    """Cancel, kill, steer and ask a worker at every point of its work, and see whether it behaves.

    Exit code 1 if it breaks a law; then the shortest history that shows it is printed as a story.
    """
    worker = Target(target, arguments(args), given["files"], given["appends"], patience=given["patience"])
    worker.function()
    if given["here"] and (text is None or given["real"]):
        raise UsageError("--here runs one history in this process", hint="give --history, without --real")
    with contextlib.ExitStack() as stack:
        attempt: Try = _here if given["here"] else try_out
        if given["real"]:
            from crewd.testing.stress.real import Reality

            attempt = stack.enter_context(Reality()).try_out

        flags = " --real" if given["real"] else ""
        search = Search(worker, attempt, given["without"], given["grace"], flags)
        try:
            found = search.go(examples, seed) if text is None else search.replay(parse(text))
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            _show(options, search.found)
            sys.exit(130)
    _show(options, found)
    sys.exit(1 if found.breach else 0)


def _here(target: Target, history: History) -> Trial:
    return try_out(target, history, here=history != History())


def _show(options: Options, found: Found) -> None:
    points = len(found.reference.points)
    if options.json:
        breach = found.breach
        out({
            "worker": found.target.name, "points": points, "trials": found.trials, "histories": dict(found.histories),
            "law": breach.law if breach else None, "what": breach.what if breach else None,
            "history": str(found.history) if breach else None, "story": found.story or None,
        })  # fmt: skip
        return
    if found.breach:
        say(found.story)
        say("")
    done = ", ".join(f"{number} {kind}" for kind, number in found.histories.items())
    verdict = "a law was broken" if found.breach else "every law held"
    say(f"{found.trials} trials of a worker with {points} points ({done}): {verdict}")
    if found.reference.last.idle:
        say("Undisturbed it came to no end and was cancelled: it waits for messages, or has more points than are counted.")
        say("Whether files are whole, and whether it resumes to the same end, cannot be seen then.")
    if not points:
        say("It never looks at its channel: a cancel can only interrupt it. Give it a context, and safe points.")
