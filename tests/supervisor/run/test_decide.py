from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from crewd.model import events as ev
from crewd.model.rows import CancelInfo
from crewd.model.statuses import AttemptStatus, RunStatus, TaskStatus
from crewd.model.workflow import Step, WorkerSpec, Workflow, ancestors
from crewd.supervisor.run import effects as do
from crewd.supervisor.run import events as heard
from crewd.supervisor.run.decide import decide
from crewd.supervisor.run.effects import Decision
from crewd.supervisor.run.state import Next, Run, new_run

ENDS = [AttemptStatus.COMPLETED, AttemptStatus.FAILED, AttemptStatus.CANCELLED, AttemptStatus.LOST]


def flow(*edges: tuple[str, str], limit: int = 8) -> Workflow:
    names = sorted({name for edge in edges for name in edge})
    return Workflow(
        name="w",
        max_concurrency=limit,
        steps=tuple(Step(id=n, depends_on=tuple(a for a, b in edges if b == n), worker=WorkerSpec(call="a:b")) for n in names),
    )


def started(decision: Decision) -> list[str]:
    return [effect.task.partition("/")[2] for effect in decision.effects if isinstance(effect, do.StartAttempt)]


def over(run: Run, step: str, status: AttemptStatus) -> Next:
    return decide(run, heard.AttemptOver(f"r/{step}", ev.AttemptEnded(status=status)))


def test_there_is_no_wave_barrier() -> None:
    run, decision = decide(new_run("r", flow(("a", "c"), ("b", "d"))), heard.Proceed())
    assert started(decision) == ["a", "b"]
    run, decision = over(run, "a", AttemptStatus.COMPLETED)
    assert started(decision) == ["c"]


def test_the_limit_holds_and_a_place_that_is_free_is_taken() -> None:
    run, decision = decide(new_run("r", flow(("a", "x"), ("b", "x"), ("c", "x"), limit=2)), heard.Proceed())
    assert started(decision) == ["a", "b"]
    run, decision = over(run, "b", AttemptStatus.COMPLETED)
    assert started(decision) == ["c"]


@given(st.integers(0, 2**32))
def test_any_graph_in_any_order_ends_once_and_respects_its_edges(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"s{number}" for number in range(chance.randint(1, 7))]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    edges = [pair for pair in pairs if chance.random() < 0.4]
    workflow = Workflow(
        name="w",
        max_concurrency=chance.randint(1, 4),
        steps=tuple(Step(id=n, depends_on=tuple(a for a, b in edges if b == n), worker=WorkerSpec(call="a:b")) for n in names),
    )
    steps = {step.id: step for step in workflow.steps}
    run, decision = decide(new_run("r", workflow), heard.Proceed())
    completed: set[str] = set()
    events = list(decision.events)
    begun: list[str] = []
    cancelled = False
    while True:
        for name in started(decision):
            assert ancestors(steps, name) <= completed
            assert not cancelled, "a cancelled run starts nothing"
            assert name not in begun
            begun.append(name)
        live = [task.id.partition("/")[2] for task in run.tasks if task.live]
        assert len(live) <= workflow.max_concurrency
        if run.over:
            break
        assert live, "a run that is not over has something to wait for"
        if chance.randint(0, 9) == 0:
            cancelled = True
            run, decision = decide(run, heard.CancelRun(CancelInfo(reason="shutdown")))
        else:
            name = chance.choice(live)
            status = chance.choice(ENDS)
            if status is AttemptStatus.COMPLETED:
                completed.add(name)
            run, decision = over(run, name, status)
        events += decision.events
    ends = [each for each in events if isinstance(each.body, ev.RunEnded)]
    assert events[-1] is ends[0]
    assert len(ends) == 1
    assert sorted(each.task for each in events if isinstance(each.body, ev.TaskEnded)) == sorted(t.id for t in run.tasks)
    assert all(task.over for task in run.tasks)
    if not cancelled and len(completed) == len(names):
        assert run.status is RunStatus.COMPLETED


def test_a_cancelled_step_does_not_fail_the_others() -> None:
    run, _ = decide(new_run("r", flow(("a", "c"), ("b", "d"))), heard.Proceed())
    run, _ = over(run, "a", AttemptStatus.CANCELLED)
    run, _ = over(run, "b", AttemptStatus.COMPLETED)
    run, _ = over(run, "d", AttemptStatus.COMPLETED)
    assert run.status is RunStatus.COMPLETED
    assert {task.id: task.status for task in run.tasks}["r/c"] is TaskStatus.SKIPPED
