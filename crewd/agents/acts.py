"""What a machine of an agent wants done: its worker process does it, in this order. The same words for every protocol.

Tests: tests/agents/test_pi.py, tests/agents/test_claude.py, tests/agents/test_codex.py, tests/agents/test_acp.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import msgspec

from crewd.agents.capabilities import Capabilities
from crewd.model.questions import QuestionKind

ToolOutcome = Literal["done", "failed", "cancelled"]


class Write(msgspec.Struct, frozen=True):
    """Say this record to the agent."""

    record: Mapping[str, Any]


class Ready(msgspec.Struct, frozen=True):
    """The agent answers and can be prompted.

    `session` is its own name for this session; empty if it has none. `goes_on`: it is the one that the task named.
    """

    capabilities: Capabilities
    session: str = ""
    software: str = ""
    goes_on: bool = False


class Session(msgspec.Struct, frozen=True):
    """The agent's own name for this session is known now, or is another one."""

    id: str


class Applied(msgspec.Struct, frozen=True):
    """A request to the model that held this message was answered."""

    id: str


class Done(msgspec.Struct, frozen=True):
    """The work that this message was in has ended."""

    id: str


class Refused(msgspec.Struct, frozen=True):
    """The agent does not take this message."""

    id: str
    reason: str
    note: str = ""


class Spent(msgspec.Struct, frozen=True):
    """What the agent has used since the last `Spent`. `turns` counts answers of the model."""

    turns: int = 0
    tokens: int = 0
    cost: float = 0.0


class Said(msgspec.Struct, frozen=True):
    """A block of text of the model is complete."""

    text: str
    thought: bool = False


class ToolBegan(msgspec.Struct, frozen=True):
    """The agent has begun to use a tool."""

    id: str
    name: str
    preview: str = ""


class ToolEnded(msgspec.Struct, frozen=True):
    """The tool has ended. `text` is what it gave, or its end."""

    id: str
    outcome: ToolOutcome
    text: str = ""


class Noted(msgspec.Struct, frozen=True):
    """Something that people want to know while the agent works: `retry`, `compaction`, `plan`, `model` or `warning`."""

    what: Literal["retry", "compaction", "plan", "model", "warning"]
    text: str


class Ask(msgspec.Struct, frozen=True):
    """The agent asks. `permission` is whether it asks to be allowed something. The answer comes to `Machine.answer`."""

    key: str
    question: str
    kind: QuestionKind = "text"
    choices: tuple[str, ...] = ()
    permission: bool = False
    seconds: float | None = None


class Unask(msgspec.Struct, frozen=True):
    """The agent waits for this answer no more."""

    key: str


class Stopped(msgspec.Struct, frozen=True):
    """The agent has come to a stop by itself: it works on nothing. It may be prompted again, unless it has `failed`."""

    state: Literal["completed", "failed", "cancelled"] = "completed"
    text: str = ""
    error: str = ""
    error_class: str = ""
    warnings: tuple[str, ...] = ()


class After(msgspec.Struct, frozen=True):
    """Call `Machine.due` after so many seconds."""

    seconds: float
    what: str


Act = (
    Write | Ready | Session | Applied | Done | Refused | Spent | Said | ToolBegan | ToolEnded | Noted | Ask | Unask | Stopped
    | After
)  # fmt: skip
Acts = list[Act]


class Task(msgspec.Struct, frozen=True):
    """What a machine is made for. `cwd` is an absolute path; `session` is a session of the agent to go on with.

    With `forks` it goes on with a copy of that session, and the session itself stays as it is. `given`: the session was not
    begun for this task, and the system prompt was not told in it; that holds for one that is copied, too.
    `attempt` is this attempt and no other one; `cost` is what that session has cost before.
    """

    cwd: str
    attempt: str = ""
    model: str = ""
    system_prompt: str = ""
    replaces_prompt: bool = False
    session: str = ""
    forks: bool = False
    given: bool = False
    cost: float = 0.0


class Machine(Protocol):
    """An agent's protocol. Each method returns what is to be done; none of them raises for what the agent says."""

    @property
    def capabilities(self) -> Capabilities:
        """What the agent can do, as far as it is known now."""
        ...

    def greet(self) -> Acts:
        """The process runs: make it ready."""
        ...

    def hear(self, record: Mapping[str, Any]) -> Acts:
        """It has said a record."""
        ...

    def prompt(self, key: str, text: str) -> Acts:
        """It works on nothing: give it this to do. `key` is the message's id; empty for the task itself."""
        ...

    def steer(self, key: str, text: str, *, now: bool) -> Acts:
        """It works: tell it this. `now`: stop what it is doing first."""
        ...

    def answer(self, key: str, text: str | None) -> Acts:
        """The answer to an `Ask`; None if there is none."""
        ...

    def cancel(self) -> Acts:
        """Stop what it is doing, and answer nothing any more."""
        ...

    def due(self, what: str) -> Acts:
        """The time of an `After` has come."""
        ...
