"""What the parts of a run's actor have in common: what they may ask of it, and what it does beside its machine's effects.

Tests: tests/testing/world/test_machine.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec

from crewd.actors import Ref
from crewd.model.events import Draft
from crewd.model.rows import RunRow
from crewd.model.workflow import Step
from crewd.store.messages import Guard, Known, Rejected
from crewd.supervisor import commands as cm
from crewd.supervisor.attempt.mailbox import Mail
from crewd.supervisor.caller import Caller
from crewd.supervisor.run.effects import Decision, RunEffect
from crewd.supervisor.run.events import RunEvent
from crewd.supervisor.run.state import Run, Task

if TYPE_CHECKING:
    from crewd.supervisor.services import Services


class AnswerReceipt(msgspec.Struct, frozen=True):
    """Answer a caller with the receipt of this message."""

    caller: Caller
    id: str


class AnswerRecorded(msgspec.Struct, frozen=True):
    """Answer a caller that its cancel is recorded; it waits for the end."""

    caller: Caller


class AnswerWith(msgspec.Struct, frozen=True):
    """Answer a caller, now that what it asked for is durable."""

    caller: Caller
    reply: cm.Reply


class TakeIn(msgspec.Struct, frozen=True):
    """A message for a task without a living attempt is durable."""

    task: str
    mail: Mail


class LeaveOutput(msgspec.Struct, frozen=True):
    """A step that somebody else has carried out leaves its output file."""

    task: str
    result: object


Deed: TypeAlias = RunEffect | AnswerReceipt | AnswerRecorded | AnswerWith | TakeIn | LeaveOutput


class RunShell(Protocol):
    """A run's actor, as its parts see it. What raises is answered to the caller of the command that is carried out."""

    @property
    def services(self) -> Services:
        """What every actor is given."""
        ...

    @property
    def id(self) -> str:
        """The run's id."""
        ...

    @property
    def row(self) -> RunRow:
        """The run as it was read. Raises Unavailable before that."""
        ...

    @property
    def run(self) -> Run:
        """The machine. Raises Unavailable before the rows are read."""
        ...

    def now(self) -> float:
        """Monotonic time."""
        ...

    def step(self, task: str) -> Step:
        """The step of a task's workflow."""
        ...

    def target(self, task: str) -> Task:
        """The task that is meant: the one named, the only one there is, or the only live one. Raises UsageError."""
        ...

    def controller(self, task: Task) -> Ref[cm.ControllerMessage] | None:
        """The controller of its latest attempt, if there is one."""
        ...

    def feed(self, event: RunEvent) -> None:
        """Let the machine decide, record it, and do what follows."""
        ...

    def decided(self, run: Run, decision: Decision) -> None:
        """The same for what was decided elsewhere."""
        ...

    def record(
        self,
        drafts: Sequence[Draft],
        effects: Sequence[Deed],
        *,
        guard: Guard | None = None,
        refused: Callable[[Known | Rejected], None] | None = None,
    ) -> None:
        """As `Journal.record`."""
        ...

    def respond(self, caller: Caller, reply: cm.Reply) -> None:
        """Answer at once."""
        ...

    def put_off(self, command: cm.Command) -> None:
        """Carry the command out when the worker's controller is there, or gone. Raises Busy if too many wait."""
        ...
