"""What becomes of a message when it comes: accepted, held, laid into a mailbox, refused, or one too many. Pure.

A message finds one of three places: an attempt that lives (`AtWork`), a task without one (`Idle`), or a run that has ended
(`AfterEnd`). The owner of the place asks here, then records the answer and carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, assert_never

import msgspec

from crewd.model.limits import MAILBOX_MAX
from crewd.model.message_kinds import Purpose
from crewd.model.reasons import RefusalReason
from crewd.model.receipts import Effect
from crewd.supervisor.attempt.mailbox import Mail


class AtWork(msgspec.Struct, frozen=True):
    """An attempt that lives, or whose worker is on its way.

    `ending`: a cancel was asked for; `over`: the worker has said how it ended, or was granted its stop. `running`: its code
    is at work, or waits for an answer. `asks` are its open questions, with the message that answers each. `capabilities` are
    None until it has said hello. `unsettled` messages are with it, `pending` are being made durable.
    """

    epoch: int
    turn: int
    ending: bool
    over: bool
    running: bool
    capabilities: tuple[str, ...] | None
    asks: Mapping[str, str]
    unsettled: int
    pending: int


class Idle(msgspec.Struct, frozen=True):
    """A task at which no attempt lives.

    `waiting`: it will be tried, or tried again; `parked`: only when somebody says so. `takes` is what any worker of it takes,
    None where its worker says that itself. `held` messages wait for the next attempt. `bars`: why no message may start it.
    """

    epoch: int
    cancelled: bool
    waiting: bool
    parked: bool
    takes: tuple[str, ...] | None
    held: int
    bars: RefusalReason | None = None


class AfterEnd(msgspec.Struct, frozen=True):
    """A run that has ended."""


class Accept(msgspec.Struct, frozen=True):
    """The attempt takes it."""


class Hold(msgspec.Struct, frozen=True):
    """It waits for the next attempt of its task; `effect` is what it does there."""

    effect: Effect


class Lay(msgspec.Struct, frozen=True):
    """It lies in a mailbox, and that is all that was asked."""


class Refuse(msgspec.Struct, frozen=True):
    """It is recorded, and settled as refused."""

    reason: RefusalReason


class TooMany(msgspec.Struct, frozen=True):
    """It is not recorded: its sender tries again later."""


Place: TypeAlias = AtWork | Idle | AfterEnd
Admission: TypeAlias = Accept | Hold | Lay | Refuse | TooMany


def admit(place: Place, mail: Mail) -> Admission:
    """See the module's text."""
    match place:
        case AtWork():
            return _at_work(place, mail)
        case Idle():
            return _idle(place, mail)
        case AfterEnd():
            return Lay() if mail.purpose is Purpose.READING else Refuse(RefusalReason.ENDED)
        case _:
            assert_never(place)


def _at_work(place: AtWork, mail: Mail) -> Admission:
    if mail.purpose is Purpose.READING:
        return Lay() if place.pending < MAILBOX_MAX else TooMany()
    if place.ending:
        return Refuse(RefusalReason.CANCELLED)
    if place.over:
        return Refuse(RefusalReason.ENDED)
    reason = _answers_nothing(place, mail) if mail.purpose is Purpose.ANSWER else _not_for(place, mail)
    if reason is not None:
        return Refuse(reason)
    return TooMany() if place.unsettled + place.pending >= MAILBOX_MAX else Accept()


def _answers_nothing(place: AtWork, mail: Mail) -> RefusalReason | None:
    answer = place.asks.get(mail.ask)
    if answer is None:
        return RefusalReason.NO_SUCH_ASK
    return RefusalReason.ALREADY_ANSWERED if answer not in {"", mail.id} else None


def _not_for(place: AtWork, mail: Mail) -> RefusalReason | None:
    if mail.terms.if_running and not place.running:
        return RefusalReason.NOT_RUNNING
    other = another_one(mail, place.epoch, place.turn)
    if other is None and place.capabilities is not None and mail.needs not in place.capabilities:
        return RefusalReason.NOT_SUPPORTED
    return other


def another_one(mail: Mail, epoch: int, turn: int) -> RefusalReason | None:
    """Why a message is not for this attempt in this turn; None if it is."""
    terms = mail.terms
    if terms.epoch and terms.epoch != epoch:
        return RefusalReason.ATTEMPT_OVER if terms.epoch < epoch else RefusalReason.NO_SUCH_TURN
    if terms.turn and terms.turn != turn:
        return RefusalReason.TURN_OVER if terms.turn < turn else RefusalReason.NO_SUCH_TURN
    return None


def _idle(place: Idle, mail: Mail) -> Admission:
    if mail.purpose is Purpose.READING:
        return Lay()
    found = _while_idle(place, mail)
    if isinstance(found, Hold):
        if place.takes is not None and mail.needs not in place.takes:
            return Refuse(RefusalReason.NOT_SUPPORTED)  # no worker of this task ever takes it
        if place.held >= MAILBOX_MAX:
            return TooMany()
    return found


def _while_idle(place: Idle, mail: Mail) -> Hold | Refuse:
    if mail.purpose is Purpose.ANSWER:
        return Refuse(RefusalReason.NO_SUCH_ASK)
    if place.cancelled:
        return Refuse(RefusalReason.CANCELLED)
    if mail.terms.on_idle == "start" and (not place.waiting or place.parked):
        return Hold(Effect.STARTED) if place.bars is None else Refuse(place.bars)
    if not place.waiting:
        return Refuse(RefusalReason.ENDED)
    if mail.terms.on_idle == "refuse":
        return Refuse(RefusalReason.NOT_RUNNING)
    if mail.terms.epoch and mail.terms.epoch != place.epoch + 1:
        return Refuse(RefusalReason.ATTEMPT_OVER if mail.terms.epoch <= place.epoch else RefusalReason.NO_SUCH_TURN)
    return Hold(Effect.QUEUED)
