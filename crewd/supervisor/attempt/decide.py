"""The machine of one attempt: decide(state, event) -> (state, decision). Pure; time arrives inside the event.

Rule 1: `Decision.events` become durable before any of `Decision.effects` is performed (the shell's journal sees to it).
Rule 2: an attempt ends once, when the guardian has said what is left of its processes; terminal absorbs everything.
Rule 3: a cancel is legal in every state and beats everything that has not been recorded before it.
Rule 4: every report number is taken once; a report that the worker left on disk counts like one that was sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import assert_never

import msgspec
from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.limits import (
    ARTIFACT_BYTES_MAX,
    CHECKPOINT_BYTES_MAX,
    DRAIN_SECONDS,
    EXIT_SECONDS,
    INLINE_BYTES_MAX,
    NAME_CHARS_MAX,
    NOTE_CHARS_MAX,
    OPERATIONS_OPEN_MAX,
    START_SECONDS_LONGEST,
    START_SECONDS_MAX,
    TERM_SECONDS_GRACEFUL,
    TERM_SECONDS_NOW,
    WARNINGS_MAX,
)
from crewd.model.message_kinds import Purpose
from crewd.model.reasons import FailureReason, Liveness, RefusalReason
from crewd.model.receipts import Effect, Level, Outcome
from crewd.model.redact import clip, is_deep, redact_value
from crewd.model.rows import CancelInfo, ExitStatus, faster
from crewd.model.statuses import AttemptStatus
from crewd.protocol import reports as rp
from crewd.protocol.guardian import Exited
from crewd.supervisor.admission import AfterEnd, Refuse, admit, another_one
from crewd.supervisor.attempt import messages as ms
from crewd.supervisor.attempt import watch
from crewd.supervisor.attempt.model import (
    NOTHING,
    Admit,
    Admitted,
    Again,
    AlarmAt,
    Alive,
    Ask,
    AskGuardian,
    AskSlot,
    Attempt,
    AttemptEffect,
    AttemptEvent,
    Cancel,
    Confirm,
    Connected,
    Decision,
    Deliver,
    Disconnected,
    Due,
    Effects,
    Ended,
    EndWorker,
    Gradient,
    GuardianBack,
    Handed,
    HitLimit,
    Lend,
    Measured,
    Next,
    NotAdmitted,
    NotReserved,
    Reported,
    Reserve,
    Reserved,
    ReserveDone,
    Resume,
    Say,
    Send,
    Signal,
    SignalWorker,
    SlotGranted,
    SpawnWorker,
    Started,
    TakeSlot,
    TellBusy,
    TellCannotWithdraw,
    TellDone,
    TellReceipt,
    TellRefused,
    TellRun,
    TellWaiting,
    TellWrong,
    Unknown,
    Withdraw,
)
from crewd.supervisor.attempt.verdict import verdict

__all__ = [
    "NOTHING",
    "Admit",
    "Admitted",
    "Again",
    "AlarmAt",
    "Alive",
    "Ask",
    "AskGuardian",
    "AskSlot",
    "Attempt",
    "AttemptEffect",
    "AttemptEvent",
    "Cancel",
    "Confirm",
    "Connected",
    "Decision",
    "Deliver",
    "Disconnected",
    "Due",
    "EndWorker",
    "Ended",
    "Gradient",
    "GuardianBack",
    "Handed",
    "HitLimit",
    "Lend",
    "Measured",
    "Next",
    "NotAdmitted",
    "NotReserved",
    "Reported",
    "Reserve",
    "ReserveDone",
    "Reserved",
    "Resume",
    "Say",
    "Send",
    "Signal",
    "SignalWorker",
    "SlotGranted",
    "SpawnWorker",
    "Started",
    "TakeSlot",
    "TellBusy",
    "TellCannotWithdraw",
    "TellDone",
    "TellReceipt",
    "TellRefused",
    "TellRun",
    "TellWaiting",
    "TellWrong",
    "Unknown",
    "Withdraw",
    "decide",
]


PROCESS_SECONDS = 0.05
"""A process is recorded alone if its worker says nothing for so long; else with its first word, in one commit."""


def decide(state: Attempt, event: AttemptEvent) -> Next:
    """The attempt after `event`, and the decision."""
    if state.over:
        return _after_the_end(state, event)
    match event:  # the most frequent ones first: each case is a look
        case Reported(report, wall, at):
            state = replace(state, heard_at=max(state.heard_at, at), active_at=max(state.active_at, at))
            state, decision = _reported(state, report, wall)
            if isinstance(report.body, rp.OF_MESSAGES) and state.level is Liveness.HEALTHY and state.look_at is not None:
                return state, decision
            return _and(state, decision, watch.look, at)
        case Send():
            return ms.post(state, event)
        case Admitted(key):
            return ms.admitted(state, key)
        case Reserve(directory):
            return state, Decision((ev.AttemptReserved(directory=directory),), (ReserveDone(),))
        case Reserved():
            return _reserved(state)
        case SlotGranted(at):
            return _spawn(state, at)
        case Alive(at, beats):
            active = beats != state.beats
            return watch.alive(replace(state, beats=beats), at, heard=True, active=active)
        case Measured(at, output_bytes, cpu_seconds):
            grown = output_bytes > state.output_bytes
            state = replace(state, output_bytes=output_bytes, cpu_seconds=cpu_seconds)
            return watch.alive(state, at, heard=False, active=grown)
        case Signal():
            return _signal(state, event)
        case HitLimit(limit, text):
            return watch.hit(state, limit, text) if watch.watched(state) else (state, NOTHING)
        case NotReserved(reason):
            return _not_reserved(state, reason)
        case Resume(at):
            state, decision = _resume(state, at)
            return _and(state, decision, watch.look, at)  # one that never speaks again has its limits and its clock, too
        case GuardianBack():
            return _ask_guardian(state)
        case NotAdmitted(key):
            return ms.not_admitted(state, key)
        case Handed(mail):
            return ms.handed(state, mail)
        case Withdraw(key, caller):
            return ms.withdraw(state, key, caller)
        case Cancel(cancel):
            return _cancel(state, cancel)
        case Connected(hello, at):
            state, decision = _connected(replace(state, heard_at=at, active_at=at), hello)
            return _and(state, decision, watch.look, at)
        case Disconnected():
            return replace(state, connected=False), NOTHING
        case Started(body, at):
            return _started(state, body, at)
        case Ended(exited, last_words, wall):
            return _ended(state, exited, last_words, wall)
        case Unknown(number, unborn):
            return _unknown(state, number, unborn=unborn)
        case Due(at):
            return _due(state, at)
        case _:
            assert_never(event)


def _after_the_end(state: Attempt, event: AttemptEvent) -> Next:
    """Terminal absorbs: late news changes nothing, and whoever waits for an answer gets one."""
    match event:
        case Send(mail):
            late = admit(AfterEnd(), mail)
            return state, ms.refuse_at_the_door(event, late.reason) if isinstance(late, Refuse) else ms.into_mailbox(event)
        case NotAdmitted(key):
            return ms.not_admitted(state, key)
        case Admitted(key):
            return ms.admitted(state, key)
        case Handed(mail):
            return state, ms.too_late(state, mail)
        case Withdraw(key, caller):
            return state, Decision(effects=(TellReceipt(caller, key),))
        case Ended():
            return state, Decision(effects=(Confirm(),))
        case Reported(report, _):
            return state, Decision(effects=(Say(rp.Ack(upto=report.number)),))
        case _:
            return state, NOTHING


def _and(state: Attempt, decision: Decision, then: Callable[[Attempt, float], Next], at: float) -> Next:
    """Both decisions, in this order."""
    state, more = then(state, at)
    return state, replace(decision, events=(*decision.events, *more.events), effects=(*decision.effects, *more.effects))


def _reserved(state: Attempt) -> Next:
    state = replace(state, reserved=True)
    cancel = state.cancel
    if cancel is not None:
        state, decision = _finish(state, AttemptStatus.CANCELLED, reason=cancel.reason)
        return state, replace(decision, events=(ev.AttemptCancelRequested(cancel=cancel), *decision.events))
    return state, Decision(effects=(AskSlot(),))


def _spawn(state: Attempt, at: float) -> Next:
    if state.spawned or not state.reserved or state.cancel is not None:
        return state, NOTHING  # its end gives the place back
    state, effects = _start_by(state, at)
    state = replace(
        state, spawned=True, recorded=True, status=AttemptStatus.STARTING, questions_before_spawn=state.questions, began=at
    )
    # The order to the guardian rests on the reservation, which is durable; that it was given is recorded beside it.
    return state, Decision((ev.AttemptStarting(),), tuple(effects), prompt=(SpawnWorker(),))


def _ask_guardian(state: Attempt) -> Next:
    state = replace(state, questions=state.questions + 1)
    return state, Decision(effects=(AskGuardian(state.questions),))


def _resume(state: Attempt, at: float) -> Next:
    """Ask what became of the worker, which may have been ordered; one that was starting has all of its time again."""
    recorded = state.status is not AttemptStatus.RESERVED
    began = state.began if state.began is not None or not recorded else at  # late rather than never: its limits count from it
    state, decision = _ask_guardian(replace(state, reserved=True, spawned=True, recorded=recorded, began=began))
    if state.status is not AttemptStatus.STARTING:
        return state, decision
    state, effects = _start_by(state, at)
    return state, replace(decision, effects=(*decision.effects, *effects))


def _start_by(state: Attempt, at: float) -> tuple[Attempt, list[AttemptEffect]]:
    due = at + START_SECONDS_MAX
    return replace(state, start_by=due), [AlarmAt(due)]


def _start_late(state: Attempt, at: float) -> tuple[Attempt, list[AttemptEffect]]:
    """The worker has said nothing for long. That is no failure while its process is at work, or is not there yet.

    On a slow machine a start takes long: only a process that has used no processor time since the last look has hung.
    """
    waited = at - (state.began if state.began is not None else at)
    slow = state.pid is None or state.cpu_seconds > state.start_cpu
    if slow and waited < START_SECONDS_LONGEST:
        return _start_by(replace(state, start_cpu=state.cpu_seconds), at)
    state = replace(state, start_by=None, start_failed=True, status=AttemptStatus.ENDING)
    return state, [EndWorker(0.0, TERM_SECONDS_GRACEFUL)]


def _not_reserved(state: Attempt, reason: str) -> Next:
    """Nothing of the attempt is in the log, so nothing of it ends there; messages that were held for it settle."""
    box, settled = state.mailbox.settle_rest(state.task, cancelled=True, heard_out=True)
    state, told = ms.tell_withdrawals(replace(state, mailbox=box, status=AttemptStatus.CANCELLED))
    return state, Decision(tuple(settled), (*told, TellRun(ev.AttemptEnded(status=AttemptStatus.CANCELLED, reason=reason))))


# -- the worker -----------------------------------------------------------------------------------------------------


def _found_born(state: Attempt, at: float) -> tuple[Attempt, list[ev.Body], list[AttemptEffect]]:
    """There is, or was, a worker. If crewd died between its order and the record of that, it is recorded now."""
    if state.recorded:
        return state, [], []
    state = replace(state, recorded=True, began=at)
    if state.cancel is not None:
        return state, [ev.AttemptStarting()], [TakeSlot()]
    state, effects = _start_by(replace(state, status=AttemptStatus.STARTING), at)
    return state, [ev.AttemptStarting()], [TakeSlot(), *effects]


def _take_process(state: Attempt) -> tuple[Attempt, list[ev.Body]]:
    return (state, []) if state.process is None else (replace(state, process=None), [state.process])


def _connected(state: Attempt, hello: rp.WorkerHello) -> Next:
    state, events, effects = _found_born(state, state.heard_at)
    state, process = _take_process(state)
    events += process
    capabilities = tuple(name[:NAME_CHARS_MAX] for name in hello.capabilities[:16])
    if state.capabilities is None:
        events.append(ev.AttemptReady(capabilities=capabilities, command=max(0, hello.command)))
        if state.status is AttemptStatus.STARTING:
            state = replace(state, status=AttemptStatus.RUNNING)
    state = replace(
        state,
        connected=True,
        connection=state.connection + 1,
        capabilities=capabilities,
        spawned=True,
        start_by=None,
        command=max(0, hello.command),
    )
    unsupported = [mail.id for mail in state.mailbox.to_deliver() if mail.needs and mail.needs not in capabilities]
    box, refused = state.mailbox.settle(state.task, unsupported, Outcome.REFUSED, RefusalReason.NOT_SUPPORTED)
    for mail in box.to_deliver():
        other = another_one(mail, state.epoch, state.turn)
        if other is not None:
            box, more = box.settle(state.task, [mail.id], Outcome.REFUSED, other)
            refused += more
    state = replace(state, mailbox=box)
    effects.append(Say(rp.WorkerWelcome(reports=state.reports)))
    if state.cancel is not None:
        effects.append(Say(_cancel_order(state.cancel)))
    else:
        effects += ms.deliver(state, *(mail for mail in state.mailbox.to_deliver() if not mail.recalled))
        effects += ms.deliver_letters(state, *state.letters)
    effects += [Say(rp.Recall(id=mail.id, outcome=mail.recalled)) for mail in state.mailbox.mails if mail.recalled]
    if state.outcome is None and state.reports:
        # A proposal to stop may be durable and its answer lost. Who is told to go on asks again if it has nothing to do.
        effects.append(Say(rp.StopGranted() if state.finishing else rp.StopDeferred()))
    return state, Decision((*events, *refused), tuple(effects))


def _reported(state: Attempt, report: rp.Report, wall: float) -> Next:
    if report.number <= state.reports:
        return state, Decision(effects=(Say(rp.Ack(upto=state.reports)),))
    if report.number != state.reports + 1:
        return state, NOTHING  # a frame before this one was lost; the worker sends both again when it reconnects
    state, decision = _take_report(replace(state, reports=report.number), report, wall)
    if state.limits.reports and report.number >= state.limits.reports and watch.watched(state):
        state, end = watch.hit(state, "reports", f"{report.number} reports, {state.limits.reports} are allowed")
        decision = replace(decision, events=(*decision.events, *end.events), effects=(*decision.effects, *end.effects))
    # What is acknowledged is durable, also if it changed nothing: a controller that comes back must know the number.
    return state, replace(
        decision,
        events=decision.events or (ev.ReportTaken(report=report.number),),
        effects=(*decision.effects, Say(rp.Ack(upto=report.number))),
        causation=decision.causation or f"report:{report.number}",
    )


def _take_report(state: Attempt, report: rp.Report, wall: float) -> Next:
    number = report.number
    match report.body:
        case rp.Delivered(key, effect):
            if state.mailbox.get(key) is None:
                return state, NOTHING
            state = replace(state, mailbox=state.mailbox.raise_to(key, Level.DELIVERED))
            effect = Effect.INTERRUPTED if effect == Effect.INTERRUPTED else ""
            return state, Decision((ev.MessageDelivered(id=key, report=number, effect=effect),))
        case rp.Applied(key):
            return ms.applied(state, key, number)
        case rp.Returned(key, outcome):
            if state.mailbox.get(key) is None:
                return state, NOTHING
            return ms.take_back(state, [key], outcome, number)
        case rp.Settled():
            return ms.settled_by_worker(state, report.body, number)
        case rp.Told():
            return ms.told(state, report.body, number)
        case rp.Read(key):
            return ms.read(state, key, number)
        case rp.Asked():
            return _asked(state, report.body, number, wall)
        case rp.AskOver(key, outcome, answered_by):
            if all(ask.id != key for ask in state.asks):
                return state, NOTHING
            after = replace(state, asks=tuple(ask for ask in state.asks if ask.id != key))
            over = ev.AskClosed(id=key, outcome=outcome, answered_by=answered_by, report=number)
            return after, Decision((over,), _places(state, after))
        case rp.OpOpened():
            return _opened(state, report.body, number)
        case rp.OpStarted(key):
            key = _own(state, key)
            allowed = dict(state.queued).get(key)
            if allowed is None:
                return state, NOTHING
            state = replace(state, queued=tuple(each for each in state.queued if each[0] != key))
            return _at_work(state, key, allowed), Decision((ev.OperationStarted(id=key, report=number),))
        case rp.OpClosed(key, outcome, reason):
            key = _own(state, key)
            if key not in state.operations and key not in dict(state.queued):
                return state, NOTHING
            after = replace(
                state, operations=tuple(op for op in state.operations if op != key),
                queued=tuple(each for each in state.queued if each[0] != key),
                waits=tuple(op for op in state.waits if op != key),
                operation_dues=tuple(due for due in state.operation_dues if due[0] != key),
                failures=state.failures + 1 if outcome == "failed" else state.failures if outcome == "skipped" else 0,
            )  # fmt: skip
            closed = ev.OperationClosed(id=key, outcome=outcome, reason=clip(reason, NOTE_CHARS_MAX), report=number)
            return after, Decision((closed,), _places(state, after))
        case rp.Sampled(count, done, total, note, phase):
            sampled = ev.ProgressSampled(
                count=count, done=done, total=total, note=clip(note, NOTE_CHARS_MAX), phase=clip(phase, NAME_CHARS_MAX),
                report=number,
            )  # fmt: skip
            return state, Decision((sampled,))
        case rp.UsageReport():
            return watch.spent(state, report.body, number)
        case rp.Checkpoint(value):
            if len(msgspec.msgpack.encode(value)) > 2 * CHECKPOINT_BYTES_MAX or is_deep(value):
                return state, NOTHING
            value = redact_value(value)
            return replace(state, checkpoint=value), Decision((ev.CheckpointSaved(value=value, report=number),))
        case rp.Artifact(key, name, path, sha256, size, mime, data):
            if len(data) > INLINE_BYTES_MAX or "/" in name or name.startswith(".") or not _HASH.fullmatch(sha256):
                return state, NOTHING
            if not 0 <= size <= ARTIFACT_BYTES_MAX:
                return state, NOTHING
            recorded = ev.ArtifactRecorded(
                id=_own(state, key), name=name[:NAME_CHARS_MAX], path=path, sha256=sha256, size=size, mime=mime[:128],
                report=number, data=data, source=clip(report.body.source, NOTE_CHARS_MAX), redacted=report.body.redacted,
                retention=report.body.retention[:NAME_CHARS_MAX],
            )  # fmt: skip
            return state, Decision((recorded,))
        case rp.StopProposed():
            if state.mailbox.waiting_for_code() or any(mail.purpose is Purpose.WORK for mail in state.pending):
                return state, Decision(effects=(Say(rp.StopDeferred()),))
            if state.finishing:
                return state, Decision(effects=(Say(rp.StopGranted()),))
            return replace(state, finishing=True), Decision((ev.AttemptFinishing(report=number),), (Say(rp.StopGranted()),))
        case rp.Outcome():
            return _outcome(state, report.body, number)
        case _:
            assert_never(report.body)


def _opened(state: Attempt, opened: rp.OpOpened, number: int) -> Next:
    key = _own(state, opened.id)
    known = key in state.operations or key in dict(state.queued)
    if known or len(state.operations) + len(state.queued) >= OPERATIONS_OPEN_MAX:
        return state, NOTHING
    bound = 0.0 if opened.kind == rp.WAIT else state.limits.operation_seconds
    allowed = min(filter(None, (max(0.0, opened.seconds), bound)), default=0.0)
    if opened.queued:
        after = replace(state, queued=(*state.queued, (key, allowed)))
    else:
        after = _at_work(state, key, allowed)
        after = replace(after, waits=(*after.waits, key)) if opened.kind == rp.WAIT else after
    body = ev.OperationOpened(
        id=key, kind=opened.kind[:64], name=opened.name[:256], report=number, seconds=allowed, queued=opened.queued,
        priority=opened.priority,
    )  # fmt: skip
    return after, Decision((body,), _places(state, after))


def _places(before: Attempt, after: Attempt) -> Effects:
    """What becomes of the worker's places when it begins to wait, or goes on."""
    effects: list[AttemptEffect] = []
    if before.waiting != after.waiting:
        effects.append(TellWaiting(waiting=after.waiting))
    if bool(before.waits) != bool(after.waits):
        effects.append(Lend(lent=bool(after.waits)))
    return tuple(effects)


