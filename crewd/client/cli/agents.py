"""Verbs about agents: which there are, and what each can do."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import msgspec

from crewd.agents.acts import Task
from crewd.agents.launch import ignored_by, machine_of
from crewd.agents.other_formats import TOOLS, Tool, exported
from crewd.client import own_files
from crewd.client.agent_probe import Probe
from crewd.client.agents import FoundAgent, agent_named, check_installed
from crewd.client.agents import agents as all_agents
from crewd.client.blocking import connect
from crewd.client.cli.common import SECONDS, Options, out, say, table, verb, warn
from crewd.client.cli.group import Group
from crewd.client.cli.own_files import add_commands
from crewd.client.cli.resources import new_command, validate_command
from crewd.client.environment import bring
from crewd.client.faults import described
from crewd.client.resources import resources
from crewd.clock import SystemClock
from crewd.model.errors import UsageError

VERSION_SECONDS = 20.0
"""A program has so long to say its version."""


@click.group(cls=Group, invoke_without_command=True)
@click.option("--all", "everything", is_flag=True, help="Also those that are not installed.")
@click.pass_context
def agents(context: click.Context, everything: bool) -> None:  # noqa: FBT001 (a flag)
    """The AI coding agents that can be started: crew run GOAL --agent NAME."""
    if context.invoked_subcommand is None:
        context.invoke(ls, everything=everything)


@agents.command()
@click.option("--all", "everything", is_flag=True, help="Also those that are not installed.")
@verb
def ls(options: Options, everything: bool = False) -> None:  # noqa: FBT001, FBT002 (a flag)
    """List the agents that are installed or defined here."""
    found = [each for each in all_agents() if everything or each.program or each.origin not in {"crewd", "builtin"}]
    with ThreadPoolExecutor(4) as pool:
        versions = dict(zip((each.name for each in found), pool.map(version_of, found), strict=True))
    if options.json:
        out([_as_json(each, versions[each.name]) for each in found])
        return
    if not found:
        say("no agent is installed; crew agents --all lists what crewd knows, and how to get it")
        return
    rows = [
        (
            each.name, each.definition.agent.runtime, versions[each.name] or "-", each.origin,
            each.program or (each.known.install if each.known else f"{each.definition.agent.command[0]}: not found"),
        )
        for each in found
    ]  # fmt: skip
    table(("NAME", "SPEAKS", "VERSION", "FROM", "PROGRAM, OR HOW TO GET IT"), rows)
    _tell_left_out()


def _tell_left_out() -> None:
    """Files of agents that stand in no row: those that are wrong, and those in whose place another one is meant."""
    for each in resources("agents"):
        _, fault = described(each)
        if each.shadowed_by:
            warn(f"{each.id} is shadowed: {each.name} means {each.shadowed_by}")
        elif fault is not None:
            warn(fault.wrong if str(each.path) in fault.wrong else f"{each.path}: {fault.wrong}")


@agents.command()
@click.argument("name")
@verb
def show(options: Options, name: str) -> None:
    """Show how an agent is started, and what it can do. NAME may be a file that defines one."""
    found = agent_named(name)
    shown = _as_json(found, version_of(found))
    if options.json:
        out(shown)
        return
    for key, value in shown.items():
        if isinstance(value, dict):
            say(f"{key}:")
            for inner, text in value.items():
                say(f"  {inner:<14} {_words(text)}")
        elif value not in (None, "", [], ()):
            say(f"{key:<16} {_words(value)}")


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _as_json(found: FoundAgent, version: str) -> dict[str, Any]:
    agent = found.definition.agent
    return {
        "name": found.name,
        "title": found.known.title if found.known else found.name,
        "description": found.definition.description,
        "origin": found.origin,
        "program": found.program,
        "install": "" if found.program or found.known is None else found.known.install,
        "version": version,
        "tried": found.known.tried if found.known else "",
        "agent": {key: value for key, value in msgspec.to_builtins(agent).items() if key not in {"name", "system_prompt"}},
        "capabilities": msgspec.to_builtins(machine_of(agent, Task("/")).capabilities),
        "unused": [*found.definition.unused, *ignored_by(agent)],
    }


def version_of(found: FoundAgent) -> str:
    """What the program says is its version; empty if it is not there, or says none.

    An interpreter would say its own: so the words of a command that a file gives are said, too.
    """
    if not found.program:
        return ""
    words = found.definition.agent.command[1:] if found.known is None else ()
    try:
        told = subprocess.run(  # noqa: S603 (its own program)
            [found.program, *words, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=VERSION_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    number = re.search(r"\d+(?:\.\d+)+[\w.+-]*", told.stdout + told.stderr)
    return number[0] if number and told.returncode == 0 else ""  # what a program says that fails may be another's version


@agents.command()
@click.argument("names", nargs=-1)
@click.option("--to", "tool", type=click.Choice(TOOLS), required=True, help="Whose format.")
@click.option("--into", default=".", type=click.Path(file_okay=False, path_type=Path), help="The project, or your home.")
@click.option("--force", is_flag=True, help="Also over a file that says something else, which is kept as FILE.bak.")
@verb
def export(options: Options, names: tuple[str, ...], tool: Tool, into: Path, force: bool) -> None:  # noqa: FBT001 (a flag)
    """Write agents as files of another tool: those NAMED, else all that the project and you have defined."""
    found = [agent_named(each) for each in names] if names else [each for each in all_agents() if _own(each)]
    if not found:
        raise UsageError(
            "the project and you have defined no agent with instructions",
            hint="crew agents new NAME, or name one of crew agents",
        )
    made = [exported(each.definition, tool) for each in found]
    texts = {each.path: each.text for each in made}
    if len(texts) < len(made):
        raise UsageError("two of these agents have the same name", hint="export one of them")
    written = own_files.place(into, texts, force=force)
    if options.json:
        out([{"path": str(into / each.path), "written": each.path in written, "left_out": each.left_out} for each in made])
        return
    for each in made:
        without = f"; without {', '.join(each.left_out)}" if each.left_out else ""
        say(f"{into / each.path}{without if each.path in written else ' says so already'}")


def _own(found: FoundAgent) -> bool:
    return found.origin not in {"crewd", "builtin"} and bool(found.definition.agent.system_prompt.strip())


agents.add_command(new_command("agents"))
agents.add_command(validate_command("agents"))
add_commands(agents, "agents")


@agents.command()
@click.argument("name")
@click.option("--cwd", default=None, help="Where the agent works (else in a new directory, which is removed).")
@click.option("--timeout", type=SECONDS, default=300.0, help="For each step.")
@verb
def check(options: Options, name: str, cwd: str | None, timeout: float) -> None:
    """Try an installed agent out: prompt, steer, follow-up, now, cancel. It asks its own model for a few answers."""
    found = agent_named(name)
    check_installed(found)
    with tempfile.TemporaryDirectory(prefix="crewd-check-") as folder, connect(options.home, start=options.start) as crew:
        probe = Probe(crew, found, bring(crew.home, "path", found.secrets), cwd or folder, SystemClock(), timeout)
        tried = []
        for each in probe.run():
            tried.append(each)
            if not options.json:
                say(f"{each.what:<10} {'ok' if each.good else 'FAILED':<7} {each.seconds:6.1f} s  {each.seen}")
    capabilities = msgspec.to_builtins(machine_of(found.definition.agent, Task("/")).capabilities)
    if options.json:
        out({"agent": found.name, "tried": [msgspec.structs.asdict(each) for each in tried], "capabilities": capabilities})
    else:
        say("\nwhat its protocol allows:")
        for key, value in capabilities.items():
            say(f"  {key:<12} {_words(value)}")
    if not all(each.good for each in tried):
        sys.exit(1)
