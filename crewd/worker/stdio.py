"""The `crewd-stdio` runtime: a command that says and hears records in JSON lines (docs/stdio.md).

This process speaks to crewd for it. What it prints besides records is its log, as is its standard error.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from crewd.model.errors import CrewdError, UsageError
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.message_kinds import MESSAGE_KINDS, Purpose
from crewd.model.reasons import FailureReason, RefusalReason
from crewd.model.redact import clip
from crewd.model.signals import how_ended
from crewd.protocol import stdio
from crewd.protocol.reports import Applied, Deliver, Outcome, Read, Settled, StopProposed
from crewd.worker.call import completed
from crewd.worker.child import LeftBehind
from crewd.worker.line_process import LineProcess
from crewd.worker.program_start import argv_of, not_started
from crewd.worker.stderr_tail import TAIL_BYTES, known_of, tail_of
from crewd.worker.token import Cancelled

if TYPE_CHECKING:
    from crewd.protocol.bootstrap import Bootstrap
    from crewd.worker.context import Context
    from crewd.worker.desk import Desk

EXIT_SECONDS = 5.0
"""A program that has said how its work has ended gets so long to exit."""
COMPLAINTS_MAX = 20
"""Records that are not understood of which the log tells."""


class Program:
    """One program of a worker: `start`, `wait_for_hello` and `serve`, each once."""

    def __init__(self, bootstrap: Bootstrap, desk: Desk) -> None:
        self._bootstrap = bootstrap
        self._desk = desk
        self._argv = argv_of(bootstrap)
        self._process = LineProcess(
            self._argv, known_of(bootstrap), stdio.LINE_BYTES_MAX, line=self._hear, dropped=self._drop, closed=self._close
        )
        self._context: Context | None = None
        self._greeted = threading.Event()
        self._served = threading.Event()
        """Whether records may be carried out: the link exists."""
        self._over = threading.Event()
        self._open: dict[str, str] = {}
        """Messages that were handed over and have no last receipt, with their state."""
        self._given = 0
        self._asks: set[str] = set()
        self._idle = threading.Event()
        """The program has said that it would stop, and has no answer yet."""
        self._complaints = 0
        self._last_complaint = ""
        self._capabilities: tuple[str, ...] = ()
        self._end: stdio.SayEnd | None = None
        self.failure: Outcome | None = None
        """Why it did not start."""

    @property
    def pid(self) -> int:
        """The program's own process; 0 if it did not start."""
        return self._process.pid

    def start(self) -> None:
        """Start it. What goes wrong is its `failure`."""
        try:
            self._process.start()
        except (OSError, ValueError) as error:
            self.failure = not_started(self._argv, error)
            self._greeted.set()
            return
        self._write(self._start_record())

    def _start_record(self) -> stdio.HearStart:
        order = self._bootstrap
        shared = Path(order.shared)
        return stdio.HearStart(
            task=order.task, attempt=order.epoch, goal=order.goal, text=order.text, args=order.worker.args,
            inputs=order.inputs, reads=tuple(str(shared / name) for name in order.reads),
            output=str(shared / order.output) if order.output else "", directory=order.directory, restored=order.checkpoint,
        )  # fmt: skip

    def wait_for_hello(self) -> tuple[str, ...]:
        """Wait until it has said hello, or has ended: the capabilities that it named."""
        self._greeted.wait()
        return self._capabilities

    def serve(self, context: Context) -> Outcome:
        """Serve it to its end, and say how it ended."""
        child = self._process.child
        if child is None:
            return self.failure or Outcome(
                outcome="failed", reason=FailureReason.SPAWN_FAILED, error="the program was not started"
            )
        self._context = context
        self._served.set()
        self._in_background(self._hand_over, "messages")
        if "follow_up" in self._capabilities:
            self._in_background(self._answer_idle, "idle")
        self._desk.token.listen(lambda: self._in_background(self._cancel, "cancel"))
        self._over.wait()
        self._desk.finish()
        self._process.close_input()
        self._process.wait_for_errors()
        if self._desk.token.cancelled and child.code is not None:
            left = LeftBehind(child)
            left.terminate()
            left.wait(self._desk.token)
        context.last_progress()
        return replace(self._outcome(child.code), exit_code=child.code)

    def _outcome(self, code: int | None) -> Outcome:
        end, token = self._end, self._desk.token
        if end is None:
            if token.cancelled:
                return Outcome(outcome="cancelled", reason=token.reason)
            how = how_ended(code)
            tail = tail_of(Path(self._bootstrap.directory) / "stderr", TAIL_BYTES, known_of(self._bootstrap))
            said = f"{how}, and it has not said how its work has ended"
            if self._last_complaint:
                said += f" ({self._last_complaint})"
            error = clip(f"{said}: {tail}" if tail else said, NOTE_CHARS_MAX)
            return Outcome(outcome="failed", reason=FailureReason.NO_END, error=error)
        warnings: tuple[str, ...] = ()
        if code is None:
            warnings = (f"it had not exited {EXIT_SECONDS:g} s after its end",)
        elif code != 0 and end.state == "completed":
            how = how_ended(code)
            warnings = (f"{how}, after it had said that it was completed",)
        match end.state:
            case "completed":
                return completed(end.result, self._bootstrap, warnings)
            case "cancelled":
                return Outcome(outcome="cancelled", reason=token.reason or "cancelled", warnings=warnings)
            case _:
                kind = "PermanentError" if end.permanent else end.error_class
                text = clip(end.error or "it has said that it failed, and not why", NOTE_CHARS_MAX)
                return Outcome(outcome="failed", reason=FailureReason.RAISED, error=text, error_class=kind, warnings=warnings)

    # -- threads ------------------------------------------------------------------------------------------------

    def _in_background(self, what: object, name: str) -> None:
        threading.Thread(target=what, name=name, daemon=True).start()  # type: ignore[arg-type]  # a method of this class

    def _close(self) -> None:
        self._greeted.set()
        self._over.set()

    def _drop(self, beginning: bytes) -> None:
        self._complain(f"a line has more than {stdio.LINE_BYTES_MAX} bytes", beginning)

    def _hear(self, line: bytes) -> None:
        try:
            record = stdio.read_line(line)
        except stdio.NotUnderstood as error:
            self._complain(str(error), line)
            return
        if record is None:
            with contextlib.suppress(OSError):
                os.write(1, known_of(self._bootstrap).in_bytes(line) + b"\n")
            return
        if isinstance(record, stdio.SayHello):
            self._greet(record, line)
            return
        if not self._greeted.is_set():
            self._complain("the first record is hello", line)
            return
        self._served.wait()
        try:
            self._carry_out(record)
        except CrewdError as error:
            self._complain(str(error), line)
        except OSError as error:
            self._complain(error.strerror or str(error), line)
        except Cancelled:
            pass  # it has been told, and what it says is no more of interest but its end

    def _greet(self, hello: stdio.SayHello, line: bytes) -> None:
        if self._greeted.is_set():
            self._complain("hello was said before", line)
        elif hello.version != stdio.VERSION:
            self._complain(f"version {hello.version} is not spoken here; this is {stdio.VERSION}", line)
        else:
            self._capabilities = hello.capabilities
            self._greeted.set()

    def _carry_out(self, record: stdio.Said) -> None:
        context = self._context
        if context is None or self._end is not None:
            raise UsageError("nothing is said after the end")
        match record:
            case stdio.SayProgress(done, total, note, phase):
                context.progress(done, total, note, phase)
            case stdio.SayUsage(turns, tokens, cost):
                context.usage(turns=turns, tokens=tokens, cost=cost)
            case stdio.SayTell(text, priority):
                context.tell(text, priority=priority)
            case stdio.SayCheckpoint(value):
                context.checkpoint(value)
            case stdio.SayArtifact(name, text, path, mime):
                if (text is None) == (not path):
                    raise UsageError("an artifact has a text or a path", hint="one of the two")
                context.artifact(name, text if text is not None else Path(path), mime=mime)
            case stdio.SayAsk():
                self._ask(context, record)
            case stdio.SayReceipt():
                self._receipt(record)
            case stdio.SayIdle() if "follow_up" not in self._capabilities:
                raise UsageError("idle is for programs that take a follow_up", hint="say end")
            case stdio.SayIdle():
                self._idle.set()
            case stdio.SayEnd():
                self._end = record
                self._in_background(self._await_exit, "exit")
            case stdio.SayHello():
                pass

    def _await_exit(self) -> None:
        self._process.has_exited(EXIT_SECONDS)
        self._over.set()

    def _complain(self, message: str, line: bytes) -> None:
        """Tell the program and its log of a record that changed nothing."""
        record = line[:200].decode("utf-8", "replace")
        self._complaints += 1
        self._last_complaint = f"its last record that was not understood: {clip(message, 200)}"
        if self._complaints == COMPLAINTS_MAX:
            record += " (later ones are told only to the program)"
        if self._complaints <= COMPLAINTS_MAX:
            with contextlib.suppress(OSError):
                os.write(2, f"crewd: a record was not understood: {clip(message, NOTE_CHARS_MAX)}: {record}\n".encode())
        if self._greeted.is_set() or self._complaints <= COMPLAINTS_MAX:  # a program that echoes would never end otherwise
            self._write(stdio.HearError(message=message, record=record))

    # -- messages -----------------------------------------------------------------------------------------------

    def _write(self, record: stdio.Heard) -> bool:
        """Whether the program's input took the record."""
        return self._process.write(stdio.write_line(record))

    def _hand_over(self) -> None:
        while (message := self._desk.wait_for_message()) is not None:
            self._give(message)

    def _give(self, message: Deliver) -> None:
        kind: Literal["steer", "follow_up", "message"] = "follow_up" if message.kind == "follow_up" else "steer"
        kind = "message" if MESSAGE_KINDS[message.kind].purpose is Purpose.READING else kind
        self._open[message.id] = kind
        self._given += 1
        record = stdio.HearMessage(
            id=message.id, kind=kind, text=message.text, sender=message.sender, mode=message.mode, now=message.now
        )  # fmt: skip
        if not self._write(record):
            self._open.pop(message.id, None)
            if kind != "message":
                self._desk.report(Settled(id=message.id, outcome="refused", reason=RefusalReason.STDIN_CLOSED))

    def _receipt(self, receipt: stdio.SayReceipt) -> None:
        state = self._open.get(receipt.id)
        if state is None:
            raise UsageError(f"no message {receipt.id!r} is open", hint="each message has one last receipt")
        if state == "message":
            del self._open[receipt.id]
            self._desk.report(Read(id=receipt.id))
            return
        if receipt.state == "applied":
            if state != "applied":
                self._open[receipt.id] = "applied"
                self._desk.report(Applied(id=receipt.id))
            return
        del self._open[receipt.id]
        outcome: Literal["refused", "done"] = "refused" if receipt.state == "refused" else "done"
        reason, note = clip(receipt.reason, 64), clip(receipt.note, NOTE_CHARS_MAX)
        taken = outcome == "done" and state != "applied"  # in one report: nobody sees it applied and not settled
        self._desk.report(Settled(id=receipt.id, outcome=outcome, reason=reason, note=note, applied=taken))

    def _answer_idle(self) -> None:
        with contextlib.suppress(Cancelled):  # it has been told
            while not self._over.is_set():
                self._idle.wait()
                self._idle.clear()
                self._offer_more()

    def _offer_more(self) -> None:
        """It would stop: hand over what waits, or tell it that nothing does. A message on its way is the answer, too."""
        while not self._open and self._end is None:
            given = self._given
            message = self._desk.next_follow_up()
            if message is not None:
                self._give(message)
                return
            self._desk.propose()
            self._desk.report(StopProposed())
            if self._desk.wait_verdict():
                self._write(stdio.HearStop())
                return
            if self._given > given:
                return

    def _ask(self, context: Context, ask: stdio.SayAsk) -> None:
        if ask.id in self._asks or len(self._asks) >= stdio.ASKS_OPEN_MAX:
            raise UsageError(f"question {ask.id!r} is open already, or {stdio.ASKS_OPEN_MAX} are", hint="await an answer first")
        self._asks.add(ask.id)

        def wait() -> None:
            text, wrong = None, ""
            try:
                text = context.ask(
                    ask.question, kind=ask.kind, choices=ask.choices, schema=ask.schema, default=ask.default,
                    timeout=ask.timeout,
                )  # fmt: skip
            except UsageError as error:
                wrong = str(error)
            except Cancelled:
                return  # it has been told
            finally:
                self._asks.discard(ask.id)  # before the program hears of it, which may use the id again at once
            if wrong:  # it changed nothing, and has no answer
                self._complain(wrong, f"ask {ask.id}".encode())
            else:
                self._write(stdio.HearAnswer(id=ask.id, text=text))

        self._in_background(wait, "ask")

    def _cancel(self) -> None:
        token, child = self._desk.token, self._process.child
        record = stdio.HearCancel(reason=token.reason, grace=round(token.remaining(), 3), intent=token.intent)
        self._in_background(lambda: self._write(record), "cancel-record")
        if child is not None and not child.has_exited(token.remaining() / 2):
            child.signal_group(signal.SIGTERM)
