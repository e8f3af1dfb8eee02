"""The end of an attempt as it is ordered and as it is recorded: the cancel, the ladder, the terminal event. Pure.

Tests: tests/supervisor/attempt/test_decide.py.
"""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.limits import NOTE_CHARS_MAX, TERM_SECONDS_GRACEFUL, TERM_SECONDS_NOW
from crewd.model.reasons import FailureReason
from crewd.model.redact import clip
from crewd.model.rows import CancelInfo, ExitStatus
from crewd.model.runtimes import runtime_named
from crewd.model.statuses import AttemptStatus
from crewd.protocol import reports as rp
from crewd.protocol.guardian import Exited
from crewd.supervisor.attempt import watch
from crewd.supervisor.attempt.effects import Confirm, Decision, Effects, EndWorker, TellRun
from crewd.supervisor.attempt.messages import tell_withdrawals
from crewd.supervisor.attempt.phases import Finished, Spawned
from crewd.supervisor.attempt.state import Attempt, Next


def cancel_order(cancel: CancelInfo) -> rp.CancelOrder:
    """The cancel as the worker hears it."""
    mode: Literal["graceful", "now"] = "now" if cancel.mode == "now" else "graceful"
    return rp.CancelOrder(reason=cancel.reason, mode=mode, grace_seconds=cancel.grace_seconds, intent=cancel.intent)


def ladder(cancel: CancelInfo) -> EndWorker:
    """The cancel as the guardian hears it."""
    if cancel.mode == "now":
        return EndWorker(0.0, TERM_SECONDS_NOW)
    return EndWorker(cancel.grace_seconds, TERM_SECONDS_GRACEFUL, whole=True)


def recorded_process(state: Attempt) -> tuple[Attempt, list[ev.Body]]:
    """What the guardian said of the process and is not recorded yet."""
    phase = state.phase
    if not isinstance(phase, Spawned) or phase.process is None:
        return state, []
    return state.become(replace(phase, process=None)), [phase.process]


def finish(state: Attempt, status: AttemptStatus, *, reason: str = "", error: str = "", exited: Exited | None = None) -> Next:
    """The one place that writes the terminal event, after everything that was open has been closed."""
    cancelled = status in {AttemptStatus.CANCELLED, AttemptStatus.CANCEL_INCOMPLETE}
    outcome, work = state.outcome, state.work
    heard_out = state.contact.capabilities is None or outcome is not None
    box, settled = state.inbox.box.settle_rest(state.task, cancelled=cancelled, heard_out=heard_out)
    asks = [ev.AskClosed(id=ask.id, outcome="cancelled") for ask in work.asks]
    ended = ev.AttemptEnded(
        status=status,
        reason=reason,
        error=clip(error, NOTE_CHARS_MAX),
        survivors=exited.survivors if exited else (),
        exit=_exit(state, exited),
        error_class=outcome.error_class[:256] if outcome is not None else "",
    )
    state, process = recorded_process(state)
    events = (*process, *settled, *asks, *_close_operations(state, reason, cancelled=cancelled), *watch.close_all(state), ended)
    state = state.become(Finished(status, outcome)).with_contact(connected=False).with_inbox(box=box)
    state = state.with_work(asks=(), operations=()).with_observed(look_at=None, notices=())
    state, told = tell_withdrawals(state)
    effects: Effects = (*told, Confirm(), TellRun(ended)) if exited else (*told, TellRun(ended))
    return state, Decision(events, effects)


def _close_operations(state: Attempt, reason: str, *, cancelled: bool) -> list[ev.OperationClosed]:
    """Those that had begun have failed or were cancelled, those that had not are skipped."""
    why, begun, waiting = reason or FailureReason.VANISHED, [], []
    for each in state.work.operations:
        if each.queued:
            waiting.append(ev.OperationClosed(id=each.id, outcome="skipped", reason=why, synthetic=True))
        else:
            outcome = "cancelled" if cancelled else "failed"
            begun.append(ev.OperationClosed(id=each.id, outcome=outcome, reason=why, synthetic=True))
    return begun + waiting


def _exit(state: Attempt, exited: Exited | None) -> ExitStatus:
    """The exit of the first process; of a command or an agent, what that exited with, if it has exited by itself."""
    status = exited.exit if exited is not None else ExitStatus()
    outcome = state.outcome
    code = None if outcome is None else outcome.exit_code
    if code is not None:
        status = replace(status, code=code) if code >= 0 else replace(status, code=None, signal=-code)
    elif runtime_named(state.rules.runtime).hosted:
        status = replace(status, code=None)
    limit = state.limit or state.start_limit or status.timed_out
    return replace(status, cancelled=state.cancel is not None, timed_out=limit)
