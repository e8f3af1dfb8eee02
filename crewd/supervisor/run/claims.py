"""Tasks that somebody else carries out: claims, their leases, and how they end. Pure.

Rule 1: a task has one holder at most, who proves it with a token; while the lease runs crewd does not start the task.
Rule 2: a lease that runs out gives the task back; its last holder can neither release nor finish it any more.
Rule 3: what is meant for others (`outside`) anybody may claim who may send messages; another task only its run's owner.

Tests: tests/supervisor/run/test_phases.py.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.errors import Conflict, Refused
from crewd.model.reasons import NoticeKind
from crewd.model.rows import ClaimInfo
from crewd.model.statuses import TaskStatus
from crewd.supervisor.run import blocks, planned, turns
from crewd.supervisor.run.effects import NOTHING, AlarmAt, Decision, Recorded, RunEffect
from crewd.supervisor.run.phases import InBackoff, IsClaimed, IsOver, IsParked, IsQueued, digest_of
from crewd.supervisor.run.schedule import begun, ended, go_on
from crewd.supervisor.run.state import Next, Run, Task


class Holder(msgspec.Struct, frozen=True):
    """Who claims to hold a task: the owner id, and the digest of the token (which nothing keeps)."""

    owner: str
    digest: str


def claim(run: Run, key: str, holder: Holder, seconds: float, at: float, wall: float) -> Next:
    """Claim a task, or renew the claim that one holds. Raises Conflict naming the holder, or Refused."""
    task = _task(run, key)
    held = isinstance(task.phase, IsClaimed)
    if isinstance(task.phase, IsClaimed) and not _is(task.phase.claim, holder):
        hint = "wait for its release, or for its lease to run out"
        raise Conflict(f"{key} is claimed by {task.phase.claim.owner}", hint=hint)
    run = run.at(at)
    events: list[Recorded] = []
    effects: list[RunEffect] = [AlarmAt(at + seconds)]
    if not held:
        _check_ready(run, task)
        run, events, alarms = begun(run)
        effects += alarms
        if task.notice:
            events.append(Recorded(ev.NoticeClosed(id=task.notice), key))
    info = ClaimInfo(holder.owner, holder.digest, wall + seconds, seconds)
    task = replace(task, phase=IsClaimed(info, at + seconds), tried=replace(task.tried, quick=0), held_back=False)
    events += [] if held else turns.turn(run, task)
    return run.with_task(task), Decision((*events, Recorded(ev.TaskClaimed(claim=info), key)), tuple(effects))


def release(run: Run, key: str, holder: Holder, at: float) -> Next:
    """Give a task back: it is queued again. One that is queued already is left so. Raises Refused otherwise."""
    waiting = run.task(key)
    if waiting is not None and isinstance(waiting.phase, IsQueued) and not run.over:
        return run, NOTHING
    task, _ = _held(run, key, holder)
    return go_on(run.at(at).with_task(task.become(IsQueued())), [Recorded(ev.TaskUnclaimed(reason="released"), key)])


def lapse(run: Run) -> tuple[Run, list[Recorded]]:
    """Queue tasks again whose leases have run out."""
    events: list[Recorded] = []
    for task in run.tasks:
        if isinstance(task.phase, IsClaimed) and task.phase.due <= run.now:
            run = run.with_task(task.become(IsQueued()))
            events.append(Recorded(ev.TaskUnclaimed(reason="expired"), task.id))
    return run, events


def finish(run: Run, key: str, holder: Holder, said: ev.TaskEnded, at: float) -> Next:
    """Say how a task that one holds has ended; said again it changes nothing.

    Raises Refused if one does not hold it, Conflict if one has said something else before.
    """
    digest = digest_of(said.result, said.error)
    before = run.task(key)
    if before is not None and isinstance(before.phase, IsOver) and before.phase.status is said.status:
        mine = before.phase.claim
        if mine is not None and _is(mine, holder):
            if before.phase.said != digest:
                raise Conflict(f"{key} was finished with another result", hint="crew result prints what it has")
            return run, NOTHING
    task, claim = _held(run, key, holder)
    events = [Recorded(said, key)]
    notice = ""
    if said.status is TaskStatus.FAILED:
        notice = f"{key}#{task.epoch}:{NoticeKind.DEAD_LETTER}"
        text = f"{said.reason}: {said.error}"
        events.append(Recorded(ev.NoticeRaised(id=notice, kind=NoticeKind.DEAD_LETTER, text=text), key))
    run, settled = ended(run, task, IsOver(said.status, notice, claim, digest))
    if said.status is TaskStatus.COMPLETED:
        run, follows = planned.after_completion(run, task, said.result)
        events += follows
        run, follows = blocks.after_completion(run, task, observed=True)
        events += follows
    return go_on(run.at(at), [*settled, *events])


def _task(run: Run, key: str) -> Task:
    task = run.task(key)
    if task is None or run.over or run.cancel is not None:
        raise Refused(f"the run of {key} is over or being cancelled", hint="crew show tells how it ended")
    return task


def _check_ready(run: Run, task: Task) -> None:
    if not isinstance(task.phase, IsQueued | InBackoff | IsParked):
        raise Refused(f"{task.id} is {task.status}", hint="a task that waits can be claimed")
    open_ = [name for name in task.depends_on if (each := run.task(name)) and not each.completed]
    if open_:
        raise Refused(f"{task.id} waits for {', '.join(open_)}", hint="claim it when they are completed")
    if not blocks.may_start(run, task):
        raise Refused(f"the run of {task.id} is blocked: {run.blocks[0].text}", hint="crew approve, then claim it")
    if behind := turns.in_the_way(run, task):
        raise Refused(f"{task.id} may not run beside {', '.join(behind)}", hint="claim it when they have ended")


def _is(claim: ClaimInfo, holder: Holder) -> bool:
    return (claim.owner, claim.digest) == (holder.owner, holder.digest)


def _held(run: Run, key: str, holder: Holder) -> tuple[Task, ClaimInfo]:
    task = _task(run, key)
    if not isinstance(task.phase, IsClaimed):
        raise Refused(f"{key} is not yours: nobody has claimed it, or the lease has run out", hint=f"crew claim {key}")
    claim = task.phase.claim
    if not _is(claim, holder):
        raise Refused(f"{key} is not yours: it is claimed by {claim.owner}", hint="the token is what crew claim printed")
    return task, claim
