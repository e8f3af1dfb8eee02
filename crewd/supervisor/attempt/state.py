"""The state of one attempt: the phase that it is in, and what is kept through all of them.

Tests: tests/supervisor/attempt/test_decide.py, tests/supervisor/attempt/test_phases.py.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from crewd.model.policy import Limits
from crewd.model.reasons import Liveness
from crewd.model.rows import CancelInfo
from crewd.model.statuses import AttemptStatus
from crewd.protocol.reports import Outcome
from crewd.supervisor.attempt.effects import Decision
from crewd.supervisor.attempt.mailbox import Mail, Mailbox
from crewd.supervisor.attempt.phases import (
    Cancelling,
    Finished,
    OverLimit,
    Phase,
    Queued,
    Reserving,
    Sought,
    StartTimedOut,
    Stopping,
    status_of,
)
from crewd.supervisor.caller import Caller


class Gradient(msgspec.Struct, frozen=True):
    """After how much silence a worker is at which level."""

    warn_seconds: float = 30.0
    stale_seconds: float = 60.0
    dead_seconds: float = 300.0


class Rules(msgspec.Struct, frozen=True):
    """What the worker's definition and the configuration say of it. Its hooks may take `hook_seconds` first."""

    runtime: str = "call"
    limits: Limits = Limits()
    gradient: Gradient = Gradient()
    hook_seconds: float = 0.0


class Contact(msgspec.Struct, frozen=True):
    """How the worker can be reached. `number` counts its connections, `reports` is the last report that was taken.

    `pid` is its own process, `command` that of the command that it runs (0: none). `capabilities` are what it takes, None
    before its first hello.
    """

    connected: bool = False
    number: int = 0
    capabilities: tuple[str, ...] | None = None
    reports: int = 0
    pid: int | None = None
    command: int = 0


class Messages(msgspec.Struct, frozen=True):
    """Messages that have not settled, and what hangs on them.

    `pending` are those whose acceptance is on its way to the disk: until then nothing else is recorded about them. `unread`
    are messages for reading that the worker has not read. `withdrawals` are (message, caller) that wait for the worker to
    give the message back, or to have taken it.
    """

    box: Mailbox = Mailbox()
    pending: tuple[Mail, ...] = ()
    unread: tuple[Mail, ...] = ()
    withdrawals: tuple[tuple[str, Caller | None], ...] = ()


class OpenQuestion(msgspec.Struct, frozen=True):
    """An open question; `answer` is the message that was admitted for it."""

    id: str
    answer: str = ""
    kind: str = "text"
    choices: tuple[str, ...] = ()


class OpenOperation(msgspec.Struct, frozen=True):
    """An operation that has not ended. `seconds` is what it may take (0: any time), `due` when that is over (monotonic).

    `waits`: in it the worker waits for other workers. One that is `queued` has not begun.
    """

    id: str
    seconds: float = 0.0
    queued: bool = False
    waits: bool = False
    due: float | None = None


class Work(msgspec.Struct, frozen=True):
    """What the worker is at. `failures` counts operations that failed in a row, `usage` is (turns, tokens, cost).

    `ended_operations` counts those that have ended and were not skipped.

    `finishing`: it was granted its stop, or has said how it ended; it takes no more messages.
    """

    asks: tuple[OpenQuestion, ...] = ()
    operations: tuple[OpenOperation, ...] = ()
    failures: int = 0
    ended_operations: int = 0
    turn: int = 1
    usage: tuple[int, int, float] = (0, 0, 0.0)
    checkpoint: object = None
    finishing: bool = False

    @property
    def observed(self) -> bool:
        """Whether anything was seen of its work: an operation that has ended, or tokens."""
        return self.ended_operations > 0 or self.usage[1] > 0 or self.usage[2] > 0

    @property
    def busy(self) -> bool:
        """Whether an operation has begun and not ended."""
        return any(not each.queued for each in self.operations)

    @property
    def waits_for_workers(self) -> bool:
        """Whether it does nothing but wait for other workers."""
        return any(each.waits for each in self.operations)

    @property
    def waiting(self) -> bool:
        """Whether it does nothing but wait, for people or for other workers."""
        return bool(self.asks) or self.waits_for_workers

    def operation(self, key: str) -> OpenOperation | None:
        """The operation of this id that has not ended."""
        return next((each for each in self.operations if each.id == key), None)

    def unanswered_by(self, keys: tuple[str, ...]) -> Work:
        """With the questions open again that these messages were to answer."""
        if not any(ask.answer in keys for ask in self.asks if ask.answer):
            return self
        return replace(self, asks=tuple(replace(ask, answer="") if ask.answer in keys else ask for ask in self.asks))


