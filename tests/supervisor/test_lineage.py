"""Runs that workers start: how deep they stand, how many there may be, and which of them end with their parent."""

from __future__ import annotations

import pytest

from crewd.protocol.errors import Busy, Refused
from crewd.protocol.policy import Limits
from crewd.protocol.rows import RunRow
from crewd.protocol.statuses import RunStatus
from crewd.protocol.workflow import Step, WorkerSpec, Workflow
from crewd.supervisor.lineage import Lineage, split_parent

PARENT = "r_1/build#2"


def row(*, depth: int = 0, children: int = 0) -> RunRow:
    step = Step("build", worker=WorkerSpec(call="a:b", limits=Limits(children=children)))
    return RunRow("r_1", "r", RunStatus.RUNNING, "", "/", Workflow("w", (step,)), depth=depth)


def test_a_run_stands_one_below_its_parents_record() -> None:
    assert Lineage().depth_below(PARENT, row(depth=0), depth_max=2) == 1
    assert Lineage().depth_below(PARENT, row(depth=1), depth_max=2) == 2
    with pytest.raises(Refused, match="2 deep"):
        Lineage().depth_below(PARENT, row(depth=2), depth_max=2)


def test_nothing_starts_below_a_worker_that_has_ended() -> None:
    with pytest.raises(Refused, match="has ended"):
        Lineage().depth_below(PARENT, None, depth_max=2)


def test_a_worker_has_as_many_living_runs_as_its_limit_and_no_more() -> None:
    lineage = Lineage()
    for run in ("a", "b"):
        assert lineage.depth_below(PARENT, row(children=2), depth_max=2) == 1
        lineage.add(run, PARENT, "end")
    with pytest.raises(Busy, match="2 live runs"):
        lineage.depth_below(PARENT, row(children=2), depth_max=2)
    assert lineage.depth_below("r_1/build#3", row(children=2), depth_max=2) == 1, "another attempt of it has none yet"
    lineage.remove("a")
    assert lineage.depth_below(PARENT, row(children=2), depth_max=2) == 1


def test_those_end_with_it_that_were_not_told_to_stay() -> None:
    lineage = Lineage()
    lineage.add("a", PARENT, "end")
    lineage.add("b", PARENT, "keep")
    lineage.add("c", "r_1/build#1", "end")
    assert lineage.ending_with("r_1/build", 2) == ["a"]
    lineage.remove("a")
    assert lineage.ending_with("r_1/build", 2) == []


@pytest.mark.parametrize(("text", "parts"), [("r/a#3", ("r/a", 3)), ("r/a#x", ("r/a", 0)), ("nobody", ("", 0))])
def test_what_is_no_name_of_a_worker_names_nobody(text: str, parts: tuple[str, int]) -> None:
    assert split_parent(text) == parts
