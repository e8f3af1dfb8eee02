"""What blocks a run, and what it may start meanwhile. Pure.

Rule 1: a blocked run starts nothing; one whose plan is to be approved starts steps that declare shared access.
Rule 2: a block stands until somebody approves, however long that takes and whatever is restarted; only its run's end ends it.
Rule 3: a run does not end while it is blocked, unless it is cancelled or nothing is left that an approval would start.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from crewd.model import events as ev
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
    return not run.blocks or (
        task.access == "shared" and all(block.reason == BlockReason.PLAN_APPROVAL for block in run.blocks)
    )


def block(run: Run, reason: BlockReason, text: str, task: Task | None = None) -> tuple[Run, list[Recorded]]:
    """Block a run that has begun. Said again of the same task and the same reason it changes nothing."""
    key = "" if task is None else task.id
    if any((each.reason, each.task) == (reason, key) for each in run.blocks):
        return run, []
    notice = f"{key or run.id}#{0 if task is None else task.epoch}:{reason}"
    says = f"{text}; crew approve {run.id} lets it go on, crew reject {run.id} ends it"
    info = BlockInfo(reason, clip(says, NOTE_CHARS_MAX), notice, key)
    raised = ev.NoticeRaised(id=notice, kind=NoticeKind.BLOCKED, text=info.text)
    run = replace(run, status=RunStatus.BLOCKED, blocks=(*run.blocks, info))
    return run, [Recorded(ev.RunBlocked(block=info)), Recorded(raised)]


def unblock(run: Run, requester: str, intent: str = "") -> tuple[Run, list[Recorded]]:
    """Let a blocked run go on."""
    unblocked = Recorded(ev.RunUnblocked(requester=requester, intent=intent))
    return replace(run, status=RunStatus.RUNNING, blocks=()), [unblocked, *_closed(run.blocks)]


def over(run: Run) -> tuple[Run, list[Recorded]]:
    """The run ends: what has blocked it is of the past."""
    return replace(run, blocks=()), _closed(run.blocks)


def nothing_to_approve(run: Run) -> bool:
    """Whether each block is about a plan, and nothing is left that waits for it."""
    return all(each.reason == BlockReason.PLAN_APPROVAL for each in run.blocks)


def after_completion(run: Run, task: Task, *, observed: bool) -> tuple[Run, list[Recorded]]:
    """What follows from a task that is completed: its plan wants approval, or nothing was seen of its work."""
    events: list[Recorded] = []
    if run.cancel is not None:
        return run, events
    if task.plans and any(isinstance(each.phase, AT_REST) and each.access != "shared" for each in run.tasks):
        step = task.id.partition("/")[2]
        run, events = block(run, BlockReason.PLAN_APPROVAL, f"the plan of step {step} is to be approved", task)
    if observed or task.guard not in {"warn", "block"}:
        return run, events
    text = nothing_seen(task)
    if task.guard == "block":
        run, more = block(run, BlockReason.INEFFECTIVE, text, task)
        return run, [*events, *more]
    notice = f"{task.id}#{task.epoch}:{NoticeKind.INEFFECTIVE}"
    raised = ev.NoticeRaised(id=notice, kind=NoticeKind.INEFFECTIVE, text=text)  # news, and nothing that stands
    return run, [*events, Recorded(raised, task.id), Recorded(ev.NoticeClosed(id=notice), task.id)]


def nothing_seen(task: Task) -> str:
    """What is said of a worker that has completed and did nothing."""
    return f"{task.id} has completed, and crewd saw no operation of it and no tokens"


def _closed(blocks: Iterable[BlockInfo]) -> list[Recorded]:
    return [Recorded(ev.NoticeClosed(id=each.notice)) for each in blocks]
