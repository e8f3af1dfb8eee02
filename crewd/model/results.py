"""What an agent is given of the steps before it: their results, as files that it reads. Pure.

An agent whose step declares no `reads` reads what each step has left that it depends on. A step without an `output` is given
one for that. `reads: false` is for an agent that is to know nothing of them.
"""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from crewd.model.limits import NAME_CHARS_MAX
from crewd.model.workflow import Step, Workflow

SUFFIX = ".result"
RESULT_BYTES_LEFT = 64 << 10
"""Of the output of a command that declares no file for it."""
_HASH_CHARS = 16


def result_file(step: str) -> str:
    """The name of the file with the result of a step that declares no output."""
    if len(step) + len(SUFFIX) <= NAME_CHARS_MAX and not step.endswith("."):
        return step + SUFFIX
    return hashlib.sha256(step.encode()).hexdigest()[:_HASH_CHARS] + SUFFIX


def with_results(workflow: Workflow) -> Workflow:
    """The workflow in which agents read the results of the steps that they depend on."""
    reading = {step.id for step in workflow.steps if _reads_results(step)}
    if not reading:
        return workflow
    taken = {step.output for step in workflow.steps}
    needed = {name for step in workflow.steps if step.id in reading for name in step.depends_on}
    outputs = {step.id: step.output for step in workflow.steps}
    for name in needed:
        if not outputs[name] and result_file(name) not in taken:  # else somebody has that name, and this step leaves nothing
            outputs[name] = result_file(name)
    steps = [replace(step, output=outputs[step.id]) for step in workflow.steps]
    for place, step in enumerate(steps):
        if step.id in reading:
            steps[place] = replace(step, reads=tuple(outputs[name] for name in step.depends_on if outputs[name]))
    return replace(workflow, steps=tuple(steps))


def _reads_results(step: Step) -> bool:
    return step.worker.agent is not None and bool(step.depends_on) and not step.reads and not step.reads_nothing
