"""What a workflow file is understood as, for people and for programs.

Tests: tests/client/test_cli.py, tests/client/cli/test_teams.py.
"""

from __future__ import annotations

import msgspec

from crewd.client.cli.common import Options, out, say_exactly
from crewd.model.budget import words_of
from crewd.model.inputs import GOAL
from crewd.model.quantities import counted
from crewd.model.shell import place_values, with_exec
from crewd.model.workflow import Step, Workflow
from crewd.model.workflow_markdown import Understood

_SHOWN_ABOVE = frozenset({"shell", "call", "args", "outside", "retry", "stdin", "stdin_file"})


def tell_workflow(options: Options, understood: Understood) -> None:
    """Print what a workflow file is understood as."""
    workflow = understood.workflow
    if options.json:
        out(workflow)
        return
    bounds = [f"{counted(workflow.max_concurrency, 'step')} at once" if workflow.max_concurrency else ""]
    bounds.append(f"{counted(workflow.max_minutes, 'minute')} at most" if workflow.max_minutes else "")
    bounds.append(f"a budget of {words_of(workflow.budget)}" if workflow.budget.bounded else "")
    bounds.append("the plan is to be approved" if workflow.plan_approval else "")
    bounds.append(f"green: {workflow.green}" if workflow.green else "")
    labels = ", ".join(f"{name}={value}" for name, value in workflow.labels.items())
    count = len(workflow.steps)
    say_exactly(
        f"{workflow.name}: {count} step{'' if count == 1 else 's'}" + "".join(f", {each}" for each in (*bounds, labels) if each)
    )
    for name, each in workflow.inputs.items():
        default = "must be given" if each.default is None else f"else {each.default!r}"
        say_exactly(f"  input {name}: {each.type}, {default}" + (f"; one of {', '.join(each.choices)}" if each.choices else ""))
    for step in workflow.steps:
        _tell(workflow, step)
    for unused in understood.unused:
        say_exactly(f"  not used: {unused}")


def _tell(workflow: Workflow, step: Step) -> None:
    after = f" after {', '.join(step.depends_on)}" if step.depends_on else ""
    say_exactly(f"  {step.id}{after}")
    worker = step.worker
    names = (GOAL, *workflow.inputs)
    if worker.shell:
        say_exactly(f"    run:    {_indented(with_exec(place_values(worker.shell, names)))}")
    elif worker.call:
        given = msgspec.json.encode(worker.args).decode() if worker.args else ""
        say_exactly(f"    call:   {worker.call} {given}".rstrip())
    else:
        say_exactly("    " + ("outside: somebody claims it" if worker.outside else _agent_of(step)))
    access = ", ".join(filter(None, (step.access, step.conflict_key and f"key {step.conflict_key}")))
    told = (
        ("skills", ", ".join(step.skills)), ("reads", ", ".join(step.reads)), ("output", step.output), ("access", access),
        ("effectiveness", step.effectiveness),
        ("verify", place_values(step.verify, names)),
        *(("verify", f"{level}: {place_values(command, names)}") for level, command in step.verify_levels.items()),
        ("packet", step.packet.summary if step.packet else ""),
        ("adaptive", "its plan adds steps" if step.adaptive else ""),
        ("stdin", worker.stdin_file or ("" if worker.stdin == "none" else worker.stdin)),
        ("retries", f"{worker.retry.attempts - 1}" if worker.retry.attempts > 1 else ""),
    )  # fmt: skip
    for what, text in told:
        if text:
            say_exactly(f"    {what + ':':<7} {_indented(text)}")
    for what, value in msgspec.to_builtins(worker).items():
        if what not in _SHOWN_ABOVE and value:
            say_exactly(f"    {what + ':':<7} {_indented(_words(value))}")
    if step.text:
        say_exactly(f"    text:   {counted(len(step.text), 'character')}, {step.text.splitlines()[0][:60]!r}")


def _words(value: object) -> str:
    """A value of a field, as somebody would write it."""
    match value:
        case str():
            return value
        case dict():
            return ", ".join(f"{key}={_words(each)}" for key, each in value.items())
        case list():
            return ", ".join(map(_words, value))
        case float():
            return f"{value:g}"
        case _:
            return msgspec.json.encode(value).decode()


def _indented(text: str) -> str:
    """Several lines below each other."""
    return text.rstrip("\n").replace("\n", "\n            ")


def _agent_of(step: Step) -> str:
    parts = (f"{step.agent}" if step.agent else f"of role {step.role}" if step.role else "the one of the run", step.model)
    return "agent:  " + ", model ".join(part for part in parts if part)
