"""What all verbs share: options, output rules, exit codes.

Under `--json` one document goes to stdout for a question, one line per item for a stream; errors go to stderr as
`{"error": {...}}`. Human text never mixes into it.

Tests: tests/client/test_cli.py, tests/client/cli/test_verbs.py.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
import msgspec

from crewd.client.cli.screen import escaped, for_json, lay_out, plain, screen_columns, width_of, wrapped
from crewd.clock import parse_time
from crewd.model.errors import CrewdError, InvariantError, UsageError
from crewd.model.hooks import HookRun
from crewd.model.quantities import seconds
from crewd.model.reasons import RefusalReason
from crewd.model.receipts import Outcome, Receipt
from crewd.model.redact import clip

if TYPE_CHECKING:
    from crewd.client.blocking import Crew

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Options:
    """The options that stand before the verb."""

    home: str | None
    json: bool
    start: bool | None


def out(value: object) -> None:
    """One JSON document (or one line of a stream) on stdout."""
    sys.stdout.write(for_json(msgspec.json.encode(value).decode()) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A line for people on stdout; nothing in it steers their terminal."""
    click.echo(plain(text))


def say_exactly(text: str) -> None:
    """As `say`, with each control character in sight: for what people read before they let it run."""
    click.echo(escaped(text))


def say_within(text: str) -> None:
    """As `say`, on as many lines as the screen needs: see `wrapped`."""
    columns, text = screen_columns(), plain(text)
    for line in [text] if columns is None or width_of(text) <= columns else wrapped(text, columns):
        say(line)


def warn(text: str) -> None:
    """A line for people on stderr, beside what is printed. If it cannot be written, nothing stops and no exit code changes."""
    try:
        click.echo(plain(text), err=True)
    except OSError:
        close_off(2)


def close_off(descriptor: int) -> None:
    """Let nothing more go to a standard stream that cannot be written: what is still held back must not fail once more."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def say_hooks(asked: Iterable[HookRun]) -> None:
    """On stderr: what hooks have remarked and changed."""
    for ran in asked:
        if ran.verdict != "allow":
            warn(ran.words)


def say_stale(*, stale: bool) -> None:
    """On stderr: what is shown is not the newest."""
    if stale:
        warn("stale: the disk refuses writes; this is the last state that was written (crew doctor)")


SAID_CHARS_MAX = 1_000
"""What people are shown of an error's text, which may hold what they typed; `--json` has all of it."""


def _not_too_long(text: str) -> str:
    return text if len(text) <= SAID_CHARS_MAX else clip(text, SAID_CHARS_MAX)


def fail(error: CrewdError, *, as_json: bool) -> NoReturn:
    """Say what is wrong on stderr, and exit with the error's code."""
    say_error(error, as_json=as_json)
    sys.exit(error.exit_code)


def say_error(error: CrewdError, *, as_json: bool) -> None:
    """Say what is wrong on stderr: a line of JSON, or the error and what to do."""
    if as_json:
        warn(for_json(msgspec.json.encode({"error": error.info}).decode()))
    else:
        warn(f"crew: {_not_too_long(error.message)}")
        if error.hint:
            warn(f"      {_not_too_long(error.hint)}")


PIPE_CLOSED = 141
"""As a shell has it for a program that SIGPIPE has ended."""
EXIT_CODES = {
    0: "done; for wait, run -f and the like: completed",
    1: "run or task failed; doctor: not well; cancel: processes live; backup: gaps",
    2: "the command line, a file or a request is wrong; nothing was done",
    3: "the run or task was cancelled",
    4: "there is no such run, step, message, question or workflow",
    5: "refused: it is not possible as things stand; nothing was changed",
    6: "the message was accepted and not taken: its worker or its time ended",
    65: "the database is damaged; nothing is written to it any more",
    69: "no daemon answers, or it cannot do this now: try again",
    70: "an error of crewd itself: please report it",
    74: "the output, or a file for it, cannot be written",
    77: "this client may not do that",
    124: "the time to wait has passed; what was waited for goes on",
    130: "interrupted",
    141: "the reader of the output has closed it",
}
"""What `crew` exits with. A command's own exit code is in `crew show`."""


def unwritable(error: OSError, *, as_json: bool) -> NoReturn:
    """A file, or the output, cannot be read or written: say which and why."""
    what = error.filename if isinstance(error.filename, str) else "the output"
    close_off(1)
    fail(Unwritable(f"{what}: {error.strerror or error}"), as_json=as_json)


def internal(error: Exception, *, as_json: bool) -> NoReturn:
    """Something that should not happen."""
    if os.environ.get("CREWD_TRACEBACK"):
        traceback.print_exc()
    hint = "please report it; CREWD_TRACEBACK=1 shows where it was"
    fail(InvariantError(f"internal error: {type(error).__name__}: {error}", hint=hint), as_json=as_json)


class Unwritable(CrewdError):
    """A file on the client's side cannot be read or written."""

    code = "unwritable"
    exit_code = 74


