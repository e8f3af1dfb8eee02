"""What the machine of an attempt decides on the worker's own words: its hello and its numbered reports. Pure.

Tests: tests/supervisor/attempt/test_decide.py.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePath
from typing import assert_never

import msgspec
from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.hooks import HOOKS_MAX, HookRun
from crewd.model.limits import (
    ARTIFACT_BYTES_MAX,
    CHECKPOINT_BYTES_MAX,
    CHOICES_MAX,
    DRAIN_SECONDS,
    EXIT_SECONDS,
    INLINE_BYTES_MAX,
    NAME_CHARS_MAX,
    NOTE_CHARS_MAX,
    OPERATIONS_OPEN_MAX,
    TERM_SECONDS_GRACEFUL,
    WARNINGS_MAX,
)
from crewd.model.message_kinds import Purpose
from crewd.model.reasons import FailureReason, RefusalReason
from crewd.model.receipts import Outcome
from crewd.model.redact import clip, is_deep, redact_value
from crewd.protocol import reports as rp
from crewd.supervisor.admission import another_one
from crewd.supervisor.attempt import effects as do
from crewd.supervisor.attempt import messages, watch
from crewd.supervisor.attempt.effects import NOTHING, AttemptEffect, Decision, Effects
from crewd.supervisor.attempt.finish import cancel_order, recorded_process
from crewd.supervisor.attempt.phases import Cancelling, Reserving, StartTimedOut, with_outcome
from crewd.supervisor.attempt.start import found, said_hello
from crewd.supervisor.attempt.state import Attempt, Next, OpenOperation, OpenQuestion, Work


def connected(state: Attempt, hello: rp.WorkerHello, at: float) -> Next:
    """The worker says hello, on its first connection or on another one."""
    if isinstance(state.phase, Reserving):
        return state, NOTHING
    state = state.with_observed(heard_at=at, active_at=at)
    state, events, effects = found(state, at)
    state, process = recorded_process(state)
    events += process
    capabilities = tuple(name[:NAME_CHARS_MAX] for name in hello.capabilities[:16])
    command = max(0, hello.command)
    late = isinstance(state.phase, StartTimedOut)  # it is being ended, and the log must not say that it runs
    if state.contact.capabilities is None and not late:
        events.append(ev.AttemptReady(capabilities=capabilities, command=command))
    number, known = state.contact.number + 1, None if late else capabilities
    state = said_hello(state).with_contact(connected=True, number=number, capabilities=known, command=command)
    state, refused = _refuse_what_it_does_not_take(state, capabilities)
    effects += _greeting(state)
    return state, Decision((*events, *refused), tuple(effects))


def _refuse_what_it_does_not_take(state: Attempt, capabilities: tuple[str, ...]) -> tuple[Attempt, list[ev.MessageSettled]]:
    box = state.inbox.box
    unsupported = [mail.id for mail in box.to_deliver() if mail.needs and mail.needs not in capabilities]
    box, refused = box.settle(state.task, unsupported, Outcome.REFUSED, RefusalReason.NOT_SUPPORTED)
    for mail in box.to_deliver():
        other = another_one(mail, state.epoch, state.work.turn)
        if other is not None:
            box, more = box.settle(state.task, [mail.id], Outcome.REFUSED, other)
            refused += more
    return state.with_inbox(box=box), refused


def _greeting(state: Attempt) -> list[AttemptEffect]:
    """What a connection begins with: all that the worker may not have heard."""
    effects: list[AttemptEffect] = [do.Say(rp.WorkerWelcome(reports=state.contact.reports))]
    box = state.inbox.box
    if isinstance(state.phase, Cancelling):
        effects.append(do.Say(cancel_order(state.phase.cancel)))
    else:
        effects += messages.deliver(state, *(mail for mail in box.to_deliver() if not mail.recalled))
        effects += messages.deliver_unread(state, *state.inbox.unread)
    effects += [do.Say(rp.Recall(id=mail.id, outcome=mail.recalled)) for mail in box.mails if mail.recalled]
    if state.outcome is None and state.contact.reports:
        # A proposal to stop may be durable and its answer lost. A worker that is told to go on asks again when it is done.
        effects.append(do.Say(rp.StopGranted() if state.work.finishing else rp.StopDeferred()))
    return effects


def reported(state: Attempt, report: rp.Report, wall: float, at: float) -> Next:
    """A numbered report, at `at` (monotonic). Each number is taken once and acknowledged when it is durable."""
    if isinstance(state.phase, Reserving):
        return state, NOTHING
    observed = state.observed
    state = state.with_observed(heard_at=max(observed.heard_at, at), active_at=max(observed.active_at, at))
    before = state.contact.reports
    if report.number <= before:
        return state, Decision(effects=(do.Say(rp.Ack(upto=before)),))
    if report.number != before + 1:
        return state, NOTHING  # a frame before this one was lost; the worker sends both again when it reconnects
    state, first, effects = found(state, at)
    state, decision = take_report(state.with_contact(reports=report.number), report, wall)
    events = (*first, *decision.events)
    effects += decision.effects
    allowed = state.rules.limits.reports
    if allowed and report.number >= allowed and watch.watched(state):
        state, end = watch.hit(state, "reports", f"{report.number} reports, {allowed} are allowed")
        events, effects = (*events, *end.events), [*effects, *end.effects]
    # A report is recorded even if it changes nothing: after a restart the controller must know the last number.
    return state, replace(
        decision,
        events=events or (ev.ReportTaken(report=report.number),),
        effects=(*effects, do.Say(rp.Ack(upto=report.number))),
        causation=decision.causation or f"report:{report.number}",
    )


def take_report(state: Attempt, report: rp.Report, wall: float) -> Next:
    """What a report changes."""
    number = report.number
    match report.body:
        case rp.Delivered(key, effect):
            return messages.delivered(state, key, effect, number)
        case rp.Applied(key):
            return messages.applied(state, key, number)
        case rp.Returned(key, outcome):
            if state.inbox.box.get(key) is None:
                return state, NOTHING
            return messages.take_back(state, [key], outcome, number)
        case rp.Settled():
            return messages.settled_by_worker(state, report.body, number)
        case rp.Told():
            return messages.told(state, report.body, number)
        case rp.Read(key):
            return messages.read(state, key, number)
        case rp.Asked():
            return _asked(state, report.body, number, wall)
        case rp.AskOver():
            return _ask_over(state, report.body, number)
        case rp.OpOpened():
            return _opened(state, report.body, number)
        case rp.OpStarted(key):
            return _begun(state, _own(state, key), number)
        case rp.OpClosed():
            return _closed(state, report.body, number)
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
                return _left_out(state, f"a checkpoint was not kept: above {CHECKPOINT_BYTES_MAX} bytes, or nested too deeply")
            value = redact_value(value)
            saved = ev.CheckpointSaved(value=value, report=number)
            return state.with_work(checkpoint=value), Decision((saved,), (do.ShowCheckpoint(value),))
        case rp.Artifact():
            return _artifact(state, report.body, number)
        case rp.HookAsked():
            return state, Decision((_hook_ran(report.body.run, number),))
        case rp.StopProposed():
            return _stop_proposed(state, number)
        case rp.Outcome():
            return _outcome(state, report.body, number)
        case _:
            assert_never(report.body)


def _hook_ran(run: HookRun, number: int) -> ev.HookRan:
    changed = tuple(clip(name, NAME_CHARS_MAX) for name in run.changed[:HOOKS_MAX])
    name, note = clip(run.name, NAME_CHARS_MAX), clip(run.note, NOTE_CHARS_MAX)
    return ev.HookRan(run=replace(run, name=name, note=note, changed=changed), report=number)


# -- operations and questions ----------------------------------------------------------------------------------------


def _opened(state: Attempt, opened: rp.OpOpened, number: int) -> Next:
    key, work = _own(state, opened.id), state.work
    if work.operation(key) is not None or len(work.operations) >= OPERATIONS_OPEN_MAX:
        return state, NOTHING
    waits = opened.kind == rp.WAIT
    bound = 0.0 if waits else state.rules.limits.operation_seconds
    allowed = min(filter(None, (max(0.0, opened.seconds), bound)), default=0.0)
    operation = OpenOperation(key, allowed, queued=True)
    if not opened.queued:
        operation = _at_work(state, replace(operation, waits=waits))
    after = state.with_work(operations=(*work.operations, operation))
    body = ev.OperationOpened(
        id=key, kind=opened.kind[:64], name=opened.name[:256], report=number, seconds=allowed, queued=opened.queued,
        priority=opened.priority,
    )  # fmt: skip
    return after, Decision((body,), _places(state.work, after.work))


def _at_work(state: Attempt, operation: OpenOperation) -> OpenOperation:
    due = state.observed.active_at + operation.seconds if operation.seconds > 0 else None
    return replace(operation, queued=False, due=due)


def _begun(state: Attempt, key: str, number: int) -> Next:
    operation = state.work.operation(key)
    if operation is None or not operation.queued:
        return state, NOTHING
    begun = _at_work(state, operation)
    others = tuple(each for each in state.work.operations if each is not operation)
    return state.with_work(operations=(*others, begun)), Decision((ev.OperationStarted(id=key, report=number),))


def _closed(state: Attempt, closed: rp.OpClosed, number: int) -> Next:
    key, work = _own(state, closed.id), state.work
    operation = work.operation(key)
    if operation is None:
        return state, NOTHING
    failures = work.failures + 1 if closed.outcome == "failed" else work.failures if closed.outcome == "skipped" else 0
    after = state.with_work(
        operations=tuple(each for each in work.operations if each is not operation),
        failures=failures,
        ended_operations=work.ended_operations + (closed.outcome != "skipped"),
    )
    body = ev.OperationClosed(id=key, outcome=closed.outcome, reason=clip(closed.reason, NOTE_CHARS_MAX), report=number)
    return after, Decision((body,), _places(work, after.work))


def _asked(state: Attempt, asked: rp.Asked, number: int, wall: float) -> Next:
    if any(ask.id == asked.id for ask in state.work.asks):
        return state, NOTHING
    deadline = None if asked.timeout_seconds is None else wall + asked.timeout_seconds
    is_kept = not is_deep(asked.schema) and len(msgspec.msgpack.encode(asked.schema)) <= INLINE_BYTES_MAX
    schema = asked.schema if is_kept else None
    body = ev.AskOpened(
        id=asked.id, question=clip(asked.question, NOTE_CHARS_MAX), kind=clip(asked.kind, NAME_CHARS_MAX), deadline_at=deadline,
        choices=tuple(clip(choice, NOTE_CHARS_MAX) for choice in asked.choices[:CHOICES_MAX]), report=number,
        schema=schema, default=None if asked.default is None else clip(asked.default, NOTE_CHARS_MAX),
    )  # fmt: skip
    after = state.with_work(asks=(*state.work.asks, OpenQuestion(asked.id, kind=body.kind, choices=body.choices)))
    return after, Decision((body,), _places(state.work, after.work))


def _ask_over(state: Attempt, over: rp.AskOver, number: int) -> Next:
    work = state.work
    if all(ask.id != over.id for ask in work.asks):
        return state, NOTHING
    after = state.with_work(asks=tuple(ask for ask in work.asks if ask.id != over.id))
    body = ev.AskClosed(id=over.id, outcome=over.outcome, answered_by=over.answered_by, report=number)
    return after, Decision((body,), _places(work, after.work))


def _places(before: Work, after: Work) -> Effects:
    """What changes for the limits on workers when it begins to wait, or goes on."""
    effects: list[AttemptEffect] = []
    if before.waiting != after.waiting:
        effects.append(do.TellWaiting(waiting=after.waiting))
    if before.waits_for_workers != after.waits_for_workers:
        effects.append(do.Lend(lent=after.waits_for_workers))
    return tuple(effects)


def _own(state: Attempt, key: str) -> str:
    """An id that a worker chose, made one of its own attempt: no worker can touch another one's rows."""
    prefix = f"{state.task}#{state.epoch}:"
    return key[:256] if key.startswith(prefix) else prefix + key[:NAME_CHARS_MAX]