class Observed(msgspec.Struct, frozen=True):
    """What was seen of the worker, and what people were told of that.

    `began`, `active_at` (its code), `heard_at` (its process) and `look_at` (the next look) are monotonic times, `beats` counts
    the signs of its code. `output_bytes` and `cpu_seconds` are what was measured last. `notices` are the kinds that are open,
    `told` all that were ever raised, `cooldowns` until when one is not raised again.
    """

    level: Liveness = Liveness.HEALTHY
    began: float | None = None
    active_at: float = 0.0
    heard_at: float = 0.0
    look_at: float | None = None
    beats: int = 0
    output_bytes: int = 0
    cpu_seconds: float = 0.0
    notices: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    cooldowns: tuple[tuple[str, float], ...] = ()


class Attempt(msgspec.Struct, frozen=True):
    """The state. `questions` counts what the guardian was asked, `asked_before_spawn` is the last one before the order."""

    task: str
    epoch: int
    phase: Phase = Reserving()
    rules: Rules = Rules()
    contact: Contact = Contact()
    inbox: Messages = Messages()
    work: Work = Work()
    observed: Observed = Observed()
    questions: int = 0
    asked_before_spawn: int = 0

    @property
    def status(self) -> AttemptStatus:
        """The status that people see."""
        return status_of(self.phase)

    @property
    def over(self) -> bool:
        """Whether the terminal event is decided."""
        return isinstance(self.phase, Finished)

    @property
    def spawned(self) -> bool:
        """Whether there may be, or may have been, a worker."""
        return not isinstance(self.phase, Reserving | Queued)

    @property
    def cancel(self) -> CancelInfo | None:
        """The cancel that was asked for, before the worker had said how it ended."""
        return self.phase.cancel if isinstance(self.phase, Reserving | Sought | Cancelling) else None

    @property
    def limit(self) -> str:
        """The bound that was reached; empty for none."""
        return self.phase.limit if isinstance(self.phase, OverLimit | Cancelling) else ""

    @property
    def start_limit(self) -> str:
        """The bound that a worker has reached which never said hello; empty for none."""
        match self.phase:
            case StartTimedOut(_, waited) if 0 < self.rules.limits.task_seconds <= waited:
                return "task_seconds"
            case _:
                return ""

    @property
    def outcome(self) -> Outcome | None:
        """What the worker itself said of its end."""
        match self.phase:
            case Stopping(said) | OverLimit(_, _, said) | StartTimedOut(said) | Cancelling(_, _, said):
                return None if said is None else said.outcome
            case Finished(_, outcome):
                return outcome
            case _:
                return None

    def become(self, phase: Phase) -> Attempt:
        """In this phase."""
        return replace(self, phase=phase)

    def with_contact(self, **changes: object) -> Attempt:
        """With these fields of `contact` changed."""
        return replace(self, contact=replace(self.contact, **changes))

    def with_inbox(self, **changes: object) -> Attempt:
        """With these fields of `inbox` changed."""
        return replace(self, inbox=replace(self.inbox, **changes))

    def with_work(self, **changes: object) -> Attempt:
        """With these fields of `work` changed."""
        return replace(self, work=replace(self.work, **changes))

    def with_observed(self, **changes: object) -> Attempt:
        """With these fields of `observed` changed."""
        return replace(self, observed=replace(self.observed, **changes))


Next: TypeAlias = tuple[Attempt, Decision]
