"""What time and use do to a living attempt: its liveness, its limits, and what people are told of. Pure.

Rule 1: liveness is two signals: the process (heartbeats) and its progress (what its code does). Silence of one alone
is at most `stale`; `dead` needs both, and ends the attempt.
Rule 2: an open question, an open operation and a command that runs are no silence.
Rule 3: each notice is raised once, closed when it is over, and raised again only after a while.
"""

from __future__ import annotations

from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.limits import (
    ATTENTION_COOLDOWN_SECONDS,
    FAILURES_IN_A_ROW,
    GRACE_SECONDS_SHORT,
    LONG_RUNNING_SECONDS,
    TERM_SECONDS_GRACEFUL,
)
from crewd.model.reasons import CancelReason, FailureReason, Liveness, NoticeKind
from crewd.model.runtimes import RUNTIMES
from crewd.model.statuses import AttemptStatus
from crewd.protocol import reports as rp
from crewd.supervisor.attempt.model import NOTHING, AlarmAt, Attempt, AttemptEffect, Decision, EndWorker, Next, Say

_ORDER = tuple(Liveness)


def watched(state: Attempt) -> bool:
    """Whether the attempt is at work: it has been heard of, and nobody has told it to end."""
    ending = state.cancel is not None or state.outcome is not None or state.limit or state.start_failed
    return state.capabilities is not None and not state.over and not ending


def alive(state: Attempt, at: float, *, heard: bool, active: bool) -> Next:
    """A sign of life: of the process, of its code, or of both."""
    state = replace(state, heard_at=at if heard else state.heard_at, active_at=at if active else state.active_at)
    return look(state, at) if state.level is not Liveness.HEALTHY or state.look_at is None else (state, NOTHING)


def look(state: Attempt, at: float) -> Next:
    """See how things stand at `at`, and say when to look again."""
    if not watched(state):
        return replace(state, look_at=None), NOTHING
    reached = _reached(state, at)
    if reached is not None:
        return hit(state, *reached)
    level = level_of(state, at)
    if level is Liveness.DEAD:
        text = f"no heartbeat for {at - state.heard_at:.0f} s and no progress for {at - state.active_at:.0f} s"
        return hit(replace(state, level=level), FailureReason.UNRESPONSIVE, text)
    events: list[ev.Body] = []
    if level is not state.level:
        events.append(ev.AttemptLiveness(level=level))
        state = replace(state, level=level)
    state, news = _notices(state, at)
    due = min((t for t in _thresholds(state) if t > at), default=None)
    effects: tuple[AttemptEffect, ...] = ()
    if due is not None and (state.look_at is None or state.look_at <= at or due < state.look_at):
        state, effects = replace(state, look_at=due), (AlarmAt(due),)
    return state, Decision((*events, *news), effects)


def silence(state: Attempt, at: float) -> float:
    """Seconds since the worker's code has given a sign; none while it says that it waits or works."""
    return 0.0 if _may_be_silent(state) else at - state.active_at


def _may_be_silent(state: Attempt) -> bool:
    return bool(state.asks or state.operations) or RUNTIMES[state.runtime].may_be_silent


def level_of(state: Attempt, at: float) -> Liveness:
    """The level on the gradient."""
    quiet, mute = silence(state, at), at - state.heard_at
    gradient = state.gradient
    if min(quiet, mute) >= gradient.dead_seconds:
        return Liveness.DEAD
    if max(quiet, mute) >= gradient.stale_seconds:
        return Liveness.STALE
    return Liveness.WARN if max(quiet, mute) >= gradient.warn_seconds else Liveness.HEALTHY


def _quiet(state: Attempt, at: float) -> float:
    """As `silence`, for the limit: a command is silent when it writes nothing."""
    return 0.0 if state.asks or state.operations else at - state.active_at


def _reached(state: Attempt, at: float) -> tuple[str, str] | None:
    limits = state.limits
    if limits.task_seconds and state.began is not None and at - state.began >= limits.task_seconds:
        return "task_seconds", f"it has run for {at - state.began:.0f} s, {limits.task_seconds:g} s are allowed"
    if limits.quiet_seconds and _quiet(state, at) >= limits.quiet_seconds:
        return "quiet_seconds", f"no sign of progress for {at - state.active_at:.0f} s, {limits.quiet_seconds:g} s are allowed"
    for key, due in state.operation_dues:
        if at >= due:
            return "operation_seconds", f"the operation {key} has taken too long"
    return None


