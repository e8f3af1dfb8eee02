"""What people ask of a run beside messages: to end it, take it up again, signal it, claim its tasks, see its dead letters.

Tests: tests/test_claims.py, tests/test_ownership.py.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from crewd.model.errors import Conflict, Forbidden, InvariantError, Refused, UsageError
from crewd.model.events import Draft, RunHookRan, TaskEnded
from crewd.model.limits import GRACE_SECONDS_SHORT, NOTE_CHARS_MAX
from crewd.model.reasons import BlockReason, CancelReason, RefusalReason
from crewd.model.redact import DEPTH_MAX, clip, is_deep, redact_value
from crewd.model.rows import CancelInfo, Progress
from crewd.model.statuses import RunStatus, TaskStatus
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.store.messages import Known, NewHooks, Put, Rejected
from crewd.supervisor import commands as cm
from crewd.supervisor.directory import STORE
from crewd.supervisor.run import again, claims
from crewd.supervisor.run import events as heard
from crewd.supervisor.run.mailing import Mailing
from crewd.supervisor.run.shell import AnswerRecorded, AnswerWith, LeaveOutput, RunShell


def carry_out(shell: RunShell, mailing: Mailing, command: cm.Command) -> None:
    """Carry out a command. Raises CrewdError for its caller."""
    request = command.request
    if isinstance(request, rq.ForFront):
        raise InvariantError(f"a run does not carry out {type(request).__name__}")
    match request:
        case rq.Send():
            mailing.post(command, request)
        case rq.Withdraw():
            mailing.take_back(command, request)
        case rq.Cancel():
            _cancel(shell, command, request)
        case rq.Reopen() if _is_done(shell.run.orders, _order(request, command.task)):
            _keep_secrets(shell, request)
            shell.record([], [AnswerWith(command.caller, rq.Show(target=shell.id))])
        case rq.Approve() | rq.Dismiss() if _is_done(shell.run.orders, _order(request, command.task)):
            shell.record([], [AnswerWith(command.caller, rl.Done())])
        case rq.Reopen():
            _reopen(shell, command, request)
        case rq.Signal(number=number, tree=tree):
            _signal(shell, command, number, tree=tree)
        case rq.Dismiss(intent=intent):
            before = shell.run
            shell.feed(heard.Dismiss(command.task, command.caller.owner, intent, _order(request, command.task)))
            if shell.run is before:
                raise Refused("there is no dead letter here", hint="crew dead lists them", reason="nothing_to_do")
            shell.record([], [AnswerWith(command.caller, rl.Done())])
        case rq.TellHooks(hooks=hooks):
            told = [Draft(RunHookRan(each, command.caller.owner), shell.id) for each in hooks]
            guard = NewHooks(shell.id, request.id) if request.id else None

            def kept_out(answer: Known | Rejected) -> None:
                shell.respond(command.caller, rl.Done() if isinstance(answer, Known) else answer.error)

            shell.record(told, [AnswerWith(command.caller, rl.Done())], guard=guard, refused=kept_out)
        case rq.Approve():
            _approve(shell, command, request)
        case rq.Claim() | rq.Release() | rq.Finish():
            _claim(shell, command, request)
        case _:
            assert_never(request)


def _order(request: rq.Reopen | rq.Approve | rq.Dismiss, task: str) -> str:
    """The request's id and what it asks, for whom; empty for one without an id."""
    if not request.id:
        return ""
    match request:
        case rq.Reopen(kind=kind):
            asked: str = kind
        case rq.Approve(approved=approved):
            asked = "approve" if approved else "reject"
        case rq.Dismiss():
            asked = "dismiss"
        case _:
            assert_never(request)
    return f"{request.id} {asked} {task}".rstrip()


