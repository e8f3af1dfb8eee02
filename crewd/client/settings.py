"""The files of settings: where they are, and what each says.

`crewd.toml` of the home is the daemon's. `crew.toml` says what `crew run` does: the project's in this directory
(`.crew/crew.toml`) overrides the user's. A link is not read as the file of a project.

Tests: tests/client/cli/test_config.py.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from crewd.client.extensions import extensions
from crewd.client.texts import not_utf8
from crewd.client.user_file import user_path
from crewd.model.config import KEYS, Config, parse_config
from crewd.model.errors import NotFound, UsageError
from crewd.model.home import Home
from crewd.model.markdown import did_you_mean
from crewd.model.run_settings import NAMES, RUN_KEYS, RunSettings, parse_run_settings, wrong_run_settings
from crewd.model.settings import parse_settings, wrong_settings

SettingsSource = Literal["default", "daemon", "user", "project"]
PROJECT_SETTINGS: Final = Path(".crew") / "crew.toml"
_BYTES_MAX: Final = 64 << 10


class Setting(msgspec.Struct, frozen=True):
    """A key, its value, and which file says so."""

    key: str
    value: Any
    source: SettingsSource


def settings_path(source: SettingsSource, home: Home) -> Path:
    """Where a file of settings stands."""
    return {"daemon": home.config, "user": user_path("crew.toml"), "project": PROJECT_SETTINGS}[source]


def run_values(source: Literal["user", "project"]) -> dict[str, Any]:
    """The keys of a `crew.toml`, with their values; none if there is no such file. UsageError for a file that is wrong."""
    path = user_path("crew.toml") if source == "user" else PROJECT_SETTINGS
    return parse_run_settings(
        read_settings(path, source), str(path), project=source == "project", extensions=_extensions(source)
    )  # fmt: skip


def _extensions(source: SettingsSource) -> list[str]:
    """The extensions whose files the settings of a source may name: a project names none."""
    return [] if source == "project" else [each.name for each in extensions()]


def all_settings(home: Home, of_project: dict[str, Any], of_user: dict[str, Any]) -> list[Setting]:
    """Every key with the value that its files say. UsageError for a `crewd.toml` that is wrong."""
    path = settings_path("daemon", home)
    text = read_settings(path, "daemon")
    config, said = parse_config(text, str(path)), parse_settings(text, str(path))
    found = [Setting(key, getattr(config, key), "daemon" if key in said else "default") for key in KEYS]
    if any(of_user.get(name) for name in NAMES):  # of what is run, the project's file names nothing then
        of_project = {key: value for key, value in of_project.items() if key not in NAMES}
    layers: tuple[tuple[SettingsSource, dict[str, Any]], ...] = (("project", of_project), ("user", of_user))
    for key in RUN_KEYS:
        default = Setting(key, getattr(RunSettings(), key), "default")
        found.append(next((Setting(key, values[key], source) for source, values in layers if key in values), default))
    return found


def check_key(key: str) -> None:
    """NotFound, with the nearest key, if there is no such key."""
    if key not in KEYS and key not in RUN_KEYS:
        raise NotFound(f"there is no key {key!r}", hint=did_you_mean(key, (*KEYS, *RUN_KEYS), {}))


def source_of(key: str, *, project: bool) -> SettingsSource:
    """Which file a key is set in. UsageError for a key of the daemon in a project."""
    check_key(key)
    if key in RUN_KEYS:
        return "project" if project else "user"
    if project:
        raise UsageError(f"{key} is the daemon's, and not for a project", hint=f"crew config set {key} VALUE")
    return "daemon"


def problems(home: Home) -> list[UsageError]:
    """All that is wrong in the files that there are."""
    found: list[UsageError] = []
    sources: tuple[SettingsSource, ...] = ("daemon", "user", "project")
    for source in sources:
        path = settings_path(source, home)
        try:
            found += wrong_in(read_settings(path, source), path, source)
        except UsageError as error:
            found.append(error)
    return found


def missing_modules(home: Home) -> list[UsageError]:
    """Modules that workers are to start with, and that this Python does not find. For a file that is right."""
    path = settings_path("daemon", home)
    modules = parse_settings(read_settings(path, "daemon"), str(path)).get("preload", ())
    hint = f"install it for {sys.executable}, with which crewd runs"
    return [
        UsageError(f"{path}: preload: there is no module {module!r}", hint=hint)
        for module in modules
        if not _is_found(module.partition(".")[0])
    ]


def _is_found(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # __main__, for instance
        return False


def wrong_in(text: str, path: Path, source: SettingsSource) -> list[UsageError]:
    """All that is wrong in the text of a file."""
    try:
        values = parse_settings(text, str(path))
    except UsageError as error:
        return [error]
    if source == "daemon":
        return wrong_settings(Config, KEYS, values, str(path)) or _whole(text, path)
    return wrong_run_settings(values, str(path), project=source == "project", extensions=_extensions(source))


def _whole(text: str, path: Path) -> list[UsageError]:
    try:
        parse_config(text, str(path))
    except UsageError as error:
        return [error]
    return []


def read_settings(path: Path, source: SettingsSource) -> str:
    """What is in a file; nothing if there is none."""
    if source == "project" and (path.is_symlink() or path.parent.is_symlink()):
        raise UsageError(f"{path} is a link", hint="a project has its settings in a file of its own")
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is no file", hint="something else stands in its place: take it away")
        with path.open("rb") as file:
            data = file.read(_BYTES_MAX + 1)
        if len(data) > _BYTES_MAX:
            raise UsageError(f"{path} has more than {_BYTES_MAX} bytes", hint="such a file has a few lines")
        return data.decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except UnicodeDecodeError as error:
        raise not_utf8(str(path), error) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="let yourself read it") from None
