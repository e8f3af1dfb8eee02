"""`crew config`: settings of the daemon (`crewd.toml`) and of `crew run` (`crew.toml`)."""

from __future__ import annotations

import sys
from typing import Any

import click

from crewd.client.blocking import connect
from crewd.client.change_setting import set_value, unset_value
from crewd.client.cli.common import Options, out, say, say_within, verb, warn
from crewd.client.cli.group import Group
from crewd.client.discover import find_home
from crewd.client.settings import (
    Setting,
    SettingsSource,
    all_settings,
    check_key,
    missing_modules,
    problems,
    run_values,
    settings_path,
    source_of,
)
from crewd.client.usual import project_settings, user_settings
from crewd.model.config import KEYS
from crewd.model.errors import DaemonUnreachable, UsageError
from crewd.model.run_settings import RUN_KEYS
from crewd.model.settings import shown

_FILES: tuple[tuple[SettingsSource, str], ...] = (
    ("daemon", "the daemon"), ("user", "crew run, for you"), ("project", "crew run, in this project"),
)  # fmt: skip


@click.group(cls=Group)
def config() -> None:
    """Show and change settings: of the daemon (crewd.toml), and of crew run (crew.toml, yours and the project's)."""


_project = click.option("--project", is_flag=True, help="In .crew/crew.toml of this directory.")


@config.command("show")
@click.option("--origin", is_flag=True, help="With the file that says so.")
@verb
def show_(options: Options, origin: bool) -> None:  # noqa: FBT001 (a flag)
    """Show every key with the value that holds: of the daemon, what its file says."""
    found = _settings(options)
    if options.json:
        out({each.key: {"value": each.value, "origin": _origin(options, each)} for each in found})
        return
    for title, keys in (("The daemon", True), ("crew run", False)):
        say(f"{title}:")
        for each in found:
            if (each.key in KEYS) is keys:
                say_within(f"  {each.key} = {shown(each.value)}" + (f"  ({_origin(options, each)})" if origin else ""))


@config.command("get")
@click.argument("key")
@verb
def get_(options: Options, key: str) -> None:
    """Print the value of KEY."""
    check_key(key)
    found = next(each for each in _settings(options) if each.key == key)
    if options.json:
        out({"key": key, "value": found.value, "origin": _origin(options, found)})
    else:
        say(found.value if isinstance(found.value, str) else shown(found.value))


@config.command("set", context_settings={"ignore_unknown_options": True})  # a value may be a negative number
@click.argument("key")
@click.argument("value")
@_project
@verb
def set_(options: Options, key: str, value: str, project: bool) -> None:  # noqa: FBT001 (a flag)
    """Set KEY to VALUE; nothing else in the file changes. A list of texts is given as a,b."""
    home = find_home(options.home)
    written = set_value(home, key, value, project=project)
    _tell(options, key, project=project, text=f"{key} = {shown(written)}", value=written)


@config.command("unset")
@click.argument("key")
@_project
@verb
def unset_(options: Options, key: str, project: bool) -> None:  # noqa: FBT001 (a flag)
    """Take KEY out of its file: what holds then is the default, or what another file says."""
    home = find_home(options.home)
    was_there = unset_value(home, key, project=project)
    if was_there and key not in KEYS and key not in RUN_KEYS:  # no file should have had it
        out({"key": key, "changed": True}) if options.json else say(f"{key} is not there any more")
    elif was_there:
        _tell(options, key, project=project, text=f"{key} is not set any more", value=None)
    elif options.json:
        out({"key": key, "changed": False})
    else:
        say(f"{key} was not set in {settings_path(source_of(key, project=project), home)}")


@config.command("path")
@verb
def path_(options: Options) -> None:
    """Print where the files of settings are."""
    home = find_home(options.home)
    rows: list[dict[str, Any]] = [
        {"file": source, "path": str(path), "there": path.exists()}
        for source, _ in _FILES
        for path in (settings_path(source, home),)
    ]
    if options.json:
        out(rows)
        return
    for row, (_, what) in zip(rows, _FILES, strict=True):
        say(f"{row['path']}  ({what}{'' if row['there'] else '; not there'})")


@config.command("check")
@verb
def check_(options: Options) -> None:
    """Say all that is wrong in the files of settings; exit 1 if something is."""
    found = _wrong(options)
    if options.json:
        out([{"message": each.message, "hint": each.hint} for each in found])
    elif not found:
        say("nothing is wrong")
    else:
        for each in found:
            say_within(each.message)
            if each.hint:
                say_within(f"  {each.hint}")
    if found:
        sys.exit(1)


def _wrong(options: Options) -> list[UsageError]:
    """All that is wrong in the files of settings; if they are well written, what they name and is not there."""
    found = problems(find_home(options.home))
    if not found:
        found = [*missing_modules(find_home(options.home)), *project_settings()[1]]
        try:
            user_settings()
        except UsageError as error:
            found = [error, *found]
    return found


def _settings(options: Options) -> list[Setting]:
    of_project, wrong = project_settings()
    for problem in wrong:
        warn(f"{problem.message}, and is not heeded")
    of_user = run_values("user")
    try:
        user_settings()
    except UsageError as error:
        warn(error.message)
    return all_settings(find_home(options.home), of_project, of_user)


def _origin(options: Options, found: Setting) -> str:
    return "default" if found.source == "default" else str(settings_path(found.source, find_home(options.home)))


def _tell(options: Options, key: str, *, project: bool, text: str, value: Any) -> None:
    """Say what was written, where, and when it takes effect."""
    home = find_home(options.home)
    source = source_of(key, project=project)
    path = settings_path(source, home)
    when = _when(options, key) if source == "daemon" else ""
    wrong = _wrong(options)
    if options.json:
        told = [each.message for each in wrong]
        out({"key": key, "value": value, "file": str(path), "changed": True, "takes_effect": when or "now", "wrong": told})
        return
    say(f"{text}, in {path}")
    for problem in wrong:
        warn(f"{problem.message}{f' ({problem.hint})' if problem.hint else ''}")
    if wrong:  # nobody is told to start crewd with a file that it would refuse
        say("crew config check says all that is wrong")
    elif when == "reload":
        say("crew daemon reload lets it take effect")
    elif when == "restart":
        say("it takes effect when crewd starts again: crew daemon stop, crew daemon start")


def _when(options: Options, key: str) -> str:
    """What a change of a key of the daemon needs: nothing if no daemon runs."""
    try:
        with connect(options.home, start=False):
            return "reload" if KEYS[key].live else "restart"
    except DaemonUnreachable:
        return ""
