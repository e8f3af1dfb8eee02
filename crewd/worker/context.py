"""What a worker function holds: progress, safe points, natural stops, questions, operations, artifacts.

Tests: tests/worker/test_host.py, tests/test_end_to_end.py.
"""

from __future__ import annotations

import itertools
import mimetypes
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from crewd.model.arguments import checked
from crewd.model.errors import CrewdError, DeadlineExceeded, UsageError
from crewd.model.ids import ASK, MESSAGE, IdSource, check_name, is_id
from crewd.model.limits import (
    ARTIFACTS_MAX,
    CHECKPOINT_BYTES_MAX,
    CHOICES_MAX,
    INLINE_BYTES_MAX,
    NAME_CHARS_MAX,
    NOTE_CHARS_MAX,
    OPERATIONS_OPEN_MAX,
    TEXT_CHARS_MAX,
)
from crewd.model.numbers import AMOUNT_MAX, COUNT_MAX, SECONDS_MAX
from crewd.model.questions import QUESTION_KINDS, QuestionKind, check_answer
from crewd.model.reasons import RefusalReason
from crewd.model.redact import clip, redact_value
from crewd.model.terms import USUAL, Terms
from crewd.protocol.reports import (
    OWN_KINDS,
    WAIT,
    Applied,
    Artifact,
    Asked,
    AskOver,
    Checkpoint,
    OpOpened,
    OpStarted,
    ProgressReport,
    Read,
    Settled,
    StopProposed,
    Told,
    UsageReport,
)
from crewd.worker.artifacts import store
from crewd.worker.message import Letter, Message
from crewd.worker.operation import Interrupted, Operation
from crewd.worker.others import Others, WaitLevel
from crewd.worker.results import NotJson, as_json
from crewd.worker.sampler import Sampler
from crewd.worker.schema import follows
from crewd.worker.token import CancellationToken

if TYPE_CHECKING:
    from crewd.model.message_kinds import MessageKind
    from crewd.model.receipts import Receipt
    from crewd.protocol.bootstrap import Bootstrap
    from crewd.protocol.replies import EndReply
    from crewd.protocol.reports import Deliver
    from crewd.worker.desk import Desk


class SignsOfLife(Protocol):
    """Where signs of life go: the link, which sends them sampled."""

    def progress(self, report: ProgressReport) -> None:
        """This is how far the work is."""
        ...

    def beat(self, beats: int) -> None:
        """The code has called for the `beats`-th time."""
        ...


