"""How an attempt ends: it is cancelled, its worker goes or does not go, and the guardian says what became of it. Pure.

Tests: tests/supervisor/attempt/test_decide.py.
"""

from __future__ import annotations

from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.limits import DRAIN_SECONDS, TERM_SECONDS_GRACEFUL
from crewd.model.reasons import FailureReason
from crewd.model.rows import CancelInfo, faster
from crewd.model.statuses import AttemptStatus
from crewd.protocol import reports as rp
from crewd.protocol.guardian import Exited
from crewd.supervisor.attempt import effects as do
from crewd.supervisor.attempt.effects import NOTHING, Decision, Effects
from crewd.supervisor.attempt.finish import cancel_order, finish, ladder, recorded_process
from crewd.supervisor.attempt.phases import (
    Cancelling,
    OverLimit,
    Queued,
    Reserving,
    Sought,
    Spawned,
    StartTimedOut,
    Stopping,
)
from crewd.supervisor.attempt.reports import take_report
from crewd.supervisor.attempt.start import found
from crewd.supervisor.attempt.state import Attempt, Next
from crewd.supervisor.attempt.verdict import verdict


def cancel(state: Attempt, cancel: CancelInfo) -> Next:
    """Somebody wants the end."""
    if state.cancel is not None and not faster(cancel, state.cancel):
        return state, NOTHING
    if state.outcome is not None:  # it has ended by its own word: nothing is left to cancel, its processes go faster
        return state, Decision(effects=(ladder(cancel),))
    requested = ev.AttemptCancelRequested(cancel=cancel)
    match state.phase:
        case Reserving():  # `Reserved` or `NotReserved` follows, and finds the cancel
            return state.become(Reserving(cancel)), NOTHING
        case Queued():
            cancelled = state.become(Cancelling(cancel))
            state, decision = finish(cancelled, AttemptStatus.CANCELLED, reason=cancel.reason)
            return state, replace(decision, events=(requested, *decision.events))
        case _:
            pass
    state, process = recorded_process(state)
    after = Sought(cancel) if isinstance(state.phase, Sought) else Cancelling(cancel, state.limit)
    effects: Effects = (do.Say(cancel_order(cancel), urgent=True), ladder(cancel))
    return state.become(after), Decision((*process, requested), effects)


def ended(state: Attempt, exited: Exited, unsent_reports: tuple[rp.Report, ...], wall: float) -> Next:
    """The guardian has verified the end. What the worker left behind is taken first, like reports."""
    if isinstance(state.phase, Reserving):
        return state, NOTHING
    state, events, _ = found(state, state.observed.heard_at)
    state, process = recorded_process(state)
    events += process
    answers: Effects = ()
    for report in unsent_reports:
        if report.number == state.contact.reports + 1:
            state, decision = take_report(state.with_contact(reports=report.number), report, wall)
            events += decision.events
            answers += tuple(each for each in decision.effects if isinstance(each, do.TellReceipt | do.TellCannotWithdraw))
    status, reason, error = verdict(state, exited)
    state, decision = finish(state, status, reason=reason, error=error, exited=exited)
    return state, replace(decision, events=(*events, *decision.events), effects=(*answers, *decision.effects))


def unknown(state: Attempt, number: int | None, *, unborn: bool) -> Next:
    """The guardian has no such worker. An order to start it that was never carried out is given now.

    A worker that had been started is lost. It may have been started though only its reservation is on the disk: the order
    to start it leaves before the event that says so is durable (docs/decisions/0012).
    """
    phase = state.phase
    if isinstance(phase, Reserving | Queued):
        return state, NOTHING  # no worker was ordered
    if number is not None and not state.asked_before_spawn < number <= state.questions:
        return state, NOTHING  # an answer to a question before the order, or to none
    if state.cancel is not None:
        return finish(state, AttemptStatus.CANCELLED, reason=state.cancel.reason)
    unborn = unborn and number is not None  # else it answers an order to end it, which is over
    if unborn and isinstance(phase, Sought):
        return state.become(Queued()), Decision(effects=(do.AskSlot(),))
    if unborn and isinstance(phase, Spawned) and state.contact.pid is None:
        return replace(state, asked_before_spawn=state.questions), Decision(effects=(do.SpawnWorker(),))
    if state.limit or (state.outcome is not None and state.outcome.outcome != "cancelled"):
        # What is recorded counts, though nobody saw the end.
        status, reason, error = verdict(state, Exited(state.task, state.epoch))
        return finish(state, status, reason=reason, error=error)
    return finish(state, AttemptStatus.LOST, reason=FailureReason.LOST, error="the worker was gone when crewd came back")


def drain(state: Attempt, at: float) -> tuple[Attempt, Effects]:
    """A worker that has said how it ended and gives no sign any more is helped to go; that is no failure."""
    phase = state.phase
    if not isinstance(phase, Stopping | OverLimit | StartTimedOut) or phase.said is None or phase.said.drained:
        return state, ()
    quiet_at = state.observed.active_at + DRAIN_SECONDS
    if at < quiet_at or state.work.busy:
        return state, (do.AlarmAt(max(quiet_at, at + DRAIN_SECONDS / 2)),)
    helped = replace(phase, said=replace(phase.said, drained=True))
    return state.become(helped), (do.EndWorker(0.0, TERM_SECONDS_GRACEFUL),)
