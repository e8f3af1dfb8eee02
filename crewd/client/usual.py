"""What is run when somebody says only what for: the settings of the user and of the project fill in what was not asked for.

A project's file is somebody else's text. What of it is wrong, or not for a project, is left out and named; the rest holds.

Tests: tests/client/cli/test_config.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from crewd.agents.catalogue import CATALOGUE
from crewd.client.agents import check_program
from crewd.client.chosen import Wish
from crewd.client.resources import Kind, resource, resources
from crewd.client.settings import PROJECT_SETTINGS, read_settings, run_values
from crewd.client.user_file import user_path
from crewd.model.errors import CrewdError, NotFound, Refused, UsageError
from crewd.model.run_settings import NAMES, wrong_run_settings
from crewd.model.settings import parse_settings

_KINDS: Final[dict[str, Kind]] = {"agent": "agents", "team": "teams", "workflow": "workflows"}


def project_settings() -> tuple[dict[str, Any], list[UsageError]]:
    """The settings of the project in this directory that hold, and what is wrong with the others. Raises nothing.

    It may name only agents, teams and workflows of crewd's own.
    """
    where = str(PROJECT_SETTINGS)
    try:
        said = parse_settings(read_settings(PROJECT_SETTINGS, "project"), where)
    except UsageError as error:
        return {}, [error]
    wrong = {key: wrong_run_settings({key: value}, where, project=True) for key, value in said.items()}
    found = {key: value for key, value in said.items() if not wrong[key]}
    problems = [problem for each in wrong.values() for problem in each]
    named = {name: found.pop(name) for name in NAMES if found.get(name)}
    try:
        for problem in wrong_run_settings(named, where, project=True):
            raise problem
        found |= {name: _of_crewd(name, value, where) for name, value in named.items()}
    except UsageError as error:
        problems.append(error)
    try:
        if found.get("runtime"):
            _check_runtime(found["runtime"], where)
    except CrewdError as error:
        problems.append(UsageError(error.message, hint=error.hint))
        del found["runtime"]
    return found, problems


def _check_runtime(name: str, where: str) -> None:
    try:
        check_program(name)
    except CrewdError as error:
        raise type(error)(f"{where}: runtime {name}: {error.message}", hint=error.hint) from None


def user_settings(*, names: bool = True, runtime: bool = True) -> dict[str, Any]:
    """The user's settings, whose names are ids. UsageError and NotFound for a file that is wrong.

    Without `names`, or without `runtime`, what the file says of them does not count, and may be of what is not there.
    """
    values, where = run_values("user"), str(user_path("crew.toml"))
    allowed = values.get("allow_shadowing", ())
    if not names:
        values = {key: value for key, value in values.items() if key not in NAMES}
    if not runtime:
        values = {key: value for key, value in values.items() if key != "runtime"}
    if values.get("runtime"):
        _check_runtime(values["runtime"], where)
    return values | {name: _of_user(name, values[name], where, allowed) for name in NAMES if values.get(name)}


def with_settings(wish: Wish) -> tuple[Wish, list[str]]:
    """The wish with what the settings say in place of what it leaves open; and what is to be said of the project's file.

    A command overrides the user's file, which overrides the project's. Of the other keys the
    project's go before the user's. UsageError and NotFound for a user's file that is wrong.
    """
    of_project, problems = project_settings()
    said = [f"{problem.message}, and is not heeded" for problem in problems]
    of_user = user_settings(names=not (wish.agent or wish.team or wish.source), runtime=not wish.program)
    named = wish.agent or wish.team or wish.source or any(of_user.get(name) for name in NAMES)
    names = [f"{name} {of_project[name]}" for name in NAMES if of_project.get(name)]
    if named:
        of_project = {key: value for key, value in of_project.items() if key not in NAMES}
    elif names:
        said.append(f"{' and '.join(names)}: named by {PROJECT_SETTINGS}, and run because nothing else is")
    for values, where in ((of_project, str(PROJECT_SETTINGS)), (of_user, str(user_path("crew.toml")))):
        wish = _filled(wish, values, where)
    return wish, said


def _filled(wish: Wish, values: Mapping[str, Any], where: str) -> Wish:
    changes: dict[str, Any] = {}
    origins = dict(wish.origins)
    if not (wish.agent or wish.team or wish.source) and any(values.get(name) for name in NAMES):
        workflow = "" if wish.role else values.get("workflow", "")
        changes = {"agent": values.get("agent", ""), "team": values.get("team", ""), "source": workflow}
        origins |= {"agent": where, "named": where}
    for key, field in (("runtime", "program"), ("model", "model_default"), ("at_once", "at_once_default")):
        if values.get(key) and not getattr(wish, field):
            changes[field] = values[key]
            origins[field] = where
    if values.get("plan_approval"):
        changes["plan_approval_default"] = True
    if values.get("permissions") and not wish.fields.get("permissions"):
        changes["fields"] = {**wish.fields, "permissions": values["permissions"]}
        origins["permissions"] = where
    return replace(wish, **changes, origins=origins)


def _of_crewd(name: str, value: str, where: str) -> str:
    """What a project's file names, by the id that nothing else has. Refused for what is not crewd's own."""
    if name == "agent" and value in CATALOGUE and not any(each.name == value for each in resources("agents")):
        return value
    try:
        found = resource(_KINDS[name], value)
    except NotFound as error:
        raise NotFound(f"{where}: {error.message}", hint=error.hint) from None
    if found.source != "builtin":
        hint = f"name it yourself: --{name} {value}, or set it for you: crew config set {name} {value}"
        raise Refused(f"{where}: {name} {value} is none of crewd's own", hint=hint)
    return found.id


def _of_user(name: str, value: str, where: str, allowed: tuple[str, ...]) -> str:
    try:
        if name == "agent" and value in CATALOGUE:
            return value
        found = resource(_KINDS[name], value)
    except CrewdError as error:
        raise type(error)(f"{where}: {error.message}", hint=error.hint or "crew config check") from None
    if found.source == "project" and not value.startswith("project:") and f"{name}:{value}" not in allowed:
        raise Refused(f"{where}: {name} {value} is a file of the project", hint=f"crew config set {name} project:{value}")
    return found.id
