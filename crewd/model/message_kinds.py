"""The kinds of control messages: a table with one row for each, which says everything in which they differ.

A cancel is none of them: it is an order of its own that overtakes messages. docs/contributing.md tells how to add a kind.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

import msgspec

from crewd.model.rights import Role

MessageKind = Literal["steer", "follow_up", "response", "message"]
"""What a message is."""
Priority = Literal["urgent", "normal", "low"]
Mode = Literal["interrupt", "next_turn"]


class Purpose(Enum):
    """What a message is for."""

    WORK = "the worker's code takes it: at its next safe point, or where it would stop"
    READING = "it lies in a mailbox until somebody reads it, whether anybody is at work or not"
    ANSWER = "the question that it answers; the worker has asked for it, so it needs to declare nothing"


class KindOfMessage(msgspec.Struct, frozen=True):
    """One row.

    `mode` and `priority` are what is usual where the sender does not say it. `overtakes`: it may come `now`, be typed at a
    terminal, and end a command's input. `role` is what the sender must have.
    """

    purpose: Purpose
    role: Role = Role.MESSAGE
    mode: Mode = "interrupt"
    priority: Priority = "normal"
    overtakes: bool = False


MESSAGE_KINDS: Final[dict[MessageKind, KindOfMessage]] = {
    "steer": KindOfMessage(Purpose.WORK, priority="urgent", overtakes=True),
    "follow_up": KindOfMessage(Purpose.WORK, mode="next_turn"),
    "response": KindOfMessage(Purpose.ANSWER, role=Role.RESPOND),
    "message": KindOfMessage(Purpose.READING),
}
NEEDS: Final[dict[Mode, str]] = {"interrupt": "steer", "next_turn": "follow_up"}
"""The capability that a worker must have declared to take a message for its work in this mode."""


def kind_named(name: str) -> MessageKind:
    """The kind of this name. KeyError if there is none."""
    for kind in MESSAGE_KINDS:
        if kind == name:
            return kind
    raise KeyError(name)


WORK_KINDS: Final = frozenset(kind for kind, row in MESSAGE_KINDS.items() if row.purpose is Purpose.WORK)
"""Kinds that the worker's code takes."""
MAILBOX_KINDS: Final = frozenset(
    {"group_join", *(kind for kind, row in MESSAGE_KINDS.items() if row.purpose is Purpose.READING)}
)
"""Kinds that are for reading: done when they lie in a mailbox, acknowledged when read. crewd itself writes a `group_join`."""