# -- files and the end -----------------------------------------------------------------------------------------------

_HASH = re.compile(r"[0-9a-f]{64}")


def _artifact(state: Attempt, said: rp.Artifact, number: int) -> Next:
    name = said.name
    wrong = _wrong_in(said)
    if wrong:
        return _left_out(state, f"the artifact {clip(name, 64)!r} was not recorded: {wrong}")
    recorded = ev.ArtifactRecorded(
        id=_own(state, said.id), name=name[:NAME_CHARS_MAX], path=said.path, sha256=said.sha256, size=said.size,
        mime=said.mime[:128], report=number, data=said.data, source=clip(said.source, NOTE_CHARS_MAX),
        redacted=said.redacted, retention=said.retention[:NAME_CHARS_MAX],
    )  # fmt: skip
    return state, Decision((recorded,))


def _wrong_in(said: rp.Artifact) -> str:
    """Why an artifact cannot be recorded; empty if it can."""
    if "/" in said.name or said.name.startswith("."):
        return "its name has a slash, or begins with a dot"
    if not 0 <= said.size <= ARTIFACT_BYTES_MAX:
        return f"its size is not 0 to {ARTIFACT_BYTES_MAX}"
    if len(said.data) > INLINE_BYTES_MAX:
        return f"its data has more than {INLINE_BYTES_MAX} bytes"
    if not _HASH.fullmatch(said.sha256):
        return "sha256 is no hash"
    if said.data and (len(said.data) != said.size or hashlib.sha256(said.data).hexdigest() != said.sha256):
        return "its data is not what size and sha256 say"
    return ""


