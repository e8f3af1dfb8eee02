"""The runs of the simulated world: from steps with plans to a workflow, and what makes it wait, grow or block. Pure.

Tests: tests/testing/world/test_world.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from crewd.model.agent import Access
from crewd.model.budget import Budget
from crewd.model.hooks import Hook
from crewd.model.workflow import PLANNER, Effectiveness, Join, Step, WorkerSpec, Workflow
from crewd.testing.world.worker import Plan

Gate = Literal["", "plan", "adaptive", "unfit", "key", "block", "fail", "hook", "budget", "shared_budget"]
_ACCESS: dict[Gate, tuple[Access, ...]] = {
    "": ("",), "plan": ("", "", "shared"), "adaptive": ("",), "unfit": ("",), "key": ("exclusive", "shared", "shared"),
    "block": ("",), "fail": ("",), "hook": ("",),
    "budget": ("",), "shared_budget": ("",),
}  # fmt: skip
"""The access of the steps of a run, one after the other."""
MATE = "mate"
"""The role of the tasks of plans."""
PLANNED = Plan()
BUDGET_TURNS: Mapping[Gate, int] = {"budget": 3, "shared_budget": 5}
_GUARD: dict[Gate, Effectiveness] = {"block": "block", "fail": "fail"}


_GUARDS = (Hook("guard", "before_task_start", "true", blocking=True, timeout_seconds=60.0),)


def _spec(plan: Plan, call: str) -> WorkerSpec:
    return WorkerSpec(
        call="" if plan.outside else f"world:{call}", orphan_grace_seconds=60.0, retry=plan.retry, restart=plan.restart,
        limits=plan.limits, outside=plan.outside, hooks=_GUARDS if plan.barred_first and not plan.outside else (),
    )  # fmt: skip


def workflow_of(
    name: str, steps: dict[str, tuple[Plan, tuple[str, ...]]], limit: int = 0, join: Join = "off", gate: Gate = ""
) -> tuple[Workflow, dict[str, Plan]]:
    """The workflow of a run whose steps have these plans and dependencies, and the plans by the name of their workers.

    `gate`: the first step makes a plan that is to be approved (`plan`), or one that adds steps at once (`adaptive`) or in its
    second attempt (`unfit`); the steps are exclusive and shared ones of one conflict key (`key`); a worker of which nothing
    was seen blocks the run (`block`) or fails (`fail`); a slow hook blocks the first attempt of each step (`hook`); several
    steps use the run's budget of turns up (`budget`), or the runs that its workers start do (`shared_budget`).
    """
    adaptive = gate in {"adaptive", "unfit"}
    if gate == "hook":
        steps = {step: (msgspec.structs.replace(plan, barred_first=1), after) for step, (plan, after) in steps.items()}
    if gate == "budget":
        steps = {step: (msgspec.structs.replace(plan, spends=True), after) for step, (plan, after) in steps.items()}
    plans: dict[str, Plan] = {}
    for index, (step, (plan, _)) in enumerate(steps.items()):
        plans[f"{name}_{step}"] = msgspec.structs.replace(plan, hands_in=gate) if adaptive and index == 0 else plan
        plans[f"{name}_{MATE}"] = PLANNED if plan.outside else plan
    workflow = Workflow(
        name=name,
        steps=tuple(
            Step(
                id=step, depends_on=after, role=PLANNER if gate == "plan" and index == 0 else "",
                access=_ACCESS[gate][index % len(_ACCESS[gate])], conflict_key="k" if gate == "key" else "",
                effectiveness=_GUARD.get(gate, ""), adaptive=adaptive and index == 0,
                worker=_spec(plan, f"{name}_{step}"),
            )
            for index, (step, (plan, after)) in enumerate(steps.items())
        ),
        plan_approval=gate == "plan",
        budget=Budget(turns=BUDGET_TURNS.get(gate, 0)),
        max_concurrency=limit,
        join=join,
        roles={MATE: Step(MATE, worker=_spec(plans[f"{name}_{MATE}"], f"{name}_{MATE}"))} if adaptive else {},
    )  # fmt: skip
    return workflow, plans
