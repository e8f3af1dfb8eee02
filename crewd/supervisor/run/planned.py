"""What becomes of the plan of an adaptive step that is completed: steps of its run, or a block. Pure.

Rule 1: a plan is taken whole or not at all; one that cannot be taken blocks the run and says why.
Rule 2: the steps of a plan are added once. A plan that comes later, of another attempt, adds nothing while they are there.
Rule 3: a run whose plan was not taken goes on without it only when somebody has approved of that, also if it is resumed.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.adaptive import AddedStep, read_plan, steps_of, with_step
from crewd.model.errors import UsageError
from crewd.model.ids import split_task_id, task_id
from crewd.model.limits import INLINE_BYTES_MAX, RUN_BYTES_MAX, STEPS_MAX
from crewd.model.reasons import BlockReason
from crewd.supervisor.run import blocks
from crewd.supervisor.run.effects import Recorded
from crewd.supervisor.run.state import Run, Task, task_of


def after_completion(run: Run, task: Task, result: object, result_path: str = "") -> tuple[Run, list[Recorded]]:
    """What follows from the result of a task that is completed: nothing, unless it is an adaptive one."""
    if not task.adaptive or run.cancel is not None:
        return run, []
    step = split_task_id(task.id)[1]
    try:
        added = _added(run, step, result, result_path)
    except UsageError as error:
        return blocks.block(run, BlockReason.PLAN_UNFIT, f"the plan of step {step} cannot be taken: {error.message}", task)
    run, events = blocks.lifted(run, BlockReason.PLAN_UNFIT, task)
    attempt = f"{task.id}#{task.epoch}"
    workflow, tasks = run.workflow, list(run.tasks)
    for each in added:
        workflow = with_step(workflow, step, each)
        key = task_id(run.id, each.id)
        events.append(Recorded(ev.TaskAdded(step=each, adaptive=step, plan=attempt), key))
        tasks.append(task_of(run.id, workflow.steps[-1]))
    needs = {task_id(run.id, each.id): tuple(task_id(run.id, name) for name in each.depends_on) for each in workflow.steps}
    return run.with_tasks(workflow, tuple(replace(each, depends_on=needs[each.id]) for each in tasks)), events


def not_taken(run: Run) -> tuple[Run, list[Recorded]]:
    """Block a run that has the plan of a completed step and none of its steps, unless somebody has approved of that."""
    events: list[Recorded] = []
    if not run.workflow.roles or run.cancel is not None:
        return run, events
    taken = {step.added_by for step in run.workflow.steps}
    for task in run.tasks:
        step = split_task_id(task.id)[1]
        if task.adaptive and task.completed and step not in taken and f"{task.id}#{task.epoch}" not in run.approved:
            run, more = blocks.block(run, BlockReason.PLAN_UNFIT, f"the plan of step {step} was not taken", task)
            events += more
    return run, events


def _added(run: Run, step: str, result: object, result_path: str) -> tuple[AddedStep, ...]:
    if any(each.added_by == step for each in run.workflow.steps):
        raise UsageError("the steps of an earlier one are there already")
    if result is None and result_path:
        raise UsageError(f"it has more than {INLINE_BYTES_MAX} bytes")
    added = steps_of(run.workflow, step, read_plan(result, run.workflow.roles))
    if len(run.workflow.steps) + len(added) > STEPS_MAX:
        raise UsageError(f"the run would have more than {STEPS_MAX} steps")
    size = len(msgspec.msgpack.encode([run.workflow, [run.workflow.roles[each.role] for each in added], added]))
    if size > RUN_BYTES_MAX:
        raise UsageError(f"the steps of the run would have {size} bytes, at most {RUN_BYTES_MAX} are possible")
    return added
