"""Steps that look at what other steps have done: what `verify` of a step stands for. Pure.

The command is a step of its own, after the one that it verifies, and whatever depends on that one depends on both. So what
counts is what the command did, and not what a worker says; its output is kept and its limits hold like those of any step.
The files that the step's packet names are looked for before the command runs. Where there is a command for each of some
levels (`crewd.model.green`), each runs after those of the lower ones, and those above the level that is required do not run.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from crewd.model.errors import UsageError
from crewd.model.green import VERIFICATION, VERIFY_SUFFIX, Green, needed, required
from crewd.model.ids import check_name
from crewd.model.limits import NAME_CHARS_MAX
from crewd.model.policy import Limits
from crewd.model.workflow import Step, WorkerSpec, Workflow

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
    most = required(workflow)
    chains = {step.id: _chain(step, most) for step in workflow.steps if _is_open(step, there)}
    if not chains:
        return workflow
    for verified_step, chain in chains.items():
        for each in chain:
            try:
                check_name("verification", each.id)
            except UsageError:
                longest = NAME_CHARS_MAX - (len(each.id) - len(verified_step))
                hint = f"a name of at most {longest} characters that does not end with a dot"
                raise UsageError(f"step {verified_step} cannot be verified by a step called {each.id}", hint=hint) from None
    taken = {step.id for step in workflow.steps}.intersection(each.id for chain in chains.values() for each in chain)
    if taken:
        name = min(taken)
        hint = f"rename it, or leave out the verify of {name.partition(VERIFY_SUFFIX)[0]} and the artifacts of its packet"
        raise UsageError(f"step {name} has the name of a verification", hint=hint)
    steps: list[Step] = []
    for step in workflow.steps:
        after = dict.fromkeys(each for name in step.depends_on for each in (name, *_last(chains.get(name, ()))))
        steps.append(replace(step, depends_on=tuple(after), verify="", verify_levels={}))
        steps.extend(chains.get(step.id, ()))
    return replace(workflow, steps=tuple(steps))


def _is_open(step: Step, there: Mapping[str, str]) -> bool:
    """Whether the step says how it is verified, and no other step does it yet. `there`: commands of verifications."""
    look, name = _look(step), f"{step.id}{VERIFY_SUFFIX}"
    verified = not look or any(
        command.startswith(look) for each, command in there.items() if each == name or each.startswith(f"{name}.")
    )
    return bool(step.verify or step.verify_levels) or not verified


def _last(chain: Sequence[Step]) -> tuple[str, ...]:
    return (chain[-1].id,) if chain else ()


def _chain(step: Step, most: Green) -> list[Step]:
    """The verifications of a step where the level `most` is required, each after the one before it."""
    levels: list[tuple[Green, str]] = [*needed(step.verify_levels, most)] or [("", step.verify)]
    last = len(levels) - 1
    chain: list[Step] = []
    for number, (level, command) in enumerate(levels):
        name = f"{step.id}{VERIFY_SUFFIX}" if number == last else f"{step.id}{VERIFY_SUFFIX}.{level}"
        shell = "\n".join(filter(None, ("" if number else _look(step), command)))
        before = chain[-1].id if chain else step.id
        if shell:
            chain.append(_verification(step, name, before, level, shell))
    return chain


def _look(step: Step) -> str:
    """The command that looks for the files of the step's packet; empty if it names none."""
    files = step.packet.artifacts if step.packet is not None else ()
    return _LOOK.format(files=" ".join(shlex.quote(f"./{name}") for name in files)) if files else ""


def _verification(step: Step, name: str, before: str, level: Green, shell: str) -> Step:
    worker = WorkerSpec(
        shell=shell, env=step.worker.env, env_pass=step.worker.env_pass, clean_env=step.worker.clean_env,
        limits=Limits(task_seconds=SECONDS_MAX), cwd=step.worker.cwd,
    )  # fmt: skip
    return Step(
        id=name, role=VERIFICATION, depends_on=(before,), access=step.access, conflict_key=step.conflict_key, worker=worker,
        level=level,
    )  # fmt: skip
