"""Finds the hooks that the user, extensions and the project have in their `hooks.toml`, and keeps which projects are trusted.

The user's hooks come first, then those of extensions, each file in its own order. A project's hooks are commands that a
checkout brings: they run only once the user has trusted the file, and no longer when it has changed. A link is not read. A
hook that has the name of one before it is `shadowed`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from crewd.client.extensions import active_extensions
from crewd.client.hook_file import parse_hooks, read_file
from crewd.client.user_file import change_json, read_json, user_path
from crewd.model.errors import NotFound, UsageError
from crewd.model.hooks import Hook

HOOKS_FILE: Final = "hooks.toml"
PROJECT_FILE: Final = Path(".crew") / HOOKS_FILE
_TRUSTED: Final = "trusted.json"
_OTHERWISE: Final = "no project is trusted"


class FoundHook(msgspec.Struct, frozen=True):
    """A hook and its state. `reason` says why it is not active, `shadowed_by` what its name means (`user:NAME`).

    `owner` is whose it is: user, project, or the name of an extension.
    """

    hook: Hook
    owner: str
    state: Literal["active", "shadowed", "untrusted"] = "active"
    reason: str = ""
    shadowed_by: str = ""


class ProjectHooks(msgspec.Struct, frozen=True):
    """The hooks of a project's file, in its order, the SHA-256 of the file, and whether the user has trusted that."""

    hooks: tuple[Hook, ...] = ()
    digest: str = ""
    trusted: bool = False


def project_hooks() -> ProjectHooks:
    """The hooks of the project in this directory. UsageError for a file that is wrong, or that is a link."""
    if PROJECT_FILE.is_symlink() or PROJECT_FILE.parent.is_symlink():
        raise UsageError(f"{PROJECT_FILE} is a link", hint="a project has its hooks in a file of its own")
    data = read_file(PROJECT_FILE)
    if not data:
        return ProjectHooks()
    here, digest = str(Path.cwd()), hashlib.sha256(data).hexdigest()
    hooks = tuple(replace(hook, directory=here) for hook in parse_hooks(data, PROJECT_FILE, "project"))
    return ProjectHooks(hooks, digest, trusted=_trusted().get(_key()) == digest)


def found_hooks() -> list[FoundHook]:
    """The hooks of the user, of extensions and of the project in this directory. UsageError for a file that is wrong."""
    return _found(_user_hooks(), project_hooks())


def listed_hooks() -> tuple[list[FoundHook], str]:
    """The hooks, and what is wrong with the project's file, of which there are none then. UsageError for the user's file."""
    users = _user_hooks()
    try:
        return _found(users, project_hooks()), ""
    except UsageError as error:
        return _found(users, ProjectHooks()), error.message


def hooks_for_start() -> tuple[list[FoundHook], list[str]]:
    """The hooks as they are when something is started, and sentences that say which of the project do not run, and why.

    Whatever a checkout brings, it stops nothing. UsageError only for the user's own file.
    """
    found, fault = listed_hooks()
    if fault:
        return found, [f"no hook of this project runs: {fault}"]
    names = ", ".join(each.hook.name for each in found if each.state == "untrusted")
    why = f"hooks of this project do not run, nobody has trusted them: {names} (crew hooks, crew trust)"
    guards = [each for each in found if each.state == "shadowed" and each.hook.blocking and each.hook.source == "extension"]
    said = [f"the hook {each.hook.name} of extension {each.owner} blocks nothing: {each.reason}" for each in guards]
    return found, [*([why] if names else []), *said]


def _user_hooks() -> list[Hook]:
    path = user_path(HOOKS_FILE)
    return parse_hooks(read_file(path), path, "user")


def _found(users: list[Hook], project: ProjectHooks) -> list[FoundHook]:
    first: dict[str, str] = {}
    found: list[FoundHook] = []
    theirs = [(extension.name, hook) for extension in active_extensions() for hook in extension.hooks]
    all_of_them = [*(("user", hook) for hook in users), *theirs, *(("project", hook) for hook in project.hooks)]
    for owner, hook in all_of_them:
        if hook.name in first:
            means = first[hook.name]
            whose = f"the {means}'s hook" if means in {"user", "project"} else f"the hook of extension {means}"
            found.append(FoundHook(hook, owner, "shadowed", f"{hook.name} means {whose}", f"{means}:{hook.name}"))
            continue
        if owner == "project" and not project.trusted:
            found.append(FoundHook(hook, owner, "untrusted", "nobody has trusted it as it is now: crew trust"))
            continue
        first[hook.name] = owner
        found.append(FoundHook(hook, owner))
    return found


def trust(project: ProjectHooks) -> None:
    """Trust the project's hooks as they were read. NotFound if there are none."""
    if not project.hooks:
        raise NotFound(f"there is no hook in {PROJECT_FILE}", hint="crew trust is for hooks that a project brings")
    _change_trusted(lambda trusted: {**trusted, _key(): project.digest})


def distrust() -> bool:
    """Trust the project's hooks no more; whether they were trusted."""
    if _key() not in _trusted():
        return False
    return _change_trusted(lambda trusted: {path: digest for path, digest in trusted.items() if path != _key()})


def _trusted() -> dict[str, str]:
    """The SHA-256 of each file that was trusted, by its path."""
    return read_json(_TRUSTED, dict[str, str], {}, _OTHERWISE)


def _change_trusted(change: Callable[[dict[str, str]], dict[str, str]]) -> bool:
    return change_json(_TRUSTED, dict[str, str], {}, _OTHERWISE, change)


def _key() -> str:
    """The path of the project's file; links are not followed, so that no file can stand for that of another project."""
    return os.fsencode(Path.cwd() / PROJECT_FILE).decode("utf-8", "backslashreplace")
