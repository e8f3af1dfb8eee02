"""The verb `logs`: what workers wrote, line by line."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

import click
import msgspec

from crewd.client.blocking import Crew, connect
from crewd.client.calls import Stream
from crewd.client.cli.common import Options, look_at, one_of_flags, time_of, verb, warn
from crewd.client.cli.screen import for_json, overwritten, plain
from crewd.client.discover import holder
from crewd.clock import SystemClock, with_zone
from crewd.model.errors import CrewdError, NotFound, UsageError
from crewd.model.ids import split_task_id
from crewd.model.limits import LOG_CHUNK_BYTES_MAX
from crewd.model.quantities import counted
from crewd.model.statuses import TASK_TERMINAL
from crewd.protocol import replies as rl

POLL_SECONDS = 0.2
"""Between two looks at a log that is followed."""
GONE_SECONDS = 1.0
"""After so long without an answer it is looked whether there is a crewd at all."""
_LONE = re.compile("[\udc80-\udc9f]")
"""Bytes that are no UTF-8 and that some terminals obey."""
LINE_BYTES_MAX = 1 << 20
"""A line that is longer is shown in pieces."""


class LogOptions(NamedTuple):
    """What of a log is shown, and how."""

    stream: Stream = "stdout"
    tail: int | None = None
    since: float = 0.0
    grep: str = ""
    timestamps: bool = False
    raw: bool = False
    as_json: bool = False


@dataclass(slots=True)
class LogReader:
    """One worker's log on its way to the screen: where it was read to, and the piece of a line that waits for its end."""

    crew: Crew
    target: str
    choice: LogOptions
    prefix: str = ""
    write: Callable[[bytes], None] | None = None
    epoch: int = 0
    only: bool = False
    offset: int = 0
    ended: bool = False
    _rest: bytes = b""
    _rest_at: int = 0
    _times: list[tuple[int, float]] = field(default_factory=list)
    _begun: bool = False
    _last: deque[bytes] | None = None
    """The last lines that match, while they are looked for."""

    def step(self) -> bool:
        """Show what is there now; whether there was anything."""
        if not self._begun:
            self._begin()
        moved = False
        while True:
            reply = self._read(self.offset)
            self.epoch = reply.epoch
            if reply.offset > self.offset:
                warn(f"[{reply.offset - self.offset} bytes are not kept any more]")
                self._flush()
                self._rest_at = reply.offset
            moved = moved or bool(reply.data)
            self._take(reply)
            self.offset = reply.next
            if reply.next < reply.size:
                continue
            if not self._next_attempt(reply):
                self._show_last()
                return moved

    def _show_last(self) -> None:
        """The last lines that match were looked for: here they are, and what follows is shown as it comes."""
        last, self._last = self._last, None
        for data in last or ():
            self._out(data)

    def finish(self) -> None:
        """Show the last piece of a line, though it has no end."""
        self._flush()
        self._show_last()
        self._out(b"")

    def _out(self, data: bytes) -> None:
        """Write where the log goes: stdout and stderr, as the worker did, if nothing else was said."""
        if self._last is not None:
            self._last.append(data)
            return
        if self.write is not None:
            if data:
                self.write(data)
            return
        sys.stdout.buffer.write(data)
        sys.stdout.flush()

    def show_line(self, line: bytes) -> None:
        """Write a line that was made ready before."""
        self._out(line)

    def _read(self, offset: int, *, since: float = 0.0) -> rl.LogReply:
        return self.crew.log(self.target, stream=self.choice.stream, offset=offset, epoch=self.epoch, since=since)

    def _begin(self) -> None:
        self._begun = True
        if self.choice.since:
            first = self._read(0, since=self.choice.since)
            self.offset, self.epoch = first.offset, first.epoch
        if self.choice.tail is not None and self.choice.grep:
            self._last = deque(maxlen=self.choice.tail)
        elif self.choice.tail is not None:
            self.offset = max(self.offset, self._tail(self.choice.tail))
        self._rest_at = self.offset

    def _tail(self, count: int) -> int:
        """The offset of the last `count` lines: looked for from the end on, so that it costs what is shown."""
        reply = self._read(-1)
        self.epoch, at = reply.epoch, reply.size
        if count == 0:
            return at
        seen = 0
        while at > 0:
            begin = max(0, at - LOG_CHUNK_BYTES_MAX)
            piece = self._read(begin)
            data = piece.data[: at - piece.offset] if piece.offset <= at else b""
            end = len(data)
            while (found := data.rfind(b"\n", 0, end)) >= 0:
                if piece.offset + found + 1 < reply.size:
                    seen += 1
                    if seen == count:
                        return piece.offset + found + 1
                end = found
            if piece.offset > begin:
                return min(piece.offset, at)
            at = begin
        return 0

    def _next_attempt(self, reply: rl.LogReply) -> bool:
        """Whether another attempt has begun: its output follows from the beginning."""
        latest = reply if self.only or not reply.ended else self.crew.log(self.target, stream=self.choice.stream)
        if latest.epoch != self.epoch:
            self._flush()
            self.offset = self._rest_at = 0
            self.epoch = latest.epoch
            self._times.clear()
            return True
        self.ended = latest.ended
        return False

    def _take(self, reply: rl.LogReply) -> None:
        if self.choice.raw:
            self._out(reply.data)
            return
        self._times += [mark for mark in reply.times if not self._times or mark[0] > self._times[-1][0]]
        data = self._rest + reply.data
        at = self._rest_at
        end = data.rfind(b"\n") + 1
        if not end and len(data) > LINE_BYTES_MAX:
            end = _whole(data)
        for line in data[:end].splitlines(keepends=True) if b"\r" not in data[:end] else _lines(data[:end]):
            self._show(line, at, ended=line.endswith(b"\n"))  # a very long one comes in pieces
            at += len(line)
        self._rest, self._rest_at = data[end:], at

    def _flush(self) -> None:
        if self._rest:
            self._show(self._rest, self._rest_at, ended=False)
        self._rest_at += len(self._rest)
        self._rest = b""

    def _show(self, line: bytes, at: int, *, ended: bool = True) -> None:
        choice = self.choice
        text = plain(overwritten(line.decode("utf-8", "surrogateescape").rstrip("\n")))
        if choice.grep and not re.search(choice.grep, text):
            return
        stamp = next((when for offset, when in self._times if offset > at), 0.0)
        if choice.as_json:
            safe = text.encode("utf-8", "replace").decode()
            line_of = {
                "v": 1, "task": self.target, "epoch": self.epoch, "stream": choice.stream, "offset": at, "at": stamp or None,
                "line": safe,
            }  # fmt: skip
            self._out(for_json(msgspec.json.encode(line_of).decode()).encode() + b"\n")
            return
        time = f"{with_zone(stamp) if stamp else '-':<25}  " if choice.timestamps else ""
        whole = _LONE.sub("\ufffd", f"{self.prefix}{time}{text}")
        if sys.stdout.isatty():
            data = whole.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode()
        else:
            data = whole.encode("utf-8", "surrogateescape")
        self._out(data + (b"\n" if ended or self.prefix or time else b""))


