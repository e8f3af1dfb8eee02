"""What the sender of a message wants of it: when it is taken, by which attempt, and what happens if nobody is at work.

The same for every kind of message. What is left out means what is usual for the kind (`usual`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from crewd.model.errors import UsageError
from crewd.model.message_kinds import MESSAGE_KINDS, MessageKind, Mode, Priority, Purpose

OnIdle = Literal["queue", "start", "refuse"]
Typed = Literal["keys", "size"]
REPLY_SECONDS_MAX = 30 * 86_400.0

INTERRUPT_TEXT = "Stop what you are doing, and say where you are."
"""What a worker is told that is interrupted without a word."""


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a message is taken, by which attempt, and how it is given to the worker.

    `mode`: taken at the next safe point (`interrupt`) or when the worker would stop (`next_turn`: it begins a new turn).
    `now`: the operation that is open is interrupted for it, if it can be. `if_running`: refused unless the worker is at
    work. `on_idle`: what happens when no attempt lives: it waits for the next one (`queue`), the worker is started again for
    it (`start`), or it is refused. `epoch` and `turn`: refused by every other attempt, and in every other turn; 0 is any.
    `eof`: a steer that ends the input of a command after its text, which may be empty. `typed`, for a command with a terminal:
    the text is typed as it is, without Enter (`keys`), or is the terminal's new size as `ROWSxCOLUMNS` (`size`).
    `reply_to` is the message that this one answers; `reply_seconds` is how long the sender waits for an answer to this one.
    """

    priority: Priority | Literal[""] = ""
    mode: Mode | Literal[""] = ""
    now: bool = False
    if_running: bool = False
    on_idle: OnIdle | Literal[""] = ""
    epoch: int = 0
    turn: int = 0
    reply_to: str = ""
    reply_seconds: float = 0.0
    eof: bool = False
    typed: Typed | Literal[""] = ""


USUAL = Terms()
"""What is usual for the kind."""


def usual(kind: MessageKind, terms: Terms) -> Terms:
    """With everything said; see `message_kinds` for what is usual."""
    row = MESSAGE_KINDS[kind]
    return msgspec.structs.replace(
        terms,
        priority=terms.priority or ("urgent" if terms.now else row.priority),
        mode=terms.mode or row.mode,
        on_idle=terms.on_idle or "queue",
    )


def check_terms(kind: MessageKind, terms: Terms) -> Terms:
    """The terms as they are meant. Raises UsageError for those that contradict each other or the kind."""
    if terms.epoch < 0 or terms.turn < 0:
        raise UsageError("an attempt or turn has a number from 1", hint="leave it out for any")
    row = MESSAGE_KINDS[kind]
    if terms.now and (not row.overtakes or terms.mode == "next_turn"):
        raise UsageError("only a steer can come now", hint="a follow-up begins when the worker would stop")
    if terms.typed and (not row.overtakes or terms.eof):
        raise UsageError("only a steer is typed at a terminal", hint="crew attach RUN")
    if terms.eof and not row.overtakes:
        raise UsageError("only a steer can end a command's input", hint="crew steer RUN --eof")
    if terms.if_running and terms.on_idle in {"start", "queue"}:
        raise UsageError("if_running and on_idle contradict each other", hint="if_running refuses when nobody is at work")
    if terms.if_running:
        terms = msgspec.structs.replace(terms, on_idle="refuse")
    if terms.on_idle == "start" and (terms.epoch or terms.turn):
        raise UsageError("a message for a certain attempt cannot start another one", hint="leave out the attempt, or on_idle")
    if row.purpose is Purpose.ANSWER and terms != Terms(priority=terms.priority, reply_to=terms.reply_to):
        raise UsageError("an answer goes to its question and has no other terms", hint="use a steer or a follow-up")
    if not 0 <= terms.reply_seconds <= REPLY_SECONDS_MAX:
        raise UsageError(f"nobody waits {terms.reply_seconds:g} s for an answer", hint=f"0 to {REPLY_SECONDS_MAX:g}")
    return usual(kind, terms)
