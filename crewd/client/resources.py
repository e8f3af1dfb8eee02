"""Finds files of agents, teams, workflows and skills by name: of crewd itself, of the user, of extensions and of the project.

A user's file takes the place of one of crewd. A file of an extension does not take the place of either, nor does one of a
project: a checkout must not change what a name means. Such a file is `shadowed`, and `project:NAME` names it. Where the user
allows it (`allow_shadowing` of the user's own `crew.toml`), the project's file goes first.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec
import platformdirs
from msgspec.structs import replace

import crewd
from crewd.agents.catalogue import CATALOGUE
from crewd.client.extensions import active_extensions, extensions
from crewd.client.settings import run_values
from crewd.client.texts import KEPT_MAX, read_text
from crewd.model.errors import NotFound, UsageError
from crewd.model.ids import check_name
from crewd.model.markdown import did_you_mean

Kind = Literal["agents", "teams", "workflows", "skills"]
SUFFIXES: Final[dict[Kind, str]] = {"agents": ".md", "teams": ".team.md", "workflows": ".workflow.md", "skills": "/SKILL.md"}


class Resource(msgspec.Struct, frozen=True):
    """A file. `shadowed_by` is what its name means instead, if that is another one; `refused` says why it is not read."""

    kind: Kind
    name: str
    source: str
    place: str
    shadowed_by: str = ""
    refused: str = ""

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self.place)

    @property
    def id(self) -> str:
        """What names it and nothing else."""
        return f"{self.source}:{self.name}"

    @property
    def state(self) -> Literal["active", "shadowed", "refused"]:
        """Whether its name means it."""
        return "refused" if self.refused else "shadowed" if self.shadowed_by else "active"

    def text(self) -> str:
        """What is in it. UsageError if it cannot be read."""
        if self.refused:
            raise UsageError(f"{self.place} {self.refused}")
        return read_text(self.place)


def sources() -> tuple[str, ...]:
    """Whose file a name means, if several have one: the first, unless the user lets the project's go before."""
    return ("user", "builtin", *(each.name for each in active_extensions()), "project")


def directories(source: str, kind: Kind) -> tuple[Path, ...]:
    """Where a source has its files of a kind. `.pi` is another program's, and only read."""
    match source:
        case "builtin":
            return (Path(crewd.__file__).parent / "builtin" / kind,)
        case "user":
            return (platformdirs.user_config_path("crewd", appauthor=False) / kind,)
        case "project":
            return (Path(".crew") / kind, Path(".pi") / kind)
        case _:
            return tuple(each.folder / kind for each in active_extensions() if each.name == source)


def resources(kind: Kind) -> list[Resource]:
    """All files of a kind, by name; those of one name in the order in which they go before each other."""
    try:
        said = run_values("user").get("allow_shadowing", ())
    except UsageError:  # a wrong file allows nothing; who runs something is told of it
        said = ()
    allowed = {each.partition(":")[2] for each in said if each.startswith(f"{kind[:-1]}:")}
    found: dict[tuple[str, int], Resource] = {}
    for rank, source in enumerate(sources(), 1):
        for each in _in_source(source, kind):
            first = 0 if each.name in allowed and source == "project" else rank
            found.setdefault((each.name, first), each)  # `.crew` goes before `.pi`
    in_order = [found[key] for key in sorted(found)]
    meant: dict[str, Resource] = {}
    for each in in_order:
        if not each.refused:
            meant.setdefault(each.name, each)
    return [
        each if each.refused or meant[each.name] is each else replace(each, shadowed_by=meant[each.name].id)
        for each in in_order
    ]  # fmt: skip