def _left_out(state: Attempt, why: str) -> Next:
    """What a worker has reported cannot be kept: people are told."""
    state, raised = watch.warn(state, (why,))
    return state, Decision(tuple(raised))


def _stop_proposed(state: Attempt, number: int) -> Next:
    inbox = state.inbox
    if inbox.box.waiting_for_code() or any(mail.purpose is Purpose.WORK for mail in inbox.pending):
        return state, Decision(effects=(do.Say(rp.StopDeferred()),))
    if state.work.finishing:
        return state, Decision(effects=(do.Say(rp.StopGranted()),))
    granted = Decision((ev.AttemptFinishing(report=number),), (do.Say(rp.StopGranted()),))
    return state.with_work(finishing=True), granted


def _outcome(state: Attempt, outcome: rp.Outcome, number: int) -> Next:
    if state.outcome is not None:
        return state, NOTHING
    outcome = _kept(outcome)
    state, process = recorded_process(state)
    state = state.become(with_outcome(state.phase, outcome)).with_work(finishing=True)
    body = ev.AttemptOutcome(
        outcome=outcome.outcome, error=outcome.error, reason=outcome.reason, result=outcome.result,
        result_path=outcome.result_path, report=number, exit_code=outcome.exit_code, error_class=outcome.error_class,
        warnings=outcome.warnings,
    )  # fmt: skip
    state, raised = watch.warn(state, outcome.warnings)
    # The worker goes by itself now, within EXIT_SECONDS; one that has nothing more to do is helped before that (`drain`).
    quiet = do.AlarmAt(state.observed.active_at + DRAIN_SECONDS)
    return state, Decision((*process, body, *raised), (do.EndWorker(EXIT_SECONDS, TERM_SECONDS_GRACEFUL), quiet))


