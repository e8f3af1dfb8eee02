"""Steps that look at what other steps have done: what `verify: COMMAND` of a step stands for. Pure.

The command is a step of its own, after the one that it verifies, and whatever depends on that one depends on both. So what
counts is what the command did, and not what a worker says; its output is kept and its limits hold like those of any step.
The files that the step's packet names are looked for before the command runs.
"""

from __future__ import annotations

import shlex

from msgspec.structs import replace

from crewd.model.errors import UsageError
from crewd.model.ids import check_name
from crewd.model.limits import NAME_CHARS_MAX
from crewd.model.policy import Limits
from crewd.model.workflow import VERIFICATION, VERIFY_SUFFIX, Step, WorkerSpec, Workflow

SECONDS_MAX = 900.0
"""A verification that takes longer has failed."""
_LOOK = (
    '( missing=; for file in {files}; do test -e "$file" || {{ '
    'printf \'a file of the packet does not exist: %s\\n\' "$file" >&2; missing=1; }}; done; test -z "$missing" ) || exit 1'
)
"""In a shell of its own, which leaves the step's variables as they are."""


def with_verifications(workflow: Workflow) -> Workflow:
    """The workflow with a step for each verification. Raises UsageError if a step has the name of one."""
    there = {step.id: step.worker.shell for step in workflow.steps if step.role == VERIFICATION}
    verified = {
        step.id: name
        for step in workflow.steps
        for name in (f"{step.id}{VERIFY_SUFFIX}",)
        if step.verify or not there.get(name, "").startswith(_look(step))
    }
    if not verified:
        return workflow
    for verified_step, name in verified.items():
        try:
            check_name("verification", name)
        except UsageError:
            hint = f"a name of at most {NAME_CHARS_MAX - len(VERIFY_SUFFIX)} characters that does not end with a dot"
            raise UsageError(f"step {verified_step} cannot be verified by a step called {name}", hint=hint) from None
    taken = {step.id for step in workflow.steps}.intersection(verified.values())
    if taken:
        name = min(taken)
        hint = f"rename it, or leave out the verify of {name[: -len(VERIFY_SUFFIX)]} and the artifacts of its packet"
        raise UsageError(f"step {name} has the name of a verification", hint=hint)
    steps: list[Step] = []
    for step in workflow.steps:
        after = tuple(dict.fromkeys(each for name in step.depends_on for each in (name, verified.get(name, name))))
        steps.append(replace(step, depends_on=after, verify=""))
        if step.id in verified:
            steps.append(_verification(step))
    return replace(workflow, steps=tuple(steps))


def _look(step: Step) -> str:
    """The command that looks for the files of the step's packet; empty if it names none."""
    files = step.packet.artifacts if step.packet is not None else ()
    return _LOOK.format(files=" ".join(shlex.quote(f"./{name}") for name in files)) if files else ""


def _verification(step: Step) -> Step:
    worker = WorkerSpec(
        shell="\n".join(filter(None, (_look(step), step.verify))),
        env=step.worker.env, env_pass=step.worker.env_pass, clean_env=step.worker.clean_env,
        limits=Limits(task_seconds=SECONDS_MAX), cwd=step.worker.cwd,
    )  # fmt: skip
    return Step(
        id=f"{step.id}{VERIFY_SUFFIX}", role=VERIFICATION, depends_on=(step.id,), access=step.access,
        conflict_key=step.conflict_key, worker=worker,
    )  # fmt: skip