class Context:
    """The worker's side of the control channel. Use it on the thread that runs the worker function.

    `restored` is the last checkpoint of the task's earlier attempts; None if there is none. `parent` is the worker that has
    started this one, as `TASK#EPOCH`. `inputs` are those of the run, by name, each of its type. `text` is what the step says is
    to be done, `reads` are the names of what earlier steps have left for it (see `read`).
    """

    def __init__(self, bootstrap: Bootstrap, desk: Desk, pulse: SignsOfLife, ids: IdSource) -> None:
        self._bootstrap = bootstrap
        self._desk = desk
        self._pulse = pulse
        self._ids = ids
        self._beats = 0
        self._others = Others(desk, ids)
        self._held: list[Message] = []
        self._queue: dict[str, tuple[Operation, str]] = {}
        self._operations = itertools.count(1)  # its next number is taken whole, also on two threads
        self._open_operations = 0
        self._artifacts = 0
        self.token: CancellationToken = desk.token
        self.task = bootstrap.task
        self.epoch = bootstrap.epoch
        self.parent = bootstrap.parent
        self.goal = bootstrap.goal
        self.inputs = dict(bootstrap.inputs)
        self.text = bootstrap.text
        self.reads = bootstrap.reads
        self.directory = Path(bootstrap.directory)
        self.restored: Any = bootstrap.checkpoint
        self._usage = UsageReport()
        self._sampler = Sampler()

    def _alive(self) -> None:
        """A sign of life, at the beginning of each call: nothing of the call has happened if it is broken off here."""
        if self._desk.breaking and threading.current_thread() is threading.main_thread():
            self._desk.breaking = False
            raise Interrupted
        self._beats += 1
        self._pulse.beat(self._beats)

    def progress(self, done: float | None = None, total: float | None = None, note: str = "", phase: str = "") -> None:
        """How far the work is; also a sign of life. Sampled: the last one wins. Raises Cancelled.

        The history keeps the first one, every tenth, the last one and every change of `phase`: what kind of work this is
        (`plan`, `tests`), where `note` says what just now.
        """
        self._beats += 1
        done, total = _amount("done", done), _amount("total", total)
        if not (isinstance(note, str) and isinstance(phase, str)):  # no `checked`: workers report progress very often
            raise UsageError(f"progress(note={note!r}, phase={phase!r}) cannot be used", hint="note and phase are texts")
        note, phase = clip(note, NOTE_CHARS_MAX), clip(phase, NAME_CHARS_MAX)
        self._pulse.progress(ProgressReport(done=done, total=total, note=note, beats=self._beats, phase=phase))
        sample, needed = self._sampler.take(done, total, note, phase)
        if sample is not None:
            self._desk.sample(sample, needed=needed)
        self.token.check()

    def last_progress(self) -> None:
        """Write the last progress into the history. The runtime calls this when the work has ended."""
        sample = self._sampler.last()
        if sample is not None:
            self._desk.sample(sample, needed=True)

    def check(self) -> None:
        """A sign of life; raises Cancelled if the worker is to stop."""
        self._alive()
        self.token.check()

    def sleep(self, seconds: float) -> None:
        """Wait; raises Cancelled the moment that the worker is to stop."""
        self._alive()
        self.token.wait(to_wait("seconds", seconds))

    def safe_point(self, *, wait: float = 0.0) -> Message | None:
        """A place between two steps of the work: hands over the oldest steer, or None. Raises Cancelled.

        `wait`: seconds to wait for one, for a worker that has nothing else to do.

        At most one steer per call, in the order in which they were accepted. The previous steer settles as done, unless the
        code has settled it.
        """
        self._let_go()
        self.check()
        steer = self._desk.next_steer(to_wait("wait", wait) if wait != 0.0 else 0.0)
        self.token.check()
        return self._take(steer)

    @checked
    def steers(self, *, wait: float = 0.0) -> list[Message]:
        """As `safe_point`, but hands over every steer that waits, oldest first: for code that weighs them together."""
        found = [self.safe_point(wait=wait)]
        while found[-1] is not None:
            found.append(self._take(self._desk.next_steer()))
        return [message for message in found if message is not None]

    def natural_stop(self) -> Iterator[Message]:
        """Where the work would end: yields steers that still wait, then follow-ups, until crewd confirms that none is left.

        After the loop nothing more is accepted for this worker: return the result. Raises Cancelled.
        """
        while True:
            self._let_go()
            self.check()
            message = self._take(self._desk.next_steer() or self._desk.next_follow_up())
            if message is not None:
                yield message
                continue
            self._desk.propose()
            self._desk.report(StopProposed())
            if self._desk.wait_verdict():
                return

    @checked
    def tell(self, text: str, *, priority: Literal["urgent", "normal", "low"] = "normal", reply_to: str = "") -> None:
        """Say something to people, without waiting for an answer: it lies in the mailbox until it is read.

        `crew inbox` shows it. `reply_to`: the id of the message that it answers. Raises UsageError for an empty text, one of
        more than 65,536 characters, or what is no id; Cancelled.
        """
        _check_text(text)
        if reply_to and not is_id(reply_to, MESSAGE):
            raise UsageError(f"reply_to {clip(reply_to, 64)!r} is not the id of a message", hint="Letter.id, or Message.id")
        self._alive()
        self.token.check()
        self._desk.report(Told(text=clip(text, TEXT_CHARS_MAX), priority=priority, reply_to=reply_to))

    def messages(self) -> list[Letter]:
        """What others have put into the mailbox of this worker and it has not read, oldest first.

        Each is acknowledged with this. For a worker that declares `message`.
        """
        self._alive()
        letters = [Letter(each.id, each.text, each.sender) for each in self._desk.next_letters()]
        for letter in letters:
            self._desk.report(Read(id=letter.id))
        return letters

    @checked
    def send(
        self, to: str, text: str, *, kind: MessageKind = "message", ask: str = "", wait: WaitLevel = "accepted",
        timeout: float = 30.0, terms: Terms = USUAL,
    ) -> Receipt:  # fmt: skip
        """Send a message to another worker: `parent`, a step of the same run, or `RUN` or `RUN/STEP` of a run started here.

        To the parent and to the other steps goes the kind `message`; those that this worker has started can be steered and
        answered, too. Returns the receipt when it has reached `wait`. Raises Forbidden for anybody else, DeadlineExceeded
        when `timeout` seconds bring no more, Cancelled.
        """
        return self._send(self._others.new_message(), to, text, kind, ask, wait, timeout, terms)

    def _send(
        self, key: str, to: str, text: str, kind: MessageKind, ask: str, wait: WaitLevel, timeout: float, terms: Terms
    ) -> Receipt:  # fmt: skip
        self._alive()
        self.token.check()
        return self._others.send(key, to, text, kind, ask, wait, timeout, terms)

    @checked
    def contact_supervisor(self, text: str, *, timeout: float = 30.0) -> str:
        """Tell the starter of this worker something that matters, and know that it is kept: the id of the message.

        It lies in the mailbox of the parent's task, or of this one if no worker has started it: `crew inbox` shows it then.
        """
        return self._contact_supervisor(self._others.new_message(), text, timeout)

    def _contact_supervisor(self, key: str, text: str, timeout: float) -> str:
        self._alive()
        self.token.check()
        _check_text(text)
        timeout = to_wait("timeout", timeout)
        if self.parent:
            return self._others.contact(key, text, timeout).id
        number = self._desk.report(Told(text=clip(text, TEXT_CHARS_MAX), priority="urgent"))
        if not self._desk.wait_durable(timeout, upto=number):
            raise DeadlineExceeded(f"crewd has not confirmed it within {timeout:g} s", hint="it is sent until crewd has it")
        self.token.check()
        return f"{self.task}#{self.epoch}:told{number}"

    @checked
    def wait_for(self, target: str, *, timeout: float = 3600.0) -> EndReply:
        """Wait until a run or task (`RUN`, `RUN/STEP`, or a step of this run) has ended, or needs somebody's attention.

        The reply's `attention` says what for. Meanwhile this worker takes no place, neither of its run nor of the machine.
        Raises Refused for a wait that would never end, because its target waits for this worker; DeadlineExceeded; Cancelled.
        """
        return self._wait_for(target, timeout, self._others.new_wait())

    def _wait_for(self, target: str, timeout: float, key: str) -> EndReply:
        failed: CrewdError | None = None
        with self._operation(WAIT, name=target):
            try:
                return self._others.wait_for(target, timeout, key)
            except CrewdError as error:
                failed = error  # the wait is over: that is not a failure of the worker's
        raise failed

    def _take(self, deliver: Deliver | None) -> Message | None:
        if deliver is None:
            return None
        self._desk.report(Applied(id=deliver.id))
        self._held.append(Message(deliver.id, deliver.kind, deliver.text, self._desk.report))
        if deliver.kind == "steer":
            self._skip_queued(deliver.id)
        return self._held[-1]

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for message in held:
            message.done()

    def finish(self) -> None:
        """Settle the message that the function holds as done. The runtime calls this when the function has returned."""
        self._let_go()

    @checked
    def ask(
        self,
        question: str,
        *,
        kind: QuestionKind = "text",
        choices: Sequence[str] = (),
        schema: dict[str, Any] | None = None,
        default: str | None = None,
        timeout: float | None = None,
    ) -> str | None:
        """Ask people; the task is `waiting` until the answer, the timeout or a cancel (raised).

        When the time has passed the `default` is returned (None, if there is none). An answer that does not fit the kind is
        refused and never comes here: `confirm` gets `yes` or `no`, `permission` `allow` or `deny`, `choose` one of the
        `choices`, `json` a JSON text, that follows `schema` if there is one (needs `crewd[schema]`). Raises UsageError for a
        `default` that does not fit, and for a question, a choice or a default of more than 2,048 characters.
        """
        return self._ask(self._ids.next(ASK), question, kind, choices, schema, default, timeout)

    def _ask(
        self, ask: str, question: str, kind: QuestionKind, choices: Sequence[str], schema: dict[str, Any] | None,
        default: str | None, timeout: float | None, is_wanted: Callable[[], bool] = lambda: True,
    ) -> str | None:  # fmt: skip
        """Ask, under the id `ask`. Who wants no answer any more changes what `is_wanted` says, and closes the question."""
        fits = follows(schema)
        if kind not in QUESTION_KINDS:
            raise UsageError(f"there is no kind of question {kind!r}", hint=f"one of {', '.join(QUESTION_KINDS)}")
        if not question.strip():
            raise UsageError("a question has a text", hint="ask something")
        if kind == "choose" and not choices:
            raise UsageError("a question with choices has some", hint="choices=[...]")
        if choices and kind != "choose":
            raise UsageError(f"a question of kind {kind} has choices", hint="kind='choose'")
        if len(choices) > CHOICES_MAX:
            raise UsageError(
                f"a question has at most {CHOICES_MAX} choices, and these are {len(choices)}", hint="ask in two steps"
            )
        if len(set(map(str, choices))) < len(choices):
            raise UsageError("a choice stands twice among the choices", hint="each once")
        for what, text in (("question", question), *(("choice", str(each)) for each in choices), ("default", default or "")):
            if len(text) > NOTE_CHARS_MAX:
                hint = "the rest may be an artifact: ctx.artifact(...)"
                raise UsageError(f"a {what} has {NOTE_CHARS_MAX:,} characters at most, not {len(text):,}", hint=hint)
        if schema is not None and kind != "json":
            raise UsageError(f"a question of kind {kind} has a schema", hint="kind='json'")
        if isinstance(default, str):
            default = _fitting(kind, choices, default, fits)
        timeout = None if timeout is None else to_wait("timeout", timeout)
        self._alive()
        self.token.check()
        self._desk.open_ask(ask)
        try:
            self._desk.report(
                Asked(
                    id=ask, question=question, kind=kind, choices=tuple(choices),
                    timeout_seconds=timeout, schema=schema, default=default,
                )
            )  # fmt: skip
        except UsageError:
            self._desk.close_ask(ask)
            raise
        clock = self._desk.token.clock
        until = None if timeout is None else clock.monotonic() + timeout
        while is_wanted():
            answer = self._desk.wait_answer(ask, None if until is None else until - clock.monotonic())
            if answer is None:
                break
            wrong = fits(answer.text)
            if not wrong:
                self._desk.report(Applied(id=answer.id))
                self._desk.report(AskOver(id=ask, outcome="answered", answered_by=answer.id))
                self._desk.report(Settled(id=answer.id, outcome="done"))
                return answer.text
            self._desk.open_ask(ask)
            note = clip(wrong, NOTE_CHARS_MAX)
            self._desk.report(Settled(id=answer.id, outcome="refused", reason=RefusalReason.DOES_NOT_FIT, note=note))
        self._desk.close_ask(ask)
        outcome: Literal["cancelled", "expired", "defaulted"] = "expired" if default is None else "defaulted"
        self._desk.report(AskOver(id=ask, outcome=outcome if is_wanted() and not self.token.cancelled else "cancelled"))
        self.token.check()
        return default

    @checked
    def confirm(self, question: str, *, default: bool = False, timeout: float | None = None) -> bool:
        """A yes-or-no question; silence is the `default`."""
        return self.ask(question, kind="confirm", default="yes" if default else "no", timeout=timeout) == "yes"

    @checked
    def permission(self, question: str, *, timeout: float | None = None) -> bool:
        """Ask to be allowed something; silence is a no."""
        return self.ask(question, kind="permission", default="deny", timeout=timeout) == "allow"

    def usage(self, *, turns: int = 0, tokens: int = 0, cost: float = 0.0) -> None:
        """Add to what this attempt has used up; crewd ends it when its limits are reached. Raises Cancelled."""
        before = self._usage
        turns, tokens, cost = _count("turns", turns), _count("tokens", tokens), _amount("cost", cost, 0.0) or 0.0
        self._usage = UsageReport(
            turns=_count("turns", before.turns + turns), tokens=_count("tokens", before.tokens + tokens),
            cost=_amount("cost", before.cost + cost, 0.0) or 0.0,
        )  # fmt: skip
        self._beats += 1
        self._desk.report(self._usage)
        self.token.check()

    def checkpoint(self, value: object) -> None:
        """Note where the task's next attempt may go on: it finds the JSON-like `value` in `ctx.restored`. Raises UsageError.

        Durable soon; `value` has at most 32 KiB, what is larger belongs into a file.
        """
        try:
            raw = msgspec.json.encode(redact_value(as_json(value, "the checkpoint")))
        except NotJson as error:
            raise UsageError(str(error), hint="use JSON-like values") from None
        if len(raw) > CHECKPOINT_BYTES_MAX:
            raise UsageError(f"the checkpoint has {len(raw)} bytes", hint=f"at most {CHECKPOINT_BYTES_MAX}; use a file")
        self._desk.report(Checkpoint(value=msgspec.json.decode(raw)))

    @checked
    def operation(self, kind: str, *, name: str, seconds: float = 0.0, interruptible: bool = False) -> Operation:
        """Show what the worker does now (`"tool"`, `"model"` …). It gets exactly one terminal record, also after a kill.

        One that takes longer than `seconds` ends the attempt. An `interruptible` one is broken off by a steer that comes
        `now`: the `with` block ends there, and the work goes on after it (`Operation.interrupted` says for which message).
        Raises UsageError for a kind of crewd's own (`crewd.…`).
        """
        _check_kind(kind)
        return self._operation(kind, name=name, seconds=seconds, interruptible=interruptible)

    def _operation(self, kind: str, *, name: str, seconds: float = 0.0, interruptible: bool = False) -> Operation:
        key = f"{self.task}#{self.epoch}:op{next(self._operations)}"
        body = OpOpened(id=key, kind=clip(kind, 64), name=clip(name, 256), seconds=_seconds("seconds", seconds))
        return Operation(
            key, self._desk, partial(self._operation_opened, body), self._operation_closed, interruptible=interruptible
        )

    @checked
    def queue(
        self, kind: str, *, name: str, priority: Literal["normal", "low"] = "low", seconds: float = 0.0,
        interruptible: bool = False,
    ) -> Operation:  # fmt: skip
        """Announce an operation that begins later, in a `with` block of its own.

        One of low priority that has not begun when a steer is taken is skipped, and the record says for which steer: what
        was planned before may not be wanted any more. `ctx.queued()` gives those that are left. Raises
        UsageError when too many are open.
        """
        _check_kind(kind)
        self._check_operations()
        key = f"{self.task}#{self.epoch}:op{next(self._operations)}"
        self._open_operations += 1
        body = OpOpened(
            id=key,
            kind=clip(kind, 64),
            name=clip(name, 256),
            seconds=_seconds("seconds", seconds),
            queued=True,
            priority=priority,
        )
        self._desk.report(body)
        begin = partial(self._queued_begins, key)
        operation = Operation(key, self._desk, begin, self._operation_closed, interruptible=interruptible)
        self._queue[key] = (operation, priority)
        return operation

    def queued(self) -> Iterator[Operation]:
        """The queued operations that have neither begun nor been skipped, in order; also those queued meanwhile."""
        while self._queue:
            operation, _ = next(iter(self._queue.values()))
            yield operation
            self._queue.pop(operation.id, None)

    def _queued_begins(self, key: str) -> None:
        self._alive()
        self.token.check()
        self._queue.pop(key, None)
        self._desk.report(OpStarted(id=key))

    def _skip_queued(self, message: str) -> None:
        for key, (operation, priority) in list(self._queue.items()):
            if priority == "low":
                del self._queue[key]
                operation.skip(message)
                self._open_operations -= 1

    def _check_operations(self) -> None:
        if self._open_operations >= OPERATIONS_OPEN_MAX:
            raise UsageError(f"{OPERATIONS_OPEN_MAX} operations are open", hint="close some before opening more")

    def _operation_opened(self, body: OpOpened) -> None:
        self._check_operations()
        self._alive()
        self.token.check()
        self._desk.report(body)
        self._open_operations += 1

    def _operation_closed(self) -> None:
        self._open_operations -= 1

    @checked
    def artifact(
        self, name: str, content: bytes | str | Path, *, mime: str = "", redact: bool = True,
        retention: Literal["run", "temporary"] = "run",
    ) -> Path:  # fmt: skip
        """Leave a file for people, under `name`; it is stored once, under its hash. Returns where it is to be read.

        `content` may be the path of a file, which is streamed. Text loses what looks like a secret unless `redact` is off.
        Raises UsageError for a link, for what is no file, and for more than an artifact may be.
        """
        check_name("artifact", name)
        if self._artifacts >= ARTIFACTS_MAX:
            raise UsageError(f"{ARTIFACTS_MAX} artifacts were left already", hint="put several files into an archive")
        folder = self.directory / "artifacts"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / name
        blobs = Path(self._bootstrap.blobs) if self._bootstrap.blobs else self.directory / "blobs"
        inline_max = 0 if retention == "temporary" else INLINE_BYTES_MAX  # what is in an event is kept for ever
        stored = store(content, path, blobs, clean=redact, inline_max=inline_max)
        self._artifacts += 1
        self._desk.report(
            Artifact(
                id=f"{self.task}#{self.epoch}:{name}:{self._artifacts}", name=name, path=str(path),
                sha256=stored.sha256, size=stored.size, data=stored.inline, source=stored.source, redacted=stored.redacted,
                mime=mime or mimetypes.guess_type(name)[0] or "application/octet-stream", retention=retention,
            )
        )  # fmt: skip
        return path

    @checked
    def read(self, name: str) -> str:
        """The text of an output that this step `reads`.

        Raises UsageError if the step does not declare it, or if it is not UTF-8.
        """
        if name not in self._bootstrap.reads:
            raise UsageError(f"this step does not read {name}", hint=f"add 'reads: {name}' to the step")
        path = Path(self._bootstrap.shared) / name
        try:
            return (path if path.exists() else Path(name)).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            hint = f"its bytes are in {path}"
            raise UsageError(f"the output {name} is not UTF-8 (byte {error.start})", hint=hint) from None


