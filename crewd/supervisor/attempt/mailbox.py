"""Control messages of one attempt on their way: which to hand over, which are settled. Pure.

Rule 1: every message that was accepted settles, at the latest when the attempt ends. There is no success by fall-through.
Rule 2: the mailbox forgets a message when it settles; its receipt is in the store.

Tests: tests/supervisor/attempt/test_decide.py, tests/supervisor/test_admission.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec.structs import replace

from crewd.model.events import MessageSettled
from crewd.model.limits import MAILBOX_MAX
from crewd.model.message_kinds import MESSAGE_KINDS, NEEDS, MessageKind, Purpose
from crewd.model.reasons import RefusalReason, UnknownReason
from crewd.model.receipts import LEVELS, Level, Outcome
from crewd.model.rows import UndeliveredMessage
from crewd.model.terms import Terms
from crewd.protocol.reports import Deliver


class Mail(msgspec.Struct, frozen=True):
    """A message that has not settled."""

    id: str
    kind: MessageKind
    order: int
    text: str = ""
    ask: str = ""
    level: Level = Level.ACCEPTED
    expires_at: float | None = None
    recalled: Literal["", "withdrawn", "expired"] = ""
    terms: Terms = Terms()
    sender: str = ""

    @property
    def purpose(self) -> Purpose:
        """What it is for."""
        return MESSAGE_KINDS[self.kind].purpose

    @property
    def begins_turn(self) -> bool:
        """Whether the worker takes it where it would stop, and not before."""
        return self.purpose is Purpose.WORK and (self.terms.mode or MESSAGE_KINDS[self.kind].mode) == "next_turn"

    @property
    def needs(self) -> str:
        """What the worker must have declared to take it; nothing for an answer, which it has asked for."""
        if self.purpose is not Purpose.WORK:
            return "" if self.purpose is Purpose.ANSWER else "message"
        if self.terms.eof or self.terms.typed:
            return "eof" if self.terms.eof else "keys"
        return NEEDS["next_turn" if self.begins_turn else "interrupt"]

    def deliver(self) -> Deliver:
        """As the worker gets it."""
        return Deliver(
            id=self.id, kind=self.kind, order=self.order, text=self.text, ask=self.ask,
            mode="next_turn" if self.begins_turn else "interrupt", turn=self.terms.turn, now=self.terms.now,
            sender=self.sender, eof=self.terms.eof, typed=self.terms.typed,
        )  # fmt: skip


class Mailbox(msgspec.Struct, frozen=True):
    """Messages by id, in the order in which they were accepted; and what ended without being applied."""

    mails: tuple[Mail, ...] = ()
    undelivered: tuple[UndeliveredMessage, ...] = ()

    def get(self, key: str) -> Mail | None:
        """The unsettled message of this id."""
        return next((mail for mail in self.mails if mail.id == key), None)

    @property
    def full(self) -> bool:
        """Whether one more message is one too many."""
        return len(self.mails) >= MAILBOX_MAX

    def add(self, mail: Mail) -> Mailbox:
        """With one more message."""
        return replace(self, mails=(*self.mails, mail))

    def remove(self, key: str) -> Mailbox:
        """Without the message."""
        return replace(self, mails=tuple(mail for mail in self.mails if mail.id != key))

    def raise_to(self, key: str, level: Level) -> Mailbox:
        """With the message at least at this level."""
        return replace(
            self,
            mails=tuple(
                replace(mail, level=level) if mail.id == key and LEVELS.index(mail.level) < LEVELS.index(level) else mail
                for mail in self.mails
            ),
        )

    def to_deliver(self) -> list[Mail]:
        """What the worker's runtime has not confirmed."""
        return [mail for mail in self.mails if mail.level is Level.ACCEPTED]

    def recall(self, keys: Iterable[str], outcome: Literal["withdrawn", "expired"]) -> Mailbox:
        """With these asked back from the worker."""
        wanted = set(keys)
        return replace(self, mails=tuple(replace(mail, recalled=outcome) if mail.id in wanted else mail for mail in self.mails))

    def waiting_for_code(self) -> bool:
        """Whether a steer or follow-up waits that the worker's code has not taken: then it is not time to stop."""
        return any(mail.purpose is not Purpose.ANSWER and mail.level is not Level.APPLIED for mail in self.mails)

    def settle(self, task: str, keys: Iterable[str], outcome: Outcome, reason: str) -> tuple[Mailbox, list[MessageSettled]]:
        """Settle these messages; those that were never applied are remembered as undelivered."""
        wanted = set(keys)
        settled = [mail for mail in self.mails if mail.id in wanted]
        box = replace(
            self,
            mails=tuple(mail for mail in self.mails if mail.id not in wanted),
            undelivered=(
                *self.undelivered,
                *(UndeliveredMessage(m.id, m.kind, task, outcome, reason) for m in settled if m.level is not Level.APPLIED),
            ),
        )
        return box, [MessageSettled(id=mail.id, outcome=outcome, reason=reason) for mail in settled]

    def settle_rest(self, task: str, *, cancelled: bool, heard_out: bool) -> tuple[Mailbox, list[MessageSettled]]:
        """The attempt ends: what was applied and never confirmed is unknown, the rest is refused with the reason.

        `heard_out`: all that the worker had to say was heard (or it never could have had a message). If not, it may have
        taken any of them, and every one is unknown.
        """
        maybe = [mail.id for mail in self.mails if mail.level is Level.APPLIED or not heard_out]
        others = [mail.id for mail in self.mails if mail.id not in maybe]
        box, unknown = self.settle(task, maybe, Outcome.UNKNOWN, UnknownReason.WORKER_ENDED)
        reason = RefusalReason.CANCELLED if cancelled else RefusalReason.ENDED
        box, refused = box.settle(task, others, Outcome.REFUSED, reason)
        return box, [*unknown, *refused]

    def expired(self, at: float) -> list[str]:
        """Messages whose deadline has passed before the worker's code took them, as far as crewd knows."""
        late = [m for m in self.mails if m.expires_at is not None and m.expires_at <= at]
        return [m.id for m in late if m.level is not Level.APPLIED and not m.recalled]
