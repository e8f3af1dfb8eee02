"""The receipt of a message: how far it came. Levels only climb; a settled receipt never changes.

accepted = committed in the store; delivered = the worker's runtime confirmed it; applied = the worker's code took it;
settled = done, refused(reason), expired, withdrawn or unknown(reason).

Tests: tests/model/test_values.py, tests/test_end_to_end.py.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from crewd.model.errors import InvariantError, UsageError


class Level(StrEnum):
    """How far a message came, in climbing order."""

    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    APPLIED = "applied"
    SETTLED = "settled"


LEVELS = tuple(Level)


class Outcome(StrEnum):
    """How a message settled."""

    DONE = "done"
    REFUSED = "refused"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    UNKNOWN = "unknown"


class Effect(StrEnum):
    """What a message does to its worker."""

    NEXT_BOUNDARY = "next_boundary"
    """The worker's code takes it at its next safe point."""
    NEXT_TURN = "next_turn"
    """It begins the next turn, when the worker would stop."""
    INTERRUPTED = "interrupted"
    """The open operation was interrupted for it."""
    STARTED = "started"
    """A worker is started for it."""
    QUEUED = "queued"
    """No worker is ready for it yet."""
    HELD = "held"
    """The worker waits; the text after `held: ` says for what."""
    MAILBOX = "mailbox"
    """It lies in the mailbox until somebody reads it."""
    ANSWERED = "answered"
    """The question that it answers waits no more."""


class Receipt(msgspec.Struct, frozen=True):
    """What is known of one message. `*_at` are wall-clock seconds of the daemon.

    `effect` is what it does, or did: one of `Effect`, `held` with what it waits for.
    """

    id: str
    kind: str
    run: str
    task: str
    level: Level
    epoch: int = 0
    outcome: Outcome | None = None
    reason: str = ""
    note: str = ""
    effect: str = ""
    sender: str = ""
    accepted_at: float = 0.0
    delivered_at: float | None = None
    applied_at: float | None = None
    settled_at: float | None = None

    def reached(self, level: Level) -> bool:
        """Whether the message came at least this far. Raises UsageError for what is no level."""
        if level not in LEVELS:
            raise UsageError(f"{level!r} is no level of a message", hint=f"known: {', '.join(LEVELS)}")
        return LEVELS.index(self.level) >= LEVELS.index(level)

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen to this message."""
        return self.level is Level.SETTLED


def climb(
    receipt: Receipt, level: Level, at: float, *, outcome: Outcome | None = None, reason: str = "", note: str = "",
    effect: str = "",
) -> Receipt:  # fmt: skip
    """The receipt after it reached `level`; the same receipt if it was there already.

    Raises InvariantError if a settled receipt would get another outcome or `outcome` does not fit `level`.
    """
    if (outcome is not None) is not (level is Level.SETTLED):
        raise InvariantError("an outcome belongs to the level settled and to no other", message_id=receipt.id)
    if receipt.settled and level is Level.SETTLED and outcome is not receipt.outcome:
        raise InvariantError("a receipt settles once", message_id=receipt.id, outcome=str(receipt.outcome))
    if receipt.reached(level):
        return receipt
    match level:
        case Level.DELIVERED:
            return msgspec.structs.replace(receipt, level=level, delivered_at=at, effect=effect or receipt.effect)
        case Level.APPLIED:
            return msgspec.structs.replace(receipt, level=level, applied_at=at, delivered_at=receipt.delivered_at or at)
        case _:
            return msgspec.structs.replace(receipt, level=level, settled_at=at, outcome=outcome, reason=reason, note=note)
