"""Which steps may not run beside each other, by the access that they declare. Pure.

Rule: of the steps of a run that declare their access and have the same conflict key, an exclusive one runs alone; shared ones
run together. A step that declares no access runs beside all others.
"""

from __future__ import annotations

from crewd.model import events as ev
from crewd.supervisor.run.effects import Recorded
from crewd.supervisor.run.phases import IsClaimed, IsLive
from crewd.supervisor.run.state import Run, Task


def in_the_way(run: Run, task: Task) -> tuple[str, ...]:
    """The tasks at work that `task` has to wait for."""
    if not task.access:
        return ()
    return tuple(
        each.id
        for each in run.tasks
        if each.access and each.conflict_key == task.conflict_key and each.id != task.id
        and "exclusive" in {each.access, task.access} and isinstance(each.phase, IsLive | IsClaimed)
    )  # fmt: skip


def turn(run: Run, task: Task) -> list[Recorded]:
    """What is recorded when `task` starts: the how-manieth of its batch it is."""
    if not task.access:
        return []
    batch = [each for each in run.tasks if each.access and each.conflict_key == task.conflict_key]
    begun = sum(each.epoch > 0 or isinstance(each.phase, IsClaimed) for each in batch if each.id != task.id)
    name = f"{run.id}:{task.conflict_key}"
    return [Recorded(ev.TaskTurn(access=task.access, batch=name, index=begun + 1, total=len(batch)), task.id)]


def held_back(run: Run, task: Task, behind: tuple[str, ...]) -> Recorded:
    """What is recorded, once, when `task` could start and waits."""
    return Recorded(ev.TaskHeldBack(batch=f"{run.id}:{task.conflict_key}", behind=behind), task.id)
