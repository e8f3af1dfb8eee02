"""How an attempt gets its worker: the reservation, the order to spawn, and what the guardian says of the process. Pure.

Tests: tests/supervisor/attempt/test_decide.py.
"""

from __future__ import annotations

from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.limits import EXIT_SECONDS, START_SECONDS_LONGEST, START_SECONDS_MAX, TERM_SECONDS_GRACEFUL
from crewd.model.statuses import AttemptStatus
from crewd.supervisor.attempt import effects as do
from crewd.supervisor.attempt.effects import NOTHING, AttemptEffect, Decision, Effects
from crewd.supervisor.attempt.finish import finish, ladder, recorded_process
from crewd.supervisor.attempt.messages import tell_withdrawals
from crewd.supervisor.attempt.phases import (
    LEAVING,
    Cancelling,
    Finished,
    Queued,
    Reserving,
    Sought,
    Spawned,
    StartTimedOut,
    Working,
)
from crewd.supervisor.attempt.state import Attempt, Next

PROCESS_SECONDS = 0.05
"""A process is recorded alone if its worker says nothing for so long; else with its first word, in one commit."""


def reserved(state: Attempt) -> Next:
    """The reservation is durable: ask for a slot, unless the attempt was cancelled meanwhile."""
    if not isinstance(state.phase, Reserving):
        return state, NOTHING
    cancel = state.phase.cancel
    if cancel is not None:
        state, decision = finish(state, AttemptStatus.CANCELLED, reason=cancel.reason)
        return state, replace(decision, events=(ev.AttemptCancelRequested(cancel=cancel), *decision.events))
    return state.become(Queued()), Decision(effects=(do.AskSlot(),))


def not_reserved(state: Attempt, reason: str) -> Next:
    """Nothing of the attempt is in the log, so nothing of it ends there; messages that were held for it settle."""
    if not isinstance(state.phase, Reserving):
        return state, NOTHING
    box, settled = state.inbox.box.settle_rest(state.task, cancelled=True, heard_out=True)
    state, told = tell_withdrawals(state.with_inbox(box=box).become(Finished(AttemptStatus.CANCELLED)))
    ended = ev.AttemptEnded(status=AttemptStatus.CANCELLED, reason=reason)
    return state, Decision(tuple(settled), (*told, do.TellRun(ended)))


def spawn(state: Attempt, at: float) -> Next:
    """There is a slot on the machine: order the worker."""
    if not isinstance(state.phase, Queued):
        return state, NOTHING  # its end gives the slot back
    state, alarm = _wait_for_hello(state.become(Spawned()), at)
    state = replace(state.with_observed(began=at), asked_before_spawn=state.questions)
    # The order to the guardian rests on the reservation, which is durable; that it was given is recorded beside it.
    return state, Decision((ev.AttemptStarting(),), alarm, prompt=(do.SpawnWorker(),))


def ask_guardian(state: Attempt) -> Next:
    """Ask what the guardian knows of the worker."""
    state = replace(state, questions=state.questions + 1)
    return state, Decision(effects=(do.AskGuardian(state.questions),))


def resume(state: Attempt, at: float) -> Next:
    """Ask what became of the worker, which may have been ordered; one that was starting has all of its time again."""
    match state.phase:
        case Reserving(cancel):
            state = state.become(Sought(cancel))
        case Queued():
            state = state.become(Sought())
        case Sought():
            pass
        case _ if state.observed.began is None:
            state = state.with_observed(began=at)  # late rather than never: its limits count from it
        case _:
            pass
    state, decision = ask_guardian(state)
    if not isinstance(state.phase, Spawned):
        return state, decision
    state, alarm = _wait_for_hello(state, at)
    return state, replace(decision, effects=(*decision.effects, *alarm))


def found(state: Attempt, at: float) -> tuple[Attempt, list[ev.Body], list[AttemptEffect]]:
    """There is, or was, a worker. If crewd died between its order and the record of that, it is recorded now."""
    match state.phase:
        case Sought(None) | Queued():
            state, alarm = _wait_for_hello(state.become(Spawned()), at)
            return state.with_observed(began=at), [ev.AttemptStarting()], [do.TakeSlot(), *alarm]
        case Sought(cancel) if cancel is not None:
            state = state.become(Cancelling(cancel)).with_observed(began=at)
            return state, [ev.AttemptStarting()], [do.TakeSlot()]
        case _:
            return state, [], []


def started(state: Attempt, body: ev.AttemptStarted, at: float) -> Next:
    """The process exists. Said again by every new guardian: an end that was ordered is ordered again.

    Most workers say their first word within a moment: then both are recorded at once.
    """
    if isinstance(state.phase, Reserving):
        return state, NOTHING
    state, events, effects = found(state, at)
    phase = state.phase
    if state.contact.pid != body.pid:
        state = state.with_contact(pid=body.pid)
        if isinstance(phase, Spawned) and not events:
            # On a slow machine a process comes long after its order: from here on it has all of its time to say hello.
            phase = replace(phase, process=body, process_by=at + PROCESS_SECONDS)
            state, alarm = _wait_for_hello(state.become(phase), at)
            effects += [*alarm, do.AlarmAt(phase.process_by)]
        else:
            events.append(body)
    if isinstance(phase, Cancelling):
        effects.append(ladder(phase.cancel))
    elif isinstance(phase, LEAVING):
        effects.append(do.EndWorker(EXIT_SECONDS if phase.said else 0.0, TERM_SECONDS_GRACEFUL))
    return state, Decision(tuple(events), tuple(effects))


def due(state: Attempt, at: float) -> tuple[Attempt, list[ev.Body], Effects]:
    """Time has passed: record the process alone, or look at a start that takes long."""
    phase = state.phase
    if not isinstance(phase, Spawned):
        return state, [], ()
    late = phase.hello_by is not None and at >= phase.hello_by
    process: list[ev.Body] = []
    if late or (phase.process is not None and at >= phase.process_by):
        state, process = recorded_process(state)
    state, effects = _late(state, at) if late else (state, ())
    return state, process, effects


def _wait_for_hello(state: Attempt, at: float) -> tuple[Attempt, Effects]:
    phase = state.phase
    if not isinstance(phase, Spawned):
        return state, ()
    due, limit = at + START_SECONDS_MAX + state.rules.hook_seconds, state.rules.limits.task_seconds
    if limit:
        began = at if state.observed.began is None else state.observed.began
        due = min(due, max(at, began + limit))
    return state.become(replace(phase, hello_by=due)), (do.AlarmAt(due),)


def _late(state: Attempt, at: float) -> tuple[Attempt, Effects]:
    """The worker has said nothing for long. That is no failure while its process is at work, or is not there yet.

    On a slow machine a start takes long: only a process that has used no processor time since the last look has hung.
    """
    phase, observed = state.phase, state.observed
    waited = at - (observed.began if observed.began is not None else at)
    limit = state.rules.limits.task_seconds
    over = limit > 0 and waited >= limit
    slow = state.contact.pid is None or (isinstance(phase, Spawned) and observed.cpu_seconds > phase.cpu_seconds)
    if slow and waited < START_SECONDS_LONGEST and not over:
        return _wait_for_hello(state.become(Spawned(cpu_seconds=observed.cpu_seconds)), at)
    return state.become(StartTimedOut(waited=waited)), (do.EndWorker(0.0, TERM_SECONDS_GRACEFUL),)


def said_hello(state: Attempt) -> Attempt:
    """The worker has spoken: a start is over."""
    return state.become(Working()) if isinstance(state.phase, Spawned) else state
