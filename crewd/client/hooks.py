"""Finds the hooks that the user and the project have in their `hooks.toml`, and keeps which projects are trusted.

The user's hooks come first, each file in its own order. A project's hooks are commands that a checkout brings: they run only
once the user has trusted the file, and no longer when it has changed. One that has the name of a user's hook is `shadowed`.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from crewd.client.resources import FILE_BYTES_MAX
from crewd.client.user_file import read_json, user_path, write_json
from crewd.model.errors import NotFound, UsageError
from crewd.model.hooks import HOOK_SECONDS_DEFAULT, POINTS, Hook, HookPoint, check_hooks

HookSource = Literal["user", "project"]
PROJECT_FILE: Final = Path(".crew") / "hooks.toml"
_TRUSTED: Final = "trusted.json"


class FoundHook(msgspec.Struct, frozen=True):
    """A hook and its state. `reason` says why it is not active."""

    hook: Hook
    state: Literal["active", "shadowed", "untrusted"] = "active"
    reason: str = ""


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""

    on: HookPoint
    run: str
    blocking: bool = False
    timeout_seconds: float = HOOK_SECONDS_DEFAULT
    roles: tuple[str, ...] = ()


def found_hooks() -> list[FoundHook]:
    """The hooks of the user and of the project in this directory. UsageError for a file that is wrong."""
    path = user_path("hooks.toml")
    users, data = _parsed(_read(path), path, "user"), _read(PROJECT_FILE)
    names = {hook.name for hook in users}
    found, projects = [FoundHook(hook) for hook in users], _parsed(data, PROJECT_FILE, "project")
    why = "" if not projects or _trusts(data) else "nobody has trusted it as it is now: crew trust"
    for hook in projects:
        if hook.name in names:
            found.append(FoundHook(hook, "shadowed", f"{hook.name} means the user's hook"))
        else:
            found.append(FoundHook(hook, "untrusted" if why else "active", why))
    return found


def trust() -> list[Hook]:
    """Trust the project's hooks as they are now, and return them. NotFound if the project has none."""
    data = _read(PROJECT_FILE)  # once: what is returned is what is trusted
    hooks = _parsed(data, PROJECT_FILE, "project")
    if not hooks:
        raise NotFound(f"there is no hook in {PROJECT_FILE}", hint="crew trust is for hooks that a project brings")
    write_json(_TRUSTED, {**_trusted(), _key(): _digest(data)})
    return hooks


def distrust() -> bool:
    """Trust the project's hooks no more; whether they were trusted."""
    trusted = _trusted()
    if _key() not in trusted:
        return False
    del trusted[_key()]
    write_json(_TRUSTED, trusted)
    return True


def _trusted() -> dict[str, str]:
    """The SHA-256 of each file that was trusted, by its path."""
    return read_json(_TRUSTED, dict[str, str], {}, "no project is trusted")


def _trusts(data: bytes) -> bool:
    return _trusted().get(_key()) == _digest(data)


def _key() -> str:
    return str(PROJECT_FILE.resolve())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(path: Path) -> bytes:
    """What is in a file; nothing if there is none."""
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is no file")
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > FILE_BYTES_MAX:
        raise UsageError(f"{path} has more than {FILE_BYTES_MAX} bytes", hint="a hook is a few lines")
    return data


def _parsed(data: bytes, path: Path, source: HookSource) -> list[Hook]:
    """The hooks of a file, in its order."""
    try:
        entries = msgspec.convert(tomllib.loads(data.decode("utf-8")), dict[str, _Entry])
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8: {error}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        hint = f"a table for each hook, [NAME], with on (one of {', '.join(POINTS)}), run, blocking, timeout_seconds, roles"
        raise UsageError(f"{path}: {error}", hint=hint) from None
    hooks = [replace(Hook(name, **msgspec.structs.asdict(entry)), source=source) for name, entry in entries.items()]
    check_hooks(str(path), hooks)
    return hooks
