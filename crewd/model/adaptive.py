"""Plans whose tasks become steps of their run: what `adaptive: true` of a step stands for. Pure.

The result of an adaptive step is a plan: phases, and in each of them tasks for the roles of the workflow. The tasks of a phase
become steps that start when those of the phase before are completed; the first phase follows the adaptive step. Whatever
depends on the adaptive step starts after all of them. docs/workflows.md shows the format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from crewd.model.errors import UsageError
from crewd.model.green import VERIFICATION, VERIFY_SUFFIX
from crewd.model.workflow import Workflow

TASKS_MAX = 12
"""Tasks of one plan."""
TASK_CHARS_MAX = 8_000
"""The text of one task."""
_ROLE_CHARS = 40
"""Of a role's name in the name of its step: the rest of a name's length is for what makes it unique."""
_TEXTS = ("task", "text", "description", "prompt", "goal")
"""What agents call the text of a task. A task has one of them."""
_ORDER = ("depends_on", "dependsOn", "depends", "after", "needs", "requires")
"""What agents call the tasks that a task waits for. It is no part of a plan; left out, a task would begin too early."""
_DESCRIBING = ("id", "name", "title", "number", "summary", "reason", "rationale", "why", "note", "notes", "comment")
"""What may stand beside it, and says nothing of what is to be done."""
_FENCED = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)


class Planned(msgspec.Struct, frozen=True):
    """A task of a plan: who does what."""

    role: str
    text: str


class AddedStep(msgspec.Struct, frozen=True):
    """A step that a plan has added to its run. `phase` counts from 1; the rest is as in `Step`."""

    id: str
    role: str
    text: str
    phase: int
    depends_on: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    output: str = ""


def with_plans(workflow: Workflow) -> Workflow:
    """The workflow whose adaptive steps say in their text which plan is expected. UsageError if it has no roles for one."""
    if not any(step.adaptive for step in workflow.steps):
        return workflow
    steps = []
    for step in workflow.steps:
        if not step.adaptive:
            steps.append(step)
            continue
        if not workflow.roles:
            raise UsageError(
                f"step {step.id} is adaptive, and there are no roles that its plan could name",
                hint="run the workflow with a team (--team NAME), or give it roles", step=step.id, field="adaptive",
            )  # fmt: skip
        text = "\n\n".join(part for part in (step.text, _expected(workflow.roles)) if part)
        steps.append(replace(step, text=text))
    return replace(workflow, steps=tuple(steps))


def _expected(roles: Iterable[str]) -> str:
    example = '{"phases": [{"tasks": [{"role": "ROLE", "task": "what is to be done, and how that is checked"}]}]}'
    return (
        f"End your answer with the plan as one JSON object in a fenced block:\n\n```json\n{example}\n```\n\n"
        f"Each task is given to another worker. The roles are: {', '.join(roles)}. The tasks of a phase run at the same time, "
        f"those of the next phase after them. At most {TASKS_MAX} tasks in all."
    )


def read_plan(result: object, roles: Iterable[str]) -> tuple[tuple[Planned, ...], ...]:
    """The phases of a plan, with at least one task each. UsageError, which says what is wrong, if it is none.

    `result` is a JSON value, or a text with one in it: the text itself, or its only fenced block that is a plan. What can be
    meant in one way only is taken: phases that are bare lists of tasks, no `phases` around them, names of roles in another
    case or with `_` or a space for `-`, empty phases, and other common names for the text of a task.
    """
    known = {_plain(role): role for role in roles}
    value = _value_of(result) if isinstance(result, str) else result
    phases = _phases_of(value)
    if phases is None:
        raise UsageError('it is no JSON object with "phases"')
    _check_keys(value, "it", ("phases",))
    found = []
    for number, phase in enumerate(phases, 1):
        tasks = phase.get("tasks") if isinstance(phase, dict) else phase
        _check_keys(phase, f"phase {number}", ("tasks",))
        if not isinstance(tasks, list):
            raise UsageError(f'phase {number} has no list of "tasks"')
        if tasks:
            found.append(tuple(_task(each, f"task {place} of phase {number}", known) for place, each in enumerate(tasks, 1)))
    count = sum(map(len, found))
    if not count:
        raise UsageError("it has no tasks")
    if count > TASKS_MAX:
        raise UsageError(f"it has {count} tasks, at most {TASKS_MAX} are possible")
    return tuple(found)


def _phases_of(value: object) -> list[object] | None:
    """The list of phases in a value that looks like a plan; None for any other value."""
    if isinstance(value, dict):
        value = value.get("phases")
        return value if isinstance(value, list) else None
    looks = isinstance(value, list) and value and all(isinstance(each, dict) and "tasks" in each for each in value)
    return value if looks and isinstance(value, list) else None


def _value_of(text: str) -> object:
    whole = _decoded(text)
    if whole is not None:
        return whole
    plans = [value for value in map(_decoded, _FENCED.findall(text)) if _phases_of(value) is not None]
    if len(plans) > 1 and any(plan != plans[0] for plan in plans):
        raise UsageError(f"there are {len(plans)} different plans in the answer")
    if plans:
        return plans[0]
    begin, end = text.find("{"), text.rfind("}")
    return _decoded(text[begin : end + 1]) if 0 <= begin < end else None


def _decoded(text: str) -> object:
    try:
        value: object = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    return value


class _Twice(dict[str, object]):
    """A JSON object in which a key stands twice: one of its values is lost."""

    key = ""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = _Twice(pairs)
    if len(found) == len(pairs):
        return dict(pairs)
    found.key = next(key for key, value in pairs if found[key] is not value)
    return found


def _check_keys(value: object, where: str, known: Sequence[str]) -> None:
    """UsageError for a key that stands twice, or that would change what is done and is not known."""
    if isinstance(value, _Twice):
        raise UsageError(f'{where} has "{value.key}" twice')
    for key, said in value.items() if isinstance(value, dict) else ():
        empty = said is None or said in ("", [], {}) or (key, said) == ("parallel", True)
        if not (key in known or key in _DESCRIBING or empty):
            raise UsageError(f'{where} has "{key}", which is no part of a plan')


def _task(value: object, where: str, known: Mapping[str, str]) -> Planned:
    if not isinstance(value, dict):
        raise UsageError(f"{where} is no JSON object")
    if order := next((key for key in _ORDER if value.get(key)), ""):
        raise UsageError(f'{where} has "{order}": only phases say in which order tasks are done')
    _check_keys(value, where, ("role", *_TEXTS))
    role = value.get("role")
    if not isinstance(role, str) or _plain(role) not in known:
        raise UsageError(f"{where} has the role {role!r}, the roles are {', '.join(known.values())}")
    texts = [value[key] for key in _TEXTS if key in value]
    if len(texts) > 1 and "task" in value:
        texts = texts[:1]
    if len(texts) != 1 or not isinstance(texts[0], str) or not texts[0].strip():
        raise UsageError(f'{where} has no one "task" that says what is to be done')
    if "\0" in texts[0]:
        raise UsageError(f"{where} holds a NUL byte, which no program can be given")
    if len(texts[0]) > TASK_CHARS_MAX:
        raise UsageError(f"{where} has {len(texts[0])} characters, at most {TASK_CHARS_MAX} are possible")
    return Planned(known[_plain(role)], texts[0].strip())


def _plain(role: str) -> str:
    return re.sub(r"[\s_-]+", "-", role.strip()).casefold()


def steps_of(workflow: Workflow, adaptive: str, phases: Sequence[Sequence[Planned]]) -> tuple[AddedStep, ...]:
    """The steps that a plan adds after the step `adaptive`. Names are `ROLE.PHASE`, with a number if there are several."""
    names = {step.id for step in workflow.steps} | {step.output for step in workflow.steps}
    step = next(each for each in workflow.steps if each.id == adaptive)
    verified = f"{adaptive}{VERIFY_SUFFIX}"
    before: tuple[str, ...] = (adaptive, verified) if verified in names else (adaptive,)
    reads: tuple[str, ...] = (step.output,) if step.output else ()
    found: list[AddedStep] = []
    for number, phase in enumerate(phases, 1):
        now = []
        for task in phase:
            key = next(name for name in _names(task.role, number) if names.isdisjoint((name, f"{name}.md")))
            names |= {key, f"{key}.md"}
            now.append(AddedStep(key, task.role, task.text, number, before, reads, f"{key}.md"))
        before = tuple(each.id for each in now)
        reads = (*reads[: bool(step.output)], *(each.output for each in now))
        found += now
    return tuple(found)


def _names(role: str, phase: int) -> Iterator[str]:
    first = f"{role[:_ROLE_CHARS]}.{phase}"
    yield first
    number = 2
    while True:
        yield f"{first}-{number}"
        number += 1


def with_step(workflow: Workflow, adaptive: str, added: AddedStep) -> Workflow:
    """The workflow with a step that the plan of the step `adaptive` has added; what depends on that one waits for it."""
    role = workflow.roles[added.role]
    text = "\n\n".join(part for part in (role.text, added.text) if part)
    step = replace(
        role, id=added.id, role=added.role, text=text, depends_on=added.depends_on, reads=added.reads, output=added.output,
        added_by=adaptive,
    )  # fmt: skip
    verified = f"{adaptive}{VERIFY_SUFFIX}"
    steps = [
        replace(each, depends_on=(*each.depends_on, step.id), reads=() if each.reads_nothing else (*each.reads, step.output))
        if adaptive in each.depends_on
        and not each.added_by
        and not (each.role == VERIFICATION and f"{each.id}.".startswith(f"{verified}."))
        else each
        for each in workflow.steps
    ]
    return replace(workflow, steps=(*steps, step))
