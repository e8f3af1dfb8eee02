"""Checks a request to start a run, as far as the request alone tells. crewd and `crew run --dry-run` use the same check. Pure.

Tests: tests/hostile/test_clients.py, tests/client/cli/test_teams.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from crewd.model.adaptive import with_plans
from crewd.model.errors import Refused, UsageError
from crewd.model.ids import check_run_name
from crewd.model.inputs import GOAL, placed_chars, resolve
from crewd.model.inventory import check_kept
from crewd.model.limits import ENV_BYTES_MAX, GOAL_BYTES_MAX, PASSED_BYTES_MAX, PLACED_CHARS_MAX, RUN_BYTES_MAX
from crewd.model.packet import check_placed
from crewd.model.redact import DEPTH_MAX, MASK, blot, is_deep, redact, redact_value
from crewd.model.results import with_results
from crewd.model.runtimes import RUNTIMES, By
from crewd.model.variables import check_variable
from crewd.model.verification import with_verifications
from crewd.model.workflow import Step, Workflow, check_argument, check_workflow
from crewd.protocol.doors import check_secrets
from crewd.protocol.requests import StartRun

SHOWN_CHARS = 40
"""What is shown of a text before the secret that it is refused for."""


def startable(start: StartRun) -> tuple[Workflow, str, dict[str, str]]:
    """The workflow as it is run, the goal, and the inputs. Raises UsageError (Refused is one) naming what is wrong."""
    if start.name:
        check_run_name(start.name)
    workflow = as_run(start.workflow)
    goal, inputs = resolve(workflow.inputs, start.goal, start.inputs)
    for step in (*workflow.steps, *workflow.roles.values()):
        if step.packet is not None:
            check_placed(step.id, step.packet, {**inputs, GOAL: goal})
    _check_texts(workflow, {**inputs, GOAL: goal})
    _check_no_secrets(workflow, start.name, start.request_id)
    _check_start(start)
    size = len(msgspec.msgpack.encode([workflow, goal, start.env, inputs]))
    if size > RUN_BYTES_MAX:
        hint = f"at most {RUN_BYTES_MAX:,} are possible: let steps read long texts from files, or start several runs"
        raise UsageError(f"the run's steps, goal and variables have {size:,} bytes", hint=hint)
    return workflow, goal, inputs


def _check_runtimes(workflow: Workflow) -> None:
    """Raises Refused if there are steps that nobody carries out."""
    workers = {step.id: step.worker for step in workflow.steps}
    workers |= {f"of role {name}": role.worker for name, role in workflow.roles.items()}
    if agents := [name for name, worker in workers.items() if RUNTIMES[worker.runtime].by is By.NOBODY]:
        raise Refused(
            f"no runtime for the steps {', '.join(agents)}: they are written for an agent",
            hint="crew run ... --agent NAME does them; or give each a 'call:', a 'run:', or 'outside: true' for a claim",
        )


def _check_texts(workflow: Workflow, values: Mapping[str, str]) -> None:
    for step in (*workflow.steps, *workflow.roles.values()):
        if is_deep(step.worker.args):
            hint = f"at most {DEPTH_MAX} lists and dicts in each other"
            raise UsageError(f"step {step.id}: its args are nested too deeply", hint=hint)
        size = sum(placed_chars(text, values) for text in (step.text, *_strings(step.worker.args)))
        if size > PLACED_CHARS_MAX:
            hint = f"{PLACED_CHARS_MAX:,} are possible; name the goal or an input fewer times, or give a shorter one"
            raise UsageError(f"step {step.id}: its text and args have {size:,} characters with the values in them", hint=hint)


def _strings(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list() | tuple():
            for each in value:
                yield from _strings(each)
        case dict():
            for each in value.values():
                yield from _strings(each)
        case _:
            pass


def as_run(workflow: Workflow) -> Workflow:
    """The workflow as it is run, with its verifications as steps. Raises UsageError (Refused is one) if it cannot be run."""
    verified = with_results(with_plans(with_verifications(check_workflow(workflow))))
    for step in (*workflow.steps, *workflow.roles.values()):  # what a role or an agent says of its access is known by now
        if step.conflict_key and not step.access:
            raise UsageError(f"step {step.id} has a conflictKey and no access", hint="access: shared, or access: exclusive")
    workflow = workflow if verified is workflow else check_workflow(verified)
    _check_runtimes(workflow)
    return workflow


def _check_start(start: StartRun) -> None:
    """Raises UsageError for what no worker could be given."""
    check_argument("the goal", start.goal)
    for name, text in start.inputs.items():
        check_argument(f"the input {name}", text)
        if redact(text) != text:
            hint = "pass it with --secret NAME, and let the worker read its variable"
            raise UsageError(f"the input {name} holds what looks like a secret, and crewd keeps what it runs", hint=hint)
    if len(start.goal.encode()) > GOAL_BYTES_MAX:
        hint = "write what is long into a file, and name the file in the goal"
        raise UsageError(f"the goal has {len(start.goal.encode())} bytes, {GOAL_BYTES_MAX} are possible", hint=hint)
    if "\0" in start.cwd or not start.cwd.startswith("/"):
        raise UsageError(f"the working directory {start.cwd!r} is no absolute path")
    if sum(len(name) + len(value) for name, value in start.env.items()) > ENV_BYTES_MAX:
        raise UsageError(f"the variables of the run have more than {ENV_BYTES_MAX} bytes", hint="pass fewer of them")
    for name, value in start.env.items():
        check_variable("the run", name)
        check_argument(f"the variable {name}", f"{name}={value}")
    size = sum(len(name.encode()) + len(value.encode()) + 10 for name, value in start.passed.items())
    if size > PASSED_BYTES_MAX:
        hint = "leave --env-from-caller out, and set what the worker needs: -e NAME=VALUE"
        raise UsageError(f"the variables of the caller have {size} bytes, {PASSED_BYTES_MAX} are possible", hint=hint)
    check_secrets({**start.passed, **start.secrets})
    check_kept(start.inventory)


def _check_no_secrets(workflow: Workflow, name: str, request_id: str) -> None:
    """What is to be run is kept as it is: nothing can be masked in it. Raises UsageError naming where a secret stands."""
    plain = {"name": name, "request_id": request_id, "workflow": msgspec.to_builtins(workflow)}
    steps = (*workflow.steps, *workflow.roles.values())
    where, masked = _first_difference(plain, redact_value(plain), "the run")
    if where:
        where = _in_words(where.replace("the run.workflow", "workflow"), steps)
    else:
        lines = {f"the command of {step.id}": " ".join(step.worker.argv) for step in steps}
        where, masked = next(((what, redact(line)) for what, line in lines.items() if redact(line) != line), ("", ""))
    inputs = {f"the input of {step.id}": step.worker.input for step in steps if step.worker.input}
    where = where or next((what for what, data in inputs.items() if blot(data) != data), "")
    if where:
        shown = f" ({around})" if (around := _around_mask(masked)) else ""
        hint = (
            "name a variable that holds it: --secret NAME, or env_pass = ['NAME'] in crewd.toml; or let the worker read a file"
        )
        raise UsageError(f"{where} holds what looks like a secret{shown}, and crewd keeps what it runs", hint=hint)


def _in_words(where: str, steps: Sequence[Step]) -> str:
    found = re.fullmatch(r"workflow\.steps\[(\d+)\]\.worker\.argv\[(\d+)\]", where)
    if found is None:
        return where
    what = f"argument {found[2]} of the command" if int(found[2]) else "the program"
    return f"{what} of {steps[int(found[1])].id}"


def _around_mask(masked: str) -> str:
    """The line in which a secret was masked, as far as it helps to find it."""
    before, mask, _ = masked.partition(MASK)
    line = before.rpartition("\n")[2]
    return f"{'...' if len(line) > SHOWN_CHARS else ''}{line[-SHOWN_CHARS:]}{mask}" if mask and line.strip() else ""


def _first_difference(plain: Any, masked: Any, where: str) -> tuple[str, str]:
    if isinstance(plain, dict):
        if any(isinstance(key, str) and redact(key) != key for key in plain):
            return f"a name in {where}", ""
        pairs = ((plain[key], masked.get(key), f"{where}.{key}") for key in plain)
    elif isinstance(plain, list | tuple):
        pairs = ((each, masked[index], f"{where}[{index}]") for index, each in enumerate(plain))
    else:
        return (where, str(masked)) if plain != masked else ("", "")
    return next((found for each in pairs if (found := _first_difference(*each))[0]), ("", ""))
