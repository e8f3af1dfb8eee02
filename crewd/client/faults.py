"""What is wrong with files of agents, teams, workflows, skills and hooks, and with what they name.

Tests: tests/client/cli/test_teams.py.
"""

from __future__ import annotations

import difflib
import re
import subprocess
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

import msgspec

from crewd.agents.catalogue import CATALOGUE
from crewd.agents.skills import NONE, parse_skill
from crewd.agents.tools import near_tool
from crewd.client import shapes
from crewd.client.agents import agent_named
from crewd.client.chosen import Wish, choose, team_named
from crewd.client.extensions import faults_of_extensions
from crewd.client.hooks import found_hooks
from crewd.client.resources import SUFFIXES, Resource, resource, resources
from crewd.model.errors import CrewdError, UsageError
from crewd.model.inputs import GOAL
from crewd.model.markdown import front_matter
from crewd.model.runtimes import RUNTIMES, By
from crewd.model.shell import near_names, place_values, unset_names
from crewd.model.workflow import Workflow, check_planned
from crewd.model.yaml_text import field_text, read_yaml

_OF_STEP = re.compile(r"step ([\w.-]+)")
_SHELL_SECONDS = 10.0
_NAMED = re.compile(r"'([^']+)'")


class Fault(NamedTuple):
    """What is wrong, and what to do. `further`: what else is wrong in the same file."""

    wrong: str
    hint: str = ""
    further: tuple[str, ...] = ()


def described(each: Resource) -> tuple[str, Fault | None]:
    """What a file says that it is for, and what is wrong with it by itself."""
    try:
        match each.kind:
            case "agents":
                return agent_named(each.id).definition.description, None
            case "teams":
                return team_named(each.id).description, None
            case "skills":
                return parse_skill(each.text(), each.name).description, None
            case "workflows":
                each.text()
                return shapes.read_workflow(each.path).workflow.description, None
    except CrewdError as error:
        return "", Fault(error.message, error.hint, tuple(str(error.values.get("further", "")).splitlines()))


def wrong_files() -> dict[str, str]:
    """What is wrong with files, by the id of the item that each of them is: `agent:NAME`."""
    meant = [
        (kind, each) for kind in SUFFIXES for each in resources(kind)
        if each.state == "active" and not (kind == "agents" and each.source != "user" and each.name in CATALOGUE)
    ]  # fmt: skip
    told = [(kind, each, described(each)[1]) for kind, each in meant]
    return {f"{kind.removesuffix('s')}:{each.name}": fault.wrong for kind, each, fault in told if fault}


def faults_of_hooks() -> list[Fault]:
    """What is wrong with the files of hooks, and with extensions."""
    return [*_raised("", found_hooks), *map(Fault, faults_of_extensions())]


def faults_of(each: Resource) -> list[Fault]:
    """What is wrong with a file, or with what it names; each with its line, where that can be told."""
    _, fault = described(each)
    if fault is not None:
        return [fault, *map(Fault, fault.further)]
    return [*_of_its_name(each), *in_lines(each.text(), _of_names(each))]


def in_lines(text: str, faults: Iterable[Fault]) -> list[Fault]:
    """Faults of what a text names, with the line of each name: of a step, after its heading, or that of its heading."""
    lines = text.splitlines()
    found = []
    for fault in faults:
        step, name = _OF_STEP.match(fault.wrong), _NAMED.findall(fault.wrong)
        heading = next(
            (i for i, line in enumerate(lines) if step and re.fullmatch(rf"##\s+{re.escape(step[1])}\s*", line)), None
        )
        word = re.compile(rf"(?<![\w-]){re.escape(name[-1])}(?![\w-])") if name else None
        begin = heading or 0
        at = next((i for i, line in enumerate(lines) if i >= begin and word.search(line)), None) if word else heading
        found.append(fault if at is None else Fault(f"line {at + 1}: {fault.wrong}", fault.hint))
    return found


def _of_its_name(each: Resource) -> list[Fault]:
    """A file is found by its own name (a skill: by its folder's), so another name in its front matter misleads."""
    head = read_yaml(front_matter(each.text())[0], 2)
    name = field_text(head, "name") if isinstance(head.value, dict) else ""
    if name in {"", each.name}:
        return []
    said = f"line {head.line('name')}: name {name!r} finds nothing: this {each.kind.removesuffix('s')} is called {each.name}"
    return [Fault(said, f"name: {each.name}, or no name")]


def _of_names(each: Resource) -> list[Fault]:
    match each.kind:
        case "agents":
            agent = agent_named(each.id).definition
            return [*_of_skills("", agent.skills), *_of_tools(agent.agent.tools)]
        case "teams":
            return _of_team(each)
        case "workflows":
            return faults_of_steps(shapes.read_workflow(each.path).workflow)
        case "skills":
            return []


