"""What blocks a run, and what it may start meanwhile. Pure.

Rule 1: a blocked run orders no start; what it ordered before (it may wait for a slot) is started. One whose plan is to be
approved starts steps that declare shared access; one whose plan was not taken starts the step that has made it, for a message
that asks for another plan.
Rule 2: a block stands until somebody approves, however long that takes and whatever is restarted; only its run's end ends it.
Rule 3: a run does not end while it is blocked, unless it is cancelled or nothing is left that an approval would start.
Rule 4: a plan that somebody has approved of stays so; the plan of another attempt is another one.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.green import VERIFY_SUFFIX
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.reasons import BlockReason, NoticeKind
from crewd.model.redact import clip
from crewd.model.rows import BlockInfo
from crewd.model.statuses import RunStatus
from crewd.supervisor.run.effects import Recorded
from crewd.supervisor.run.phases import AT_REST
from crewd.supervisor.run.state import Run, Task


def may_start(run: Run, task: Task) -> bool:
    """Whether what blocks the run lets this task start."""
    return all(_lets(block, task) for block in run.blocks)


def _lets(block: BlockInfo, task: Task) -> bool:
    if block.reason == BlockReason.PLAN_APPROVAL:
        return task.access == "shared"
    return block.reason == BlockReason.PLAN_UNFIT and block.task == task.id


def block(run: Run, reason: BlockReason, text: str, task: Task | None = None) -> tuple[Run, list[Recorded]]:
    """Block a run that has begun. Said again of the same task and the same reason it changes nothing."""
    key = "" if task is None else task.id
    if any((each.reason, each.task) == (reason, key) for each in run.blocks):
        return run, []
    notice = f"{key or run.id}#{0 if task is None else task.epoch}:{reason}"
    ways = f"crew approve {run.id} lets it go on, crew reject {run.id} ends it"
    if reason is BlockReason.HOOK:
        ways = f"crew approve {run.id} starts the step and asks its hooks again, crew reject {run.id} ends the run"
    says = f"{text}; {'set it to true and start crewd again' if reason is BlockReason.EXECUTION_OFF else ways}"
    info = BlockInfo(reason, clip(says, NOTE_CHARS_MAX), notice, key)
    raised = ev.NoticeRaised(id=notice, kind=NoticeKind.BLOCKED, text=info.text)
    run = replace(run, status=RunStatus.BLOCKED, blocks=(*run.blocks, info))
    return run, [Recorded(ev.RunBlocked(block=info)), Recorded(raised)]


def unblock(run: Run, requester: str, intent: str = "") -> tuple[Run, list[Recorded]]:
    """Let a blocked run go on, by somebody who approves of what blocks it."""
    plans = [each for each in run.blocks if each.reason in {BlockReason.PLAN_APPROVAL, BlockReason.PLAN_UNFIT}]
    approved = tuple(dict.fromkeys(map(attempt_of, plans)))
    unblocked = Recorded(ev.RunUnblocked(requester=requester, intent=intent, approved=approved))
    closed = _closed(run.blocks)
    run = replace(run, status=RunStatus.RUNNING, blocks=(), approved=(*run.approved, *approved))
    return run, [unblocked, *closed]


def by_itself(run: Run) -> tuple[Run, list[Recorded]]:
    """What crewd blocks and unblocks by itself: workers are started again; a plan is there that nobody has approved of."""
    events: list[Recorded] = []
    off = [each for each in run.blocks if each.reason == BlockReason.EXECUTION_OFF] if run.execution else []
    if off:
        left = tuple(each for each in run.blocks if each not in off)
        run = replace(run, status=RunStatus.BLOCKED if left else RunStatus.RUNNING, blocks=left)
        events += [Recorded(ev.RunUnblocked(requester="crewd", reasons=(BlockReason.EXECUTION_OFF,))), *_closed(off)]
    if not run.planned or run.cancel is not None:
        return run, events
    if not any(isinstance(each.phase, AT_REST) and each.access != "shared" for each in run.tasks):
        return run, events
    for task in run.tasks:
        if task.plans and task.completed and f"{task.id}#{task.epoch}" not in run.approved:
            step = task.id.partition("/")[2].removesuffix(VERIFY_SUFFIX)
            run, more = block(run, BlockReason.PLAN_APPROVAL, f"the plan of step {step} is to be approved", task)
            events += more
    return run, events


def lifted(run: Run, reason: BlockReason, task: Task) -> tuple[Run, list[Recorded]]:
    """Without a block of this reason and task, if there is one: what it was about is there now."""
    past = [each for each in run.blocks if (each.reason, each.task) == (reason, task.id)]
    if not past:
        return run, []
    left = tuple(each for each in run.blocks if each not in past)
    run = replace(run, status=RunStatus.BLOCKED if left else RunStatus.RUNNING, blocks=left)
    return run, [Recorded(ev.RunUnblocked(requester="crewd", reasons=(reason,), task=task.id)), *_closed(past)]


def attempt_of(block: BlockInfo) -> str:
    """The attempt that a block is about, as `task#epoch`."""
    return block.notice.rpartition(":")[0]


def over(run: Run) -> tuple[Run, list[Recorded]]:
    """The run ends: what has blocked it is of the past."""
    return replace(run, blocks=()), _closed(run.blocks)


def nothing_to_approve(run: Run) -> bool:
    """Whether each block is about what would start next. Once nothing is left to start, it stands for nothing."""
    return all(each.reason not in {BlockReason.INEFFECTIVE, BlockReason.PLAN_UNFIT} for each in run.blocks)


def after_completion(run: Run, task: Task, *, observed: bool) -> tuple[Run, list[Recorded]]:
    """What follows from a task that is completed and of whose work nothing was seen."""
    if run.cancel is not None or observed or task.guard not in {"warn", "block"}:
        return run, []
    text = nothing_seen(task)
    if task.guard == "block":
        return block(run, BlockReason.INEFFECTIVE, text, task)
    notice = f"{task.id}#{task.epoch}:{NoticeKind.INEFFECTIVE}"
    raised = ev.NoticeRaised(id=notice, kind=NoticeKind.INEFFECTIVE, text=text)  # news, and nothing that stands
    return run, [Recorded(raised, task.id), Recorded(ev.NoticeClosed(id=notice), task.id)]


def nothing_seen(task: Task) -> str:
    """What is said of a worker that has completed and did nothing."""
    return f"{task.id} has completed, and crewd saw no operation of it and no tokens"


def _closed(blocks: Iterable[BlockInfo]) -> list[Recorded]:
    return [Recorded(ev.NoticeClosed(id=each.notice)) for each in blocks]
