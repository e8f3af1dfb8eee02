from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.adaptive import TASK_CHARS_MAX, TASKS_MAX, AddedStep, Planned, read_plan, steps_of, with_plans, with_step
from crewd.model.errors import UsageError
from crewd.model.verification import with_verifications
from crewd.model.workflow import Step, WorkerSpec, Workflow, ancestors, check_workflow

ROLES = ("executor", "test-engineer")
WORK = WorkerSpec(call="a:b")
WORKFLOW = Workflow(
    "w",
    (
        Step("plan", role="planner", output="plan.md", text="Plan it.", adaptive=True, worker=WORK),
        Step("review", depends_on=("plan",), worker=WORK),
    ),
    roles={role: Step(role, role=role, worker=WORK) for role in ROLES},
)
PLAN = {"phases": [{"tasks": [{"role": "executor", "task": "do it"}]}, {"tasks": [{"role": "test-engineer", "task": "test"}]}]}
READ = ((Planned("executor", "do it"),), (Planned("test-engineer", "test"),))


def of(*tasks: object) -> object:
    return {"phases": [{"tasks": list(tasks)}]}


@pytest.mark.parametrize(
    "result",
    [
        PLAN,
        json.dumps(PLAN),
        f"I have thought of this.\n\n```json\n{json.dumps(PLAN, indent=2)}\n```\nThat is all.",
        f"  ```\n{json.dumps(PLAN)}\n  ```",
        f"The plan: {json.dumps(PLAN)} (with care)",
        f"```py\nprint({{}})\n```\n```json\n{json.dumps(PLAN)}\n```\nonce more:\n```json\n{json.dumps(PLAN)}\n```\n",
        PLAN["phases"],
        {"phases": [phase["tasks"] for phase in PLAN["phases"]]},
        {"phases": [{"name": "none", "tasks": []}, *PLAN["phases"]]},
        {"phases": PLAN["phases"], "summary": "two steps", "tasks": []},
        {"phases": [[{"role": "Executor ", "prompt": " do it\n"}], [{"role": "test_Engineer", "text": "test"}]]},
        {"phases": [{"tasks": [{"role": "executor", "task": "do it", "goal": "why"}]}, PLAN["phases"][1]]},
    ],
)  # fmt: skip
def test_a_plan_is_read_where_it_can_be_meant_in_one_way_only(result: object) -> None:
    assert read_plan(result, ROLES) == READ


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (None, 'no JSON object with "phases"'),
        ("I would do it like this: first", 'no JSON object with "phases"'),
        (json.dumps(PLAN)[:-3], 'no JSON object with "phases"'),
        ("[" * 30_000, 'no JSON object with "phases"'),
        ({"phases": {}}, 'no JSON object with "phases"'),
        ({"phases": [3]}, "phase 1 has no list"),
        ({"phases": []}, "has no tasks"),
        (of("do it"), "task 1 of phase 1 is no JSON object"),
        (of({"role": "cook", "task": "x"}), "role 'cook', the roles are executor, test-engineer"),
        (of({"task": "x"}), "role None"),
        (of({"role": "executor"}), 'no one "task"'),
        (of({"role": "executor", "text": "x", "goal": "y"}), 'no one "task"'),
        (of({"role": "executor", "task": " "}), 'no one "task"'),
        (of({"role": "executor", "task": "a\0b"}), "holds a NUL byte"),
        (of({"role": "executor", "task": "x" * (TASK_CHARS_MAX + 1)}), "8001 characters"),
        (of(*[{"role": "executor", "task": "x"}] * (TASKS_MAX + 1)), "13 tasks, at most 12"),
        (of({"role": "executor", "task": "x", "depends_on": ["y"]}), 'has "depends_on": only phases say in which order'),
        (of({"role": "executor", "task": "x", "verify": "make"}), 'task 1 of phase 1 has "verify", which is no part of a plan'),
        ({"phases": [{"tasks": [], "parallel": False}]}, 'phase 1 has "parallel"'),
        ({"phases": [{"tasks": [], "steps": [{}]}]}, 'phase 1 has "steps"'),
        ({"phases": [], "tasks": [{}]}, 'it has "tasks", which is no part'),
        ('{"phases": [], "phases": [{"tasks": []}]}', 'it has "phases" twice'),
        ('{"phases": [{"tasks": [], "tasks": []}]}', 'phase 1 has "tasks" twice'),
        ('{"phases": [{"tasks": [{"role": "executor", "task": "a", "task": "b"}]}]}', 'task 1 of phase 1 has "task" twice'),
        (f"```\n{json.dumps(PLAN)}\n```\n```\n{json.dumps(of())}\n```\n", "2 different plans"),
    ],
)
def test_what_is_no_plan_is_refused_and_says_why(result: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_plan(result, ROLES)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["phases", "tasks", "role", "task", "text"]) | st.text(max_size=3), inner, max_size=4)
    ),
)


