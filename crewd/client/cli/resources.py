"""Verbs about files of teams and workflows (`crew teams`, `crew workflows`), and `new` for agents, too.

Tests: tests/client/cli/test_teams.py.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from crewd.agents.catalogue import CATALOGUE
from crewd.client import shapes
from crewd.client.chosen import read_skill, team_named
from crewd.client.cli.common import Options, out, say, say_exactly, say_within, table, verb, warn
from crewd.client.cli.group import Group
from crewd.client.cli.own_files import add_commands
from crewd.client.cli.understood import tell_workflow
from crewd.client.faults import Fault, described, faults_of, faults_of_hooks
from crewd.client.resources import (
    SUFFIXES,
    Kind,
    Resource,
    check_resource_name,
    directories,
    overlooked,
    resource,
    resources,
)
from crewd.model.errors import Conflict, CrewdError
from crewd.model.quantities import counted

TEMPLATES: dict[Kind, str] = {
    "agents": """---
description: what it is for
# runtime: claude       # whose program it is; without it: --runtime, CREWD_AGENT, or the first that is installed
# model: opus
# maxTurns: 20
---
Say here who it is, what it may change, and how its answer is to look.
""",
    "teams": """---
description: what it is for
defaultWorkflow: default
---
- explorer: agent=explorer finds the places
- executor: agent=executor makes the change
- verifier: agent=verifier checks it
""",
    "skills": """---
description: what it is for
---
Say here, in a few lines, how it is done well.
""",
    "workflows": """---
name: {name}
---
## look
role: explorer
output: places.md

Find what matters for this task: {{goal}}

## change
role: executor
dependsOn: look
reads: places.md