def _at_work(state: Attempt, key: str, allowed: float) -> Attempt:
    dues = (*state.operation_dues, (key, state.active_at + allowed)) if allowed > 0 else state.operation_dues
    return replace(state, operations=(*state.operations, key), operation_dues=dues)


def _own(state: Attempt, key: str) -> str:
    """An id that a worker chose, made one of its own attempt: no worker can touch another one's rows."""
    prefix = f"{state.task}#{state.epoch}:"
    return key[:256] if key.startswith(prefix) else prefix + key[:NAME_CHARS_MAX]


_HASH = re.compile(r"[0-9a-f]{64}")


def _asked(state: Attempt, asked: rp.Asked, number: int, wall: float) -> Next:
    if any(ask.id == asked.id for ask in state.asks):
        return state, NOTHING
    deadline = None if asked.timeout_seconds is None else wall + asked.timeout_seconds
    schema = asked.schema if len(msgspec.msgpack.encode(asked.schema)) <= INLINE_BYTES_MAX else None
    body = ev.AskOpened(
        id=asked.id, question=clip(asked.question, NOTE_CHARS_MAX), kind=asked.kind[:NAME_CHARS_MAX],
        choices=tuple(clip(choice, NOTE_CHARS_MAX) for choice in asked.choices[:64]), deadline_at=deadline, report=number,
        schema=schema, default=None if asked.default is None else clip(asked.default, NOTE_CHARS_MAX),
    )  # fmt: skip
    after = replace(state, asks=(*state.asks, Ask(asked.id, kind=body.kind, choices=body.choices)))
    return after, Decision((body,), _places(state, after))


