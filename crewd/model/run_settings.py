"""What is run when a command says nothing else: the settings of `crew.toml`, of a user or of a project. Pure.

Tests: tests/client/cli/test_config.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

import msgspec

from crewd.model.errors import UsageError
from crewd.model.ids import check_name
from crewd.model.settings import Key, parse_settings, wrong_settings

_AT_ONCE_MAX: Final = 1_024
_KINDS: Final = ("agent", "team", "workflow", "skill")

NAMES: Final = ("agent", "team", "workflow")
"""The keys that name what is run."""
RUN_KEYS: Final = {
    "agent": Key("The agent that works on a goal for which no agent, team or workflow is named."),
    "team": Key("The team that works on such a goal."),
    "workflow": Key("The workflow that is run for such a goal: the name of one, no path."),
    "runtime": Key("The program that runs agents which name none, as with `--runtime`.", personal=True),
    "model": Key("The model of agents where neither a file nor an option names one.", personal=True),
    "permissions": Key(
        "What an agent gets that asks for a permission, whatever its file says, as with `--permissions`.", personal=True
    ),
    "at_once": Key(
        "So many steps at once where neither a file nor an option says how many. 0: `concurrency_max`.", 0, _AT_ONCE_MAX
    ),
    "plan_approval": Key(
        "Whether a plan, where a step makes one, is to be approved before anything changes. A project may only say true."
    ),
    "allow_shadowing": Key(
        "Files of projects that may take the place of yours and of crewd's own: `team:review`, `skill:typed-hooks`.",
        personal=True,
    ),
}
"""What each key is for."""


class RunSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All keys with their defaults; `RUN_KEYS` says what each is for."""

    agent: str = ""
    team: str = ""
    workflow: str = ""
    runtime: str = ""
    model: str = ""
    permissions: Literal["", "ask", "allow", "deny"] = ""
    at_once: int = 0
    plan_approval: bool = False
    allow_shadowing: tuple[str, ...] = ()


def parse_run_settings(text: str, where: str, *, project: bool, extensions: Collection[str] = ()) -> dict[str, Any]:
    """The keys that a text has, with their values. UsageError names `where` and the first key that is wrong."""
    values = parse_settings(text, where)
    for problem in wrong_run_settings(values, where, project=project, extensions=extensions):
        raise problem
    return values


def wrong_run_settings(
    values: Mapping[str, Any], where: str, *, project: bool, extensions: Collection[str] = ()
) -> list[UsageError]:  # fmt: skip
    """All that is wrong with these keys and values. `extensions`: their names, which a user may give before a file's name."""
    found = wrong_settings(RunSettings, RUN_KEYS, values, where)
    if found:
        return found
    for name in values:
        if project and RUN_KEYS[name].personal:
            found.append(UsageError(f"{where}: {name} is not for a project", hint=f"crew config set {name} sets it for you"))
    if project and values.get("plan_approval") is False:
        found.append(UsageError(f"{where}: a project takes no approval away", hint="plan_approval = true, or no such key"))
    if values.get("agent") and (values.get("team") or values.get("workflow")):
        found.append(UsageError(f"{where}: agent stands beside team or workflow", hint="keep one: a team has its own agents"))
    for name in NAMES:
        source, _, rest = values.get(name, "").rpartition(":")
        try:
            if rest:
                check_name(name, rest)
            if source == "project" and project:
                raise UsageError(
                    f"{name} {source}:{rest} is a file of the project",
                    hint=f"leave it out; --{name} on the command line runs it",
                )
            if source and not (rest and source in {"user", "builtin", "project", *extensions}):
                hint = "NAME, user:NAME, builtin:NAME, project:NAME or EXTENSION:NAME"
                raise UsageError(f"{name} {source}:{rest} is no name", hint=hint)
        except UsageError as error:
            found.append(UsageError(f"{where}: {error.message}", hint=error.hint))
    runtime = str(values.get("runtime", ""))
    if not runtime.startswith("/") and ("/" in runtime or runtime.endswith(".md")):
        said = f"{where}: runtime {runtime} would be another file in each directory"
        found.append(UsageError(said, hint="give the whole path, which begins with '/'"))
    for each in values.get("allow_shadowing", ()):
        kind, _, name = each.partition(":")
        if kind not in _KINDS or not name:
            found.append(UsageError(f"{where}: allow_shadowing: {each!r} names no file", hint="for example team:review"))
    return found