def _amount(name: str, value: float | None, least: float = -AMOUNT_MAX) -> float | None:
    """A number that can be sent and kept, in the caller's own line."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= AMOUNT_MAX:
        raise UsageError(f"{name} is {value!r}, which is no amount", hint=f"a number from {least:g} to {AMOUNT_MAX:g}, or None")
    return float(value)


def _count(name: str, value: int) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        count = -1
    if not 0 <= count <= COUNT_MAX:
        raise UsageError(f"{name} is {value!r}, which is no count", hint=f"a whole number from 0 to {COUNT_MAX}")
    return count


def _fitting(kind: QuestionKind, choices: Sequence[str], default: str, fits: Callable[[str], str]) -> str:
    try:
        answer = check_answer(kind, choices, default)
    except UsageError as error:
        raise UsageError(f"the default does not fit the question: {error.message}", hint=error.hint) from None
    if wrong := fits(answer):
        raise UsageError(f"the default does not fit the question: {wrong}", hint="a default that follows the schema")
    return answer


def to_wait(name: str, value: float) -> float:
    """Seconds to wait. A negative value counts as 0, because a caller that counts down to a deadline may pass one."""
    return max(0.0, _seconds(name, value, -SECONDS_MAX))


def _seconds(name: str, value: float, least: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= SECONDS_MAX:
        raise UsageError(f"{name} is {value!r}, which is no time", hint=f"{least:g} to {SECONDS_MAX:g} seconds")
    return float(value)


def _check_text(text: str) -> None:
    if not text.strip():
        raise UsageError("the message is empty", hint="give it a text")
    if len(text) > TEXT_CHARS_MAX:
        raise UsageError(f"the text has {len(text)} characters", hint=f"at most {TEXT_CHARS_MAX}; leave more as an artifact")


def _check_kind(kind: str) -> None:
    if not kind:
        raise UsageError("an operation has a kind", hint="a word, such as tool or model")
    if kind.startswith(OWN_KINDS):
        raise UsageError(f"operations of the kind {kind} are crewd's own", hint="use another word, such as tool or model")