def _is_done(orders: tuple[str, ...], order: str) -> bool:
    """Whether this request was carried out. Raises Conflict if another one was that had its id."""
    key = order.partition(" ")[0]
    before = next((each for each in orders if order and each.partition(" ")[0] == key), "")
    if before not in {"", key, order}:  # of what an older crewd has carried out only the id is known
        asked = before.partition(" ")[2]
        raise Conflict(f"request id {key} was used for another request: {asked}", hint="use a new id", message_id=key)
    return bool(before)


def _cancel(shell: RunShell, command: cm.Command, cancel: rq.Cancel) -> None:
    info = CancelInfo(
        reason=cancel.reason,
        mode=cancel.mode,
        grace_seconds=cancel.grace_seconds or 0.0,
        intent=cancel.intent,
        requester=command.caller.owner,
        requested_at=shell.services.clock.wall(),
    )
    run = shell.run
    task = run.task(command.task) if command.task else None
    has_ended = run.over if task is None else task.over
    if command.task and len(run.tasks) > 1:
        shell.feed(heard.CancelTask(command.task, info))
    else:  # a run of one worker and the worker are the same thing to a caller that cancels it
        shell.feed(heard.CancelRun(info))
    if not cancel.wait:
        shell.record([], [AnswerWith(command.caller, rl.Done())])
    elif has_ended:
        shell.record([], [AnswerWith(command.caller, cm.HasEnded())])
    else:
        shell.record([], [AnswerRecorded(command.caller)])


def _reopen(shell: RunShell, command: cm.Command, order: rq.Reopen) -> None:
    """Queue again what was chosen. Refused if there is nothing to do."""
    before, row = shell.run, shell.row
    if lacking := [name for name in shell.services.vault.lacks(shell.id, row.secrets) if name not in order.secrets]:
        given = " ".join(f"--secret {name}" for name in lacking)
        hint = f"their values are not kept, give them again: crew {order.kind} RUN {given}"
        raise Refused(f"the run needs the secrets {', '.join(lacking)}", hint=hint, reason="secrets")
    _keep_secrets(shell, order)
    if before.status is RunStatus.CANCEL_INCOMPLETE:
        raise Refused("processes of this run may still live", hint="crew show names them; end them, then start the run again")
    if before.being_cancelled:
        raise Refused("the run is being cancelled", hint="wait for its end, then crew resume")
    if before.over and before.budget_used:
        raise Refused(before.budget_used, hint="start another run, with a larger budget", reason=RefusalReason.BUDGET_USED)
    if (first := again.to_do_before(before, command.task)) is not None:
        step = first.id.partition("/")[2]
        hint = f"take that up first: crew resume {row.name}/{step}, or all of it: crew resume {row.name}"
        raise Refused(f"it depends on {step}, which is {first.status}", hint=hint, reason="nothing_to_do")
    shell.feed(
        heard.Reopen(order.kind, shell.now(), command.task, command.caller.owner, order.intent, _order(order, command.task))
    )
    if shell.run is before and before.over:
        hint = "crew resume takes up what was cancelled" if order.kind == "retry" else "crew run or exec starts it again"
        what = "has failed or is parked" if order.kind == "retry" else "was cancelled, has failed or was skipped"
        raise Refused(f"nothing here {what}", hint=hint, reason="nothing_to_do")
    if shell.run is before:
        hint = "crew show tells how it stands"
        raise Refused(f"nothing changed: {row.name} is {before.status}", hint=hint, reason="nothing_to_do")
    shell.record([], [AnswerWith(command.caller, rq.Show(target=shell.id))])


def _keep_secrets(shell: RunShell, order: rq.Reopen) -> None:
    named = {*shell.row.secrets, *shell.row.passed}
    shell.services.vault.put(shell.id, {name: value for name, value in order.secrets.items() if name in named})


