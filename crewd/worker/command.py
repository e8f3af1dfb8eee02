"""The `exec` runtime: any command.

What the command writes comes through two pipes and is appended to the worker's files here, so that a command that opens
`/dev/stdout` or `/dev/stderr` again cannot cut off what was written before. Its input is nothing, a file, given bytes, or one
piece of text per steer; with a terminal it is what steers type. A cancel ends its input, then sends TERM to its process group;
the guardian does the rest.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import subprocess
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

from crewd.model.errors import UsageError
from crewd.model.ids import split_task_id
from crewd.model.limits import INLINE_BYTES_MAX, NOTE_CHARS_MAX
from crewd.model.reasons import FailureReason, RefusalReason
from crewd.model.redact import clip, redact
from crewd.model.results import RESULT_BYTES_LEFT, result_file
from crewd.model.signals import how_ended
from crewd.protocol.reports import Outcome, Settled
from crewd.worker.artifacts import pieces
from crewd.worker.child import ChildProcess, LeftBehind
from crewd.worker.program_start import InputError, argv_of, not_started
from crewd.worker.pump import Pump
from crewd.worker.stderr_tail import TAIL_BYTES, known_of, tail_of
from crewd.worker.terminal import Terminal

if TYPE_CHECKING:
    from crewd.protocol.bootstrap import Bootstrap
    from crewd.worker.desk import Desk

STDIN_SECONDS = 1.0
"""A command whose input was closed gets so long to end by that alone, at most half of its grace."""
PIPES_SECONDS = 3.0
"""How long a descendant may hold the pipes after the command has ended."""
_NOT_FOUND = 127
"""What a shell exits with when it has not found a command."""
FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
"""Signals that are meant for the command when they reach the process that waits for it."""


class CommandProcess:
    """One command of a worker: `start` once, then `wait` once."""

    def __init__(self, bootstrap: Bootstrap, desk: Desk) -> None:
        self._bootstrap = bootstrap
        self._desk = desk
        self._known = known_of(bootstrap)
        self._directory = Path(bootstrap.directory)
        self._child: ChildProcess | None = None
        self._pumps: list[Pump] = []
        self._unread = 0
        self._terminal: Terminal | None = None
        self._output_before = self._output_state() if bootstrap.output else None
        self.failure: Outcome | None = None
        """Why it did not start."""

    @property
    def pid(self) -> int:
        """The command's own process; 0 if it did not start."""
        return 0 if self._child is None else self._child.pid

    def start(self) -> None:
        """Start it. What goes wrong is its `failure`."""
        worker = self._bootstrap.worker
        argv = argv_of(self._bootstrap)
        try:
            if worker.pty is not None:
                self._start_with_terminal(argv, worker.pty)
                return
            given = self._open_input()
            try:
                process = subprocess.Popen(  # noqa: S603 (its purpose)
                    argv, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0, bufsize=0
                )
            finally:
                if given >= 0:
                    os.close(given)
        except (OSError, ValueError) as error:
            self.failure = not_started(argv, error)
            return
        self._child = ChildProcess(process)
        for name, pipe, target in (("stdout", process.stdout, 1), ("stderr", process.stderr, 2)):
            if pipe is not None:
                self._pumps.append(Pump(name, pipe.fileno(), target, self._known))
        self._attend()
        if process.stdin is not None:
            feed = self._feed_steers if worker.stdin == "lines" else self._feed_input
            threading.Thread(target=feed, args=(process.stdin,), name="stdin", daemon=True).start()

    def _attend(self) -> None:
        """From now on signals and a cancel reach the command."""
        if self._child is not None:
            self._child.forward(FORWARDED)
        self._desk.token.listen(lambda: threading.Thread(target=self._end, name="end", daemon=True).start())

    def _start_with_terminal(self, argv: list[str], size: tuple[int, int]) -> None:
        self._terminal = terminal = Terminal(size)
        try:
            self._child = ChildProcess(terminal.start(argv))
        except OSError:
            terminal.close()
            raise
        self._pumps.append(Pump("terminal", terminal.master, 1, self._known))
        self._attend()
        threading.Thread(target=self._feed_terminal, args=(terminal,), name="keys", daemon=True).start()

    def _open_input(self) -> int:
        """What `Popen` takes as standard input: a descriptor, or one of its own words."""
        worker = self._bootstrap.worker
        match worker.stdin:
            case "lines" | "input":
                return subprocess.PIPE
            case "file":
                path = Path(self._bootstrap.cwd) / worker.stdin_file
                try:
                    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                except OSError as error:
                    raise InputError(error.errno, f"its input {path} cannot be opened: {error.strerror}") from None
                if not stat.S_ISREG(os.fstat(descriptor).st_mode) and not path.samefile(os.devnull):
                    os.close(descriptor)
                    raise InputError(errno.EINVAL, f"the input {path} is not a file")
                os.set_blocking(descriptor, True)
                return descriptor
            case _:
                return subprocess.DEVNULL

    def wait(self) -> Outcome:
        """Wait for the end of the command and of what it wrote, and say how it ended."""
        if self._child is None:
            return self.failure or Outcome(
                outcome="failed", reason=FailureReason.SPAWN_FAILED, error="the command was not started"
            )
        code = self._child.wait()
        left = LeftBehind(self._child)
        self._desk.token.listen(left.terminate)
        held = self._drain()
        if self._desk.token.cancelled:  # the end of this process would bring each of them a second TERM, from the guardian
            left.wait(self._desk.token)
        self._desk.finish()
        token = self._desk.token
        if token.cancelled:
            return Outcome(outcome="cancelled", reason=token.reason, exit_code=code)
        if code != 0:
            return self._failed(code)
        lost = next((pump.error for pump in self._pumps if pump.error), "")
        if lost:
            return Outcome(
                outcome="failed", reason=FailureReason.OUTPUT_LOST, error=f"its output could not be kept: {lost}", exit_code=0
            )
        return self._completed(self._warnings(held))

    def _drain(self) -> bool:
        """Wait for the end of both pipes; True if a descendant still holds one when it was waited for long enough.

        During a cancel that is as long as the grace: what the command left behind may still be stopping.
        """
        token = self._desk.token
        due = token.clock.monotonic() + PIPES_SECONDS
        for pump in self._pumps:
            while not pump.wait(0.02):
                now = token.clock.monotonic()
                if now > (due if not token.cancelled else max(due, now + token.remaining())):
                    pump.wait_for_pending()
                    return True
        return False

    def _warnings(self, held: bool) -> tuple[str, ...]:  # noqa: FBT001 (one call, beside its value)
        found = []
        if held:
            found.append(f"a process that it left behind held its output for {PIPES_SECONDS:g} s after it had ended")
        if self._unread:
            found.append(f"it ended before it had read its input: {self._unread} bytes were left")
        written, errors = (pump.written for pump in self._pumps) if self._terminal is None else (1, 0)
        if not written and errors:
            found.append(f"it wrote nothing to standard output, and {errors} bytes to standard error")
        return tuple(found)

    def _failed(self, code: int) -> Outcome:
        tail = tail_of(self._directory / "stderr", TAIL_BYTES, self._known)
        how = how_ended(code)
        if code == _NOT_FOUND and self._bootstrap.worker.shell:
            tail = f"{tail} (PATH={os.environ.get('PATH', '')})".strip()
        return Outcome(
            outcome="failed",
            reason=FailureReason.KILLED if code < 0 else FailureReason.EXIT_CODE,
            error=clip(f"{how}: {tail}" if tail else how, NOTE_CHARS_MAX),
            exit_code=code,
        )

    def _completed(self, warnings: tuple[str, ...]) -> Outcome:
        stdout = self._directory / "stdout"
        with stdout.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            cut = kept_from(file.fileno(), 0) > 0
            file.seek(0)
            text = _as_text(file.read(INLINE_BYTES_MAX + 1)) if size <= INLINE_BYTES_MAX and not cut else None
        if self._bootstrap.output == result_file(split_task_id(self._bootstrap.task)[1]):
            warnings = (*warnings, *self._leave_result(stdout, cut=cut))
            return self._outcome(text, stdout, warnings)
        state = self._output_state() if self._bootstrap.output else None
        if state is not None and not self._output().is_file():
            error = f"{self._bootstrap.output} is no file, so no step can read it"
            return Outcome(outcome="failed", reason=FailureReason.OUTPUT_LOST, error=error, exit_code=0, warnings=warnings)
        if state is not None and state != self._output_before and not state[1]:
            warnings = (*warnings, f"{self._bootstrap.output} is empty: it has left it so")
        mine = size > 0 or self._output_before is None or self._output_before[1] == 0  # what an earlier attempt has left stays
        if self._bootstrap.output and mine and self._output_state() == self._output_before:
            error, masked = _keep_as_output(stdout, self._output(), cut=cut)
            if masked:
                warnings = (*warnings, f"what looks like a secret was masked in {self._bootstrap.output}")
            if error:
                return Outcome(outcome="failed", reason=FailureReason.OUTPUT_LOST, error=error, exit_code=0, warnings=warnings)
            if not size:
                warnings = (*warnings, f"{self._bootstrap.output} is empty: it wrote neither to it nor to standard output")
        return self._outcome(text, stdout, warnings)

    def _outcome(self, text: str | None, stdout: Path, warnings: tuple[str, ...]) -> Outcome:
        if text is not None and redact(text) != text:
            warnings = (*warnings, "what looks like a secret was masked in its result")
        return Outcome(
            outcome="completed", result=text, result_path=str(stdout), exit_code=0, warnings=warnings,
        )  # fmt: skip

    def _leave_result(self, stdout: Path, *, cut: bool) -> tuple[str, ...]:
        """Leave the beginning of its output for agents that depend on it. Nobody has asked for a file: it fails nothing."""
        if self._output_state() != self._output_before or cut:
            return ()  # it has written the file itself, or what is left of its output is no beginning
        try:
            first, _ = next(pieces(stdout, clean=True), (b"", False))
            part = self._output().with_name(f".{self._output().name}.part")
            part.write_bytes(first[:RESULT_BYTES_LEFT])
            part.replace(self._output())
        except (OSError, UsageError) as error:
            return (f"{self._bootstrap.output} cannot be written, so no agent is told its result: {error}",)
        return ()

    def _output(self) -> Path:
        return Path(self._bootstrap.shared) / self._bootstrap.output

    def _output_state(self) -> tuple[int, ...] | None:
        """What tells one state of the output file from another: the command may write it itself."""
        try:
            now = self._output().stat()
        except OSError:
            return None
        return now.st_ino, now.st_size, now.st_mtime_ns

    def _end(self) -> None:
        """The steps of the ladder that a command can understand: the end of its input, then TERM to its process group."""
        child = self._child
        if child is None:
            return
        if child.popen.stdin is not None:
            with contextlib.suppress(OSError):
                child.popen.stdin.close()
            child.has_exited(min(STDIN_SECONDS, self._desk.token.remaining() / 2))
        for number in (signal.SIGTERM,) if self._terminal is None else (signal.SIGHUP, signal.SIGTERM):
            child.signal_group(number)

    def _feed_terminal(self, terminal: Terminal) -> None:
        """What each steer types. `applied` when the terminal took it."""
        desk = self._desk
        while (steer := desk.wait_for_steer()) is not None:
            try:
                note = terminal.type(steer)
            except (OSError, ValueError) as error:
                reason = RefusalReason.STDIN_CLOSED if isinstance(error, OSError) else RefusalReason.DOES_NOT_FIT
                desk.report(Settled(id=steer.id, outcome="refused", reason=reason))
                continue
            desk.report(Settled(id=steer.id, outcome="done", note=note, applied=True))

    def _feed_input(self, stdin: IO[bytes]) -> None:
        """All of the given bytes, then the end. A command that ends earlier, or closes its input, leaves the rest."""
        rest = memoryview(self._bootstrap.worker.input)
        with contextlib.suppress(OSError, ValueError):
            while rest:
                self._unread = len(rest)
                rest = rest[os.write(stdin.fileno(), rest) :]
            self._unread = 0
        with contextlib.suppress(OSError):
            stdin.close()

    def _feed_steers(self, stdin: IO[bytes]) -> None:
        """The text of each steer and a newline, oldest first. `applied` when the pipe took it.

        A command that does not read leaves it `delivered`; one that has closed its input refuses it.
        """
        desk = self._desk
        while (steer := desk.wait_for_steer()) is not None:
            text = steer.text.encode() + b"\n" if steer.text or not steer.eof else b""
            try:
                rest = memoryview(text)
                while rest:
                    rest = rest[os.write(stdin.fileno(), rest) :]
            except (OSError, ValueError):
                desk.report(Settled(id=steer.id, outcome="refused", reason=RefusalReason.STDIN_CLOSED))
                with contextlib.suppress(OSError):
                    stdin.close()
                continue
            if steer.eof:
                with contextlib.suppress(OSError):
                    stdin.close()
            note = "its input was ended" if steer.eof else "written to stdin"
            desk.report(Settled(id=steer.id, outcome="done", note=note, applied=True))


def _keep_as_output(stdout: Path, output: Path, *, cut: bool) -> tuple[str, bool]:
    """Make standard output the output file of the step: the error if it cannot be, and whether a secret was masked in it."""
    if cut:
        return "the beginning of its output was not kept, so its output file cannot be whole: raise output_bytes", False
    part, masked = output.with_name(f".{output.name}.part"), False
    try:
        with part.open("wb") as file:
            for piece, changed in pieces(stdout, clean=True):
                file.write(piece)
                masked = masked or changed
        part.replace(output)
    except (OSError, UsageError) as error:
        return f"{output.name} cannot be written: {error}", masked
    return "", masked


def kept_from(descriptor: int, offset: int) -> int:
    """Where the first bytes are that are kept of a file, from `offset` on."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError:
        return offset  # an empty file, or a file system without holes


def _as_text(data: bytes) -> str | None:
    """The text without the newlines at its end, as `$(...)` has it; None for what is no UTF-8."""
    try:
        return data.decode().rstrip("\n")
    except UnicodeDecodeError:
        return None
