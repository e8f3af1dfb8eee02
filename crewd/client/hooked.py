"""Gives the steps of a workflow the hooks that are active where it is started.

Tests: tests/client/test_hooks.py.
"""

from __future__ import annotations

from msgspec.structs import replace

from crewd.client.disabled import disabled
from crewd.client.hooks import hooks_for_start
from crewd.client.initialised import initialise_extensions
from crewd.model.hooks import STEP_POINTS, Hook, check_hooks
from crewd.model.workflow import Step, Workflow

_WITHOUT = frozenset({"crewd", "outside"})
"""Runtimes whose worker runs nothing of crewd, and so no hooks."""


def active_hooks() -> tuple[list[Hook], list[str]]:
    """The hooks that run, in their order; and sentences that say which of the project do not, and why."""
    (found, not_run), off = hooks_for_start(), disabled()
    active = [each.hook for each in found if each.state == "active" and f"hook:{each.hook.name}" not in off]
    return active, not_run


def hooked(workflow: Workflow) -> tuple[Workflow, list[str]]:
    """The workflow with the active hooks, and sentences that say which hooks of the project do not run.

    Extensions are initialised before, as it is about to be started.
    """
    initialise_extensions()
    active, not_run = active_hooks()
    return with_hooks(workflow, active), not_run


def with_hooks(workflow: Workflow, hooks: list[Hook]) -> Workflow:
    """The workflow, whose steps and roles have these hooks after their own: each those for its role."""
    if not hooks:
        return workflow

    def hooked(step: Step) -> Step:
        if step.worker.runtime in _WITHOUT:
            return step
        added = tuple(hook for hook in hooks if hook.on in STEP_POINTS and (not hook.roles or step.role in hook.roles))
        every = (*step.worker.hooks, *added)
        check_hooks(f"step {step.id}", every)
        return replace(step, worker=replace(step.worker, hooks=every))

    roles = {name: hooked(step) for name, step in workflow.roles.items()}
    return replace(workflow, steps=tuple(map(hooked, workflow.steps)), roles=roles)
