"""What the machine of an attempt decides about control messages: the door, the mailbox, the way back."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.errors import UsageError
from crewd.model.limits import MAILBOX_MAX, NAME_CHARS_MAX, NOTE_CHARS_MAX, TEXT_CHARS_MAX
from crewd.model.message_kinds import Purpose
from crewd.model.questions import check_answer
from crewd.model.reasons import RefusalReason
from crewd.model.receipts import Effect, Level, Outcome
from crewd.model.redact import clip
from crewd.model.statuses import AttemptStatus
from crewd.model.terms import Terms
from crewd.protocol import reports as rp
from crewd.supervisor.admission import Accept, AtWork, Hold, Lay, Refuse, TooMany, admit, another_one
from crewd.supervisor.attempt.mailbox import Mail
from crewd.supervisor.attempt.model import (
    NOTHING,
    Admit,
    Again,
    AlarmAt,
    Attempt,
    AttemptEffect,
    Decision,
    Deliver,
    Effects,
    Next,
    Say,
    Send,
    TellBusy,
    TellCannotWithdraw,
    TellReceipt,
    TellWrong,
    Withdraw,
)
from crewd.supervisor.caller import Caller


def refuse_at_the_door(send: Send, reason: RefusalReason) -> Decision:
    """Accepted, so that it has a receipt, and refused in the same breath."""
    return Decision(
        (accepted(send), ev.MessageSettled(id=send.mail.id, outcome=Outcome.REFUSED, reason=reason, note=send.note)),
        (TellReceipt(send.caller, send.mail.id),),
        admits=send,
        causation=send.mail.id,
    )


def accepted(send: Send, effect: str = "") -> ev.MessageAccepted:
    """The event that admits a message."""
    mail = send.mail
    return ev.MessageAccepted(
        id=mail.id, kind=mail.kind, text=mail.text, ask=mail.ask, sender=send.sender, digest=send.digest,
        deadline_at=send.deadline_at, terms=mail.terms, effect=effect,
    )  # fmt: skip


def effect_on(state: Attempt, mail: Mail) -> str:
    """What the message does to the worker as it is now."""
    if mail.purpose is Purpose.ANSWER:
        return Effect.ANSWERED
    if state.capabilities is None:
        return Effect.QUEUED
    asked = next((ask.id for ask in state.asks if not ask.answer), None)
    if asked is not None:
        return f"{Effect.HELD}: waiting for question {asked}"
    return Effect.NEXT_TURN if mail.begins_turn else Effect.NEXT_BOUNDARY


def at_work(state: Attempt) -> AtWork:
    """The attempt as a message finds it."""
    return AtWork(
        epoch=state.epoch, turn=state.turn, ending=state.cancel is not None, over=state.finishing or state.outcome is not None,
        running=state.status in {AttemptStatus.RUNNING, AttemptStatus.WAITING}, capabilities=state.capabilities,
        asks={ask.id: ask.answer for ask in state.asks}, unsettled=len(state.mailbox.mails), pending=len(state.pending),
    )  # fmt: skip


def post(state: Attempt, send: Send) -> Next:
    """A message was asked for: the store is asked to admit it, or it is refused at the door."""
    known = state.mailbox.get(send.mail.id) is not None or any(mail.id == send.mail.id for mail in state.pending)
    if known:  # the store answers a repeat: the same receipt, or a conflict
        return state, Decision((accepted(send),), (TellReceipt(send.caller, send.mail.id),), admits=send)
    match admit(at_work(state), send.mail):
        case Lay():
            return replace(state, pending=(*state.pending, send.mail)), into_mailbox(send)
        case Refuse(reason):
            return state, refuse_at_the_door(send, reason)
        case TooMany():
            return state, Decision(effects=(TellBusy(send.caller),))
        case Accept() | Hold():
            return _accept(state, send)


def _accept(state: Attempt, send: Send) -> Next:
    if send.mail.purpose is Purpose.ANSWER:
        ask = next(ask for ask in state.asks if ask.id == send.mail.ask)
        try:
            send = replace(send, mail=replace(send.mail, text=check_answer(ask.kind, ask.choices, send.mail.text)))
        except UsageError as error:
            return state, Decision(effects=(TellWrong(send.caller, str(error), error.info.hint),))
    state = replace(state, pending=(*state.pending, send.mail))
    if send.mail.purpose is Purpose.ANSWER:
        state = replace(state, asks=tuple(replace(a, answer=send.mail.id) if a.id == send.mail.ask else a for a in state.asks))
    effects: list[AttemptEffect] = [Admit(send.mail.id), TellReceipt(send.caller, send.mail.id)]
    if send.mail.expires_at is not None:
        effects.append(AlarmAt(send.mail.expires_at))
    return state, Decision((accepted(send, effect_on(state, send.mail)),), tuple(effects), admits=send, causation=send.mail.id)


def not_admitted(state: Attempt, key: str) -> Next:
    """The store knew the message's id, or refused it: it never entered."""
    asks = tuple(replace(ask, answer="") if ask.answer == key else ask for ask in state.asks)
    return replace(state, pending=tuple(mail for mail in state.pending if mail.id != key), asks=asks), NOTHING