Do this: {{goal}}
""",
}


def list_files(options: Options, kind: Kind) -> None:
    """Print all files of a kind."""
    rows = [(each, text, fault.wrong if fault else "") for each in resources(kind) for text, fault in [described(each)]]
    if options.json:
        out([_as_json(each, description, wrong) for each, description, wrong in rows])
        return
    told = [
        (each.id if each.shadowed_by else each.name, each.source, "wrong" if wrong else each.state, wrong or description)
        for each, description, wrong in rows
    ]
    table(("NAME", "FROM", "STATE", "WHAT IT IS FOR"), told)
    for each, _, wrong in rows:
        if wrong:  # the table may have cut it
            warn(wrong if str(each.path) in wrong else f"{each.path}: {wrong}")


def _as_json(each: Resource, description: str, wrong: str) -> dict[str, Any]:
    return {
        "name": each.name, "id": each.id, "from": each.source, "state": each.state, "shadowed_by": each.shadowed_by,
        "path": str(each.path), "description": description, "wrong": wrong,
    }  # fmt: skip


def _group(kind: Kind, about: str, tell: Callable[[Options, Resource], None]) -> click.Group:
    @click.group(kind, cls=Group, invoke_without_command=True, help=about)
    @click.pass_context
    def group(context: click.Context) -> None:
        if context.invoked_subcommand is None:
            context.invoke(ls)

    @group.command()
    @verb
    def ls(options: Options) -> None:
        """List them, with where each comes from."""
        list_files(options, kind)

    @group.command()
    @click.argument("name")
    @verb
    def show(options: Options, name: str) -> None:
        """Show one. NAME may be user:NAME, builtin:NAME or project:NAME."""
        tell(options, resource(kind, name))

    group.add_command(new_command(kind))
    group.add_command(validate_command(kind))
    add_commands(group, kind)
    return group


def new_command(kind: Kind) -> click.Command:
    """The verb that writes a file to begin with."""

    @click.command("new")
    @click.argument("name")
    @click.option("--user", is_flag=True, help="Among your own files (else in .crew of this directory).")
    @verb
    def new(options: Options, name: str, user: bool) -> None:  # noqa: FBT001 (a flag)
        """Write a file to begin with."""
        check_resource_name(kind, name)
        folder: Path = directories("user" if user else "project", kind)[0]
        path = folder / f"{name}{SUFFIXES[kind]}"
        if kind == "agents" and name in CATALOGUE and not user:
            hint = "choose another name; --user writes your own, which then overrides it"
            raise Conflict(f"{name} is an agent that crewd knows, and no project may take its name", hint=hint)
        taken = next((each for each in resources(kind) if each.name == name), None)
        if path.exists():
            raise Conflict(f"{path} is there already", hint=f"crew {kind} show {name}")
        if taken is not None and not user:
            hint = f"choose another name; else {taken.id} is meant by {name}, and this one only by project:{name}"
            raise Conflict(f"{taken.source} has {_a(kind[:-1])} {name}", hint=hint)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = TEMPLATES[kind]
        with path.open("x", encoding="utf-8") as file:
            file.write(text.format(name=name) if kind == "workflows" else text)
        if options.json:
            out({"path": str(path)})
        else:
            say(f"{path}")

    return new


def validate_command(kind: Kind) -> click.Command:
    """The verb that looks at the files of a kind."""

    @click.command("validate")
    @click.argument("names", nargs=-1, metavar="[NAME]...")
    @verb
    def validate(options: Options, names: tuple[str, ...]) -> None:
        """Say what is wrong with the NAMED ones, else with all, and with what they name; exit 1 if something is."""
        looked = [resource(kind, name) for name in names] or resources(kind)
        _tell_faults(options, looked, f" of {kind}")

    return validate


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _tell_team(options: Options, each: Resource) -> None:
    team = team_named(each.id)
    if options.json:
        out({**_as_json(each, team.description, ""), "team": msgspec.to_builtins(team)})
        return
    say(f"{team.name}: {team.description}".rstrip(": "))
    say(f"  from {each.source}, {each.path}" + (f"; {each.name} means {each.shadowed_by}" if each.shadowed_by else ""))
    say(f"  workflow: {team.workflow or '-'}" + (f", {team.max_concurrency} at once" if team.max_concurrency else ""))
    table(
        ("ROLE", "AGENT", "MODEL", ""),
        [(name, role.agent, role.model or "-", role.description) for name, role in team.roles.items()],
    )
    for unused in team.unused:
        say(f"  not used: {unused}")


def _tell_workflow(options: Options, each: Resource) -> None:
    each.text()
    tell_workflow(options, shapes.read_workflow(each.path))


teams = _group("teams", "The teams of agents that can be given a goal: crew run GOAL --team NAME.", _tell_team)
workflows = _group("workflows", "The workflows that can be named: crew run GOAL -w NAME.", _tell_workflow)


def _tell_skill(options: Options, each: Resource) -> None:
    skill = read_skill(each)
    if options.json:
        out({**_as_json(each, skill.description, ""), "text": skill.text})
        return
    say(f"{skill.name}: {skill.description}".rstrip(": "))
    say(f"  from {each.source}, {each.path}\n")
    say_exactly(skill.text)
    if skill.note:
        warn(f"{each.path}: {skill.note}")


skills = _group("skills", "The skills that agents can be given: skills: NAME in a file, or crew run --skill NAME.", _tell_skill)


def resource_in(source: str) -> Resource | None:
    """The agent, team or skill whose file this is; None for any other file."""
    try:
        path = Path(source).resolve(strict=True)
    except OSError:
        return None
    kinds: list[Kind] = [kind for kind in SUFFIXES if kind != "workflows"]
    return next((each for kind in kinds for each in resources(kind) if each.path.resolve() == path), None)


def check_all(options: Options) -> None:
    """Look at every file, of hooks too, and at what they name; exit code 1 if something is wrong."""
    beside = [
        f"{path}: nobody reads it, because of its name (call it {name})" for kind in SUFFIXES for path, name in overlooked(kind)
    ]
    looked = [each for kind in SUFFIXES for each in resources(kind)]
    _tell_faults(options, looked, " of agents, teams, workflows and skills", faults_of_hooks(), beside)


def check_one(options: Options, only: Resource) -> None:
    """Look at one file, and at what it names; exit code 1 if something is wrong."""
    _tell_faults(options, [only], f": {only.kind.removesuffix('s')} {only.id}")


def _notes(looked: Iterable[Resource]) -> list[str]:
    """What is to be said of skills that are right."""
    found = []
    for each in looked:
        if each.kind == "skills":
            with contextlib.suppress(CrewdError):
                note = read_skill(each).note
                found += [f"{each.path}: {note}"] if note else []
    return found


def _tell_faults(
    options: Options, looked: Sequence[Resource], what: str, of_hooks: Iterable[Fault] = (), beside: Iterable[str] = ()
) -> None:
    found: list[tuple[str, str, str, Fault]]
    found = [(each.kind, each.id, str(each.path), fault) for each in looked for fault in faults_of(each)]
    found += [("hooks", "hooks", "hooks.toml", fault) for fault in of_hooks]
    if options.json:
        out(
            [
                {"kind": kind, "id": key, "path": path, "wrong": fault.wrong, "hint": fault.hint}
                for kind, key, path, fault in found
            ]
        )
    else:
        for _, _, path, fault in found:
            say_within(fault.wrong if path in fault.wrong else f"{path}: {fault.wrong}")
            if fault.hint:
                say_within(f"  {fault.hint}")
        for each in (*beside, *_notes(looked)):
            warn(each)
        say(f"{counted(len(looked), 'file')}{what}, {counted(len(found), 'fault')}")
    if found:
        sys.exit(1)
