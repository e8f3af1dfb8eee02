"""What the machine of an attempt decides about control messages: the door, the mailbox, the way back.

Tests: tests/supervisor/attempt/test_decide.py.
"""

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
from crewd.supervisor.attempt import effects as do
from crewd.supervisor.attempt.effects import NOTHING, AttemptEffect, Decision, Effects
from crewd.supervisor.attempt.events import Send, Withdraw
from crewd.supervisor.attempt.mailbox import Mail
from crewd.supervisor.attempt.phases import Working
from crewd.supervisor.attempt.state import Attempt, Next
from crewd.supervisor.caller import Caller


def refuse_at_the_door(send: Send, reason: RefusalReason) -> Decision:
    """Accepted, so that it has a receipt, and refused in the same breath."""
    return Decision(
        (accepted(send), ev.MessageSettled(id=send.mail.id, outcome=Outcome.REFUSED, reason=reason, note=send.note)),
        (do.TellReceipt(send.caller, send.mail.id),),
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
    if state.contact.capabilities is None:
        return Effect.QUEUED
    asked = next((ask.id for ask in state.work.asks if not ask.answer), None)
    if asked is not None:
        return f"{Effect.HELD}: waiting for question {asked}"
    return Effect.NEXT_TURN if mail.begins_turn else Effect.NEXT_BOUNDARY


def at_work(state: Attempt) -> AtWork:
    """The attempt as a message finds it."""
    inbox, work = state.inbox, state.work
    return AtWork(
        epoch=state.epoch, turn=work.turn, ending=state.cancel is not None, over=work.finishing,
        running=isinstance(state.phase, Working), capabilities=state.contact.capabilities,
        asks={ask.id: ask.answer for ask in work.asks}, unsettled=len(inbox.box.mails), pending=len(inbox.pending),
    )  # fmt: skip


def post(state: Attempt, send: Send) -> Next:
    """A message was asked for: the store is asked to admit it, or it is refused at the door."""
    inbox = state.inbox
    if inbox.box.get(send.mail.id) is not None or any(mail.id == send.mail.id for mail in inbox.pending):
        #  # the store answers a repeat: the same receipt, or a conflict
        return state, Decision((accepted(send),), (do.TellReceipt(send.caller, send.mail.id),), admits=send)
    match admit(at_work(state), send.mail):
        case Lay():
            return state.with_inbox(pending=(*inbox.pending, send.mail)), into_mailbox(send)
        case Refuse(reason):
            return state, refuse_at_the_door(send, reason)
        case TooMany():
            return state, Decision(effects=(do.TellBusy(send.caller),))
        case Accept() | Hold():
            return _accept(state, send)


def _accept(state: Attempt, send: Send) -> Next:
    if send.mail.purpose is Purpose.ANSWER:
        ask = next(ask for ask in state.work.asks if ask.id == send.mail.ask)
        try:
            send = replace(send, mail=replace(send.mail, text=check_answer(ask.kind, ask.choices, send.mail.text)))
        except UsageError as error:
            return state, Decision(effects=(do.TellWrong(send.caller, error.message, error.hint),))
    state = state.with_inbox(pending=(*state.inbox.pending, send.mail))
    if send.mail.purpose is Purpose.ANSWER:
        asks = tuple(replace(ask, answer=send.mail.id) if ask.id == send.mail.ask else ask for ask in state.work.asks)
        state = state.with_work(asks=asks)
    effects: list[AttemptEffect] = [do.Admit(send.mail.id), do.TellReceipt(send.caller, send.mail.id)]
    if send.mail.expires_at is not None:
        effects.append(do.AlarmAt(send.mail.expires_at))
    return state, Decision((accepted(send, effect_on(state, send.mail)),), tuple(effects), admits=send, causation=send.mail.id)


def not_admitted(state: Attempt, key: str) -> Next:
    """The store knew the message's id, or refused it: it never entered."""
    pending = tuple(mail for mail in state.inbox.pending if mail.id != key)
    return _open_again(state.with_inbox(pending=pending), key), NOTHING


def _open_again(state: Attempt, *keys: str) -> Attempt:
    """The questions that these messages were to answer are open again."""
    return replace(state, work=state.work.unanswered_by(keys))


def admitted(state: Attempt, key: str) -> Next:
    """The message is durable: it enters the mailbox, or settles if the attempt has ended meanwhile."""
    mail = next((mail for mail in state.inbox.pending if mail.id == key), None)
    if mail is None:
        return state, NOTHING
    state = state.with_inbox(pending=tuple(each for each in state.inbox.pending if each.id != key))
    if mail.purpose is Purpose.READING:
        return _for_reading(state, mail)
    if state.over:
        return too_late(state, mail)
    return _into_box(state, mail, deliver(state, mail))


def _into_box(state: Attempt, mail: Mail, effects: Effects) -> Next:
    """A durable message enters the mailbox. It is refused if the worker has turned out meanwhile to be none that takes it."""
    box, capabilities = state.inbox.box.add(mail), state.contact.capabilities
    reason = RefusalReason.ENDED if state.work.finishing else another_one(mail, state.epoch, state.work.turn)
    if reason is None and capabilities is not None and mail.needs and mail.needs not in capabilities:
        reason = RefusalReason.NOT_SUPPORTED
    if reason is not None and state.cancel is None:
        box, settled = box.settle(state.task, [mail.id], Outcome.REFUSED, reason)
        return _open_again(state.with_inbox(box=box), mail.id), Decision(tuple(settled))
    return state.with_inbox(box=box), Decision(effects=effects)


def into_mailbox(send: Send) -> Decision:
    """A message that is for reading is done when it is in the mailbox; a worker that reads gets it from there."""
    return Decision(
        (accepted(send, Effect.MAILBOX), ev.MessageSettled(id=send.mail.id, outcome=Outcome.DONE)),
        (do.Admit(send.mail.id), do.TellReceipt(send.caller, send.mail.id)),
        admits=send,
        causation=send.mail.id,
    )


def _for_reading(state: Attempt, mail: Mail) -> Next:
    """It is in the mailbox: a worker that reads gets it, the latest ones if it does not keep up."""
    if state.over:
        return state, NOTHING
    state = state.with_inbox(unread=(*state.inbox.unread, mail)[-MAILBOX_MAX:])
    return state, Decision(effects=deliver_unread(state, mail))


def deliver_unread(state: Attempt, *mails: Mail) -> Effects:
    """Hand messages for reading to a worker that reads."""
    return deliver(state, *mails) if "message" in (state.contact.capabilities or ()) else ()


def read(state: Attempt, key: str, number: int) -> Next:
    """The worker has read a message that was for reading."""
    unread = tuple(mail for mail in state.inbox.unread if mail.id != key)
    if len(unread) == len(state.inbox.unread):
        return state, NOTHING
    state = state.with_inbox(unread=unread)
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
    contact = state.contact
    return tuple(do.Deliver(mail.deliver(), contact.number) for mail in mails if contact.connected and state.cancel is None)


def handed(state: Attempt, mail: Mail) -> Next:
    """A durable message comes from the run, which held it until there was an attempt."""
    if state.inbox.box.get(mail.id) is not None:
        return state, NOTHING
    effects = [*deliver(state, mail)]
    if mail.expires_at is not None:
        effects.append(do.AlarmAt(mail.expires_at))
    return _into_box(state, mail, tuple(effects))


def too_late(state: Attempt, mail: Mail) -> Next:
    """A message that became durable when the attempt's end had been decided."""
    cancelled = state.status in {AttemptStatus.CANCELLED, AttemptStatus.CANCEL_INCOMPLETE}
    reason = RefusalReason.CANCELLED if cancelled else RefusalReason.ENDED
    box, settled = state.inbox.box.add(mail).settle(state.task, [mail.id], Outcome.REFUSED, reason)
    return state.with_inbox(box=box), Decision(tuple(settled), causation=mail.id)


def withdraw(state: Attempt, key: str, caller: Caller | None) -> Next:
    """Somebody wants a message back."""
    inbox = state.inbox
    if any(mail.id == key for mail in inbox.pending):
        return state, Decision(effects=(do.FeedAgain(Withdraw(key, caller)),))
    mail = inbox.box.get(key)
    if mail is None:
        return state, Decision(effects=(do.TellReceipt(caller, key),))
    if mail.level is Level.APPLIED:
        return state, Decision(effects=(do.TellCannotWithdraw(caller, key),))
    if (key, caller) in inbox.withdrawals:
        return state, NOTHING  # asked again; the worker's answer answers both
    if len(inbox.withdrawals) >= MAILBOX_MAX:
        return state, Decision(effects=(do.TellBusy(caller),))
    state = state.with_inbox(withdrawals=(*inbox.withdrawals, (key, caller)))
    if mail.recalled:
        return state, NOTHING
    return take_back(state, [key], "withdrawn")


def take_back(state: Attempt, keys: list[str], outcome: Literal["withdrawn", "expired"], number: int = 0) -> Next:
    """Settle messages that the worker's code certainly never takes; what may be with the worker is asked back first."""
    box = state.inbox.box
    if not keys:
        return state, NOTHING
    if state.contact.capabilities is not None and not number:
        state = state.with_inbox(box=box.recall(keys, outcome))
        return state, Decision(effects=tuple(do.Say(rp.Recall(id=key, outcome=outcome)) for key in keys))
    box, settled = box.settle(state.task, keys, Outcome(outcome), "deadline" if outcome == "expired" else "")
    state, told = tell_withdrawals(_open_again(state.with_inbox(box=box), *keys), keys)
    return state, Decision(tuple(replace(body, report=number) for body in settled), told)


def tell_withdrawals(state: Attempt, keys: list[str] | None = None, *, taken: bool = False) -> tuple[Attempt, Effects]:
    """Answer who wanted these messages (or any) back: with the receipt, or that the worker has taken it."""
    waiting = state.inbox.withdrawals
    mine = [each for each in waiting if keys is None or each[0] in keys]
    told: Effects = tuple((do.TellCannotWithdraw if taken else do.TellReceipt)(caller, key) for key, caller in mine)
    if not mine:
        return state, ()
    return state.with_inbox(withdrawals=tuple(each for each in waiting if each not in mine)), told


def delivered(state: Attempt, key: str, effect: str, number: int) -> Next:
    """The worker's runtime has a message; `effect`: whether it broke something off for it."""
    box = state.inbox.box
    if box.get(key) is None:
        return state, NOTHING
    body = ev.MessageDelivered(id=key, report=number, effect=effect if effect == Effect.INTERRUPTED else "")
    return state.with_inbox(box=box.raise_to(key, Level.DELIVERED)), Decision((body,))


def applied(state: Attempt, key: str, number: int) -> Next:
    """The worker's code has taken a message."""
    mail = state.inbox.box.get(key)
    if mail is None:
        return state, NOTHING
    state, told = _taken(state, mail)
    return state, Decision((ev.MessageApplied(id=key, report=number),), told)


def _taken(state: Attempt, mail: Mail) -> tuple[Attempt, Effects]:
    if mail.begins_turn and mail.level is not Level.APPLIED:
        state = state.with_work(turn=state.work.turn + 1)
    return tell_withdrawals(state.with_inbox(box=state.inbox.box.raise_to(mail.id, Level.APPLIED)), [mail.id], taken=True)


def settled_by_worker(state: Attempt, said: rp.Settled, number: int) -> Next:
    """The worker has said what became of a message."""
    key, mail = said.id, state.inbox.box.get(said.id)
    if mail is None:
        return state, NOTHING
    told: Effects = ()
    merged = said.applied and mail.level is not Level.APPLIED
    if merged:
        state, told = _taken(state, mail)
    body = ev.MessageSettled(
        id=key, outcome=said.outcome, reason=clip(said.reason, NAME_CHARS_MAX), note=clip(said.note, NOTE_CHARS_MAX),
        report=number, applied=merged,
    )  # fmt: skip
    if said.outcome == "refused":
        box, _ = state.inbox.box.settle(state.task, [key], Outcome.REFUSED, said.reason)
        state = _open_again(state, key)  # an answer that did not fit: another one may
    else:
        box = state.inbox.box.remove(key)
    state, more = tell_withdrawals(state.with_inbox(box=box), [key])
    return state, Decision((body,), (*told, *more))
