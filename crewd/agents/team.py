"""A file that defines a team: Markdown with front matter, and a line for each role. Pure.

---
description: plans, writes and reviews a change
defaultWorkflow: implementation
---
- planner: agent=planner model=opus thinks before anybody writes
- executor: agent=executor
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast, get_args

import msgspec

from crewd.agents.head import read_head
from crewd.model.agent import Access
from crewd.model.budget import Budget
from crewd.model.budget_text import read_budget
from crewd.model.errors import UsageError
from crewd.model.ids import check_name
from crewd.model.limits import ROLES_MAX
from crewd.model.markdown import SourceLine, did_you_mean, wrong
from crewd.model.workflow_head import concurrency_of
from crewd.model.yaml_text import Yaml, field_text

_FIELDS = (
    "name", "description", "defaultWorkflow", "maxConcurrency", "requirePlanApproval", "allowUnboundedConcurrency",
    "budget", "triggers",
    "useWhen", "avoidWhen",
)  # fmt: skip
UNUSED = ("workspaceMode", "cost", "category", "source")
"""Fields of the format that change nothing here."""
_OF_ROLE = ("agent", "model", "skills", "access")
_ROLE_UNUSED = ("maxConcurrency",)
_NEARLY_ROLE = re.compile(r"\s*[-*]\s.*\bagent=")
_ROLE = re.compile(r"\s*[-*]\s+([^\s:]+):\s*(.*)")
_GIVEN = re.compile(r"([A-Za-z]+)=(\S*)\s*")


class TeamRole(msgspec.Struct, frozen=True):
    """Who does the steps of a role: an agent by name, with another model if one is given, and with more skills.

    `access` is that of its steps (see `Step`), where they say none.
    """

    agent: str
    model: str = ""
    description: str = ""
    skills: tuple[str, ...] = ()
    access: Access = ""


class Team(msgspec.Struct, frozen=True):
    """Roles by name. `workflow` is the one that it works by if no other is named; `unused` are fields that change nothing.

    `plan_approval`, `unbounded` and `budget` hold for what it does, whatever its workflow says (see `Workflow`). `triggers`,
    `use_when` and `avoid_when` are words of goals that it is for, or not: see `crew recommend`.
    """

    name: str
    description: str = ""
    workflow: str = ""
    max_concurrency: int = 0
    roles: Mapping[str, TeamRole] = msgspec.field(default_factory=dict)
    unused: tuple[str, ...] = ()
    plan_approval: bool = False
    unbounded: bool = False
    triggers: tuple[str, ...] = ()
    use_when: tuple[str, ...] = ()
    avoid_when: tuple[str, ...] = ()
    budget: Budget = Budget()


def parse_team(text: str, default_name: str) -> Team:
    """The team in a file's text. UsageError with the line for what is wrong."""
    head, given, lines = read_head(
        text, _FIELDS, UNUSED, {"workflow": "defaultWorkflow"}, "description: what the team is for"
    )  # fmt: skip
    name = field_text(head, "name") or default_name
    check_name("team", name)
    roles, unused = _roles(lines)
    if not roles:
        raise wrong(head.line(), f"team {name} has no roles", "- planner: agent=planner")
    return Team(
        name, field_text(head, "description"), field_text(head, "defaultWorkflow"), concurrency_of(head), roles,
        (*(key for key in given if key in UNUSED), *unused), _flag(head, given, "requirePlanApproval"),
        _flag(head, given, "allowUnboundedConcurrency"),
        _phrases(head, given, "triggers"), _phrases(head, given, "useWhen"), _phrases(head, given, "avoidWhen"),
        read_budget(head),
    )  # fmt: skip


def _phrases(head: Yaml, given: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = given.get(key) or ()
    phrases = value.split(",") if isinstance(value, str) else value
    if not isinstance(phrases, list | tuple) or not all(isinstance(each, str | int | float) for each in phrases):
        raise wrong(head.line(key), f"{key} is no list of words", f"{key}: review, look at")
    return tuple(filter(None, (str(each).strip() for each in phrases)))


def _flag(head: Yaml, given: Mapping[str, Any], key: str) -> bool:
    value = str(given.get(key) or "false").lower()
    if value not in {"true", "false"}:
        raise wrong(head.line(key), f"{key}: {value!r} is not possible", "true or false")
    return value == "true"


def _roles(lines: list[SourceLine]) -> tuple[dict[str, TeamRole], list[str]]:
    roles: dict[str, TeamRole] = {}
    unused: list[str] = []
    for line in lines:
        found = None if line.code or line.comment else _ROLE.match(line.text)
        if found is None:
            if not (line.code or line.comment) and _NEARLY_ROLE.match(line.text):
                raise wrong(line.number, "this line is nearly a role, and none", "- planner: agent=planner")
            continue
        name, rest = found[1], found[2]
        try:
            check_name("role", name)
        except UsageError as error:
            raise wrong(line.number, error.message, error.hint) from None
        if name in roles:
            raise wrong(line.number, f"role {name} stands twice", "give each role once")
        if len(roles) == ROLES_MAX:
            raise wrong(line.number, f"a team has {ROLES_MAX} roles at most", "use another team for the rest")
        said: dict[str, str] = {}
        while one := _GIVEN.match(rest):
            key, value, rest = one[1], one[2], rest[one.end() :]
            if key in _ROLE_UNUSED:
                unused.append(f"{key} of role {name}")
            elif key not in _OF_ROLE:
                raise wrong(line.number, f"role {name}: {key}={value} is not understood", did_you_mean(key, _OF_ROLE, {}))
            elif not value:
                raise wrong(line.number, f"role {name}: {key}= has no value", "write it behind the =, or leave it out")
            elif key in said:
                raise wrong(line.number, f"role {name}: {key}= stands twice", "give it once")
            elif key == "access" and value not in get_args(Access):
                raise wrong(line.number, f"role {name}: access={value} is not possible", "access=shared, or access=exclusive")
            else:
                said[key] = value
        if "agent" not in said:
            raise wrong(line.number, f"role {name}: which agent it is does not stand here", f"- {name}: agent={name}")
        model, skills = said.get("model", ""), tuple(filter(None, said.get("skills", "").split(",")))
        roles[name] = TeamRole(
            said["agent"], "" if model == "false" else model, rest.strip(), skills, cast("Access", said.get("access", ""))
        )
    return roles, unused