def look_at(options: Options) -> Crew:
    """A client that looks, and starts no daemon; it says if the daemon takes no new work."""
    from crewd.client.blocking import connect  # `crew --help` needs no sockets

    crew = connect(options.home, start=False)
    if crew.draining:
        warn("crewd is draining: it takes no new work and stops when the rest has ended (crew daemon resume takes that back)")
    return crew


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
            warn("interrupted; what was started goes on")
            sys.exit(130)

    return wrapped  # type: ignore[return-value]  # click's decorators keep the callable's role, not its type


def one_of_flags(name: str, flags: Mapping[str, tuple[str, str]], default: str | None = None) -> Callable[[F], F]:
    """Flags that exclude each other: the parameter `name` is the value of the one that is given. `flags`: value and help."""
    key = f"{__name__}.{name}"

    def decorate(function: F) -> F:
        for flag, (value, text) in reversed(list(flags.items())):

            def heard(
                context: click.Context, _param: click.Parameter, given: bool, flag: str = flag, value: str = value  # noqa: FBT001
            ) -> None:  # fmt: skip
                if not given:
                    context.params.setdefault(name, default)
                    return
                if (before := context.meta.setdefault(key, flag)) != flag:
                    raise click.UsageError(f"{before} and {flag} exclude each other", context)
                context.params[name] = value

            function = click.option(flag, is_flag=True, expose_value=False, callback=heard, help=text)(function)
        return function

    return decorate


class FileToWrite(click.Path):
    """The path of a file that is written: no directory, and nothing that can only be one, as `new/`."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.Path`."""
        if isinstance(value, str) and value.endswith(os.sep):
            self.fail(f"{value!r} names a directory, and a file is written", param, ctx)
        return super().convert(value, param, ctx)


def table(
    headers: Sequence[str], rows: Iterable[Iterable[object]], whole: Collection[str] = (), indent: str = "", empty: str = ""
) -> None:  # fmt: skip
    """Columns for people, the most important ones first: aligned, no frames, never wider than the screen. See `lay_out`.

    Without rows it says `empty` on stderr, and no headers.
    """
    rows = list(rows)
    if empty and not rows:
        warn(empty)
        return
    columns = screen_columns()
    for line in lay_out(headers, rows, None if columns is None else columns - len(indent), whole):
        say(indent + line)


def short_task(task: str) -> str:
    """A task by the end of its run's id: short, and what can be typed."""
    run, slash, step = task.partition("/")
    return f"{run[-6:]}{slash}{step}"


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
            say_within(f"  {hint.format(kind=receipt.kind.replace('_', '-'))}")
    if receipt.outcome is Outcome.REFUSED:
        return 6 if receipt.delivered_at and receipt.reason in _NEVER_TAKEN else 5
    return 6 if receipt.outcome in {Outcome.EXPIRED, Outcome.UNKNOWN} else 0


_NEVER_TAKEN = frozenset({RefusalReason.ENDED, RefusalReason.ATTEMPT_OVER})
"""It was on its way when its worker ended: accepted, and never taken."""
_WHAT_TO_DO: dict[str, str] = {
    RefusalReason.ENDED: "the worker has ended: crew {kind} … --on-idle start starts it again, if it takes messages",
    RefusalReason.NOT_SUPPORTED: "the worker takes no {kind}: a command takes steers with --stdin lines, code what it declares",
    RefusalReason.NOT_RUNNING: "nobody is at work: leave out --if-running, or use --on-idle queue",
    RefusalReason.TURN_OVER: "crew show tells the turn that it is in",
    RefusalReason.NO_SUCH_TURN: "crew show tells the attempt and the turn that it is in",
    RefusalReason.ATTEMPT_OVER: "crew show tells the attempt that lives",
    RefusalReason.ALREADY_ANSWERED: "somebody was faster: crew messages tells who",
}
"""What to do about a refusal, by its reason."""


EXIT_OF_STATUS = {"completed": 0, "failed": 1, "cancelled": 3, "cancel_incomplete": 3, "skipped": 1}


def time_of(text: str | None, now: float) -> float:
    """The wall-clock time that an option means (see `parse_time`); 0 if it was not given. Raises UsageError."""
    if text is None:
        return 0.0
    try:
        return parse_time(text, now)
    except ValueError:
        raise UsageError(f"{text!r} is no time", hint="2026-01-31T12:00, or how long ago: 90s, 15m, 2h, 3d") from None


class Seconds(click.ParamType[float]):
    """A time of an option, as `90`, `90s`, `10m` or `1h30m`: seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See click."""
        if isinstance(value, float | int):
            return float(value)
        try:
            return seconds(value)
        except UsageError as error:
            return self.fail(str(error), param, ctx)


SECONDS = Seconds()


def lasted(seconds: float) -> str:
    """How long something took, as people read it; a short time with its tenths."""
    return f"{max(0.0, seconds):.1f}s" if seconds < 9.95 else ago(seconds)


def ago(seconds: float) -> str:
    """A duration as people read it."""
    if seconds < 60:
        return f"{max(0.0, seconds):.0f}s"
    if seconds < 3600:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.0f}h" if seconds < 86400 else f"{seconds / 86400:.0f}d"