def _outcome(state: Attempt, outcome: rp.Outcome, number: int) -> Next:
    if state.outcome is not None:
        return state, NOTHING
    if len(msgspec.msgpack.encode(outcome.result)) > 2 * INLINE_BYTES_MAX:
        outcome = replace(
            outcome,
            outcome="failed",
            reason=FailureReason.RAISED,
            result=None,
            error="the result is too large; leave it as a file",
        )
    if is_deep(outcome.result):
        outcome = replace(
            outcome, outcome="failed", reason=FailureReason.NOT_JSON, result=None, error="the result is nested too deeply"
        )
    # Redacted once, before anything is kept: whatever is made of the outcome later has no secrets either.
    outcome = replace(
        outcome, result=redact_value(outcome.result), error=clip(outcome.error, NOTE_CHARS_MAX),
        reason=outcome.reason[:NAME_CHARS_MAX], error_class=outcome.error_class[:256],
        warnings=tuple(clip(text, NOTE_CHARS_MAX) for text in outcome.warnings[:WARNINGS_MAX]),
    )  # fmt: skip
    state = replace(state, outcome=outcome, finishing=True, status=AttemptStatus.ENDING)
    body = ev.AttemptOutcome(
        outcome=outcome.outcome, error=outcome.error, reason=outcome.reason, result=outcome.result,
        result_path=outcome.result_path, report=number, exit_code=outcome.exit_code, error_class=outcome.error_class,
        warnings=outcome.warnings,
    )  # fmt: skip
    state, raised = watch.warn(state, outcome.warnings)
    # The worker goes by itself now, within EXIT_SECONDS; one that has nothing more to do is helped before that (`_drain`).
    quiet = AlarmAt(state.active_at + DRAIN_SECONDS)
    return state, Decision((body, *raised), (EndWorker(EXIT_SECONDS, TERM_SECONDS_GRACEFUL), quiet))


