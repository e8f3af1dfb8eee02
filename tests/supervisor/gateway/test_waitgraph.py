"""Whether a wait could ever end, by value."""

from __future__ import annotations

from crewd.model.rows import RunRow
from crewd.model.statuses import RunStatus
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.supervisor.gateway.waitgraph import cycle, in_words


def run(key: str, **depends_on: tuple[str, ...]) -> RunRow:
    steps = tuple(Step(name, worker=WorkerSpec(call="a:b"), depends_on=before) for name, before in depends_on.items())
    return RunRow(id=key, name=key, status=RunStatus.RUNNING, goal="", cwd="/", workflow=Workflow(key, steps))


RUNS = {"one": run("one", a=(), b=("a",)), "two": run("two", x=())}


def test_a_wait_that_leads_nowhere_back_is_let_through() -> None:
    assert cycle("one/a", "two", {}, RUNS) is None
    assert cycle("one/b", "one/a", {}, RUNS) is None, "it has ended already, or will without b"
    assert cycle("one/a", "gone", {}, RUNS) is None
    assert cycle("one/a", "two/x", {"two/x": ["gone"], "one/b": ["two"]}, RUNS) is None


def test_the_way_round_is_named_step_by_step() -> None:
    assert in_words(cycle("one/a", "one", {}, RUNS) or ()) == "one/a waits for one, one needs one/a"
    assert in_words(cycle("one/a", "one/b", {}, RUNS) or ()) == "one/a waits for one/b, one/b needs one/a"
    waits = {"two/x": ["one"]}
    found = in_words(cycle("one/a", "two", waits, RUNS) or ())
    assert found == "one/a waits for two, two needs two/x, two/x waits for one, one needs one/a"