def faults_of_steps(workflow: Workflow) -> list[Fault]:
    """What is wrong with the commands of steps, and with the agents, the skills and the files that they name."""
    found = [fault for step in workflow.steps if step.agent for fault in _of_agent(f"step {step.id}: ", step.agent)]
    for step in workflow.steps:
        found += _of_skills(f"step {step.id}: ", step.skills)
        if step.conflict_key and not (step.access or step.role) and RUNTIMES[step.worker.runtime].by is not By.NOBODY:
            found.append(Fault(f"step {step.id} has a 'conflictKey' and no access", "access: shared, or access: exclusive"))
        found += _of_command(step.id, "run", step.worker.shell, workflow.inputs)
        for command in (step.verify, *step.verify_levels.values()):
            found += _of_command(step.id, "verify", command, workflow.inputs)
        others = [other.output for other in workflow.steps if other.output and other is not step]
        for name in step.reads:
            close = difflib.get_close_matches(name, others, 1, 0.8)
            if name not in others:
                hint = f"did you mean {close[0]}?" if close else f"'output: {name}' in the step that writes it"
                found.append(Fault(f"step {step.id} reads {name!r}, which no step leaves", hint))
    return found


def remarks_on_steps(workflow: Workflow) -> list[Fault]:
    """What is possible in the commands and texts of steps, and hardly meant: inputs misspelt, or written as shell variables."""
    names, found = (GOAL, *workflow.inputs), list[Fault]()
    for step in workflow.steps:
        for line in (step.worker.shell, step.verify, *step.verify_levels.values()):
            for word, meant in near_names(line, names).items():
                said = f"step {step.id}: '{{{word}}}' is no input, and is left to the shell as it is"
                found.append(Fault(said, f"did you mean {{{meant}}}?"))
            for word, name in unset_names(line, names).items():
                if name not in step.worker.env:
                    said = f"step {step.id}: '{word}' is a variable of the shell, and nothing sets it"
                    found.append(Fault(said, f"did you mean {{{name}}}?"))
        for word, meant in near_names(step.text, names).items():
            said = f"step {step.id}: '{{{word}}}' is no input, and stays in its text as it is"
            found.append(Fault(said, f"did you mean {{{meant}}}?"))
    return found


def _of_command(step: str, field: str, line: str, inputs: Collection[str]) -> list[Fault]:
    """What the shell says of the grammar of a command line, of which it runs nothing."""
    if not line:
        return []
    script = place_values(line, (GOAL, *inputs)).encode()
    try:
        done = subprocess.run(["/bin/sh", "-n"], input=script, capture_output=True, timeout=_SHELL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []  # nothing can be said of it here
    if not done.returncode:
        return []
    said = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0].replace("'", "`")
    return [Fault(f"step {step}: the shell cannot read '{field}'", said)]


def _of_team(each: Resource) -> list[Fault]:
    team = team_named(each.id)
    faults = [
        fault
        for name, role in team.roles.items()
        for fault in (*_of_agent(f"role {name}: ", role.agent), *_of_skills(f"role {name}: ", role.skills))
    ]
    if not team.workflow:
        return faults
    try:
        workflow = shapes.named_workflow(team.workflow).workflow
    except CrewdError as error:
        return [*faults, Fault(f"its workflow: {error.message}", error.hint)]
    faults += [
        Fault(
            f"step {step.id} of workflow {team.workflow} has the role {step.role!r}, which the team does not have",
            f"- {step.role}: agent=NAME",
        )
        for step in workflow.steps
        if RUNTIMES[step.worker.runtime].by is By.NOBODY and not step.agent and step.role not in team.roles
    ]
    try:
        check_planned(msgspec.structs.replace(workflow, plan_approval=workflow.plan_approval or team.plan_approval))
    except UsageError as error:
        faults.append(Fault(f"with its workflow {team.workflow}: {error.message}", error.hint))
    return faults or _raised("", lambda: choose(Wish(team=each.id), installed=False))


def _of_agent(where: str, name: str) -> list[Fault]:
    return _raised(where, lambda: agent_named(name))


def _of_skills(where: str, names: Iterable[str]) -> list[Fault]:
    return [fault for name in names if (name,) != NONE for fault in _raised(where, lambda name=name: resource("skills", name))]  # type: ignore[misc]


def _of_tools(names: Iterable[str]) -> list[Fault]:
    """Tools that look like one that crewd knows, misspelt. Others may be tools that a program has from somewhere else."""
    near = {name: near_tool(name) for name in names}
    return [Fault(f"tools: crewd knows no {name!r}", f"did you mean {tool}?") for name, tool in near.items() if tool]


def _raised(where: str, look: Callable[[], object]) -> list[Fault]:
    try:
        look()
    except CrewdError as error:
        if "disabled" in error.values:
            return []  # that is the user's decision, and no fault of a file
        return [Fault(f"{where}{error.message}", error.hint)]
    return []
