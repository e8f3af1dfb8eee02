"""A list of goals as a workflow: a step for each, which depends on nothing.

Tests: tests/client/cli/test_parallel.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from crewd.client.user_file import FILE_BYTES_MAX
from crewd.model.errors import UsageError
from crewd.model.ids import check_name
from crewd.model.markdown import did_you_mean
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.model.yaml_text import read_yaml

GOALS_MAX: Final = 200
"""Of one list. Each is a step, and a client shows all steps of a run at once."""
AT_ONCE_DEFAULT: Final = 4
AT_ONCE_MAX: Final = 8
"""Goals at once: each is a coding agent, and costs."""
_KEYS: Final = ("goal", "agent", "model", "skills", "cwd", "name")


class ListedGoal(msgspec.Struct, frozen=True):
    """A goal of a list. `cwd` is where it is worked on: absolute, or empty for where the command runs.

    The `name` is the step's; `read_goals` gives one to each.
    """

    goal: str
    agent: str = ""
    model: str = ""
    skills: tuple[str, ...] = ()
    cwd: str = ""
    name: str = ""


def read_goals(text: str, where: str, directory: Path) -> list[ListedGoal]:
    """The goals of a YAML or JSON list: texts, or maps with `goal`, `agent`, `model`, `skills`, `cwd` and `name`.

    Paths are relative to `directory`. UsageError names the entry that is wrong.
    """
    if len(text.encode("utf-8", "replace")) > FILE_BYTES_MAX:
        raise UsageError(f"{where} has more than {FILE_BYTES_MAX} bytes", hint="a goal is a few lines")
    try:
        entries = read_yaml(text, 1).value
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint or _SHAPE) from None
    if not isinstance(entries, list):
        raise UsageError(f"{where} is no list of goals", hint=_SHAPE)
    if not entries:
        raise UsageError(f"{where} lists no goal", hint=_SHAPE)
    if len(entries) > GOALS_MAX:
        raise UsageError(f"{where} has {len(entries)} goals, at most {GOALS_MAX} are possible", hint="make several lists of it")
    goals: dict[str, ListedGoal] = {}
    for number, entry in enumerate(entries, 1):
        each = _goal(entry, f"{where}: goal {number}", directory)
        name = each.name or f"goal-{number}"
        if name in goals:
            hint = "rename one of them; a goal without a name is called by its number, goal-2"
            raise UsageError(f"{where}: goals {list(goals).index(name) + 1} and {number} have the name {name}", hint=hint)
        goals[name] = msgspec.structs.replace(each, name=name)
    return list(goals.values())


_SHAPE = "lines such as '- fix the flaky test', or maps: '- {goal: look at src, agent: reviewer, cwd: ../other}'"


def _goal(entry: object, where: str, directory: Path) -> ListedGoal:
    if not isinstance(entry, str | dict):
        raise UsageError(f"{where} is neither a text nor a map" if entry is not None else f"{where} is empty", hint=_SHAPE)
    given: Mapping[str, Any] = {"goal": entry} if isinstance(entry, str) else entry
    for key in given:
        if key not in _KEYS:
            hint = f"{did_you_mean(str(key), _KEYS, {})}; a goal with a colon stands in quotes"
            raise UsageError(f"{where} has {key!r}, which is no key", hint=hint)
    goal = given.get("goal") or ""
    if not isinstance(goal, str):
        raise UsageError(f"{where} is no text", hint=_SHAPE)
    if not goal.strip():
        raise UsageError(f"{where} is empty", hint=_SHAPE)
    if "{goal}" in goal:
        hint = "say it in other words: in the text of a step it stands for the goal of the whole run"
        raise UsageError(f"{where} has {{goal}} in it", hint=hint)
    skills = given.get("skills") or []
    skills = [part.strip() for part in skills.split(",")] if isinstance(skills, str) else skills
    if not isinstance(skills, list):
        raise UsageError(f"{where}: skills is no list of names", hint="skills: [brief, careful]")
    texts = {key: given.get(key) or "" for key in ("agent", "model", "cwd", "name")}
    if not all(isinstance(text, str) for text in (*texts.values(), *skills)):
        raise UsageError(f"{where}: a value is no text", hint=_SHAPE)
    if texts["name"]:
        check_name(f"{where}: name", texts["name"])
    if texts["cwd"]:
        texts["cwd"] = os.path.realpath(directory / texts["cwd"])
        if not Path(texts["cwd"]).is_dir():
            raise UsageError(f"{where}: {texts['cwd']} is no directory", hint="cwd is where the agent works")
    return ListedGoal(goal=goal.strip(), skills=tuple(skills), **texts)


def workflow_of_goals(goals: list[ListedGoal], *, all_need_agents: bool) -> Workflow:
    """A workflow with a step for each goal. UsageError for a goal without an agent if it needs one."""
    steps: list[Step] = []
    for number, each in enumerate(goals, 1):
        if all_need_agents and not each.agent:
            raise UsageError(f"goal {number} names no agent", hint="agent: NAME beside its goal, or --agent NAME for all")
        worker = WorkerSpec(cwd=each.cwd)
        steps.append(Step(each.name, agent=each.agent, model=each.model, skills=each.skills, text=each.goal, worker=worker))
    return Workflow("parallel", tuple(steps))
