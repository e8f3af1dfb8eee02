"""What a worker function holds: progress, safe points, natural stops, questions, operations, artifacts."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from crewd.protocol.errors import UsageError
from crewd.protocol.ids import ASK, IdSource, check_name
from crewd.protocol.limits import ARTIFACTS_MAX, CHECKPOINT_BYTES_MAX, NOTE_CHARS_MAX, OPERATIONS_OPEN_MAX
from crewd.protocol.redact import clip
from crewd.protocol.reports import (
    Applied,
    Artifact,
    Asked,
    AskOver,
    Checkpoint,
    OpOpened,
    ProgressReport,
    Settled,
    StopProposed,
    UsageReport,
)
from crewd.worker.message import Message
from crewd.worker.operation import Operation
from crewd.worker.token import CancellationToken

if TYPE_CHECKING:
    from crewd.protocol.hands import Bootstrap
    from crewd.protocol.reports import Deliver
    from crewd.worker.desk import Desk


class Pulse(Protocol):
    """Where signs of life go: the link, which sends them sampled."""

    def progress(self, report: ProgressReport) -> None:
        """This is how far the work is."""
        ...

    def beat(self, beats: int) -> None:
        """The code has called for the `beats`-th time."""
        ...


class Context:
    """The worker's side of the control channel. Use it on the thread that runs the worker function.

    `restored` is the last checkpoint of the task's earlier attempts; None if there is none.
    """

    def __init__(self, bootstrap: Bootstrap, desk: Desk, pulse: Pulse, ids: IdSource) -> None:
        self._bootstrap = bootstrap
        self._desk = desk
        self._pulse = pulse
        self._ids = ids
        self._beats = 0
        self._held: Message | None = None
        self._operations = 0
        self._open_operations = 0
        self._artifacts = 0
        self.token: CancellationToken = desk.token
        self.task = bootstrap.task
        self.epoch = bootstrap.epoch
        self.goal = bootstrap.goal
        self.text = bootstrap.text
        self.directory = Path(bootstrap.directory)
        self.restored: Any = bootstrap.checkpoint
        self._usage = UsageReport()

    def _alive(self) -> None:
        self._beats += 1
        self._pulse.beat(self._beats)

    def progress(self, done: float | None = None, total: float | None = None, note: str = "") -> None:
        """How far the work is; also a sign of life. Sampled: the last one wins. Raises Cancelled."""
        self._beats += 1
        self._pulse.progress(ProgressReport(done=done, total=total, note=clip(note, NOTE_CHARS_MAX), beats=self._beats))
        self.token.check()

    def check(self) -> None:
        """A sign of life; raises Cancelled if the worker is to stop."""
        self._alive()
        self.token.check()

    def sleep(self, seconds: float) -> None:
        """Wait; raises Cancelled the moment that the worker is to stop."""
        self._alive()
        self.token.wait(seconds)

    def safe_point(self, *, wait: float = 0.0) -> Message | None:
        """A place between two steps of the work: hands over the oldest steer, or None. Raises Cancelled.

        `wait`: seconds to wait for one, for a worker that has nothing else to do.

        At most one steer per call (a turn each), in the order in which they were accepted. The steer handed over before is
        done now, unless the code said otherwise.
        """
        self._let_go()
        self.check()
        steer = self._desk.next_steer(wait)
        self.token.check()
        return self._take(steer)

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

    def _take(self, deliver: Deliver | None) -> Message | None:
        if deliver is None:
            return None
        self._desk.report(Applied(id=deliver.id))
        self._held = Message(deliver.id, deliver.kind, deliver.text, self._desk.report)
        return self._held

    def _let_go(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            held.done()

    def finish(self) -> None:
        """The function has returned: the message it held is done. Called by the runtime."""
        self._let_go()

    def ask(
        self,
        question: str,
        *,
        kind: Literal["text", "confirm", "choice"] = "text",
        choices: Sequence[str] = (),
        timeout: float | None = None,
    ) -> str | None:
        """Ask whoever watches; the task is `waiting` until the answer, the timeout (None is returned) or a cancel (raised)."""
        self._alive()
        self.token.check()
        ask = self._ids.next(ASK)
        self._desk.open_ask(ask)
        self._desk.report(
            Asked(
                id=ask, question=clip(question, NOTE_CHARS_MAX), kind=kind, choices=tuple(choices),
                timeout_seconds=timeout,
            )
        )  # fmt: skip
        answer = self._desk.wait_answer(ask, timeout)
        if answer is not None:
            self._desk.report(Applied(id=answer.id))
            self._desk.report(AskOver(id=ask, outcome="answered", answered_by=answer.id))
            self._desk.report(Settled(id=answer.id, outcome="done"))
            return answer.text
        outcome: Literal["cancelled", "expired"] = "cancelled" if self.token.cancelled else "expired"
        self._desk.report(AskOver(id=ask, outcome=outcome))
        self.token.check()
        return None

    def confirm(self, question: str, *, timeout: float | None = None) -> bool:
        """A yes-or-no `ask`; silence and anything but yes, y, true, ok, allow and 1 mean no."""
        answer = self.ask(question, kind="confirm", timeout=timeout)
        return (answer or "").strip().lower() in {"yes", "y", "true", "ok", "allow", "1"}

    def usage(self, *, turns: int = 0, tokens: int = 0, cost: float = 0.0) -> None:
        """Add to what this attempt has used up; crewd ends it when its limits are reached. Raises Cancelled."""
        before = self._usage
        self._usage = UsageReport(
            turns=before.turns + turns, tokens=before.tokens + tokens, cost=before.cost + cost
        )  # fmt: skip
        self._beats += 1
        self._desk.report(self._usage)
        self.token.check()

    def checkpoint(self, value: object) -> None:
        """Note where the task's next attempt may go on: it finds the JSON-like `value` in `ctx.restored`. Raises UsageError.

        Durable soon; `value` has at most 32 KiB, what is larger belongs into a file.
        """
        try:
            raw = msgspec.json.encode(value)
        except (TypeError, msgspec.EncodeError) as error:
            raise UsageError(f"the checkpoint cannot be kept: {error}", hint="use JSON-like values") from None
        if len(raw) > CHECKPOINT_BYTES_MAX:
            raise UsageError(f"the checkpoint has {len(raw)} bytes", hint=f"at most {CHECKPOINT_BYTES_MAX}; use a file")
        self._desk.report(Checkpoint(value=msgspec.json.decode(raw)))

    def operation(self, kind: str, *, name: str, seconds: float = 0.0, interruptible: bool = False) -> Operation:
        """Show what the worker does now (`"tool"`, `"model"` …). It gets exactly one terminal record, also after a kill.

        One that takes longer than `seconds` ends the attempt. An `interruptible` one is broken off by a steer that comes
        `now`: the `with` block ends there, and the work goes on after it (`Operation.interrupted` says for which message).
        """
        self._operations += 1
        key = f"{self.task}#{self.epoch}:op{self._operations}"
        body = OpOpened(id=key, kind=clip(kind, 64), name=clip(name, 256), seconds=max(0.0, seconds))
        return Operation(
            key, self._desk, partial(self._operation_opened, body), self._operation_closed, interruptible=interruptible
        )

    def _operation_opened(self, body: OpOpened) -> None:
        if self._open_operations >= OPERATIONS_OPEN_MAX:
            raise UsageError(f"{OPERATIONS_OPEN_MAX} operations are open", hint="close some before opening more")
        self._alive()
        self.token.check()
        self._desk.report(body)
        self._open_operations += 1

    def _operation_closed(self) -> None:
        self._open_operations -= 1

    def artifact(self, name: str, content: bytes | str | Path, *, mime: str = "") -> Path:
        """Leave a file for people, under `name`, in the attempt's directory; its hash is recorded. Returns where it is."""
        check_name("artifact", name)
        if self._artifacts >= ARTIFACTS_MAX:
            raise UsageError(f"{ARTIFACTS_MAX} artifacts were left already", hint="put several files into an archive")
        data = content.read_bytes() if isinstance(content, Path) else content
        raw = data.encode() if isinstance(data, str) else data
        folder = self.directory / "artifacts"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / name
        temporary = folder / f".{name}.part"
        temporary.write_bytes(raw)
        temporary.replace(path)  # a reader sees the old file or the new one, never half of it
        self._artifacts += 1
        self._desk.report(
            Artifact(
                id=f"{self.task}#{self.epoch}:{name}:{self._artifacts}", name=name, path=str(path),
                sha256=hashlib.sha256(raw).hexdigest(), size=len(raw),
                mime=mime or mimetypes.guess_type(name)[0] or "application/octet-stream",
            )
        )  # fmt: skip
        return path

    def read(self, name: str) -> str:
        """The text of an output that this step `reads`. Raises UsageError if the step does not declare it."""
        if name not in self._bootstrap.reads:
            raise UsageError(f"this step does not read {name}", hint=f"add 'reads: {name}' to the step")
        path = Path(self._bootstrap.shared) / name
        return (path if path.exists() else Path(name)).read_text(encoding="utf-8")