def admitted(state: Attempt, key: str) -> Next:
    """The message is durable: it enters the mailbox, or settles if the attempt has ended meanwhile."""
    mail = next((mail for mail in state.pending if mail.id == key), None)
    if mail is None:
        return state, NOTHING
    state = replace(state, pending=tuple(each for each in state.pending if each.id != key))
    if mail.purpose is Purpose.READING:
        return _lettered(state, mail)
    if state.over:
        return state, too_late(state, mail)
    return replace(state, mailbox=state.mailbox.add(mail)), Decision(effects=deliver(state, mail))


def into_mailbox(send: Send) -> Decision:
    """A message that is for reading is done when it is in the mailbox; a worker that reads gets it from there."""
    return Decision(
        (accepted(send, Effect.MAILBOX), ev.MessageSettled(id=send.mail.id, outcome=Outcome.DONE)),
        (Admit(send.mail.id), TellReceipt(send.caller, send.mail.id)),
        admits=send,
        causation=send.mail.id,
    )


def _lettered(state: Attempt, mail: Mail) -> Next:
    """It is in the mailbox: a worker that reads gets it, the latest ones if it does not keep up."""
    if state.over:
        return state, NOTHING
    state = replace(state, letters=(*state.letters, mail)[-MAILBOX_MAX:])
    return state, Decision(effects=deliver_letters(state, mail))


def deliver_letters(state: Attempt, *letters: Mail) -> Effects:
    """Hand letters to a worker that reads them."""
    return deliver(state, *letters) if "message" in (state.capabilities or ()) else ()


def read(state: Attempt, key: str, number: int) -> Next:
    """The worker has read a letter."""
    if all(letter.id != key for letter in state.letters):
        return state, NOTHING
    state = replace(state, letters=tuple(letter for letter in state.letters if letter.id != key))
    body = ev.MessageAcknowledged(id=key, by=f"{state.task}#{state.epoch}", report=number)
    return state, Decision((body,))


def told(state: Attempt, said: rp.Told, number: int) -> Next:
    """The worker says something: a message of its own, in the mailbox of its task."""
    key = f"{state.task}#{state.epoch}:told{number}"
    terms = Terms(priority=said.priority, reply_to=said.reply_to[:NAME_CHARS_MAX])
    body = ev.MessageAccepted(
        id=key, kind="message", text=clip(said.text, TEXT_CHARS_MAX), sender=f"{state.task}#{state.epoch}", terms=terms,
        effect=Effect.MAILBOX, direction="out",
    )  # fmt: skip
    return state, Decision((body, ev.MessageSettled(id=key, outcome=Outcome.DONE, report=number)))


def deliver(state: Attempt, *mails: Mail) -> Effects:
    """Hand messages to the worker on the connection that it has; on the next one it gets what it has not confirmed again.

    What is decided for one connection is not performed on another: a newer message would overtake an older one there.
    """
    return tuple(Deliver(mail.deliver(), state.connection) for mail in mails if state.connected and state.cancel is None)


def handed(state: Attempt, mail: Mail) -> Next:
    """A durable message comes from the run, which held it until there was an attempt."""
    if state.mailbox.get(mail.id) is not None:
        return state, NOTHING
    effects = [*deliver(state, mail)]
    if mail.expires_at is not None:
        effects.append(AlarmAt(mail.expires_at))
    state = replace(state, mailbox=state.mailbox.add(mail))
    reason = RefusalReason.ENDED if state.finishing else another_one(mail, state.epoch, state.turn)
    if reason is None and state.capabilities is not None and mail.needs and mail.needs not in state.capabilities:
        reason = RefusalReason.NOT_SUPPORTED
    if reason is not None and state.cancel is None:
        box, settled = state.mailbox.settle(state.task, [mail.id], Outcome.REFUSED, reason)
        return replace(state, mailbox=box), Decision(tuple(settled))
    return state, Decision(effects=tuple(effects))