def _drain(state: Attempt, at: float) -> tuple[Attempt, Effects]:
    """The final drain: a worker that has said how it ended and gives no sign any more is ended; that is no failure."""
    if state.outcome is None or state.drained or state.cancel is not None:
        return state, ()
    quiet_at = state.active_at + DRAIN_SECONDS
    if at < quiet_at or state.operations:
        return state, (AlarmAt(max(quiet_at, at + DRAIN_SECONDS / 2)),)
    return replace(state, drained=True), (EndWorker(0.0, TERM_SECONDS_GRACEFUL),)


def _started(state: Attempt, body: ev.AttemptStarted, at: float) -> Next:
    """The process exists. Heard again after every new guardian: an end that was ordered is ordered again.

    Most workers say their first word within a moment: then both are recorded at once.
    """
    state, events, effects = _found_born(state, at)
    if state.pid != body.pid:
        if state.capabilities is None and state.cancel is None and not events:
            state = replace(state, process=body, process_by=at + PROCESS_SECONDS)
            effects.append(AlarmAt(state.process_by))
        else:
            events.append(body)
    state = replace(state, spawned=True, pid=body.pid)
    if state.cancel is not None:
        effects.append(_ladder(state.cancel))
    elif state.outcome is not None or state.start_failed or state.limit:
        effects.append(EndWorker(EXIT_SECONDS if state.outcome else 0.0, TERM_SECONDS_GRACEFUL))
    return state, Decision(tuple(events), tuple(effects))


