"""What time and use do to a living attempt: its liveness, its limits, and its notices. Pure.

Rule 1: liveness is two signals: the process (heartbeats) and its progress (what its code does). Silence of one alone
is at most `stale`; `dead` needs both, and ends the attempt.
Rule 2: an open question, an open operation and a command that runs are no silence.
Rule 3: each notice is raised once, closed when it is over, and raised again only after a while.
"""

from __future__ import annotations

from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.budget import Used
from crewd.model.limits import (
    ATTENTION_COOLDOWN_SECONDS,
    FAILURES_IN_A_ROW,
    GRACE_SECONDS_SHORT,
    LONG_RUNNING_SECONDS,
    TERM_SECONDS_GRACEFUL,
)
from crewd.model.reasons import CancelReason, FailureReason, Liveness, NoticeKind
from crewd.model.runtimes import RUNTIMES
from crewd.protocol import reports as rp
from crewd.supervisor.attempt.effects import NOTHING, AlarmAt, AttemptEffect, Decision, EndWorker, Say, TellSpent
from crewd.supervisor.attempt.phases import OverLimit, Working
from crewd.supervisor.attempt.state import Attempt, Next

_ORDER = tuple(Liveness)


def watched(state: Attempt) -> bool:
    """Whether the attempt is at work: it has been heard of, and nobody has told it to end."""
    return isinstance(state.phase, Working)


def alive(state: Attempt, at: float, beats: int) -> Next:
    """A sign of life of the process, and of its code if it has given another one."""
    active_at = at if beats != state.observed.beats else state.observed.active_at
    return _after_a_sign(state.with_observed(beats=beats, heard_at=at, active_at=active_at), at)


def measured(state: Attempt, at: float, output_bytes: int, cpu_seconds: float) -> Next:
    """The guardian has measured the worker: what has written more gives a sign."""
    active_at = at if output_bytes > state.observed.output_bytes else state.observed.active_at
    state = state.with_observed(output_bytes=output_bytes, cpu_seconds=cpu_seconds, active_at=active_at)
    return _after_a_sign(state, at)


def _after_a_sign(state: Attempt, at: float) -> Next:
    observed = state.observed
    return look(state, at) if observed.level is not Liveness.HEALTHY or observed.look_at is None else (state, NOTHING)


def then_look(state: Attempt, decision: Decision, at: float) -> Next:
    """This decision, and what a look adds to it."""
    state, more = look(state, at)
    return state, replace(decision, events=(*decision.events, *more.events), effects=(*decision.effects, *more.effects))


def look(state: Attempt, at: float) -> Next:
    """See how things stand at `at`, and say when to look again."""
    observed = state.observed
    if not watched(state):
        return state if observed.look_at is None else state.with_observed(look_at=None), NOTHING
    reached = _reached(state, at)
    if reached is not None:
        return hit(state, *reached)
    level = level_of(state, at)
    if level is Liveness.DEAD:
        text = f"no heartbeat for {at - observed.heard_at:.0f} s and no progress for {at - observed.active_at:.0f} s"
        return hit(state.with_observed(level=level), FailureReason.UNRESPONSIVE, text)
    events: list[ev.Body] = []
    if level is not observed.level:
        events.append(ev.AttemptLiveness(level=level))
        state = state.with_observed(level=level)
    state, news = _notices(state, at)
    due = min((t for t in _thresholds(state) if t > at), default=None)
    effects: tuple[AttemptEffect, ...] = ()
    if due is not None and (observed.look_at is None or observed.look_at <= at or due < observed.look_at):
        state, effects = state.with_observed(look_at=due), (AlarmAt(due),)
    return state, Decision((*events, *news), effects)


def silence(state: Attempt, at: float) -> float:
    """Seconds since the worker's code has given a sign; none while it says that it waits or works."""
    return 0.0 if _may_be_silent(state) else at - state.observed.active_at


def _may_be_silent(state: Attempt) -> bool:
    return _at_something(state) or RUNTIMES[state.rules.runtime].may_be_silent


def _at_something(state: Attempt) -> bool:
    return bool(state.work.asks) or state.work.busy


def level_of(state: Attempt, at: float) -> Liveness:
    """The level on the gradient."""
    quiet, mute = silence(state, at), at - state.observed.heard_at
    gradient = state.rules.gradient
    if min(quiet, mute) >= gradient.dead_seconds:
        return Liveness.DEAD
    if max(quiet, mute) >= gradient.stale_seconds:
        return Liveness.STALE
    return Liveness.WARN if max(quiet, mute) >= gradient.warn_seconds else Liveness.HEALTHY


def _quiet(state: Attempt, at: float) -> float:
    """As `silence`, for the limit: a command is silent when it writes nothing."""
    return 0.0 if _at_something(state) else at - state.observed.active_at


def _reached(state: Attempt, at: float) -> tuple[str, str] | None:
    limits, observed = state.rules.limits, state.observed
    if limits.task_seconds and observed.began is not None and at - observed.began >= limits.task_seconds:
        return "task_seconds", f"it has run for {at - observed.began:.0f} s, {limits.task_seconds:g} s are allowed"
    if limits.quiet_seconds and _quiet(state, at) >= limits.quiet_seconds:
        text = f"no sign of progress for {at - observed.active_at:.0f} s, {limits.quiet_seconds:g} s are allowed"
        return "quiet_seconds", text
    for each in state.work.operations:
        if each.due is not None and at >= each.due:
            return "operation_seconds", f"the operation {each.id} has taken too long"
    return None