def too_late(state: Attempt, mail: Mail) -> Decision:
    """A message that became durable when the attempt's end had been decided."""
    cancelled = state.status in {AttemptStatus.CANCELLED, AttemptStatus.CANCEL_INCOMPLETE}
    reason = RefusalReason.CANCELLED if cancelled else RefusalReason.ENDED
    return Decision((ev.MessageSettled(id=mail.id, outcome=Outcome.REFUSED, reason=reason),), causation=mail.id)


def withdraw(state: Attempt, key: str, caller: Caller | None) -> Next:
    """Somebody wants a message back."""
    if any(mail.id == key for mail in state.pending):
        return state, Decision(effects=(Again(Withdraw(key, caller)),))
    mail = state.mailbox.get(key)
    if mail is None:
        return state, Decision(effects=(TellReceipt(caller, key),))
    if mail.level is Level.APPLIED:
        return state, Decision(effects=(TellCannotWithdraw(caller, key),))
    if (key, caller) in state.withdrawals:
        return state, NOTHING  # asked again; the worker's answer answers both
    if len(state.withdrawals) >= MAILBOX_MAX:
        return state, Decision(effects=(TellBusy(caller),))
    state = replace(state, withdrawals=(*state.withdrawals, (key, caller)))
    if mail.recalled:
        return state, NOTHING
    return take_back(state, [key], "withdrawn")


def take_back(state: Attempt, keys: list[str], outcome: Literal["withdrawn", "expired"], number: int = 0) -> Next:
    """Settle messages that the worker's code certainly never takes; what may be with the worker is asked back first."""
    if state.capabilities is not None and not number:
        state = replace(state, mailbox=state.mailbox.recall(keys, outcome))
        return state, Decision(effects=tuple(Say(rp.Recall(id=key, outcome=outcome)) for key in keys))
    box, settled = state.mailbox.settle(state.task, keys, Outcome(outcome), "deadline" if outcome == "expired" else "")
    asks = tuple(replace(ask, answer="") if ask.answer in keys else ask for ask in state.asks)
    state, told = tell_withdrawals(replace(state, mailbox=box, asks=asks), keys)
    return state, Decision(tuple(replace(body, report=number) for body in settled), told)


def tell_withdrawals(state: Attempt, keys: list[str] | None = None, *, taken: bool = False) -> tuple[Attempt, Effects]:
    """Answer who wanted these messages (or any) back: with the receipt, or that the worker has taken it."""
    mine = [each for each in state.withdrawals if keys is None or each[0] in keys]
    told: Effects = tuple((TellCannotWithdraw if taken else TellReceipt)(caller, key) for key, caller in mine)
    return replace(state, withdrawals=tuple(each for each in state.withdrawals if each not in mine)), told


def applied(state: Attempt, key: str, number: int) -> Next:
    """The worker's code has taken a message."""
    mail = state.mailbox.get(key)
    if mail is None:
        return state, NOTHING
    state, told = _taken(state, mail)
    return state, Decision((ev.MessageApplied(id=key, report=number),), told)


def _taken(state: Attempt, mail: Mail) -> tuple[Attempt, Effects]:
    if mail.begins_turn and mail.level is not Level.APPLIED:
        state = replace(state, turn=state.turn + 1)
    return tell_withdrawals(replace(state, mailbox=state.mailbox.raise_to(mail.id, Level.APPLIED)), [mail.id], taken=True)


def settled_by_worker(state: Attempt, said: rp.Settled, number: int) -> Next:
    """The worker has said what became of a message."""
    key, mail = said.id, state.mailbox.get(said.id)
    if mail is None:
        return state, NOTHING
    told: Effects = ()
    merged = said.applied and mail.level is not Level.APPLIED
    if merged:
        state, told = _taken(state, mail)
    body = ev.MessageSettled(
        id=key, outcome=said.outcome, reason=said.reason[:NAME_CHARS_MAX], note=clip(said.note, NOTE_CHARS_MAX), report=number,
        applied=merged,
    )  # fmt: skip
    if said.outcome == "refused":
        box, _ = state.mailbox.settle(state.task, [key], Outcome.REFUSED, said.reason)
        asks = tuple(replace(ask, answer="") if ask.answer == key else ask for ask in state.asks)
        state = replace(state, asks=asks)  # an answer that did not fit: another one may
    else:
        box = state.mailbox.remove(key)
    state, more = tell_withdrawals(replace(state, mailbox=box), [key])
    return state, Decision((body,), (*told, *more))
