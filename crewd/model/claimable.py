"""Which tasks wait for somebody to claim them: crewd starts nothing for a step that is `outside`. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from crewd.model.rows import TaskRow
from crewd.model.runtimes import By, runtime_named
from crewd.model.statuses import TaskStatus


def to_claim(tasks: Iterable[TaskRow]) -> list[TaskRow]:
    """Of all tasks of a run, those that could begin now, and begin when somebody claims them."""
    known = {each.id: each for each in tasks}
    return [
        each for each in known.values()
        if each.status is TaskStatus.QUEUED and runtime_named(each.runtime).by is By.OUTSIDE
        and all(known[name].status is TaskStatus.COMPLETED for name in each.depends_on if name in known)
    ]  # fmt: skip