# -- the end --------------------------------------------------------------------------------------------------------


def _cancel_order(cancel: CancelInfo) -> rp.CancelOrder:
    return rp.CancelOrder(
        reason=cancel.reason,
        mode="now" if cancel.mode == "now" else "graceful",
        grace_seconds=cancel.grace_seconds,
        intent=cancel.intent,
    )


def _ladder(cancel: CancelInfo) -> EndWorker:
    if cancel.mode == "now":
        return EndWorker(0.0, TERM_SECONDS_NOW)
    return EndWorker(cancel.grace_seconds, TERM_SECONDS_GRACEFUL, whole=True)


def _cancel(state: Attempt, cancel: CancelInfo) -> Next:
    if state.cancel is not None and not faster(cancel, state.cancel):
        return state, NOTHING
    if state.outcome is not None:  # it has ended by its own word: nothing is left to cancel, its processes go faster
        return state, Decision(effects=(_ladder(cancel),))
    if not state.reserved:  # the reservation is on its way to the disk: `Reserved` or `NotReserved` finds the tombstone
        return replace(state, cancel=cancel), NOTHING
    if not state.spawned:
        state, decision = _finish(replace(state, cancel=cancel), AttemptStatus.CANCELLED, reason=cancel.reason)
        return state, replace(decision, events=(ev.AttemptCancelRequested(cancel=cancel), *decision.events))
    state = replace(state, cancel=cancel, status=AttemptStatus.ENDING, start_by=None)
    effects: tuple[AttemptEffect, ...] = (Say(_cancel_order(cancel), urgent=True), _ladder(cancel))
    return state, Decision((ev.AttemptCancelRequested(cancel=cancel),), effects)