@given(JSON | st.text() | JSON.map(json.dumps))
def test_any_result_is_a_plan_or_an_error_that_blames_it(result: object) -> None:
    try:
        phases = read_plan(result, ROLES)
    except UsageError:
        return
    assert all(phase and all(task.role in ROLES and task.text for task in phase) for phase in phases)
    assert 1 <= sum(map(len, phases)) <= TASKS_MAX


PHASES = st.lists(
    st.lists(st.builds(Planned, st.sampled_from(ROLES), st.just("x")), min_size=1, max_size=3), min_size=1, max_size=4
)


@given(PHASES, st.sampled_from([{}, {"verify": "true"}, {"verify_levels": {"targeted": "true", "package": "true"}}]))
def test_the_steps_of_a_plan_make_a_workflow_that_can_be_run(phases: list[list[Planned]], verified: dict[str, Any]) -> None:
    plan, review = WORKFLOW.steps
    taken = Step("executor.1", depends_on=("plan",), output="executor.1-2.md", worker=WORK)
    steps = (Step("plan", adaptive=True, output="plan.md", worker=WORK, **verified), review, taken)
    workflow = with_verifications(Workflow("w", steps, roles=WORKFLOW.roles))
    before = workflow.steps
    added = steps_of(workflow, plan.id, phases)
    for each in added:
        workflow = with_step(workflow, plan.id, each)
    by_id = {step.id: step for step in workflow.steps}
    assert len(by_id) == len(before) + len(added) == len(before) + sum(map(len, phases))
    unmarked = [
        Step(**{**{name: getattr(step, name) for name in step.__struct_fields__}, "added_by": ""}) for step in workflow.steps
    ]
    check_workflow(Workflow("w", tuple(unmarked)))
    for each in added:
        above = ancestors(by_id, each.id)
        assert "plan" in above
        assert ("plan.verify" in above) == bool(verified)
        assert {other.id for other in added if other.phase < each.phase} <= above
        assert not {other.id for other in added if other.phase >= each.phase} & above
        assert each.id in ancestors(by_id, "review") & ancestors(by_id, "executor.1")


def test_an_adaptive_step_says_which_plan_is_expected_and_needs_roles() -> None:
    step, _ = with_plans(WORKFLOW).steps
    assert step.text.startswith("Plan it.\n\n")
    assert read_plan(step.text.replace("ROLE", "executor"), ROLES)[0][0].role == "executor", "its example can be followed"
    with pytest.raises(UsageError, match="no roles that its plan could name"):
        with_plans(Workflow("w", WORKFLOW.steps))


@pytest.mark.parametrize(
    "change",
    [{"id": "x"}, {"depends_on": ("plan",)}, {"output": "x.md"}, {"reads": ("x.md",)}, {"verify": "true"}, {"adaptive": True}],
)
def test_a_role_says_nothing_that_only_a_step_can_say(change: dict[str, object]) -> None:
    role = Step(**{"id": "executor", "worker": WORK, **change})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="role executor says what only a step can say"):
        check_workflow(Workflow("w", WORKFLOW.steps, roles={"executor": role}))


def test_only_crewd_says_that_a_plan_has_added_a_step() -> None:
    with pytest.raises(UsageError, match="which crewd sets"):
        check_workflow(Workflow("w", (Step("a", added_by="plan", worker=WORK),)))


def test_a_step_that_reads_nothing_reads_nothing_of_a_plan_either() -> None:
    worker = WorkerSpec(shell="true")
    review = Step("review", worker=worker, depends_on=("plan",), reads_nothing=True)
    steps = (Step("plan", worker=worker, adaptive=True), review)
    workflow = Workflow("w", steps, roles={"executor": Step("executor", worker=worker)})
    grown = with_step(workflow, "plan", AddedStep("ex.1", "executor", "do", 1, output="ex.1.md"))
    (found,) = [step for step in grown.steps if step.id == "review"]
    assert (found.depends_on, found.reads) == (("plan", "ex.1"), ())
