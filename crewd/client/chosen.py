"""What is to be run when somebody names an agent, a team, a workflow, or several of them; and where each choice comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from crewd.agents.catalogue import CATALOGUE
from crewd.agents.skills import Skill, fitting, names_of, parse_skill
from crewd.agents.team import Team, parse_team
from crewd.client import shapes
from crewd.client.agents import FoundAgent, agent_named, check_installed
from crewd.client.extensions import active_extensions
from crewd.client.hooked import active_hooks, with_hooks
from crewd.client.initialised import initialise_extensions
from crewd.client.inventory import check_enabled
from crewd.client.resources import Resource, not_brought, resource, resources
from crewd.client.usable import check_usable, given_to, without_disabled
from crewd.client.user_file import user_path
from crewd.model.agent import Access, changing_tool
from crewd.model.errors import NotFound, Refused, UsageError
from crewd.model.green import Green
from crewd.model.ids import check_name
from crewd.model.markdown import did_you_mean
from crewd.model.packet import Packet
from crewd.model.runtimes import RUNTIMES, By
from crewd.model.workflow import PLANNER, Step, WorkerSpec, Workflow, check_workflow


class Choice(msgspec.Struct, frozen=True):
    """Who does a step, and why: `agent_from` and `model_from` name what has decided it."""

    step: str
    found: FoundAgent
    agent_from: str
    model: str
    model_from: str
    skills: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """Skills for which there is no room."""
    access: Access = ""
    access_from: str = ""


class Chosen(msgspec.Struct, frozen=True):
    """A workflow, who does its steps, and the names of the caller's secret variables that their agents look at."""

    workflow: Workflow
    choices: tuple[Choice, ...] = ()
    secrets: tuple[str, ...] = ()
    origin: str = ""
    """Where the workflow comes from."""
    at_once_from: str = "the default"
    """What has decided how many steps there are at once."""
    roles: tuple[Choice, ...] = ()
    """Who does the tasks of the plans of adaptive steps; `step` is the role."""
    hooks_not_run: tuple[str, ...] = ()
    """Sentences that say which hooks of the project do not run, and why."""
    named_by: str = ""
    """Which file of settings has named the agent, the team or the workflow, if nobody else has."""
    settings: Mapping[str, tuple[str, str]] = msgspec.field(default_factory=dict)
    """What else is decided by a file of settings: the value, and which file."""


