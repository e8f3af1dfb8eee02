"""Runs that workers start: how deep they stand, how many there may be, and which of them end with their parent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from crewd.model.agent import Agent, AgentRuntime, Conversation
from crewd.model.budget import Budget, Used
from crewd.model.errors import Busy, Forbidden, Refused, UsageError
from crewd.model.policy import Limits
from crewd.model.reasons import RefusalReason
from crewd.model.rows import RunRow
from crewd.model.statuses import RunStatus
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.supervisor.lineage import (
    BELOW_BUDGET_MAX,
    Lineage,
    address,
    agent_of,
    budget_below,
    check_relation,
    may_fork,
    split_parent,
    with_conversation,
)

PARENT = "r_1/build#2"


def row(*, depth: int = 0, children: int = 0) -> RunRow:
    step = Step("build", worker=WorkerSpec(call="a:b", limits=Limits(children=children)))
    return RunRow("r_1", "r", RunStatus.RUNNING, "", "/", Workflow("w", (step,)), depth=depth)


def test_a_run_stands_one_below_its_parents_record() -> None:
    assert Lineage().depth_below(PARENT, row(depth=0), depth_max=2) == 1
    assert Lineage().depth_below(PARENT, row(depth=1), depth_max=2) == 2
    with pytest.raises(Refused, match="2 deep"):
        Lineage().depth_below(PARENT, row(depth=2), depth_max=2)


def test_who_only_reads_starts_no_runs() -> None:
    reading = row()
    (step,) = reading.workflow.steps
    for access, refused in (("shared", True), ("exclusive", False), ("", False)):
        steps = (msgspec.structs.replace(step, access=access),)
        of = msgspec.structs.replace(reading, workflow=Workflow("w", steps))
        if refused:
            with pytest.raises(Refused, match="step build only reads"):
                Lineage().depth_below(PARENT, of, depth_max=2)
        else:
            assert Lineage().depth_below(PARENT, of, depth_max=2) == 1


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


def budgeted(budget: Budget, **more: Any) -> RunRow:
    return msgspec.structs.replace(row(), workflow=Workflow("w", row().workflow.steps, budget=budget), **more)


def test_a_run_has_what_those_above_it_have_left() -> None:
    of, used = budgeted(Budget(tokens=100, cost=1.0)), Used(9, 60, 0.25)
    assert budget_below([(of, used)], Budget()) == Budget(tokens=40, cost=0.75)
    assert budget_below([(of, used)], Budget(5, 500, 0.5)) == Budget(5, 40, 0.5)
    assert budget_below([], Budget(turns=5)) == Budget(turns=5), "there is no bound above"
    assert budget_below([(of, used), (budgeted(Budget(tokens=90)), used)], Budget()) == Budget(tokens=30, cost=0.75)
    with pytest.raises(Refused, match="r, which is above this run, has used its budget: 100 tokens are used") as caught:
        budget_below([(budgeted(Budget(tokens=200)), used), (of, Used(tokens=100))], Budget(tokens=1))
    assert caught.value.values["reason"] == RefusalReason.BUDGET_USED


def test_no_more_runs_start_below_a_budget_than_can_be_counted() -> None:
    below = {f"r_{number}": Used() for number in range(BELOW_BUDGET_MAX)}
    with pytest.raises(Refused, match="1,000 runs were started below r"):
        budget_below([(budgeted(Budget(tokens=100), below=below), Used())], Budget())


def test_only_an_agent_of_the_same_runtime_that_forks_and_has_no_session_is_given_one() -> None:
    def spec(runtime: AgentRuntime = "pi", **more: Any) -> WorkerSpec:
        return WorkerSpec(agent=Agent(runtime, ("x",), **more))

    workers = (spec(forks=True), spec(), spec("claude", forks=True), spec(forks=True, session="own"), WorkerSpec(call="a:b"))
    steps = tuple(Step(f"s{number}", worker=worker) for number, worker in enumerate(workers))
    workflow = Workflow("w", steps, roles={"tester": Step("tester", worker=spec(forks=True))})
    starter = Agent("pi", ("y",))
    given = with_conversation(workflow, Conversation("pi", "s-1"), starter)
    sessions = [step.worker.agent.session for step in given.steps if step.worker.agent is not None]
    assert sessions == ["s-1", "", "", "own"]
    of_role = given.roles["tester"].worker.agent
    assert of_role is not None
    assert of_role.session == "s-1"
    assert with_conversation(workflow, None, starter) == workflow
    assert with_conversation(workflow, Conversation("pi", "s-1"), None) == workflow
    assert with_conversation(workflow, Conversation("pi", "s-1"), replace(starter, config_dir="/other")) == workflow
    acp = Workflow("w", (Step("s", worker=spec("acp", forks=True)),))
    for command, session in ((("x",), "s-1"), (("another", "--acp"), "")):
        (step,) = with_conversation(acp, Conversation("acp", "s-1"), Agent("acp", command)).steps
        assert step.worker.agent is not None
        assert step.worker.agent.session == session, "many programs speak it"
    assert [may_fork(each, starter) for each in (workflow, acp, given, Workflow("w", steps[1:2]))] == [
        True,
        False,
        False,
        False,
    ]
    assert not may_fork(workflow, None)


def test_the_agent_that_starts_a_run_is_found_by_its_name() -> None:
    agent = Agent("pi", ("x",))
    of = msgspec.structs.replace(row(), workflow=Workflow("w", (Step("build", worker=WorkerSpec(agent=agent)), Step("other"))))
    assert [agent_of(of, name) for name in (PARENT, "r_1/other#1", "r_1/gone#1", "")] == [agent, None, None, None]


def test_those_end_with_it_that_were_not_told_to_stay() -> None:
    lineage = Lineage()
    lineage.add("a", PARENT, "end")
    lineage.add("b", PARENT, "keep")
    lineage.add("c", "r_1/build#1", "end")
    assert lineage.ending_with("r_1/build", 2) == ["a"]
    lineage.remove("a")
    assert lineage.ending_with("r_1/build", 2) == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [("r/a#3", ("r/a", 3)), ("r/a#x", ("r/a", 0)), ("nobody", ("", 0)), ("r/a#²", ("r/a", 0)), ("a#" + "9" * 5_000, ("a", 0))],
)
def test_what_is_no_name_of_a_worker_names_nobody(text: str, parts: tuple[str, int]) -> None:
    assert split_parent(text) == parts


def of(key: str, parent: str = "") -> RunRow:
    steps = tuple(Step(name, worker=WorkerSpec(call="a:b")) for name in ("s", "t"))
    return RunRow(key, key, RunStatus.RUNNING, "", "/", Workflow("w", steps), parent=parent)


def test_a_worker_writes_to_its_parent_and_the_steps_of_its_run_and_steers_what_it_started() -> None:
    top, mine, child, stranger = of("top"), of("mine", parent="top/s#2"), of("child", parent="mine/s#1"), of("stranger")
    me = "mine/s#1"
    for kind in ("message", "steer", "follow_up", "response"):
        check_relation(me, mine, child, "child/s", kind)
        check_relation("mine/s#4", mine, child, "", kind)  # a later attempt of the same task
    for other, task in ((top, "top/s"), (top, ""), (mine, "mine/t"), (mine, "")):
        check_relation(me, mine, other, task, "message")
        with pytest.raises(Forbidden):
            check_relation(me, mine, other, task, "steer")
    for other, task in ((stranger, "stranger/s"), (stranger, ""), (top, "top/other")):
        with pytest.raises(Forbidden):
            check_relation(me, mine, other, task, "message")
    with pytest.raises(UsageError):
        check_relation(me, mine, mine, "mine/s", "message")


def test_whom_a_worker_means() -> None:
    mine = of("mine", parent="top/s#2")
    assert [address(mine, to) for to in ("parent", "s", "run/step", "run")] == ["top/s", "mine/s", "run/step", "run"]
    with pytest.raises(Refused):
        address(of("alone"), "parent")
