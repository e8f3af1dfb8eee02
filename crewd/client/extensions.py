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
from typing import Final

import msgspec
from msgspec.structs import replace

from crewd.client.disabled import disabled
from crewd.client.hook_file import parse_hooks, read_file
from crewd.model.errors import UsageError
from crewd.model.hooks import Hook
from crewd.model.ids import check_name

GROUP: Final = "crewd.extensions"
SOURCES_OF_CREWD: Final = ("user", "builtin", "project")
"""Whose files there are without extensions: no extension has one of these names."""
_PACKAGE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


class Extension(msgspec.Struct, frozen=True):
    """One of them, from a `package` that pip knows. One with a `fault`, which says what is wrong, brings nothing."""

    name: str
    package: str
    version: str
    folder: Path
    hooks: tuple[Hook, ...] = ()
    fault: str = ""


@functools.cache
def extensions() -> tuple[Extension, ...]:
    """All that are installed beside crewd, by name. They are looked for once in a process."""
    if not any(map(_may_have_some, sys.path)):
        return ()
    import importlib.metadata  # takes longer than many a command

    found: list[Extension] = []
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda each: (each.name, each.value)):
        package, version = (entry.dist.name, entry.dist.version) if entry.dist is not None else ("", "")
        hooks: tuple[Hook, ...] = ()
        folder, fault = _folder(entry.value)
        if not fault:
            hooks, fault = _hooks(folder)
        if any(each.name == entry.name and not each.fault for each in found):
            fault = "another package has an extension of this name"
        found.append(Extension(entry.name, package, version, folder, hooks, _wrong_name(entry.name) or fault))
    return tuple(found)


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


def active_extensions() -> list[Extension]:
    """Those that bring something: nothing is wrong with them, and the user has not disabled them."""
    found = [each for each in extensions() if not each.fault]
    off = disabled() if found else {}
    return [each for each in found if f"extension:{each.name}" not in off]


def _hooks(folder: Path) -> tuple[tuple[Hook, ...], str]:
    """The hooks of an extension, whose commands find its files in `$EXTENSION`; and what is wrong with them."""
    path = folder / "hooks.toml"
    try:
        found = parse_hooks(read_file(path), path, "extension")
    except UsageError as error:
        return (), error.message
    return tuple(replace(each, run=f"EXTENSION={shlex.quote(str(folder))}\n{each.run}") for each in found), ""


def _wrong_name(name: str) -> str:
    try:
        check_name("extension", name)
    except UsageError as error:
        return error.message
    return f"no extension can be called {name}" if name in SOURCES_OF_CREWD else ""


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