def _lines(data: bytes) -> Iterator[bytes]:
    """Lines end at newlines and nowhere else: a carriage return goes back within its line."""
    at = 0
    while at < len(data):
        end = data.find(b"\n", at) + 1 or len(data)
        yield data[at:end]
        at = end


def _whole(data: bytes) -> int:
    """How much of the data ends with a whole character."""
    end = len(data)
    for back in range(1, 4):
        if data[-back] & 0xC0 == 0xC0:
            return end - back
        if data[-back] < 0x80:
            break
    return end


@click.command()
@click.argument("target")
@click.option("-f", "--follow", is_flag=True, help="Go on as it grows, until the worker has ended.")
@click.option("--tail", "-n", type=click.IntRange(0), metavar="N", help="Only the last N lines.")
@one_of_flags(
    "stream",
    {
        "--stderr": ("stderr", "Standard error instead of standard output."),
        "--acts": ("acts", "What an agent said and did, as JSON lines."),
        "--records": ("records", "An agent's own records, as JSON lines."),
    },
)
@click.option(
    "--attempt",
    type=click.IntRange(1),
    default=None,
    metavar="N",
    help="Of this attempt only (else of the last one, and those after it).",
)
@click.option(
    "--since",
    default=None,
    metavar="TIME",
    help="Written since then: 2026-01-31T12:00 (local time, or with a zone), or 90s, 15m, 2h ago; to about a second.",
)
@click.option("--grep", default="", metavar="PATTERN", help="Only lines that match this regular expression.")
@click.option("--timestamps", "-t", is_flag=True, help="When each line was written, to about a second.")
@click.option("--raw", is_flag=True, help="The very bytes, with whatever steers a terminal.")
@verb
def logs(
    options: Options, target: str, follow: bool, stream: Stream | None, attempt: int | None, since: str | None,  # noqa: FBT001
    **given: object,
) -> None:  # fmt: skip
    """Print the output of a worker, or of all workers of a run with their steps before each line."""
    clock = SystemClock()
    try:
        re.compile(str(given["grep"]))
    except re.error as error:
        raise UsageError(f"--grep {given['grep']!r} is no regular expression: {error}") from None
    if given["raw"] and (given["grep"] or given["timestamps"] or options.json):
        raise UsageError("--raw gives the very bytes, and no lines to choose or to put the time before", hint="leave it out")
    choice = LogOptions(stream or "stdout", since=time_of(since, clock.wall()), as_json=options.json, **given)  # type: ignore[arg-type]
    with look_at(options) as crew:
        show_logs(crew, target, choice, follow=follow, attempt=attempt or 0)


