"""Changes a user's or a project's files of agents, teams, workflows and skills: all of what belongs together, or nothing.

What was there before is kept beside it, as `FILE.bak`. Files of crewd itself, and of another program (`.pi`), are not changed.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from crewd.agents.catalogue import CATALOGUE
from crewd.agents.definition import Definition, parse_agent
from crewd.agents.skills import parse_skill
from crewd.agents.team import parse_team
from crewd.client.agents import agent_named
from crewd.client.disabled import disabled
from crewd.client.references import referring_kinds, renamed, with_name
from crewd.client.resources import SUFFIXES, Kind, Resource, check_resource_name, resource, resources
from crewd.client.user_file import FILE_BYTES_MAX
from crewd.model.errors import Conflict, CrewdError, NotFound, Refused, UsageError
from crewd.model.workflow_markdown import understand

BACKUP = ".bak"


def own(kind: Kind, name: str) -> Resource:
    """The file that a name means, which may be changed. Refused for one of crewd's own, or of another program."""
    try:
        found = resource(kind, name)
    except NotFound:
        if kind == "agents" and name in CATALOGUE:
            hint = f"crew agents new {name} --user makes an agent of yours with that name"
            raise Refused(f"{name} is a program that crewd knows, and has no file", hint=hint) from None
        raise
    if found.source not in {"user", "project"}:
        hint = f"crew {kind} new {found.name} --user makes one of your own, which is used instead"
        whose = "crewd itself" if found.source == "builtin" else f"the extension {found.source}"
        raise Refused(f"{kind[:-1]} {found.name} is one of {whose}", hint=hint)
    if ".pi" in found.path.parts:
        raise Refused(f"{found.path} is another program's file", hint=f"copy it to .crew/{kind}")
    return found


def check_text(kind: Kind, name: str, text: str) -> None:
    """UsageError, with the line, for a text that is no file of this kind."""
    if len(text.encode()) > FILE_BYTES_MAX:
        raise UsageError(f"the file has more than {FILE_BYTES_MAX} bytes", hint="such a file has a few lines")
    match kind:
        case "agents":
            parse_agent(text, name, _some_program())
        case "teams":
            parse_team(text, name)
        case "skills":
            parse_skill(text, name)
        case "workflows":
            understand(text, default_name=name)


def uses(of: Resource, *, faulty: bool = False) -> list[Resource]:
    """The files that name this one: what they say is looked up, so that a name that means another file does not count.

    Of a file that cannot be read as what it is, nobody can say whether it names this one: Refused if the name stands in it;
    if `faulty`, it is passed over.
    """
    word = re.compile(rf"(?<![\w.-]){re.escape(of.name)}(?![\w.-])")
    found = []
    for where in referring_kinds(of.kind):
        for each in resources(where):
            try:
                names = _named(of.kind, each, _text(each))
            except (CrewdError, UnicodeDecodeError) as error:
                if not faulty and word.search(_raw(each)):
                    why = getattr(error, "message", "") or str(error)
                    raise Refused(f"{each.path} may name it, and is faulty: {why}", hint="mend it: crew check") from None
                continue
            if any(_means(of, name) for name in names):
                found.append(each)
    return found


def rename(of: Resource, new: str) -> list[Path]:
    """Give the file another name, and name it so wherever it is named; the paths that were written.

    Raises UsageError for a name that cannot be, Conflict for one that is taken, and Refused if a file that names it cannot be
    changed, or if it is disabled: that is kept by name.
    """
    word = of.kind[:-1]
    check_resource_name(of.kind, new)
    suffix = SUFFIXES[of.kind]
    folder = of.path.parent.parent if of.kind == "skills" else of.path.parent
    target = folder / f"{new}{suffix}"
    taken = next((each.source for each in resources(of.kind) if each.name == new), "")
    if taken or target.exists() or (of.kind == "skills" and target.parent.exists()):
        words = f"the {word} {new} exists already ({taken})" if taken else f"{target.parent} is there"
        raise Conflict(words, hint="choose another name")
    if f"{word}:{of.name}" in disabled():
        raise Refused(
            f"{word}:{of.name} is disabled by its name", hint=f"crew enable {word}:{of.name}, and disable the new name"
        )

    def other(name: str) -> str:
        return (f"{of.source}:{new}" if ":" in name else new) if _means(of, name) else name

    changed: dict[Path, str] = {}
    for each in uses(of):
        if each.source not in {"user", "project"} or ".pi" in each.path.parts:
            raise Refused(f"{each.path} names it, and cannot be changed", hint="copy that file first, and change the copy")
        text = renamed(_text(each), of.kind, each.kind, other)
        if any(_means(of, name) for name in _named(of.kind, each, text)):
            raise Refused(
                f"{each.path} names it in a way that is not found", hint=f"change that file by hand, then crew {of.kind} rename"
            )
        changed[each.path] = text
    try:
        own_text = with_name(_text(of), new)
        check_text(of.kind, new, own_text)
    except UsageError as error:
        raise UsageError(f"{of.path}: {error.message}", hint=error.hint) from None
    if of.kind != "skills":
        write({target: own_text, **changed}, modes={target: of.path})
        of.path.rename(of.path.with_name(of.path.name + BACKUP))
        return [target, *changed]
    of.path.parent.rename(target.parent)  # with whatever else lies in its folder
    try:
        write({target: own_text, **changed})
    except OSError:
        target.parent.rename(of.path.parent)
        raise
    return [target, *changed]


