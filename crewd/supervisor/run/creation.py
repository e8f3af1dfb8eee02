"""What the log says first of a run, in one commit: its creation, its start, and the reservations of its first attempts. Pure.

Tests: tests/supervisor/run/test_decide.py, tests/testing/world/test_world.py.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from crewd.model.events import Draft, RunConcurrency, RunCreated
from crewd.model.limits import CONCURRENCY_MAX
from crewd.model.workflow import Workflow
from crewd.supervisor.attempt import events as of_attempt
from crewd.supervisor.attempt.decide import decide as decide_attempt
from crewd.supervisor.attempt.state import Attempt
from crewd.supervisor.run.decide import decide
from crewd.supervisor.run.effects import StartAttempt
from crewd.supervisor.run.events import Proceed
from crewd.supervisor.run.state import new_run


def within_bound(workflow: Workflow, most: int) -> Workflow:
    """The workflow with at most so many steps at once, unless it is unbounded; with so many, if it says nothing."""
    asked = workflow.max_concurrency
    if asked and (asked <= most or workflow.unbounded):
        return workflow
    return workflow if not asked and most == CONCURRENCY_MAX else replace(workflow, max_concurrency=most)


def bound_drafts(run: str, asked: Workflow, workflow: Workflow, most: int) -> list[Draft]:
    """What is recorded if more steps at once were `asked` for than usual: how many it may have."""
    if asked.max_concurrency <= most:
        return []
    body = RunConcurrency(asked=asked.max_concurrency, at_once=workflow.max_concurrency)
    return [Draft(body, run, provenance="crewd")]


def first_drafts(
    run: str, created: RunCreated, now: float, directory: Callable[[str, int], str], *, execution: bool = True
) -> list[Draft]:
    """What follows the creation. `directory` is where an attempt of a task (its id and epoch) has its files.

    `execution`: whether workers are started at all.
    """
    _, decision = decide(new_run(run, created.workflow, execution=execution), Proceed(now))
    drafts = [Draft(recorded.body, run, recorded.task, provenance="crewd") for recorded in decision.events]
    for effect in decision.effects:
        if isinstance(effect, StartAttempt):
            task, epoch = effect.task, effect.epoch
            _, reserved = decide_attempt(Attempt(task, epoch), of_attempt.Reserve(directory(task, epoch)))
            drafts += [Draft(body, run, task, epoch, provenance="crewd") for body in reserved.events]
    return drafts
