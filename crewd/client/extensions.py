"""Finds extensions: installed packages that bring agents, teams, workflows, skills and hooks.

A package declares itself by an entry point of the group `crewd.extensions`: its name is that of the extension, its value the
package whose folder has the files. Only files are read. No code of an extension runs here, whatever it brings.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from crewd.client.disabled import disabled
from crewd.client.extension_file import Declared, declared_in
from crewd.client.hook_file import parse_hooks, read_file
from crewd.client.user_file import read_json
from crewd.model.errors import UsageError
from crewd.model.hooks import HOOKS_MAX, Hook
from crewd.model.ids import check_name

if TYPE_CHECKING:
    from importlib.metadata import Distribution

GROUP: Final = "crewd.extensions"
RESERVED: Final = ("user", "builtin", "project", "crewd", "extension")
"""Whose files and agents there are without extensions: no extension has one of these names."""
INITIALISED: Final = "initialised.json"
EXTENSION_HOOKS_MAX: Final = HOOKS_MAX // 2
"""Of all extensions together: the user's hooks, the project's and those of a step find room beside them."""
_PACKAGE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


class Extension(msgspec.Struct, frozen=True):
    """One of them, from a `package` that pip knows. One with a `fault`, which says what is wrong, brings nothing."""

    name: str
    package: str
    version: str
    folder: Path
    hooks: tuple[Hook, ...] = ()
    fault: str = ""
    declared: Declared = Declared()


class InitialiseOutcome(msgspec.Struct, frozen=True):
    """What came of initialising a version of an extension: the `fault` says why it has failed."""

    version: str
    fault: str = ""


FAILED: Final = "initialise: "
"""How the fault of an extension begins that could not be initialised."""
NOT_KEPT: Final[dict[str, InitialiseOutcome]] = {}
"""What came of those for which that cannot be kept, in this process."""


def outcomes() -> dict[str, InitialiseOutcome]:
    """By extension: the version that was initialised, and what came of it. UsageError if the file cannot be read."""
    return {**read_json(INITIALISED, dict[str, InitialiseOutcome], {}, "each is initialised again"), **NOT_KEPT}


def extensions() -> tuple[Extension, ...]:
    """All that are installed beside crewd, by name. They are looked for once in a process; what came of initialising is not."""
    return tuple(
        each if each.fault or each.declared.initialise is None else replace(each, fault=_failed_before(each.name, each.version))
        for each in installed()
    )


@functools.cache
def installed() -> tuple[Extension, ...]:
    """The same, as their packages have them."""
    if not any(map(_may_have_some, sys.path)):
        return ()
    from importlib.metadata import distributions  # takes longer than many a command

    said: list[tuple[str, str, str, str]] = []
    found: list[Extension] = []
    seen: set[str] = set()
    for package in distributions():
        try:
            name, version = package.name, package.version
            if name in seen:
                continue  # Python imports the first one of its path
            seen.add(name)
            said += [(each.name, each.value, name, version) for each in package.entry_points.select(group=GROUP)]
        except Exception as error:  # noqa: BLE001 (one bad package must not stop the others)
            if _mentions(package):
                found.append(Extension("-", str(package), "", Path(), fault=f"its entry points are not understood: {error}"))
    for name, value, whose, version in sorted(said):
        hooks: tuple[Hook, ...] = ()
        declared = Declared()
        folder, fault = _folder(value)
        if not fault:
            hooks, fault = _hooks(folder)
        if not fault:
            declared, fault = _declared(folder)
        if any(each.name == name and not each.fault for each in found):
            fault = f"{whose} brings another extension of this name"
        if not fault and len(hooks) + sum(len(each.hooks) for each in found) > EXTENSION_HOOKS_MAX:
            hooks, fault = (), f"with it extensions have more than {EXTENSION_HOOKS_MAX} hooks together"
        found.append(Extension(name, whose, version, folder, hooks, _wrong_name(name) or fault, declared))
    return tuple(found)


def _mentions(package: Distribution) -> bool:
    """Whether a package whose entry points are not understood means to have one of these."""
    try:
        return GROUP in (package.read_text("entry_points.txt") or "")
    except (OSError, UnicodeDecodeError):
        return True


def _may_have_some(place: str) -> bool:
    """Whether an entry of Python's path may have packages with such entry points. A cheap look, which may say yes for none."""
    try:
        with os.scandir(place or ".") as entries:
            names = [entry.name for entry in entries if entry.name.endswith((".dist-info", ".egg-info"))]
    except FileNotFoundError:
        return False
    except OSError:  # an archive, for instance
        return True
    for name in names:
        with contextlib.suppress(OSError):
            if GROUP.encode() in Path(place, name, "entry_points.txt").read_bytes():
                return True
    return False


def enabled_extensions() -> list[Extension]:
    """Those that the user has not disabled."""
    found = extensions()
    off = disabled() if found else {}
    return [each for each in found if f"extension:{each.name}" not in off]


def active_extensions() -> list[Extension]:
    """Those that bring something: the user has not disabled them, and nothing is wrong with them."""
    return [each for each in enabled_extensions() if not each.fault]


def faults_of_extensions() -> list[str]:
    """What is wrong with those that the user has not disabled, in words."""
    return [
        f"extension {each.name} of {each.package} brings nothing: {each.fault}" for each in enabled_extensions() if each.fault
    ]


def _hooks(folder: Path) -> tuple[tuple[Hook, ...], str]:
    """The hooks of an extension, whose commands find its files in `$EXTENSION`; and what is wrong with them."""
    path = folder / "hooks.toml"
    try:
        found = parse_hooks(read_file(path), path, "extension")
    except UsageError as error:
        return (), error.message
    return tuple(replace(each, run=f"EXTENSION={shlex.quote(str(folder))}\n{each.run}") for each in found), ""


def _declared(folder: Path) -> tuple[Declared, str]:
    try:
        return declared_in(folder), ""
    except UsageError as error:
        return Declared(), error.message


def _failed_before(name: str, version: str) -> str:
    """Why this version of an extension could not be initialised, if it was tried."""
    try:
        outcome = outcomes().get(name, InitialiseOutcome(""))
    except UsageError as error:
        return error.message
    return f"{FAILED}{outcome.fault} (crew initialise {name})" if outcome.version == version and outcome.fault else ""


def _wrong_name(name: str) -> str:
    try:
        check_name("extension", name)
    except UsageError as error:
        return error.message
    return f"no extension can be called {name}" if name in RESERVED else ""


def _folder(value: str) -> tuple[Path, str]:
    """The folder of a package, and what is wrong with it. Only the finders of modules are asked: nothing is imported."""
    if not _PACKAGE.fullmatch(value):
        return Path(), f"its entry point says {value!r}, which is no package"
    first, *rest = value.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError) as error:
        return Path(), f"{first} cannot be found: {error}"
    if spec is None:
        return Path(), f"there is no package {first}"
    for place in spec.submodule_search_locations or ():
        folder = Path(place).joinpath(*rest)
        if folder.is_dir():
            return folder, ""
    return Path(), f"{value} is no folder of a package"