def resource(kind: Kind, name: str) -> Resource:
    """The file that a name means: `NAME`, or `user:NAME`, `builtin:NAME`, `project:NAME`, `EXTENSION:NAME`. Raises NotFound."""
    source, colon, rest = name.partition(":")
    known = resources(kind)
    for each in known:
        if each.id == name if colon else (each.name == name and each.state != "shadowed"):
            return each
    if colon and source not in (*sources(), *(each.name for each in extensions())):
        raise NotFound(f"there is no source {source!r}", hint=f"one of {', '.join(sources())}, and a name: user:{rest}")
    why = not_brought(kind, name)
    if why:
        raise NotFound(f"there is no {kind[:-1]} {name!r}: {why}", hint="crew capabilities --kind extension")
    names = [each.id if colon else each.name for each in known]
    hint = did_you_mean(name, [*CATALOGUE, *names] if kind == "agents" and not colon else names, {})
    raise NotFound(f"there is no {kind[:-1]} {name!r}", hint=hint or f"crew {kind} lists what there is")


def not_brought(kind: Kind, name: str) -> str:
    """Why a name means nothing, if it is of an extension that is disabled or that something is wrong with; else empty."""
    source, colon, rest = name.partition(":")
    for extension in (each for each in extensions() if each not in active_extensions()):
        file = extension.folder / kind / f"{rest if colon else name}{SUFFIXES[kind]}"
        if extension.folder.is_absolute() and source in {name, extension.name} and file.is_file():
            return f"the extension {extension.name} would bring it, and {extension.fault or 'is disabled'}"
    return ""


def _in_source(source: str, kind: Kind) -> Iterator[Resource]:
    for folder in directories(source, kind):
        suffix = SUFFIXES[kind]
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        root = Path.cwd().resolve() / folder if source == "project" else folder.resolve()
        inside = folder.resolve().is_relative_to(root)
        for entry in entries:
            place = entry.path
            if kind == "skills":
                place += "/SKILL.md"
                if not os.path.lexists(place):
                    continue
            elif not entry.name.endswith(suffix):
                continue
            name = entry.name.removesuffix(suffix)
            if kind == "agents" and "." in name:
                continue  # a file of another kind
            try:
                # A path is resolved only where that can lead elsewhere: a thousand of them take a while.
                linked = entry.is_symlink() or (kind == "skills" and Path(place).is_symlink())
                if not (Path(place).resolve().is_relative_to(root) if linked else inside):
                    refused = f"is a link that leads out of {folder}"
                else:
                    is_file = Path(place).is_file() if linked or kind == "skills" else entry.is_file()
                    refused = "" if is_file else "is no file"
            except (OSError, RuntimeError) as error:  # RuntimeError: links that lead to each other
                refused = f"cannot be looked at: {error}"
            yield _resource(kind, name, source, place, refused)


def check_resource_name(kind: Kind, name: str) -> None:
    """UsageError for a name that a file of this kind cannot have: it would not be read."""
    check_name(kind[:-1], name)
    if kind == "agents" and "." in name:
        raise UsageError(f"agent {name!r} has a dot, and its file would not be read", hint=f"call it {name.replace('.', '-')}")


def overlooked(kind: Kind) -> list[tuple[Path, str]]:
    """Files beside the user's and the project's of this kind that nobody reads, and how each would have to be called."""
    suffix, found = SUFFIXES[kind], list[tuple[Path, str]]()
    for folder in (directories(source, kind)[0] for source in ("user", "project")):
        with contextlib.suppress(OSError):
            for path in sorted(folder.iterdir()):
                name = path.name.partition(".")[0]
                if not name or name.lower() == "readme":
                    continue
                if kind == "skills":
                    if path.is_dir() and not os.path.lexists(path / "SKILL.md") and not os.path.lexists(path / "SKILL.md.bak"):
                        found.append((path, f"{path.name}{suffix}"))
                    elif path.is_file() and path.suffix == ".md":
                        found.append((path, f"{name}{suffix}"))
                elif path.suffix.lower() in {".md", ".markdown"} and not path.name.endswith(suffix):
                    found.append((path, f"{name}{suffix}"))
                elif kind == "agents" and path.suffix == ".md" and path.name.count(".") > 1:
                    found.append((path, f"{path.name.removesuffix('.md').replace('.', '-')}.md"))
    return found


@functools.lru_cache(KEPT_MAX)
def _resource(kind: Kind, name: str, source: str, place: str, refused: str) -> Resource:
    try:
        check_name(kind[:-1], name)
    except UsageError as error:
        refused = error.message
    return Resource(kind, name, source, place, refused=refused)
