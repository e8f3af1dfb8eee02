"""Tasks that somebody else carries out: claims, their leases, and how they end. Pure.

Rule 1: a task has one holder at most, who proves it with a token; while the lease runs crewd does not start the task.
Rule 2: a lease that runs out gives the task back; whoever held it can neither release nor finish it any more.
Rule 3: what is meant for others (`outside`) anybody may claim who may send messages; another task only its run's owner.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.errors import Conflict, Refused
from crewd.model.reasons import NoticeKind
from crewd.model.rows import ClaimInfo
from crewd.model.statuses import TaskStatus
from crewd.supervisor.run import decide as rn

CLAIMABLE = frozenset({TaskStatus.QUEUED, TaskStatus.BACKOFF, TaskStatus.PARKED})


class Holder(msgspec.Struct, frozen=True):
    """Who claims to hold a task: the owner id, and the digest of the token (which nothing keeps)."""

    owner: str
    digest: str


def claim(run: rn.Run, key: str, holder: Holder, seconds: float, at: float, wall: float) -> rn.Next:
    """Claim a task, or renew the claim that one holds. Raises Conflict naming the holder, or Refused."""
    task = _task(run, key)
    held = task.status is TaskStatus.CLAIMED
    if held and task.claim is not None and not _is(task.claim, holder):
        raise Conflict(f"{key} is claimed by {task.claim.owner}", hint="wait for its release, or for its lease to run out")
    run = replace(run, now=max(run.now, at))
    events: list[rn.Recorded] = []
    effects: list[rn.RunEffect] = [rn.AlarmAt(at + seconds)]
    if not held:
        _check_ready(run, task)
        run, events, alarms = rn.begun(run)
        effects += alarms
        if task.notice:
            events.append(rn.Recorded(ev.NoticeClosed(id=task.notice), key))
    info = ClaimInfo(holder.owner, holder.digest, wall + seconds)
    task = replace(task, status=TaskStatus.CLAIMED, claim=info, due=at + seconds, notice="", in_a_row=0)
    return run.with_task(task), rn.Decision((*events, rn.Recorded(ev.TaskClaimed(claim=info), key)), tuple(effects))


def release(run: rn.Run, key: str, holder: Holder, at: float) -> rn.Next:
    """Give a task back: it is queued again. One that waits for somebody already is left so. Raises Refused otherwise."""
    waiting = run.task(key)
    if waiting is not None and waiting.status is TaskStatus.QUEUED and not run.over:
        return run, rn.NOTHING
    task = _held(run, key, holder)
    return rn.unclaimed(replace(run, now=max(run.now, at)), [task.id], "released")


def finish(run: rn.Run, key: str, holder: Holder, ended: ev.TaskEnded, at: float) -> rn.Next:
    """Say how a task that one holds has ended; said again it changes nothing. Raises Refused if one does not hold it."""
    before = run.task(key)
    if before is not None and before.status is ended.status and before.claim is not None and _is(before.claim, holder):
        return run, rn.NOTHING
    task = _held(run, key, holder)
    events = [rn.Recorded(ended, key)]
    notice = ""
    if ended.status is TaskStatus.FAILED:
        notice = f"{key}#{task.epoch}:{NoticeKind.DEAD_LETTER}"
        text = f"{ended.reason}: {ended.error}"
        events.append(rn.Recorded(ev.NoticeRaised(id=notice, kind=NoticeKind.DEAD_LETTER, text=text), key))
    run, settled = rn.ended(run, task, ended.status, notice)
    return rn.go_on(replace(run, now=max(run.now, at)), [*settled, *events])


def _task(run: rn.Run, key: str) -> rn.Task:
    task = run.task(key)
    if task is None or run.over or run.cancel is not None:
        raise Refused(f"the run of {key} is over or being cancelled", hint="crew show tells how it ended")
    return task


def _check_ready(run: rn.Run, task: rn.Task) -> None:
    if task.status not in CLAIMABLE:
        raise Refused(f"{task.id} is {task.status}", hint="a task that waits can be claimed")
    open_ = [name for name in task.depends_on if (each := run.task(name)) and each.status is not TaskStatus.COMPLETED]
    if open_:
        raise Refused(f"{task.id} waits for {', '.join(open_)}", hint="claim it when they are completed")


def _is(claim: ClaimInfo, holder: Holder) -> bool:
    return (claim.owner, claim.digest) == (holder.owner, holder.digest)


def _held(run: rn.Run, key: str, holder: Holder) -> rn.Task:
    task = _task(run, key)
    if task.status is not TaskStatus.CLAIMED or task.claim is None:
        raise Refused(f"{key} is not yours: nobody has claimed it, or the lease has run out", hint=f"crew claim {key}")
    if not _is(task.claim, holder):
        raise Refused(f"{key} is not yours: it is claimed by {task.claim.owner}", hint="the token is what crew claim printed")
    return task
