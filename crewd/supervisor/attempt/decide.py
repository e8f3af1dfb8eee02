"""The machine of one attempt: decide(state, event) -> (state, decision). Pure; time arrives inside the event.

Rule 1: `Decision.events` become durable before any of `Decision.effects` is performed (the shell's journal sees to it).
Rule 2: an attempt ends once, when the guardian has said what is left of its processes; nothing changes it afterwards.
Rule 3: a cancel is legal in every phase and beats everything that has not been recorded before it.
Rule 4: every report number is taken once; a report that the worker left on disk counts like one that was sent.

The phases and the transitions between them are in `phases`.
"""

from __future__ import annotations

from typing import assert_never

from crewd.model import events as ev
from crewd.model.reasons import Liveness, RefusalReason
from crewd.protocol import reports as rp
from crewd.supervisor.admission import AfterEnd, Refuse, admit
from crewd.supervisor.attempt import effects as do
from crewd.supervisor.attempt import end, messages, reports, start, watch
from crewd.supervisor.attempt import events as heard
from crewd.supervisor.attempt.effects import NOTHING, Decision
from crewd.supervisor.attempt.state import Attempt, Next


def decide(state: Attempt, event: heard.AttemptEvent) -> Next:
    """The attempt after `event`, and the decision."""
    if state.over:
        return _after_the_end(state, event)
    match event:  # the most frequent ones first: each case is a look
        case heard.Reported(report, wall, at):
            state, decision = reports.reported(state, report, wall, at)
            observed = state.observed
            if isinstance(report.body, rp.OF_MESSAGES) and observed.level is Liveness.HEALTHY and observed.look_at is not None:
                return state, decision
            return watch.then_look(state, decision, at)
        case heard.Send():
            return messages.post(state, event)
        case heard.Admitted(key):
            return messages.admitted(state, key)
        case heard.Reserve(directory):
            return state, Decision((ev.AttemptReserved(directory=directory),), (do.ReserveDone(),))
        case heard.Reserved():
            return start.reserved(state)
        case heard.SlotGranted(at):
            return start.spawn(state, at)
        case heard.Alive(at, beats):
            return watch.alive(state, at, beats)
        case heard.Measured(at, output_bytes, cpu_seconds):
            return watch.measured(state, at, output_bytes, cpu_seconds)
        case heard.Signal():
            return _signal(state, event)
        case heard.HitLimit(limit, text):
            return watch.hit(state, limit, text) if watch.watched(state) else (state, NOTHING)
        case heard.NotReserved(reason):
            return start.not_reserved(state, reason)
        case heard.Resume(at):
            state, decision = start.resume(state, at)
            return watch.then_look(state, decision, at)  # one that never speaks again has its limits and its clock, too
        case heard.GuardianBack():
            return start.ask_guardian(state)
        case heard.NotAdmitted(key):
            return messages.not_admitted(state, key)
        case heard.Handed(mail):
            return messages.handed(state, mail)
        case heard.Withdraw(key, caller):
            return messages.withdraw(state, key, caller)
        case heard.Cancel(cancel):
            return end.cancel(state, cancel)
        case heard.Connected(hello, at):
            state, decision = reports.connected(state, hello, at)
            return watch.then_look(state, decision, at)
        case heard.Disconnected():
            return state.with_contact(connected=False), NOTHING
        case heard.Started(body, at):
            return start.started(state, body, at)
        case heard.Ended(exited, unsent_reports, wall):
            return end.ended(state, exited, unsent_reports, wall)
        case heard.Unknown(number, unborn):
            return end.unknown(state, number, unborn=unborn)
        case heard.Due(at):
            return _due(state, at)
        case _:
            assert_never(event)


def _after_the_end(state: Attempt, event: heard.AttemptEvent) -> Next:
    """Late news changes nothing, and a caller that waits for an answer gets one."""
    match event:
        case heard.Send(mail):
            late = admit(AfterEnd(), mail)
            if isinstance(late, Refuse):
                return state, messages.refuse_at_the_door(event, late.reason)
            return state, messages.into_mailbox(event)
        case heard.NotAdmitted(key):
            return messages.not_admitted(state, key)
        case heard.Admitted(key):
            return messages.admitted(state, key)
        case heard.Handed(mail):
            return messages.too_late(state, mail)
        case heard.Withdraw(key, caller):
            return state, Decision(effects=(do.TellReceipt(caller, key),))
        case heard.Signal():
            return _signal(state, event)
        case heard.Ended():
            return state, Decision(effects=(do.Confirm(),))
        case heard.Reported(report, _):
            return state, Decision(effects=(do.Say(rp.Ack(upto=report.number)),))
        case _:
            return state, NOTHING


def _signal(state: Attempt, order: heard.Signal) -> Next:
    """Somebody sends a signal: to the worker's own process (of a command: the command's), or to all that it has started."""
    contact = state.contact
    if state.over or contact.pid is None or contact.capabilities is None or state.outcome is not None:
        text = f"there is no worker at work to signal: its attempt is {state.phase.words}"
        return state, Decision(effects=(do.TellRefused(order.caller, text, RefusalReason.NOT_RUNNING),))
    signalled = ev.AttemptSignalled(number=order.number, tree=order.tree, by=order.requester)
    send = do.SignalWorker(contact.command or contact.pid, order.number, order.tree)
    return state, Decision((signalled,), (send, do.TellDone(order.caller)))


def _due(state: Attempt, at: float) -> Next:
    state, decision = messages.take_back(state, state.inbox.box.expired(at), "expired")
    state, process, late = start.due(state, at)
    state, drains = end.drain(state, at)
    decision = Decision((*process, *decision.events), (*decision.effects, *late, *drains))
    look_at = state.observed.look_at
    if look_at is not None and at >= look_at:
        return watch.then_look(state.with_observed(look_at=None), decision, at)
    return state, decision