def _ended(state: Attempt, exited: Exited, last_words: tuple[rp.Report, ...], wall: float) -> Next:
    state, events, _ = _found_born(state, state.heard_at)
    for report in last_words:
        if report.number == state.reports + 1:
            state, decision = _take_report(replace(state, reports=report.number), report, wall)
            events += decision.events
    status, reason, error = verdict(state, exited)
    state, decision = _finish(state, status, reason=reason, error=error, exited=exited)
    return state, replace(decision, events=(*events, *decision.events))


def _signal(state: Attempt, order: Signal) -> Next:
    """Somebody sends a signal: to the worker's own process (of a command: the command's), or to all that it has started."""
    if state.pid is None or state.outcome is not None or state.capabilities is None:
        return state, Decision(effects=(TellRefused(order.caller, "the worker is not at work", RefusalReason.NOT_RUNNING),))
    signalled = ev.AttemptSignalled(number=order.number, tree=order.tree, by=order.requester)
    send = SignalWorker(state.command or state.pid, order.number, order.tree)
    return state, Decision((signalled,), (send, TellDone(order.caller)))


def _unknown(state: Attempt, number: int | None, *, unborn: bool) -> Next:
    """The guardian has no such worker. An order to start it that was never carried out is given now.

    A worker that had been started is lost. It may have been started though only its reservation is on the disk: the order
    to start it leaves before the event that says so is durable (docs/decisions/0012).
    """
    if not state.reserved or (number is not None and not state.questions_before_spawn < number <= state.questions):
        return state, NOTHING  # an answer to a question before the order, or to none
    if state.cancel is not None:
        return _finish(state, AttemptStatus.CANCELLED, reason=state.cancel.reason)
    unborn = unborn and number is not None  # else it answers an order to end it, which is over
    if unborn and state.status is AttemptStatus.RESERVED:
        return _reserved(replace(state, spawned=False, start_by=None))
    if unborn and state.status is AttemptStatus.STARTING and state.pid is None:
        return replace(state, questions_before_spawn=state.questions), Decision(effects=(SpawnWorker(),))
    if state.limit or (state.outcome is not None and state.outcome.outcome != "cancelled"):
        status, reason, error = verdict(
            state, Exited(state.task, state.epoch)
        )  # what is recorded counts, though nobody saw the end
        return _finish(state, status, reason=reason, error=error)
    return _finish(state, AttemptStatus.LOST, reason=FailureReason.LOST, error="the worker was gone when crewd came back")