def show_logs(crew: Crew, target: str, choice: LogOptions, *, follow: bool, attempt: int = 0) -> None:
    """Print the logs of a run or task; with `follow` until it has ended. One that was not started yet is waited for then."""
    clock = SystemClock()
    if attempt:
        _check_attempt(crew, target, attempt, follow=follow)
    logs = _logs(crew, target, choice, attempt)
    if choice.tail is not None and len(logs) > 1 and not choice.raw:
        _show_tail(logs, choice.tail)
    while True:
        moved = [log.step() for log in logs]
        if all(log.ended for log in logs) or not follow:
            break
        if not any(moved):
            clock.sleep(POLL_SECONDS)
    for log in logs:
        log.finish()
    if choice.stream == "stdout" and not choice.as_json and not any(log.offset for log in logs):
        _name_errors(crew, target, logs)


def _name_errors(crew: Crew, target: str, logs: Iterable[LogReader]) -> None:
    """Nothing was written to standard output: say so if something stands in the other stream."""
    size = sum(crew.log(log.target, stream="stderr", offset=-1).size for log in logs)
    if size:
        warn(f"nothing on standard output; crew logs {target} --stderr shows {counted(size, 'byte')}")


def _show_tail(logs: list[LogReader], count: int) -> None:
    """The last lines of all logs together, as they stand below each other."""
    lines: list[bytes] = []
    for log in logs:
        write, log.write = log.write, lines.append
        log.step()
        log.write = write
    for line in lines[len(lines) - min(count, len(lines)) :]:
        logs[0].show_line(line)


class FollowedOutput:
    """Shows what the workers of a run write while it is followed, on a thread and connection of its own. A context manager."""

    def __init__(
        self, crew: Crew, run: str, *, as_json: bool = False, write: Callable[[bytes], None] | None = None
    ) -> None:  # fmt: skip
        self._home, self._run, self._as_json, self._write = crew.home, run, as_json, write
        self._looks = 0
        self._over, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._show, name="output", daemon=True)
        self._reader: Crew | None = None

    def __enter__(self) -> Self:
        with contextlib.suppress(CrewdError, OSError):
            self._reader = connect(self._home.root, start=False)  # now: crewd may stop with the run
        self._thread.start()
        return self

    def look(self) -> None:
        """Something has happened: look at once. Who ends the run may end crewd, too."""
        self._wake.set()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._wake.set()
        self._thread.join(POLL_SECONDS)
        while error is None and self._thread.is_alive():
            looks = self._looks
            self._thread.join(GONE_SECONDS)
            if looks == self._looks and holder(self._home) is None:
                return  # crewd has stopped with the run: nobody is there to read from

    def _show(self) -> None:
        if self._reader is None:
            return
        with contextlib.suppress(CrewdError, OSError), self._reader as crew:
            logs: list[LogReader] = []
            while True:
                self._looks += 1
                over = self._over.is_set()
                if not logs:
                    logs = [log for stream in ("stdout", "stderr") for log in self._of(crew, stream)]
                moved = [log.step() for log in logs if not log.ended or over]
                if over:
                    break
                if not any(moved):
                    self._wake.wait(POLL_SECONDS)
                self._wake.clear()
            for log in logs:
                log.finish()

    def _of(self, crew: Crew, stream: Stream) -> list[LogReader]:
        logs = _logs(crew, self._run, LogOptions(stream, as_json=self._as_json), 0)
        for log in logs:
            log.write = self._write or (_to_stderr if stream == "stderr" and not self._as_json else None)
        return logs


def _to_stderr(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.flush()


def _check_attempt(crew: Crew, target: str, attempt: int, *, follow: bool) -> None:
    """Raises NotFound if there is no such attempt, and, with `follow`, none can come."""
    shown, step = crew.show(target), split_task_id(target)[1]
    tasks = [task for task in shown.tasks if not step or task.step == step]
    had = max((task.epoch for task in tasks), default=0)
    if attempt > had and not (follow and any(task.status not in TASK_TERMINAL for task in tasks)):
        raise NotFound(f"{target} has no attempt {attempt}", hint=f"it has had {had}; crew show lists them")


def _logs(crew: Crew, target: str, choice: LogOptions, attempt: int) -> list[LogReader]:
    if "/" in target:
        return [LogReader(crew, target, choice, epoch=attempt, only=attempt > 0)]
    shown = crew.show(target)
    tasks = sorted(shown.tasks, key=lambda task: task.started_at or float("inf"))
    width = max(len(task.step) for task in tasks)
    several = len(tasks) > 1
    if several and choice.raw:
        steps = ", ".join(task.step for task in tasks)
        raise UsageError(
            f"run {shown.run.name} has several logs", hint=f"with --raw, name one: {shown.run.name}/STEP of {steps}"
        )
    return [
        LogReader(crew, task.id, choice, f"{task.step:<{width}} | " if several else "", epoch=attempt, only=attempt > 0)
        for task in tasks
        if task.status not in TASK_TERMINAL or task.epoch or not several
    ]