def _thresholds(state: Attempt) -> list[float]:
    gradient, limits, observed = state.rules.gradient, state.rules.limits, state.observed
    steps = (gradient.warn_seconds, gradient.stale_seconds, gradient.dead_seconds)
    signs = [observed.heard_at] if _may_be_silent(state) else [observed.heard_at, observed.active_at]
    found = [sign + step for sign in signs for step in steps]
    found += [each.due for each in state.work.operations if each.due is not None]
    if observed.began is not None:
        found += [observed.began + LONG_RUNNING_SECONDS] if NoticeKind.LONG_RUNNING not in observed.told else []
        found += [observed.began + limits.task_seconds] if limits.task_seconds else []
    if limits.quiet_seconds:
        found.append(observed.active_at + limits.quiet_seconds)
    return found


def hit(state: Attempt, limit: str, text: str) -> Next:
    """A bound is reached: the worker hears why, and is ended."""
    tool = limit == "operation_seconds"
    reason = CancelReason.TOOL_TIMEOUT if tool else CancelReason.WORKER_TIMEOUT
    grace = 0.0 if limit == FailureReason.UNRESPONSIVE else GRACE_SECONDS_SHORT
    state = state.become(OverLimit(limit, text)).with_observed(look_at=None)
    order = rp.CancelOrder(reason=reason, mode="graceful", grace_seconds=grace, intent=text)
    return state, Decision(
        (ev.AttemptLimitHit(limit=limit, text=text),), (Say(order, urgent=True), EndWorker(grace, TERM_SECONDS_GRACEFUL))
    )


def spent(state: Attempt, usage: rp.UsageReport, number: int) -> Next:
    """The worker says what it has used up."""
    state = state.with_work(usage=(usage.turns, usage.tokens, usage.cost))
    body = ev.UsageReported(turns=usage.turns, tokens=usage.tokens, cost=usage.cost, report=number)
    told = TellSpent(Used(usage.turns, usage.tokens, usage.cost))
    for name, value in (("turns", usage.turns), ("tokens", usage.tokens), ("cost", usage.cost)):
        allowed = getattr(state.rules.limits, name)
        if allowed and value >= allowed and watched(state):
            state, decision = hit(state, name, f"{value:g} {name}, {allowed:g} are allowed")
            return state, replace(decision, events=(body, *decision.events), effects=(told, *decision.effects))
    return state, Decision((body,), (told,))


# -- notices --------------------------------------------------------------------------------------------------------


def _notices(state: Attempt, at: float) -> tuple[Attempt, list[ev.Body]]:
    events: list[ev.Body] = []
    observed, failures = state.observed, state.work.failures
    needs = _ORDER.index(observed.level) >= _ORDER.index(Liveness.STALE)
    began = at if observed.began is None else observed.began
    for kind, on, text in (
        (NoticeKind.NEEDS_ATTENTION, needs, f"no sign of it for {max(silence(state, at), at - observed.heard_at):.0f} s"),
        (NoticeKind.REPEATED_FAILURES, failures >= FAILURES_IN_A_ROW, f"{failures} operations failed in a row"),
        (NoticeKind.LONG_RUNNING, at - began >= LONG_RUNNING_SECONDS, f"it has run for {(at - began) / 60:.0f} minutes"),
    ):
        state, news = _notice(state, at, kind, text, on=on)
        events += news
    return state, events


def _notice(state: Attempt, at: float, kind: NoticeKind, text: str, *, on: bool) -> tuple[Attempt, list[ev.Body]]:
    observed = state.observed
    if on and kind not in observed.notices and at >= dict(observed.cooldowns).get(kind, at):
        told = tuple(dict.fromkeys((*observed.told, kind)))
        state = state.with_observed(notices=(*observed.notices, kind), told=told)
        return state, [ev.NoticeRaised(id=notice_id(state, kind), kind=kind, text=text)]
    if not on and kind in observed.notices:
        cooldowns = (*(each for each in observed.cooldowns if each[0] != kind), (kind, at + ATTENTION_COOLDOWN_SECONDS))
        closed = ev.NoticeClosed(id=notice_id(state, kind))
        notices = tuple(each for each in observed.notices if each != kind)
        return state.with_observed(notices=notices, cooldowns=cooldowns), [closed]
    return state, []


def warn(state: Attempt, warnings: tuple[str, ...]) -> tuple[Attempt, list[ev.Body]]:
    """The worker has ended in an unusual way: people are told, once."""
    if not warnings:
        return state, []
    return _notice(state, state.observed.heard_at, NoticeKind.UNUSUAL, "; ".join(warnings), on=True)


def notice_id(state: Attempt, kind: str) -> str:
    """The id of the attempt's notice of this kind: one that comes again is the same notice, open again."""
    return f"{state.task}#{state.epoch}:{kind}"


def close_all(state: Attempt) -> list[ev.Body]:
    """The attempt is over: so is what people were told of it."""
    return [ev.NoticeClosed(id=notice_id(state, kind)) for kind in state.observed.notices]
