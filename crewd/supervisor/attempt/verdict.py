"""How an attempt has ended, from what the worker said, what was asked of it, and what the guardian saw. Pure.

Rule 1: a cancel wins over what the worker said after it, never over what it said before.
Rule 2: a durable result wins over all news of the process that come later: of its start, its end or its signals.

Tests: tests/supervisor/attempt/test_decide.py, tests/supervisor/attempt/test_watch.py.
"""

from __future__ import annotations

import signal

from crewd.model.limits import START_SECONDS_MAX
from crewd.model.reasons import TERMINATED, FailureReason
from crewd.model.signals import signal_name
from crewd.model.statuses import AttemptStatus
from crewd.protocol.guardian import Exited
from crewd.protocol.reports import Outcome
from crewd.supervisor.attempt.phases import Cancelling, OverLimit, StartTimedOut
from crewd.supervisor.attempt.state import Attempt


def verdict(state: Attempt, exited: Exited) -> tuple[AttemptStatus, str, str]:
    """The terminal status, the reason and the error."""
    outcome = state.outcome
    match state.phase:
        case Cancelling(cancel):
            status = AttemptStatus.CANCEL_INCOMPLETE if exited.survivors else AttemptStatus.CANCELLED
            return status, cancel.reason, exited.error
        case OverLimit(limit, text) if limit == FailureReason.UNRESPONSIVE:
            return AttemptStatus.FAILED, FailureReason.UNRESPONSIVE, text
        case OverLimit(limit, text):
            return AttemptStatus.FAILED, FailureReason.LIMIT, f"{limit}: {text}"
        case _ if outcome is not None and outcome.outcome == "completed":
            return AttemptStatus.COMPLETED, "", ""  # a durable result wins, whatever was heard later of the process
        case StartTimedOut(_, waited) if state.start_limit:
            text = f"it has run for {waited:.0f} s without a word, {state.rules.limits.task_seconds:g} s are allowed"
            return AttemptStatus.FAILED, FailureReason.LIMIT, f"{state.start_limit}: {text}"
        case StartTimedOut():
            allowed = START_SECONDS_MAX + state.rules.hook_seconds
            return AttemptStatus.FAILED, FailureReason.START_TIMEOUT, f"the worker said nothing for {allowed:g} s"
        case _:
            return _as_seen(outcome, exited)


def _as_seen(outcome: Outcome | None, exited: Exited) -> tuple[AttemptStatus, str, str]:
    """Nobody wanted the end: what the guardian saw, and what the worker said of it."""
    if exited.cause == "spawn_failed":
        reason = FailureReason.START_BUSY if exited.transient else FailureReason.SPAWN_FAILED
        return AttemptStatus.FAILED, reason, exited.error
    if exited.cause == "limit":
        return AttemptStatus.FAILED, FailureReason.LIMIT, f"{exited.exit.timed_out}: {exited.error}"
    if exited.cause == "orphaned":
        return AttemptStatus.FAILED, FailureReason.ORPHANED, "crewd was not running for longer than orphan_grace_seconds"
    if outcome is not None and outcome.outcome == "failed":
        return AttemptStatus.FAILED, outcome.reason or FailureReason.RAISED, outcome.error
    if outcome is not None and outcome.outcome == "cancelled" and outcome.reason != TERMINATED and exited.exit.signal is None:
        return AttemptStatus.FAILED, FailureReason.RAISED, "the worker reported `cancelled`, but nobody had cancelled it"
    if exited.exit.signal is not None or (outcome is not None and outcome.outcome == "cancelled"):
        number = signal_name(exited.exit.signal if exited.exit.signal is not None else signal.SIGTERM)
        return AttemptStatus.FAILED, FailureReason.KILLED, f"ended by {number}{_cause(exited)}"
    code = "unknown" if exited.exit.code is None else str(exited.exit.code)
    return AttemptStatus.FAILED, FailureReason.VANISHED, f"exit code {code} and no result{_cause(exited)}"


def _cause(exited: Exited) -> str:
    """What the worker wrote last on standard error: a failure carries its cause."""
    return f": {exited.tail}" if exited.tail else ""