def _approve(shell: RunShell, command: cm.Command, order: rq.Approve) -> None:
    """A blocked run goes on, or ends."""
    run, wall = shell.run, shell.services.clock.wall()
    if command.caller.worker or order.parent_token:
        raise Forbidden("a worker cannot approve", hint="people and leaders outside of the run can: crew approve")
    if not run.blocks or run.over:
        raise Refused(
            f"nothing blocks the run: it is {run.status}", hint="crew show tells how it stands", reason="nothing_to_do"
        )
    if not order.approved:
        cancel = CancelInfo(
            reason=CancelReason.REJECTED, grace_seconds=GRACE_SECONDS_SHORT, intent=order.intent,
            requester=command.caller.owner, requested_at=wall,
        )  # fmt: skip
        shell.feed(heard.CancelRun(cancel, _order(order, "")))
    elif not run.execution and any(each.reason == BlockReason.EXECUTION_OFF for each in run.blocks):
        hint = "set execution = true in crewd.toml, and start crewd again: the run goes on then"
        raise Refused("crewd starts no workers here", hint=hint, reason=BlockReason.EXECUTION_OFF)
    else:
        shell.feed(heard.Approve(shell.now(), command.caller.owner, order.intent, _order(order, "")))
    shell.record([], [AnswerWith(command.caller, rl.Done())])


def _signal(shell: RunShell, command: cm.Command, number: int, *, tree: bool) -> None:
    """A signal for a worker that lives; nobody else gets it."""
    task = shell.target(command.task)
    controller = shell.controller(task)
    if controller is None or not task.live:
        raise Refused(f"{task.id} is {task.status}: no process gets the signal", reason=RefusalReason.NOT_RUNNING)
    if not controller.offer(cm.SendSignal(number, tree, command.caller, command)):
        shell.put_off(command)


def _claim(shell: RunShell, command: cm.Command, request: rq.Claim | rq.Release | rq.Finish) -> None:
    """Somebody else carries out a task, gives it back, or says how it has ended."""
    run, wall, now = shell.run, shell.services.clock.wall(), shell.now()
    if not command.task and len(run.tasks) > 1:
        steps = ", ".join(task.id.partition("/")[2] for task in run.tasks)
        raise UsageError("a claim is of one task", hint=f"name it as RUN/STEP; steps: {steps}")
    key = command.task or next(iter(run.tasks)).id
    holder = claims.Holder(command.caller.owner, command.digest)
    reply: rl.Reply = rl.Done()
    match request:
        case rq.Claim(seconds=seconds):
            after = claims.claim(run, key, holder, seconds, now, wall)
            reply = rl.ClaimReply(task=key, until=wall + seconds)
        case rq.Release():
            after = claims.release(run, key, holder, now)
        case rq.Finish(result=result) if is_deep(result):
            raise UsageError("the result is nested too deeply", hint=f"at most {DEPTH_MAX} lists and dicts in each other")
        case rq.Finish(outcome=outcome, result=result, error=error):
            status = TaskStatus.COMPLETED if outcome == "completed" else TaskStatus.FAILED
            error, result = clip(error, NOTE_CHARS_MAX), redact_value(result)
            ended = TaskEnded(status=status, reason=f"claimed by {holder.owner}", error=error, result=result)
            after = claims.finish(run, key, holder, ended, now)
        case _:
            assert_never(request)
    shell.decided(*after)
    if isinstance(request, rq.Finish) and request.outcome == "completed":
        shell.record([], [LeaveOutput(key, redact_value(request.result))])
    shell.record([], [AnswerWith(command.caller, reply)])
    if isinstance(request, rq.Claim) and request.note:
        show_progress(shell, key, request.note)


def show_progress(shell: RunShell, key: str, note: str) -> None:
    """What the holder of a task says that it is doing; nothing, when it holds it no more."""
    task = shell.run.task(key)
    epoch = 0 if task is None else task.epoch
    progress = Progress(task=key, epoch=epoch, note=clip(note, NOTE_CHARS_MAX), at=shell.services.clock.wall())
    value = msgspec.msgpack.encode(progress) if note else None
    shell.services.directory.part(STORE).offer(Put(f"progress:{key}", value))
