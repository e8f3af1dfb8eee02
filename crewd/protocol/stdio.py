"""The records of `crewd-stdio`: a worker in any language that reads and writes JSON lines (docs/stdio.md).

A record is a JSON object in a line of its own, in UTF-8, with the key `type`. What the program says begins with `Say` here,
what it hears with `Hear`. An unknown key is ignored.

Tests: tests/worker/test_stdio.py.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any, Literal

import msgspec

from crewd.model.json_line import json_line
from crewd.model.message_kinds import Mode
from crewd.model.questions import QuestionKind

VERSION = 1
LINE_BYTES_MAX = 64 << 20
"""A line that the program writes: the largest result that a client reads whole, and its record."""
ASKS_OPEN_MAX = 16
"""Questions that the program may have open."""
Capability = Literal["steer", "follow_up", "message"]


class SayHello(msgspec.Struct, frozen=True, tag="hello"):
    """The first record. `capabilities` are the messages that the program takes; any other one is refused as `not_supported`."""

    capabilities: tuple[Capability, ...] = ()
    version: int = VERSION
    software: str = ""


class SayProgress(msgspec.Struct, frozen=True, tag="progress"):
    """How far the work is; also a sign of life. The last one wins, and the history keeps some of them."""

    done: float | None = None
    total: float | None = None
    note: str = ""
    phase: str = ""


class SayUsage(msgspec.Struct, frozen=True, tag="usage"):
    """What was used up since the last `usage`; the attempt ends when its limits are reached."""

    turns: int = 0
    tokens: int = 0
    cost: float = 0.0


class SayTell(msgspec.Struct, frozen=True, tag="tell"):
    """Something for people, without an answer: it lies in the mailbox (`crew inbox`)."""

    text: str
    priority: Literal["urgent", "normal", "low"] = "normal"


class SayAsk(msgspec.Struct, frozen=True, tag="ask"):
    """A question. The `answer` bears its `id`, which the program chooses; `timeout` is in seconds, null for no end."""

    id: str
    question: str
    kind: QuestionKind = "text"
    choices: tuple[str, ...] = ()
    default: str | None = None
    timeout: float | None = None
    schema: dict[str, Any] | None = None


class SayCheckpoint(msgspec.Struct, frozen=True, tag="checkpoint"):
    """Where the task's next attempt may go on; it finds the value in `start.restored`. At most 32 KiB."""

    value: Any


class SayArtifact(msgspec.Struct, frozen=True, tag="artifact"):
    """A file for people: its `text`, or the file at `path`, which is read before the next record."""

    name: str
    text: str | None = None
    path: str = ""
    mime: str = ""


class SayReceipt(msgspec.Struct, frozen=True, tag="receipt"):
    """What became of a message: `applied` when the work has taken it, then `done`; or `refused`, and a `reason` in a word."""

    id: str
    state: Literal["applied", "done", "refused"]
    reason: str = ""
    note: str = ""


class SayIdle(msgspec.Struct, frozen=True, tag="idle"):
    """The program would stop now. The answer is a `message`, or `stop` if none waits and none will be accepted any more.

    A program without the capability `follow_up` says `end` instead.
    """


class SayEnd(msgspec.Struct, frozen=True, tag="end"):
    """How the work has ended: the last record, once. The program exits soon after it.

    `result` is any JSON value, of a `completed` one. `permanent`: another try would fail in the same way.
    """

    state: Literal["completed", "failed", "cancelled"]
    result: Any = None
    error: str = ""
    error_class: str = ""
    permanent: bool = False


class HearStart(msgspec.Struct, frozen=True, tag="start"):
    """The first record after `hello`, but for an `error` of what was said before it.

    `reads` are paths of files that earlier steps have left. `output` is where the step's file is to be left, if it has one;
    a result that is text is written there otherwise. `restored` is the last checkpoint of an earlier attempt.
    """

    task: str
    attempt: int
    goal: str
    text: str
    args: dict[str, Any]
    inputs: dict[str, Any]
    reads: tuple[str, ...]
    output: str
    directory: str
    restored: Any
    version: int = VERSION


class HearMessage(msgspec.Struct, frozen=True, tag="message"):
    """A message, to be answered by a `receipt`. `now`: whatever goes on should be broken off for it."""

    id: str
    kind: Literal["steer", "follow_up", "message"]
    text: str
    sender: str
    mode: Mode
    now: bool


class HearAnswer(msgspec.Struct, frozen=True, tag="answer"):
    """The answer to the question with this `id`; `text` is null if none came in time."""

    id: str
    text: str | None


class HearStop(msgspec.Struct, frozen=True, tag="stop"):
    """No message waits, and none will be accepted any more: say `end`."""


class HearCancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop within `grace` seconds: clean up, say `end`, exit.

    TERM follows after half of them, TERM to every process when they are over, and KILL three seconds later.
    """

    reason: str
    grace: float
    intent: str


class HearError(msgspec.Struct, frozen=True, tag="error"):
    """A record changed nothing; `record` is its beginning, or of an `ask` that was refused `ask` and its id."""

    message: str
    record: str


Said = (
    SayHello | SayProgress | SayUsage | SayTell | SayAsk | SayCheckpoint | SayArtifact | SayReceipt | SayIdle | SayEnd
)  # fmt: skip
Heard = HearStart | HearMessage | HearAnswer | HearStop | HearCancel | HearError
SAID: tuple[type[Said], ...] = (
    SayHello, SayProgress, SayUsage, SayTell, SayAsk, SayCheckpoint, SayArtifact, SayReceipt, SayIdle, SayEnd,
)  # fmt: skip
HEARD: tuple[type[Heard], ...] = (HearStart, HearMessage, HearAnswer, HearStop, HearCancel, HearError)
_decoder = msgspec.json.Decoder(Said)
_encoder = msgspec.json.Encoder()
_TYPED = re.compile(rb'\s*\{\s*"type"\s*:')
"""How a record begins, as most programs write it: a line that does is meant as one, also if it is no JSON."""


class NotUnderstood(Exception):
    """A line that is meant as a record, and is none; the text says why."""


def read_line(line: bytes) -> Said | None:
    """The record in a line; None for anything else that a program prints. Raises NotUnderstood."""
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        record: Said = _decoder.decode(line)
    except msgspec.ValidationError as error:
        if b'"type"' not in line:
            return None
        raise NotUnderstood(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if _TYPED.match(line):
            raise NotUnderstood(_why_not(line) or str(error)) from None
        return None
    return record


def _why_not(line: bytes) -> str:
    """Why a line is no JSON although many programs write and read it; empty for any other line.

    Python writes NaN and Infinity, JavaScript half a character of UTF-16 (a lone surrogate).
    """
    constants = list[str]()
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(line, parse_constant=constants.append)
        return f"it has {constants[0]}, which JSON does not have" if constants else "it has half a character (a lone surrogate)"
    return ""


def write_line(record: Heard) -> bytes:
    """A record as it is written, with the newline at its end."""
    return json_line(_encoder.encode(record))