def in_its_place(report: rp.Report, directory: str) -> rp.Report:
    """The report; an outcome whose `result_path` is no file for a result in the attempt's directory is a failed one.

    Nobody looks here whether the file is there: the files of workers are asked of the guardian, when they are read.
    """
    outcome = report.body
    if not isinstance(outcome, rp.Outcome) or not outcome.result_path:
        return report
    path = PurePath(outcome.result_path)
    if path.name in rp.RESULT_FILES and path.parent == PurePath(directory):
        return report
    error = f"result_path is {clip(str(path), 200)!r}, and not the file result.json in the directory of the attempt"
    failed = replace(outcome, outcome="failed", reason=FailureReason.OUTPUT_LOST, result_path="", error=error)
    return replace(report, body=failed)


def _kept(outcome: rp.Outcome) -> rp.Outcome:
    """The outcome as it is kept: bounded, and redacted once, before anything is made of it."""
    if len(msgspec.msgpack.encode(outcome.result)) > 2 * INLINE_BYTES_MAX:
        error = "the result is too large; leave it as a file"
        outcome = replace(outcome, outcome="failed", reason=FailureReason.TOO_LARGE, result=None, error=error)
    if is_deep(outcome.result):
        error = "the result is nested too deeply"
        outcome = replace(outcome, outcome="failed", reason=FailureReason.NOT_JSON, result=None, error=error)
    return replace(
        outcome, result=redact_value(outcome.result), error=clip(outcome.error, NOTE_CHARS_MAX),
        reason=clip(outcome.reason, NAME_CHARS_MAX), error_class=clip(outcome.error_class, 256),
        warnings=tuple(clip(text, NOTE_CHARS_MAX) for text in outcome.warnings[:WARNINGS_MAX]),
    )  # fmt: skip