def _thresholds(state: Attempt) -> list[float]:
    gradient, limits = state.gradient, state.limits
    steps = (gradient.warn_seconds, gradient.stale_seconds, gradient.dead_seconds)
    signs = [state.heard_at] if _may_be_silent(state) else [state.heard_at, state.active_at]
    found = [sign + step for sign in signs for step in steps] + [due for _, due in state.operation_dues]
    if state.began is not None:
        found += [state.began + LONG_RUNNING_SECONDS] if NoticeKind.LONG_RUNNING not in state.told else []
        found += [state.began + limits.task_seconds] if limits.task_seconds else []
    if limits.quiet_seconds:
        found.append(state.active_at + limits.quiet_seconds)
    return found


def hit(state: Attempt, limit: str, text: str) -> Next:
    """A bound is reached: the worker hears why, and is ended."""
    tool = limit == "operation_seconds"
    reason = CancelReason.TOOL_TIMEOUT if tool else CancelReason.WORKER_TIMEOUT
    grace = 0.0 if limit == FailureReason.UNRESPONSIVE else GRACE_SECONDS_SHORT
    state = replace(state, limit=limit, limit_text=text, status=AttemptStatus.ENDING, look_at=None, start_by=None)
    order = rp.CancelOrder(reason=reason, mode="graceful", grace_seconds=grace, intent=text)
    return state, Decision(
        (ev.AttemptLimitHit(limit=limit, text=text),), (Say(order, urgent=True), EndWorker(grace, TERM_SECONDS_GRACEFUL))
    )


def spent(state: Attempt, usage: rp.UsageReport, number: int) -> Next:
    """The worker says what it has used up."""
    state = replace(state, usage=(usage.turns, usage.tokens, usage.cost))
    body = ev.UsageReported(turns=usage.turns, tokens=usage.tokens, cost=usage.cost, report=number)
    for name, value in (("turns", usage.turns), ("tokens", usage.tokens), ("cost", usage.cost)):
        allowed = getattr(state.limits, name)
        if allowed and value >= allowed and watched(state):
            state, decision = hit(state, name, f"{value:g} {name}, {allowed:g} are allowed")
            return state, replace(decision, events=(body, *decision.events))
    return state, Decision((body,))


# -- notices --------------------------------------------------------------------------------------------------------


def _notices(state: Attempt, at: float) -> tuple[Attempt, list[ev.Body]]:
    events: list[ev.Body] = []
    needs = _ORDER.index(state.level) >= _ORDER.index(Liveness.STALE)
    began = at if state.began is None else state.began
    for kind, on, text in (
        (NoticeKind.NEEDS_ATTENTION, needs, f"no sign of it for {max(silence(state, at), at - state.heard_at):.0f} s"),
        (NoticeKind.REPEATED_FAILURES, state.failures >= FAILURES_IN_A_ROW, f"{state.failures} operations failed in a row"),
        (NoticeKind.LONG_RUNNING, at - began >= LONG_RUNNING_SECONDS, f"it has run for {(at - began) / 60:.0f} minutes"),
    ):
        state, news = _notice(state, at, kind, text, on=on)
        events += news
    return state, events


def _notice(state: Attempt, at: float, kind: NoticeKind, text: str, *, on: bool) -> tuple[Attempt, list[ev.Body]]:
    if on and kind not in state.notices and at >= dict(state.cooldowns).get(kind, at):
        state = replace(state, notices=(*state.notices, kind), told=tuple(dict.fromkeys((*state.told, kind))))
        return state, [ev.NoticeRaised(id=notice_id(state, kind), kind=kind, text=text)]
    if not on and kind in state.notices:
        cooldowns = (*(each for each in state.cooldowns if each[0] != kind), (kind, at + ATTENTION_COOLDOWN_SECONDS))
        closed = ev.NoticeClosed(id=notice_id(state, kind))
        return replace(state, notices=tuple(n for n in state.notices if n != kind), cooldowns=cooldowns), [closed]
    return state, []


def warn(state: Attempt, warnings: tuple[str, ...]) -> tuple[Attempt, list[ev.Body]]:
    """The worker has ended in an unusual way: people are told, once."""
    if not warnings:
        return state, []
    return _notice(state, state.heard_at, NoticeKind.UNUSUAL, "; ".join(warnings), on=True)


def notice_id(state: Attempt, kind: str) -> str:
    """The id of the attempt's notice of this kind: one that comes again is the same notice, open again."""
    return f"{state.task}#{state.epoch}:{kind}"


def close_all(state: Attempt) -> list[ev.Body]:
    """The attempt is over: so is what people were told of it."""
    return [ev.NoticeClosed(id=notice_id(state, kind)) for kind in state.notices]
