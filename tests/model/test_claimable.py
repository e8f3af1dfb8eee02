from __future__ import annotations

import pytest

from crewd.model.claimable import to_claim
from crewd.model.rows import TaskRow
from crewd.model.statuses import TaskStatus


def task(step: str, status: TaskStatus, runtime: str = "outside", after: tuple[str, ...] = ()) -> TaskRow:
    return TaskRow(f"r/{step}", "r", step, status, runtime, depends_on=tuple(f"r/{name}" for name in after))


@pytest.mark.parametrize(
    ("tasks", "steps"),
    [
        ([task("a", TaskStatus.QUEUED)], ["a"]),
        ([task("a", TaskStatus.QUEUED, "exec")], []),
        ([task("a", TaskStatus.CLAIMED)], []),
        ([task("a", TaskStatus.QUEUED, "exec"), task("b", TaskStatus.QUEUED, after=("a",))], []),
        ([task("a", TaskStatus.COMPLETED, "exec"), task("b", TaskStatus.QUEUED, after=("a",))], ["b"]),
    ],
)
def test_a_step_waits_for_a_claim_when_it_could_begin(tasks: list[TaskRow], steps: list[str]) -> None:
    assert [each.step for each in to_claim(tasks)] == steps
