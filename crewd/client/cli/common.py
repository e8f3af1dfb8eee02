"""What all verbs share: options, output rules, exit codes (ecosystem.md §12).

Under `--json` one document goes to stdout for a question, one line per item for a stream; errors go to stderr as
`{"error": {...}}`. Human text never mixes into it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import click
import msgspec

from crewd.clock import parse_time
from crewd.protocol.errors import CrewdError, RunCancelled, RunFailed, Undelivered, UsageError
from crewd.protocol.reasons import RefusalReason
from crewd.protocol.receipts import Outcome, Receipt

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Options:
    """The options that stand before the verb."""

    home: str | None
    json: bool
    start: bool | None


def out(value: object) -> None:
    """One JSON document (or one line of a stream) on stdout."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A line for people on stdout."""
    click.echo(text)


def say_stale(*, stale: bool) -> None:
    """On stderr: what is shown is not the newest."""
    if stale:
        click.echo("stale: the disk refuses, this is how things were when it last did not (crew doctor)", err=True)


def fail(error: CrewdError, *, as_json: bool) -> NoReturn:
    """Say what is wrong on stderr, and exit with the error's code."""
    if as_json:
        sys.stderr.write(msgspec.json.encode({"error": error.info}).decode() + "\n")
    else:
        click.echo(f"crew: {error.message}", err=True)
        if error.hint:
            click.echo(f"      {error.hint}", err=True)
    sys.exit(error.exit_code)


def verb(function: F) -> F:
    """A verb: gets the options, and its errors become exit codes."""

    @click.pass_context
    @functools.wraps(function)
    def wrapped(context: click.Context, /, *args: Any, **kwargs: Any) -> Any:
        options: Options = context.obj
        try:
            return function(options, *args, **kwargs)
        except CrewdError as error:
            fail(error, as_json=options.json)
        except KeyboardInterrupt:
            click.echo("interrupted; what was started goes on", err=True)
            sys.exit(130)
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(0)

    return wrapped  # type: ignore[return-value]  # click's decorators keep the callable's role, not its type


def table(headers: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Columns for people: aligned, no frames, nothing when empty but the header."""
    lines = [[str(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def tell_receipt(options: Options, receipt: Receipt) -> None:
    """Show a receipt, and exit with what it says if that is not 0."""
    code = show_receipt(options, receipt)
    if code:
        sys.exit(code)


def show_receipt(options: Options, receipt: Receipt) -> int:
    """Show a receipt: 5 if the message was refused, 6 if it was accepted and never taken, else 0."""
    if options.json:
        out(receipt)
    else:
        end = f" {receipt.outcome}" if receipt.outcome else ""
        why = f" ({receipt.reason})" if receipt.reason else ""
        note = f": {receipt.note}" if receipt.note else ""
        effect = f"  [{receipt.effect}]" if receipt.effect and not receipt.settled else ""
        say(f"{receipt.id}  {receipt.kind}  {receipt.level}{end}{why}{note}{effect}")
        hint = _WHAT_TO_DO.get(receipt.reason, "") if receipt.outcome is Outcome.REFUSED and not note else ""
        if hint:
            say(f"  {hint}")
    if receipt.outcome is Outcome.REFUSED:
        return 6 if receipt.delivered_at else 5
    return 6 if receipt.outcome in {Outcome.EXPIRED, Outcome.UNKNOWN} else 0


_WHAT_TO_DO: dict[str, str] = {
    RefusalReason.ENDED: "the worker has ended: crew follow-up … --on-idle start starts it again",
    RefusalReason.NOT_SUPPORTED: "the worker's code does not take this kind: crew message reaches its mailbox",
    RefusalReason.NOT_RUNNING: "nobody is at work: leave out --if-running, or use --on-idle queue",
    RefusalReason.TURN_OVER: "crew show tells the turn that it is in",
    RefusalReason.NO_SUCH_TURN: "crew show tells the attempt and the turn that it is in",
    RefusalReason.ATTEMPT_OVER: "crew show tells the attempt that lives",
    RefusalReason.ALREADY_ANSWERED: "somebody was faster: crew messages tells who",
}
"""What to do about a refusal, by its reason."""


EXIT_OF_STATUS = {"completed": 0, "failed": 1, "cancelled": 3, "cancel_incomplete": 3, "skipped": 1}
END_ERRORS = (RunFailed, RunCancelled, Undelivered)


def time_of(text: str, now: float) -> float:
    """The wall-clock time that an option means (see `parse_time`); 0 if it was not given. Raises UsageError."""
    if not text:
        return 0.0
    try:
        return parse_time(text, now)
    except ValueError:
        raise UsageError(f"{text} is no time", hint="2026-01-31T12:00, or how long ago: 90s, 15m, 2h, 3d") from None


def ago(seconds: float) -> str:
    """A duration as people read it."""
    if seconds < 60:
        return f"{max(0.0, seconds):.0f}s"
    if seconds < 3600:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.0f}h" if seconds < 86400 else f"{seconds / 86400:.0f}d"
