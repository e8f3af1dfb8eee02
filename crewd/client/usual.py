"""What is run when somebody says only what for: the settings of the project and of the user fill in what was not asked for.

Tests: tests/client/cli/test_config.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from crewd.agents.catalogue import CATALOGUE
from crewd.client.chosen import Wish
from crewd.client.resources import Kind, resource
from crewd.client.settings import PROJECT_SETTINGS, run_values
from crewd.client.user_file import user_path
from crewd.model.errors import CrewdError, NotFound, Refused

_NAMED: Final[dict[str, Kind]] = {"agent": "agents", "team": "teams", "workflow": "workflows"}


def with_settings(wish: Wish) -> tuple[Wish, list[str]]:
    """The wish with what the settings say in place of what it leaves open; and what of the project's file is not heeded.

    The project goes before the user, an option before both. A setting never means a file of the project, unless the user's
    own file says `project:NAME`: what a checkout brings is run by whoever names it. A project's file that is wrong stops
    nothing. NotFound and UsageError for a user's that is wrong.
    """
    unheeded: list[str] = []
    try:
        wish = _filled(wish, run_values("project"), PROJECT_SETTINGS)
    except CrewdError as error:
        unheeded.append(error.message)
    path = user_path("crew.toml")
    return _filled(wish, run_values("user"), path), unheeded


def _filled(wish: Wish, values: Mapping[str, Any], path: Path) -> Wish:
    where = str(path)
    changes: dict[str, Any] = {}
    origins = dict(wish.origins)
    if not (wish.agent or wish.team or wish.source) and any(values.get(name) for name in _NAMED):
        agent, team, workflow = (_named(name, values.get(name, ""), where) for name in _NAMED)
        changes = {"agent": agent, "team": team, "source": "" if wish.role else workflow}
        origins |= {"agent": where, "named": where}
    for key, field in (("runtime", "program"), ("model", "model_default"), ("at_once", "at_once_default")):
        if values.get(key) and not getattr(wish, field):
            changes[field] = values[key]
            origins[field] = where
    if values.get("plan_approval"):
        changes["plan_approval_default"] = True
    if values.get("permissions") and not wish.fields.get("permissions"):
        changes["fields"] = {**wish.fields, "permissions": values["permissions"]}
    return replace(wish, **changes, origins=origins)


def _named(name: str, value: str, where: str) -> str:
    """What a setting names, by the id that nothing else has."""
    if not value or (name == "agent" and value in CATALOGUE):
        return value
    try:
        found = resource(_NAMED[name], value)
    except NotFound as error:
        raise NotFound(f"{where}: {error.message}", hint=error.hint) from None
    if found.source == "project" and not value.startswith("project:"):
        raise Refused(f"{where}: {name} {value} is a file of the project", hint=f"name it yourself: --{name} {value}")
    return found.id