def remove(of: Resource, *, force: bool = False) -> Path:
    """Put the file aside, as `FILE.bak`; where it is then. Refused while another file names it, unless `force`."""
    used = uses(of, faulty=force)
    if used and not force:
        names = ", ".join(str(each.path) for each in used)
        raise Refused(f"{of.id} is named by {names}", hint="change them, or --force with an --intent")
    aside = of.path.with_name(of.path.name + BACKUP)
    of.path.replace(aside)
    return aside


def write(texts: Mapping[Path, str], modes: Mapping[Path, Path] | None = None) -> None:
    """Write these files, each at once and after all of them were prepared. What was there is kept as `FILE.bak`.

    A link stays one: the file that it leads to is written. `modes`: a new file has the permissions of that other one.
    """
    prepared: dict[Path, Path] = {}
    try:
        for given, text in texts.items():
            path = given.resolve()
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".", suffix=".new", dir=path.parent)
            prepared[path] = Path(name)
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            if path.exists():
                shutil.copymode(path, name)
                _back_up(path, given.with_name(given.name + BACKUP))
            elif modes and given in modes:
                shutil.copymode(modes[given], name)
            else:
                Path(name).chmod(0o644)
        for path, temporary in prepared.items():
            temporary.replace(path)
    finally:
        for temporary in prepared.values():
            temporary.unlink(missing_ok=True)


def _back_up(path: Path, backup: Path) -> None:
    """Copy the file to where its backup is kept. A link that stands there is replaced, not followed."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=".new", dir=backup.parent)
    os.close(handle)
    try:
        shutil.copy2(path, name)
        Path(name).replace(backup)
    finally:
        Path(name).unlink(missing_ok=True)


def place(folder: Path, texts: Mapping[str, str], *, force: bool = False) -> frozenset[str]:
    """Write these files below the folder, all or none; those that were written, since one that says the same is left alone.

    UsageError for one that is a link or below one, and, unless `force`, for one that is there and says something else.
    """
    changed = {}
    for name, text in texts.items():
        path = folder / name
        link = next((each for each in (path, *path.parents[: len(Path(name).parents) - 1]) if each.is_symlink()), None)
        if link is not None:
            raise UsageError(f"{link} is a link, and nothing is written through it", hint="take that link away")
        if path.is_file() and path.read_bytes() == text.encode():
            continue
        if path.exists() and not force:
            raise UsageError(f"{path} exists and says something else", hint=f"--force keeps it as {path.name}{BACKUP}")
        changed[name] = text
    write({folder / name: text for name, text in changed.items()})
    return frozenset(changed)


def _text(each: Resource) -> str:
    """What is in it, with the line ends that it has. Raises what `Resource.text` raises."""
    each.text()
    return each.path.read_bytes().decode()


def _raw(each: Resource) -> str:
    """What is in it, whatever it is; empty if it cannot be read."""
    try:
        return each.path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def _named(kind: Kind, each: Resource, text: str) -> list[str]:
    """What a file names, as it is understood. UsageError, with the file, if it is not."""
    try:
        match each.kind, kind:
            case "teams", "agents":
                return [role.agent for role in parse_team(text, each.name).roles.values()]
            case "teams", "workflows":
                return [parse_team(text, each.name).workflow]
            case "teams", "skills":
                return [name for role in parse_team(text, each.name).roles.values() for name in role.skills]
            case "agents", "skills":
                return list(parse_agent(text, each.name, _some_program()).skills)
            case "workflows", "agents":
                return [step.agent for step in understand(text, default_name=each.name).workflow.steps]
            case "workflows", "skills":
                return [name for step in understand(text, default_name=each.name).workflow.steps for name in step.skills]
            case _:
                return []
    except UsageError as error:
        raise UsageError(f"{each.path}: {error.message}", hint=error.hint) from None


def _some_program() -> Definition | None:
    """The program of an agent whose file names none."""
    try:
        return agent_named("claude").definition
    except CrewdError:
        return None


def _means(of: Resource, name: str) -> bool:
    if name.rpartition(":")[2] != of.name:
        return False
    try:
        return resource(of.kind, name).id == of.id
    except NotFound:
        return False
