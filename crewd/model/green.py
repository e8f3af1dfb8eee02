"""How green a run is: levels of verification, which of them a workflow requires, and which a run has reached. Pure.

A level is reached by a command that has run and passed, and by nothing that anybody says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Literal, Protocol, get_args

from crewd.model.errors import UsageError

Level = Literal["targeted", "package", "workspace", "merge_ready"]
Green = Literal["", "none", "targeted", "package", "workspace", "merge_ready"]
"""What is required: a level, `none`, or nothing said: then each level that a step has a command for."""
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
"""From what is checked soonest to what is ready to be merged. Each includes what is before it."""


VERIFICATION: Final = "verification"
"""The role of steps that crewd has made of `verify`."""
VERIFY_SUFFIX: Final = ".verify"
"""Such a step has the name of the one that it verifies with this behind it, and the level if it is not the last of several."""


class StepLike(Protocol):
    """What of a step decides on its verifications (see `Step`)."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def role(self) -> str:
        """Who does it."""
        ...

    @property
    def verify_levels(self) -> Mapping[Level, str]:
        """Commands that verify it."""
        ...

    @property
    def level(self) -> Green:
        """What it shows itself."""
        ...


class WorkflowLike(Protocol):
    """What of a workflow decides on its verifications (see `Workflow`)."""

    @property
    def green(self) -> Green:
        """What is required."""
        ...

    @property
    def steps(self) -> Sequence[StepLike]:
        """Its steps."""
        ...


def required(workflow: WorkflowLike) -> Green:
    """The level that a run of the workflow has to reach; `none` if none is required, empty if no step has levels."""
    if workflow.green:
        return workflow.green
    named = _named(workflow)
    highest: Green = ""
    for level in LEVELS:
        highest = level if level in named else highest
    return highest


def _named(workflow: WorkflowLike) -> set[Green]:
    return {level for step in workflow.steps for level in (*step.verify_levels, step.level) if level}


def needed(levels: Mapping[Level, str], most: Green) -> list[tuple[Level, str]]:
    """The commands that are to run, in order, where `most` is required (see `required`)."""
    wanted = LEVELS[: LEVELS.index(most) + 1] if most in LEVELS else ()
    return [(level, levels[level]) for level in wanted if level in levels]


def reached(steps: Iterable[StepLike], completed: Collection[str]) -> Green:
    """The highest level of those whose steps are all `completed` (ids); `none` if there is no such level.

    A level counts only if no step of a lower one is open or has failed, nor a verification without a level.
    """
    found: Green = "none"
    steps = list(steps)
    if not all(step.id in completed for step in steps if step.role == VERIFICATION and not step.level):
        return found
    for level in LEVELS:
        of_level = [step.id in completed for step in steps if step.level == level]
        if not all(of_level):
            break
        found = level if of_level else found
    return found


def is_lower(found: Green, wanted: Green) -> bool:
    """Whether `found` is below a level that is wanted; `none` and an empty one are below each level, and want none."""
    return wanted in LEVELS and (found not in LEVELS or LEVELS.index(found) < LEVELS.index(wanted))


def check_green(workflow: WorkflowLike) -> None:
    """UsageError if a level is required that no step has a command for, or that is none."""
    if workflow.green in {"", "none"}:
        return
    hint = f"one of {', '.join(LEVELS)}, or none"
    if workflow.green not in LEVELS:
        raise UsageError(f"green {workflow.green!r} is not possible", hint=hint, field="green")
    named = _named(workflow)
    if workflow.green not in named:
        there = f"; there are commands for {', '.join(level for level in LEVELS if level in named)}" if named else ""
        raise UsageError(
            f"green: {workflow.green} is required, and no step has a command that shows it{there}",
            hint=f"give a step verify with {workflow.green}: COMMAND, or require another level",
            field="green",
        )
    for step in workflow.steps:
        if step.verify_levels and not needed(step.verify_levels, workflow.green):
            levels = ", ".join(level for level in LEVELS if level in step.verify_levels)
            raise UsageError(
                f"green: {workflow.green} is required, and step {step.id} would not be verified: it has only {levels}",
                hint=f"give it a command for {workflow.green} or a lower level, or require another level",
                step=step.id,
                field="verify",
            )


def is_verification(step: StepLike, names: Collection[str]) -> bool:
    """Whether the step is one that crewd makes of the `verify` of one of these steps."""
    of, found, rest = step.id.rpartition(VERIFY_SUFFIX)
    return step.role == VERIFICATION and bool(found) and of in names and rest in {"", *(f".{level}" for level in LEVELS)}


def check_levels(step: str, levels: Mapping[Level, str], verify: str) -> None:
    """UsageError for levels of a step that are none, or stand beside a command without a level."""
    for level in levels:
        if level not in LEVELS:
            raise UsageError(f"step {step}: there is no level {level!r}", hint=f"one of {', '.join(LEVELS)}", field="verify")
        if not levels[level].strip():
            raise UsageError(f"step {step}: the level {level} has no command", hint="leave it out", field="verify")
    if levels and verify:
        raise UsageError(f"step {step} has a verification with levels and one without", hint="give it a level", field="verify")
