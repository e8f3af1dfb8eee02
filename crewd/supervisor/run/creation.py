"""What the log says first of a run, in one commit: its creation, its start, and the reservations of its first attempts. Pure.

Tests: tests/supervisor/run/test_decide.py, tests/testing/world/test_world.py.
"""

from __future__ import annotations

from collections.abc import Callable

from crewd.model.events import Draft, RunCreated
from crewd.supervisor.attempt import events as of_attempt
from crewd.supervisor.attempt.decide import decide as decide_attempt
from crewd.supervisor.attempt.state import Attempt
from crewd.supervisor.run.decide import decide
from crewd.supervisor.run.effects import StartAttempt
from crewd.supervisor.run.events import Proceed
from crewd.supervisor.run.state import new_run


def first_drafts(run: str, created: RunCreated, now: float, directory: Callable[[str, int], str]) -> list[Draft]:
    """What follows the creation. `directory` is where an attempt of a task (its id and epoch) has its files."""
    _, decision = decide(new_run(run, created.workflow), Proceed(now))
    drafts = [Draft(recorded.body, run, recorded.task, provenance="crewd") for recorded in decision.events]
    for effect in decision.effects:
        if isinstance(effect, StartAttempt):
            task, epoch = effect.task, effect.epoch
            _, reserved = decide_attempt(Attempt(task, epoch), of_attempt.Reserve(directory(task, epoch)))
            drafts += [Draft(body, run, task, epoch, provenance="crewd") for body in reserved.events]
    return drafts