def _finish(state: Attempt, status: AttemptStatus, *, reason: str = "", error: str = "", exited: Exited | None = None) -> Next:
    """The one place that writes the terminal event, after everything that was open has been closed."""
    cancelled = status in {AttemptStatus.CANCELLED, AttemptStatus.CANCEL_INCOMPLETE}
    heard_out = state.capabilities is None or state.outcome is not None
    box, settled = state.mailbox.settle_rest(state.task, cancelled=cancelled, heard_out=heard_out)
    asks = [ev.AskClosed(id=ask.id, outcome="cancelled") for ask in state.asks]
    why = reason or FailureReason.VANISHED
    operations = [
        ev.OperationClosed(id=key, outcome="cancelled" if cancelled else "failed", reason=why, synthetic=True)
        for key in state.operations
    ]
    operations += [ev.OperationClosed(id=key, outcome="skipped", reason=why, synthetic=True) for key, _ in state.queued]
    ended = ev.AttemptEnded(
        status=status,
        reason=reason,
        error=clip(error, NOTE_CHARS_MAX),
        survivors=exited.survivors if exited else (),
        exit=_exit(state, exited),
        error_class=state.outcome.error_class[:256] if state.outcome is not None else "",
    )
    notices = watch.close_all(state)
    state, process = _take_process(state)
    state = replace(
        state,
        mailbox=box,
        asks=(),
        operations=(),
        queued=(),
        status=status,
        connected=False,
        start_by=None,
        look_at=None,
        notices=(),
    )
    state, told = ms.tell_withdrawals(state)
    effects: Effects = (*told, Confirm(), TellRun(ended)) if exited else (*told, TellRun(ended))
    return state, Decision((*process, *settled, *asks, *operations, *notices, ended), effects)


def _exit(state: Attempt, exited: Exited | None) -> ExitStatus:
    """The exit of the first process; of a command, what the command itself exited with."""
    status = exited.exit if exited is not None else ExitStatus()
    outcome = state.outcome
    return replace(
        status, cancelled=state.cancel is not None, timed_out=state.limit or status.timed_out,
        code=outcome.exit_code if outcome is not None and outcome.exit_code is not None else status.code,
    )  # fmt: skip


def _due(state: Attempt, at: float) -> Next:
    state, decision = ms.take_back(state, state.mailbox.expired(at), "expired")
    if state.process is not None and at >= state.process_by:
        state, process = _take_process(state)
        decision = replace(decision, events=(*process, *decision.events))
    effects = list(decision.effects)
    if state.start_by is not None and at >= state.start_by:
        state, late = _start_late(state, at)
        effects += late
    state, drains = _drain(state, at)
    effects += drains
    decision = replace(decision, effects=tuple(effects))
    if state.look_at is not None and at >= state.look_at:
        return _and(replace(state, look_at=None), decision, watch.look, at)
    return state, decision
