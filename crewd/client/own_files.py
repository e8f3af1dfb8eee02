"""Changes a user's or a project's files of agents, teams, workflows and skills: all of what belongs together, or nothing.

What was there before is kept beside it, as `FILE.bak`. Files of crewd itself, and of another program (`.pi`), are not changed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from crewd.agents.definition import parse_agent
from crewd.agents.skills import parse_skill
from crewd.agents.team import parse_team
from crewd.client.agents import agent_named
from crewd.client.references import names_in, referring_kinds, renamed, with_name
from crewd.client.resources import FILE_BYTES_MAX, SUFFIXES, Kind, Resource, resource, resources
from crewd.model.errors import Conflict, CrewdError, NotFound, Refused, UsageError
from crewd.model.ids import check_name
from crewd.model.workflow_markdown import understand

BACKUP = ".bak"


def own(kind: Kind, name: str) -> Resource:
    """The file that a name means, which may be changed. Refused for one of crewd's own, or of another program."""
    found = resource(kind, name)
    if found.source == "builtin":
        hint = f"crew {kind} new {found.name} --user makes one of your own, which is used instead"
        raise Refused(f"{found.name} is a {kind[:-1]} of crewd itself", hint=hint)
    if ".pi" in found.path.parts:
        raise Refused(f"{found.path} is another program's file", hint=f"copy it to .crew/{kind}")
    return found


def check_text(kind: Kind, name: str, text: str) -> None:
    """UsageError, with the line, for a text that is no file of this kind."""
    if len(text.encode()) > FILE_BYTES_MAX:
        raise UsageError(f"the file has more than {FILE_BYTES_MAX} bytes", hint="such a file has a few lines")
    match kind:
        case "agents":
            try:
                program = agent_named("claude").definition
            except CrewdError:
                program = None
            parse_agent(text, name, program)
        case "teams":
            parse_team(text, name)
        case "skills":
            parse_skill(text, name)
        case "workflows":
            understand(text, default_name=name)


def uses(of: Resource) -> list[Resource]:
    """The files that name this one: what they say is looked up, so that a name that means another file does not count."""
    found = []
    for where in referring_kinds(of.kind):
        for each in resources(where):
            text = _text(each)
            if any(_means(of, name) for name in names_in(text, of.kind, where)):
                found.append(each)
    return found


def rename(of: Resource, new: str) -> list[Path]:
    """Give the file another name, and name it so wherever it is named; the paths that were written.

    Raises UsageError for a name that cannot be, Conflict for one that is taken, and Refused if a file that names it cannot be
    changed.
    """
    check_name(of.kind[:-1], new)
    taken = next((each for each in resources(of.kind) if each.name == new), None)
    if taken is not None:
        raise Conflict(f"{new} is a {of.kind[:-1]} of {taken.source}", hint="choose another name")

    def other(name: str) -> str:
        return (f"{of.source}:{new}" if ":" in name else new) if _means(of, name) else name

    changed: dict[Path, str] = {}
    for each in uses(of):
        if each.source == "builtin" or ".pi" in each.path.parts:
            raise Refused(f"{each.path} names it, and cannot be changed", hint="copy that file first, and change the copy")
        text = renamed(_text(each), of.kind, each.kind, other)
        check_text(each.kind, each.name, text)
        changed[each.path] = text
    own_text = with_name(of.text(), new)
    check_text(of.kind, new, own_text)
    suffix = SUFFIXES[of.kind]
    root = of.path.parent.parent if of.kind == "skills" else of.path.parent
    target = root / f"{new}{suffix}"
    if of.kind == "skills":
        of.path.parent.rename(target.parent)  # with whatever else lies in its folder
        write({target: own_text, **changed})
    else:
        write({target: own_text, **changed})
        of.path.rename(of.path.with_name(of.path.name + BACKUP))
    return [target, *changed]


def remove(of: Resource, *, force: bool = False) -> Path:
    """Put the file aside, as `FILE.bak`; where it is then. Refused while another file names it, unless `force`."""
    used = uses(of)
    if used and not force:
        names = ", ".join(str(each.path) for each in used)
        raise Refused(f"{of.id} is named by {names}", hint="change them, or --force with an --intent")
    aside = of.path.with_name(of.path.name + BACKUP)
    of.path.replace(aside)
    return aside


def write(texts: Mapping[Path, str]) -> None:
    """Write these files, each at once and after all of them were prepared. What was there is kept as `FILE.bak`."""
    prepared: dict[Path, Path] = {}
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".", suffix=".new", dir=path.parent)
            prepared[path] = Path(name)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            if path.exists():
                shutil.copymode(path, name)
                shutil.copy2(path, path.with_name(path.name + BACKUP))
            else:
                Path(name).chmod(0o644)
        for path, temporary in prepared.items():
            temporary.replace(path)
    finally:
        for temporary in prepared.values():
            temporary.unlink(missing_ok=True)


def _text(each: Resource) -> str:
    try:
        return each.text()
    except UsageError:
        return ""  # it cannot be read, so nothing uses what it names


def _means(of: Resource, name: str) -> bool:
    if name.rpartition(":")[2] != of.name:
        return False
    try:
        return resource(of.kind, name).id == of.id
    except NotFound:
        return False
