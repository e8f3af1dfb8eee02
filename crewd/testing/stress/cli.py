"""`crew stress`: the stress test of a worker from the command line.

Tests: tests/testing/stress/test_search.py.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from crewd.client.cli.common import Options, out, say, say_within, verb, warn
from crewd.client.cli.start import arguments
from crewd.model.errors import UsageError
from crewd.model.quantities import counted
from crewd.testing.stress.history import GRACE_SECONDS, History, parse
from crewd.testing.stress.laws import LAWS
from crewd.testing.stress.lines import is_plain
from crewd.testing.stress.search import EXAMPLES, FoundMistake, Search, Try
from crewd.testing.stress.story import nothing_came_of
from crewd.testing.stress.target import PATIENCE_SECONDS, Target, try_out
from crewd.testing.stress.trial import Trial


@click.command(epilog="Laws: " + "; ".join(LAWS) + ".")
@click.argument("target", metavar="MODULE:FUNC")
@click.option("--arg", "args", multiple=True, metavar="K=JSON", help="A keyword argument.")
@click.option(
    "--examples",
    type=click.IntRange(0, 1_000_000),
    default=EXAMPLES,
    show_default=True,
    help="Drawn histories, after every single point was tried.",
)
@click.option("--seed", default=0, show_default=True, help="What the drawn histories are drawn from.")
@click.option(
    "--grace",
    type=click.FloatRange(0.0, 3_600.0),
    default=GRACE_SECONDS,
    show_default=True,
    help="Seconds between a cancel and the worker's end.",
)
@click.option(
    "--patience",
    type=click.FloatRange(0.1, 86_400.0),
    default=PATIENCE_SECONDS,
    show_default=True,
    help="Seconds of real time for one start of the worker.",
)
@click.option("--files", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Copied to where the worker runs.")
@click.option(
    "--appends", multiple=True, metavar="PATTERN", help="Files that grow line by line, as *.log do: a beginning is no half."
)
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
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # where `crew call` would find the module, too
    worker = Target(target, arguments(args), given["files"], given["appends"], patience=given["patience"])
    worker.function()
    history = None if text is None else parse(text)
    if given["here"] and (text is None or given["real"]):
        raise UsageError("--here runs one history in this process", hint="give --history, without --real")
    with contextlib.ExitStack() as stack:
        attempt: Try = _here if given["here"] else try_out
        if given["real"]:
            from crewd.testing.stress.real import Reality

            attempt = stack.enter_context(Reality()).try_out

        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
        stack.callback(signal.signal, signal.SIGTERM, before)
        attempt = stack.enter_context(until_interrupted(attempt))
        warn(f"{target} is really run, many times")
        warn("  each time in a folder, a home and a TMPDIR of its own")
        warn("  what it does elsewhere (network, databases, absolute paths) it does really")
        if given["real"]:
            warn("  not seen with --real: silence for longer than 5 s, and processes that it leaves")
        progress = _Progress(options)
        stack.callback(progress.over)
        search = Search(worker, attempt, given["without"], given["grace"], progress, real=given["real"])
        try:
            found = search.go(examples, seed) if history is None else search.replay(history)
        except KeyboardInterrupt:
            click.echo(f"interrupted after {search.found.trials} trials: nothing is proved", err=True)
            sys.exit(130)
    _show(options, found)
    sys.exit(1 if found.breach else 0)


@contextlib.contextmanager
def until_interrupted(attempt: Try) -> Iterator[Try]:
    """The same, until Ctrl-C: Python loses an exception of a signal that comes while it forks or collects garbage."""
    heard: list[int] = []

    def interrupted(number: int, _frame: object) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    def checked(target: Target, history: History) -> Trial:
        trial = attempt(target, history)
        if heard:
            raise KeyboardInterrupt
        return trial

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield attempt  # it is ignored, as in the background of a shell
        return
    signal.signal(signal.SIGINT, interrupted)
    try:
        yield checked
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Progress:
    """One line on a terminal that says how far the search is; nothing elsewhere."""

    def __init__(self, options: Options) -> None:
        self._shown = sys.stderr.isatty() and not options.json

    def __call__(self, found: FoundMistake) -> None:
        if self._shown:
            kind = next(reversed(found.histories), "")
            click.echo(f"\r\x1b[K{counted(found.trials, 'trial')}, now: {kind}\r", err=True, nl=False)

    def over(self) -> None:
        """Take the line away."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)


def _here(target: Target, history: History) -> Trial:
    return try_out(target, history, here=history != History())


def _show(options: Options, found: FoundMistake) -> None:
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
        for line in found.story.split("\n"):
            (say if line.startswith("  again: ") else say_within)(line)  # a command to copy stays one line
        say("")
    elif "given" in found.histories and found.trial:
        for line in nothing_came_of(found.history, found.trial):
            say_within(line)
    done = ", ".join(f"{number} {kind}" for kind, number in found.histories.items())
    verdict = "a law was broken" if found.breach else "every law held"
    say_within(f"{counted(found.trials, 'trial')} of a worker with {counted(points, 'point')} ({done}): {verdict}")
    if found.late:
        say_within(
            "The time for drawn histories was over first: a trial takes long, because the worker really waits or the machine"
            " is busy. --examples 0 draws none."
        )
    if found.reference.last.idle:
        say_within(
            "Undisturbed it came to no end and was cancelled: it waits for messages, or has more points than are counted."
        )
        say_within("Whether files are whole, and whether it resumes to the same end, cannot be seen then.")
    elif found.unreached and "given" not in found.histories:
        say_within(f"Histories with points that were not reached, where nothing was done: {found.unreached}.")
    if found.deaf_after is not None:
        last, after = found.reference.last, found.deaf_after
        say_within(
            f"After point {after.number} ({after.call}, {after.where}) it came to no point for {last.gap_seconds:.1f} s,"
            " longer than its grace, so a cancel in that time is late."
            " Wait with ctx.sleep, or look at the channel more often."
        )
    if is_plain(found.target.function()):
        say_within(
            "It takes no context: points are its lines, where a cancel interrupts it. Give it a context, and safe points."
        )
    elif not points and found.reference.last.end in {"completed", "cancelled"}:
        say("It never looks at its channel: a cancel can only interrupt it.")