class Wish(msgspec.Struct, frozen=True):
    """What somebody has named. `program` is whose program an agent gets that names none; `fields` are fields of every agent.

    With a `role` only that role of the team does the goal. `at_once` (0: what files say), `unbounded`, `plan_approval` and
    `green` (empty: what files say) are those of the run: see `Workflow`.
    """

    agent: str = ""
    team: str = ""
    source: str = ""
    program: str = ""
    model: str = ""
    role: str = ""
    skills: tuple[str, ...] = ()
    fields: Mapping[str, Any] = msgspec.field(default_factory=dict)
    at_once: int = 0
    unbounded: bool = False
    plan_approval: bool = False
    green: Green = ""
    packet: Packet | None = None
    """The bounds of each step of an agent that has none of its own. Tasks of plans have them without the artifacts."""
    model_default: str = ""
    """The model where nothing names one."""
    at_once_default: int = 0
    """How many steps there are at once where nothing says it."""
    plan_approval_default: bool = False
    """Whether the plan is to be approved if a step makes one."""
    origins: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Which file has named what nobody asked for, by the name of the field."""

    def origin(self, name: str) -> str:
        """Who has named a field of this."""
        return self.origins.get(name, "the request")


def addressed(goal: str) -> tuple[str, str, str]:
    """A goal that begins with `@team` or `@agent`: the team, the agent, and the rest. NotFound if it names neither.

    A goal that begins with anything else is a goal, and so is a word alone that names neither.
    """
    first, *rest_of = goal.split(maxsplit=1)[:2] or [""]
    rest = rest_of[0] if rest_of else ""
    if not goal.startswith("@"):
        return "", "", goal
    name = first[1:]
    if any(name in {each.name, each.id} for each in resources("teams")):
        return name, "", rest.strip()
    try:
        agent_named(name)
    except NotFound:
        if not rest.strip():
            return "", "", goal
        why = not_brought("teams", name) or not_brought("agents", name)
        if why:
            raise NotFound(
                f"there is no team and no agent {name!r}: {why}", hint="crew capabilities --kind extension"
            ) from None
        known = [*(each.name for each in resources("teams")), *CATALOGUE, *(each.name for each in resources("agents"))]
        hint = did_you_mean(name, known, {}) or "crew teams and crew agents list what there is"
        raise NotFound(f"there is no team and no agent {name!r}", hint=hint) from None
    return "", name, rest.strip()


def team_named(name: str) -> Team:
    """The team of this name. NotFound if there is none; UsageError for a file that is wrong."""
    found = resource("teams", name)
    try:
        return parse_team(found.text(), found.name)
    except UsageError as error:
        raise UsageError(f"{found.path}: {error.message}", hint=error.hint) from None


def choose(wish: Wish, *, installed: bool = True, given: Workflow | None = None) -> Chosen:
    """What a wish means; `given` is the workflow, if it is not named.

    Raises NotFound, UsageError, or Refused for an agent whose program is not installed.

    Who does a step: the agent that the step names, else that of its role in the team, else the one that was asked for. The
    model: the one that was asked for, else the step's, the role's, the agent's. `installed`: the programs have to be there, and
    extensions are initialised, as something is about to be started.
    """
    if installed:
        initialise_extensions()
    team = team_named(wish.team) if wish.team else None
    if team is not None:
        check_enabled("team", wish.team.rpartition(":")[2])
    if team is not None and wish.agent:
        raise UsageError("a team has its own agents", hint="leave --agent out, or give --runtime for whose program they use")
    if given is not None:
        workflow, origin = given, "the request"
    elif wish.role:
        workflow, origin = _of_role(wish, team), f"role {wish.role}"
    elif wish.source and "named" in wish.origins:  # a name, which no file of this directory stands for
        workflow, origin = shapes.named_workflow(wish.source).workflow, wish.source
    elif wish.source:
        workflow, origin = shapes.load_workflow(wish.source), wish.source
    elif team is not None and team.workflow:
        workflow, origin = shapes.named_workflow(team.workflow).workflow, resource("workflows", team.workflow).id
    elif team is not None:
        raise UsageError(f"team {team.name} names no workflow", hint="-w FILE, or a defaultWorkflow in its file")
    else:
        name = agent_named(wish.agent, wish.program).name
        workflow, origin = shapes.one_step(shapes.step_name(name, "agent"), WorkerSpec()), "one agent"
    workflow, at_once_from = _bounded(workflow, wish, team)
    open_steps = [step for step in workflow.steps if RUNTIMES[step.worker.runtime].by is By.NOBODY]
    if wish.agent and not open_steps:
        raise UsageError("each step of the workflow says already how it is done", hint="leave --agent out")
    if wish.packet is not None and not open_steps:
        raise UsageError("a packet bounds the work of agents, and no step is for one", hint="leave --packet out")
    choices = {step.id: _choice(step, wish, team) for step in open_steps if step.agent or team is not None or wish.agent}
    roles = _roles(workflow, wish, team)
    for choice in (*choices.values(), *roles.values()):
        check_usable(choice.found, choice.model)
        if installed:
            check_installed(choice.found)
    steps = [_filled(step, choices[step.id], wish) if step.id in choices else step for step in workflow.steps]
    for_tasks = wish if wish.packet is None else replace(wish, packet=replace(wish.packet, artifacts=()))
    filled = {name: _filled(Step(name, role=name), choice, for_tasks) for name, choice in roles.items()}
    told, of_roles = ([_told(each) for each in some.values()] for some in (choices, roles))
    secrets = dict.fromkeys(name for choice in (*told, *of_roles) for name in choice.found.secrets)
    hooks, not_run = active_hooks()
    workflow = replace(workflow, steps=tuple(steps), roles={**workflow.roles, **filled})
    workflow = check_workflow(with_hooks(workflow, hooks))
    values = {"runtime": ("program", wish.program), "permissions": ("permissions", wish.fields.get("permissions", ""))}
    settings = {key: (value, wish.origins[name]) for key, (name, value) in values.items() if name in wish.origins}
    return Chosen(
        workflow,
        tuple(told),
        tuple(secrets),
        origin,
        at_once_from,
        tuple(of_roles),
        tuple(not_run),
        wish.origins.get("named", ""),
        settings,
    )


def _of_role(wish: Wish, team: Team | None) -> Workflow:
    """A step for one role of a team. UsageError if there is no such role."""
    if team is None or wish.source:
        raise UsageError(f"{wish.role} is a role of no team", hint="--team NAME --role ROLE, without a workflow")
    if wish.role not in team.roles:
        hint = did_you_mean(wish.role, team.roles, {})
        raise UsageError(f"team {team.name} has no role {wish.role!r}", hint=hint)
    name = shapes.step_name(wish.role, "role")
    return Workflow(name, (Step(name, role=wish.role),))


def _roles(workflow: Workflow, wish: Wish, team: Team | None) -> dict[str, Choice]:
    """Who does the tasks of the plans of adaptive steps: each role of the team but those of these steps themselves."""
    planners = {step.role for step in workflow.steps if step.adaptive}
    if team is None or not planners:
        return {}
    return {name: _choice(Step(name, role=name), wish, team) for name in team.roles if name not in planners}


def _told(choice: Choice) -> Choice:
    return replace(choice, left_out=fitting(map(skill_named, choice.skills))[1])


def _bounded(workflow: Workflow, wish: Wish, team: Team | None) -> tuple[Workflow, str]:
    """The workflow with how many steps there are at once, and what has decided that: the run, the team, the workflow."""
    said = (
        (wish.at_once, "the request"), (team.max_concurrency if team else 0, f"team {team.name if team else ''}"),
        (workflow.max_concurrency, "the workflow"), (wish.at_once_default, wish.origin("at_once_default")),
    )  # fmt: skip
    usual = wish.plan_approval_default or bool(wish.role and team is not None and team.plan_approval)
    usual = usual and any(step.role == PLANNER for step in workflow.steps)
    at_once, came_from = next((each for each in said if each[0]), (0, ""))
    changed = msgspec.structs.replace(
        workflow,
        max_concurrency=at_once,
        unbounded=workflow.unbounded or wish.unbounded or (team is not None and team.unbounded),
        plan_approval=workflow.plan_approval
        or wish.plan_approval
        or usual
        or (team is not None and team.plan_approval and not wish.role),
        green=wish.green or workflow.green,
        budget=workflow.budget if team is None else team.budget.filled(workflow.budget),
    )
    return changed, came_from if at_once else "the default"


def _choice(step: Step, wish: Wish, team: Team | None) -> Choice:
    role = team.roles.get(step.role) if team is not None else None
    if step.agent:
        name, agent_from = step.agent, "step"
    elif team is not None:
        if role is None:
            named = f"role {step.role!r}" if step.role else "no role"
            hint = f"its roles are {', '.join(team.roles)}"
            raise UsageError(f"step {step.id} has {named}, which team {team.name} does not have", hint=hint)
        name, agent_from = role.agent, f"role {step.role} of team {team.name}"
    else:
        name, agent_from = wish.agent, wish.origin("agent")
    found = agent_named(name, wish.program)
    ways: tuple[tuple[Access, str], ...] = (
        (step.access, "step"), (role.access if role else "", f"role {step.role}"),
        (found.definition.access, f"agent {found.name}"),
        ("shared", f"role {step.role}, which does not say otherwise") if role else ("", ""),
    )  # fmt: skip
    access, access_from = next((each for each in ways if each[0]), ways[-1])
    changing = changing_tool(found.definition.agent.tools)
    if access == "shared" and changing:
        raise Refused(
            f"agent {found.name} has the tool {changing}, and step {step.id} only reads (by {access_from})",
            hint="leave the tool out of the agent's file, or say access: exclusive",
        )
    skills = names_of(found.definition.skills, role.skills if role else (), step.skills, wish.skills)
    for model, model_from in (
        (wish.model, "the request"), (step.model, "step"), (role.model if role else "", f"role {step.role}"),
        (found.definition.agent.model, f"agent {found.name}"), (wish.model_default, wish.origin("model_default")),
    ):  # fmt: skip
        if model:
            return Choice(step.id, found, agent_from, model, model_from, skills, (), access, access_from)
    return Choice(step.id, found, agent_from, "", "the program's own", skills, (), access, access_from)


def skill_named(name: str) -> Skill:
    """The skill of this name. NotFound if there is none; UsageError for a file that is wrong; Refused if it is disabled."""
    found = resource("skills", name)
    check_enabled("skill", found.name)
    return read_skill(found)


def read_skill(found: Resource) -> Skill:
    """The skill in a file. UsageError, with the file, for one that is wrong."""
    text = found.text()
    try:
        return parse_skill(text, found.name)
    except UsageError as error:
        raise UsageError(f"{found.path}: {error.message}", hint=error.hint) from None


def _memory_of(found: FoundAgent) -> str:
    """The file with an agent's notes. An agent of a project has them in the project: else it could have another one's name."""
    whose = found.definition.memory
    if not whose:
        return ""
    name = f"{check_name('agent', found.name)}.md"
    trusted = {"user", "builtin", *(each.name for each in active_extensions())}
    of_user = whose == "user" and found.origin in trusted and not found.origin.endswith(".md")
    return str(user_path("memory") / name if of_user else Path.cwd() / ".crew" / "memory" / name)


def _filled(step: Step, choice: Choice, wish: Wish) -> Step:
    """The step, with the agent that does it."""
    change = msgspec.structs.replace
    skills = fitting(map(skill_named, choice.skills))[0]
    asked = {found.name: found.source for found in (resource("skills", name) for name in choice.skills)}
    sources = tuple((skill.name, asked.get(skill.name, "")) for skill in skills)
    agent = change(
        without_disabled(choice.found.definition.agent),
        skills=skills,
        model=choice.model,
        inventory=given_to(choice.found, choice.model, sources, resource("teams", wish.team).id if wish.team else ""),
        memory=_memory_of(choice.found),
        keeps_memory=choice.access != "shared",
        **{key: value for key, value in wish.fields.items() if value},
    )
    decided = {"agent": choice.agent_from, "model": choice.model_from, "access": choice.access_from}
    origins = {name: came_from for name, came_from in decided.items() if came_from}
    return change(
        step,
        origins=origins,
        packet=step.packet or wish.packet,
        access=choice.access,
        worker=change(step.worker, agent=agent, env={**choice.found.env, **step.worker.env}),
    )
