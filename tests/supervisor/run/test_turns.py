from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from crewd.model import events as ev
from crewd.model.agent import Access
from crewd.model.statuses import AttemptStatus, RunStatus
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.supervisor.run import effects as do
from crewd.supervisor.run import events as heard
from crewd.supervisor.run.decide import decide
from crewd.supervisor.run.effects import Decision
from crewd.supervisor.run.state import Next, Run, new_run


def run_of(*steps: tuple[Access, str]) -> Run:
    made = (
        Step(f"s{number}", access=access, conflict_key=key, worker=WorkerSpec(call="a:b"))
        for number, (access, key) in enumerate(steps)
    )
    return new_run("r", Workflow("w", tuple(made)))


def started(decision: Decision) -> list[str]:
    return [effect.task.partition("/")[2] for effect in decision.effects if isinstance(effect, do.StartAttempt)]


def over(run: Run, step: str, status: AttemptStatus = AttemptStatus.COMPLETED) -> Next:
    return decide(run, heard.AttemptOver(f"r/{step}", ev.AttemptEnded(status=status)))


def test_exclusive_steps_of_one_key_wait_and_a_shared_one_of_another_key_does_not() -> None:
    run, decision = decide(run_of(("exclusive", "db"), ("exclusive", "db"), ("shared", "docs")), heard.Proceed())
    assert started(decision) == ["s0", "s2"]
    turns = [(each.task, each.body.index, each.body.total) for each in decision.events if isinstance(each.body, ev.TaskTurn)]
    assert turns == [("r/s0", 1, 2), ("r/s2", 1, 1)]
    held = [(each.task, each.body) for each in decision.events if isinstance(each.body, ev.TaskHeldBack)]
    assert held == [("r/s1", ev.TaskHeldBack("r:db", ("r/s0",)))]
    run, decision = over(run, "s2")
    assert (started(decision), [each for each in decision.events if isinstance(each.body, ev.TaskHeldBack)]) == ([], [])
    run, decision = over(run, "s0", AttemptStatus.FAILED)
    assert started(decision) == ["s1"]
    assert [(b.index, b.total) for each in decision.events if isinstance(b := each.body, ev.TaskTurn)] == [(2, 2)]


def test_shared_steps_of_one_key_run_together_and_who_declares_nothing_runs_beside_all() -> None:
    _, decision = decide(run_of(("shared", "db"), ("shared", "db"), ("exclusive", "db"), ("", "")), heard.Proceed())
    assert started(decision) == ["s0", "s1", "s3"]


@given(st.integers(0, 2**32))
def test_no_order_of_ends_lets_an_exclusive_step_run_beside_one_of_its_key(seed: int) -> None:
    chance = random.Random(seed)
    kinds: list[tuple[Access, str]] = [("", ""), ("shared", "a"), ("exclusive", "a"), ("exclusive", "b"), ("exclusive", "")]
    run, _ = decide(run_of(*(chance.choice(kinds) for _ in range(chance.randint(1, 8)))), heard.Proceed())
    while not run.over:
        live = [task for task in run.tasks if task.live]
        for one, other in itertools.combinations(live, 2):
            same = one.access and other.access and one.conflict_key == other.conflict_key
            assert not (same and "exclusive" in {one.access, other.access})
        step = chance.choice(live).id.partition("/")[2]
        run, _ = over(run, step, chance.choice([AttemptStatus.COMPLETED, AttemptStatus.FAILED]))
    assert run.status in {RunStatus.COMPLETED, RunStatus.FAILED}
