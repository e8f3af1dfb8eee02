"""What the tools of the MCP server answer with: the shapes that a leader reads, and how they are made of crewd's own.

Tests: tests/client/test_mcp_server.py.
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from crewd.model.receipts import Receipt
from crewd.model.rows import AskRow


class Answer(BaseModel):
    """What each tool answers with, besides its own."""

    notices: list[str] = Field(default_factory=list, description="What happened to your runs since your last call, each once.")


class Run(Answer):
    """A run and how it stands."""

    run: str
    name: str
    status: str
    reason: str = ""
    steps: dict[str, str] = Field(default_factory=dict, description="Each step with its status.")
    doing: str = Field(default="", description="What it does now.")
    questions: list[str] = Field(default_factory=list, description="Ids of open questions: crew_respond answers them.")
    over: bool = False
    cursor: int = Field(default=0, description="Give it to crew_events as `after`.")


class Runs(Answer):
    """Runs, newest first."""

    runs: list[Run]
    more: bool = False


class Message(Answer):
    """How far a message came: accepted, delivered, applied (the worker has taken it), settled (it is done with it)."""

    message: str
    level: str
    outcome: str = ""
    reason: str = ""
    note: str = ""


class Question(BaseModel):
    """An open question of a worker."""

    id: str
    run: str
    step: str
    question: str
    kind: str
    choices: list[str] = Field(default_factory=list)


class Questions(Answer):
    """Open questions, oldest first."""

    questions: list[Question]


class Cancelled(Answer):
    """What became of a cancel. `verified`: no process is left."""

    run: str
    status: str
    verified: bool
    survivors: list[int] = Field(default_factory=list)


class Result(Answer):
    """The result of a run: its text, or JSON."""

    run: str
    status: str
    text: str
    cut: bool = Field(default=False, description="Whether the text goes on; `crew result RUN` has all of it.")


class Summary(Answer):
    """How runs stand, as Markdown."""

    text: str


class Happened(BaseModel):
    """An event of a run."""

    seq: int
    type: str
    task: str
    text: str


class Events(Answer):
    """Events, oldest first; `cursor` is the `after` of the next call."""

    events: list[Happened]
    cursor: int


def told(receipt: Receipt, notices: list[str]) -> Message:
    """How far a message has come."""
    return Message(
        message=receipt.id, level=receipt.level.value, outcome=str(receipt.outcome or ""), reason=str(receipt.reason or ""),
        note=receipt.note, notices=notices,
    )  # fmt: skip


def question(row: AskRow) -> Question:
    """An open question."""
    return Question(
        id=row.id,
        run=row.run,
        step=row.task.rpartition("/")[2],
        question=row.question,
        kind=row.kind,
        choices=list(row.choices),
    )
