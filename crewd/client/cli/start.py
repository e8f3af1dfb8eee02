"""Verbs that start something: run, exec, call.

Tests: tests/client/test_cli.py.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import click
import msgspec
from msgspec.structs import replace

from crewd.client import shapes
from crewd.client.acts import ask_start, begun_before, hooks_at, tell
from crewd.client.blocking import Crew, RunHandle, connect
from crewd.client.chosen import Chosen, Wish, addressed, choose
from crewd.client.cli.common import EXIT_OF_STATUS, Options, out, say, say_hooks, verb, warn
from crewd.client.cli.follow import follow
from crewd.client.cli.input import input_of, text_from_here
from crewd.client.cli.plan import tell_plan
from crewd.client.discover import find_home
from crewd.client.environment import Bring, bring
from crewd.client.extensions import faults_of_extensions
from crewd.client.hooked import hooked
from crewd.client.initialised import initialise_extensions
from crewd.client.inventory import inventory
from crewd.client.parallel import AT_ONCE_DEFAULT, AT_ONCE_MAX, read_goals, workflow_of_goals
from crewd.client.texts import read_text
from crewd.client.usual import with_settings
from crewd.clock import SystemChance, SystemClock
from crewd.model.budget import Budget
from crewd.model.errors import NotFound, UsageError
from crewd.model.green import LEVELS
from crewd.model.ids import IdSource
from crewd.model.inventory import Item
from crewd.model.labels import parse_labels
from crewd.model.packet_text import read_packet_file
from crewd.model.pairs import add_pair
from crewd.model.policy import Limits, Retry
from crewd.model.quantities import quantity
from crewd.model.workflow import PeerProtocol, Workflow
from crewd.protocol.startable import as_run, startable

Bounds = TypeVar("Bounds", Limits, Budget)


def _options(function: Any) -> Any:
    for option in (
        click.option("--request-id", default="", help="Starting twice with the same id starts once."),
        click.option("-f", "--follow", "following", is_flag=True, help="Show live progress until the end."),
        click.option("-d", "--detach", is_flag=True, help="Print the id and return (the default)."),
        click.option("--name", default="", help="The run's name."),
        click.option("--cwd", default=None, help="Where workers run (else here)."),
        click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Your own words for it: crew ps --label."),
        click.option("--join", type=click.Choice(["off", "group", "smart"]), help="One message with the end of all its tasks."),
        click.option("--keep", is_flag=True, help="Started inside a worker: outlive that worker."),
        click.option("--retries", type=int, help="Tries after the first one, when it fails."),
        click.option("--restart", type=click.Choice(["temporary", "transient", "permanent"]), help="When to start it again."),
        click.option("--secret", "secrets", multiple=True, metavar="NAME[=@FILE]", help="A variable; never stored."),
        click.option("--env-from-caller", is_flag=True, help="Pass this whole environment; only its names are stored."),
        click.option("--clean-env", is_flag=True, help="No environment but PATH, HOME, -e and --secret."),
        click.option("--budget", "budget", multiple=True, metavar="NAME=VALUE", help="For all workers together, as cost=5."),
        click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="As memory_bytes=512M; docs/lifecycle.md."),
    ):  # fmt: skip
        function = option(function)
    return function


def _begin(
    options: Options,
    workflow: Workflow,
    goal: str,
    given: dict[str, Any],
    inputs: dict[str, str] | None = None,
    *,
    found: Sequence[Item] = (),
) -> None:
    if given["following"] and given["detach"]:
        raise UsageError("--follow and --detach exclude each other", hint="leave one of them out")
    workflow, how = _as_given(workflow, given)
    for text in faults_of_extensions():
        warn(text)
    cwd = shapes.directory(given["cwd"])
    with connect(options.home, start=options.start) as crew:
        before, request_id = None, given["request_id"]
        if request_id and hooks_at("before_run_start"):
            before = begun_before(crew, request_id, goal)
        asked = before or ask_start(workflow, goal, cwd, given["name"])
        say_hooks(asked.hooks)
        goal = str(asked.about["goal"])
        brought = bring(crew.home, how, given["secrets"], found)
        run = crew.run(
            workflow, goal, cwd=cwd, name=given["name"], request_id=given["request_id"], keep=given["keep"],
            brought=brought, inputs=inputs,
        )  # fmt: skip
        tell(crew, run.id, asked)
        if given["following"]:
            sys.exit(_follow(options, crew, run))
        if options.json:
            out({"id": run.id, "name": run.name})
        else:
            say(f"{run.id}  {run.name}")


def _as_given(workflow: Workflow, given: dict[str, Any]) -> tuple[Workflow, Bring]:
    """The workflow with what options say of it, and what of the environment goes with it."""
    retry = None if given["retries"] is None else Retry(attempts=given["retries"] + 1)
    limits = bounds_of(given["limits"], "limit", Limits) if given["limits"] else None
    workflow = _budgeted(shapes.policed(workflow, limits, retry, given["restart"]), given)
    workflow = shapes.marked(workflow, parse_labels(given["labels"]), given["join"])
    if given["clean_env"] and given["env_from_caller"]:
        raise UsageError("--clean-env and --env-from-caller contradict each other", hint="give one of them")
    if given["clean_env"]:
        return shapes.with_clean_environment(workflow), "nothing"
    return workflow, "all" if given["env_from_caller"] else "path"


def _tell(options: Options, goal: str, chosen: Chosen, given: dict[str, Any], inputs: Mapping[str, str] | None = None) -> None:
    """What would be started. UsageError for what would be refused as a run."""
    home = find_home(options.home)
    workflow, how = _as_given(chosen.workflow, given)
    start = shapes.start_request(
        workflow, goal, given["cwd"], given["name"], given["request_id"], IdSource(SystemClock(), SystemChance()), home,
        keep=given["keep"], brought=bring(home, how, given["secrets"], inventory()), inputs=inputs,
    )  # fmt: skip
    _, goal, _ = startable(start)
    tell_plan(options, goal, replace(chosen, workflow=workflow))


def _budgeted(workflow: Workflow, given: dict[str, Any]) -> Workflow:
    """The workflow with those bounds of its budget that the command names; the others are the file's."""
    said = bounds_of(given["budget"], "budget", Budget)
    named = {name: getattr(said, name) for name in pairs_of(given["budget"], "--budget")}
    return replace(workflow, budget=replace(workflow.budget, **named))


def _follow(options: Options, crew: Crew, run: RunHandle) -> int:
    return EXIT_OF_STATUS[follow(crew, run.id, as_json=options.json)]


_OF_WISH = ("role", "program", "model", "skills", "at_once", "unbounded", "plan_approval", "green")


def _what(function: Any) -> Any:
    """What is run: the same for `run` and `plan`."""
    for option in reversed((
        click.option("--workflow", "-w", "source", default="", help="A workflow file, or a NAME: crew workflows lists them."),
        click.option("--agent", "-a", "agent", default="", metavar="NAME|FILE", help="A coding agent: crew agents lists them."),
        click.option("--team", "-t", "team", default="", metavar="NAME", help="A team of agents: crew teams lists them."),
        click.option("--role", default="", metavar="ROLE", help="Only this role of the team, for the whole goal."),
        click.option("--runtime", "program", default="", metavar="NAME", help="The program for agents that name none."),
        click.option("--model", default="", help="The agents' model (else what files say, or their own configuration)."),
        click.option("--skill", "skills", multiple=True, metavar="NAME", help="A skill for each agent: see crew skills."),
        click.option("--thinking", default="", help="How hard the model thinks, as the agent calls it."),
        click.option("--at-once", type=click.IntRange(0, 1_024), default=0, help="The most steps that run at once."),
        click.option("--unbounded", is_flag=True, help="Let --at-once exceed concurrency_max of crewd.toml."),
        click.option("--plan-approval", is_flag=True, help="Wait for crew approve before the planned work starts."),
        click.option("--green", type=click.Choice(["none", *LEVELS]), help="The level that verifications reach."),
        click.option("--packet", metavar="FILE", help="The bounds of the agents' work (docs/workflows.md); -: from stdin."),
        click.option("--permissions", type=click.Choice(["ask", "allow", "deny"]), help="The answer when an agent asks."),
    )):  # fmt: skip
        function = option(function)
    return function


def _wish(goal: str, given: dict[str, Any]) -> tuple[str, Wish]:
    """The goal without a leading `@team` or `@agent`, and what is wished for: the options of `_what`, taken out of `given`."""
    agent, team, source = given.pop("agent"), given.pop("team"), given.pop("source")
    if not agent and not team:
        team, agent, goal = addressed(goal)
    else:
        _check_named_once(goal, f"--agent {agent}" if agent else f"--team {team}")
    fields = {key: given.pop(key) for key in ("thinking", "permissions")}
    file = given.pop("packet")
    if file == goal == "-":
        raise UsageError("the goal and the packet cannot both come from stdin", hint="put the packet into a file")
    packet = None if file is None else read_packet_file(text_from_here() if file == "-" else read_text(Path(file)), file)
    return goal, Wish(
        agent, team, source, fields=fields, packet=packet, **{key: given.pop(key) for key in _OF_WISH if given[key] is not None}
    )


def _check_named_once(goal: str, option: str) -> None:
    """Raises UsageError if the goal names a team or an agent as well."""
    with contextlib.suppress(NotFound):  # it may begin with @ all the same
        if any(addressed(goal)[:2]):
            hint = f"leave out {option}, or leave @NAME out of the goal"
            raise UsageError(f"the goal names {goal.split(maxsplit=1)[0]}, and {option} is given", hint=hint)


def _choose(goal: str, wish: Wish, *, installed: bool) -> Chosen:
    """What is to be run for a goal, by what is wished for and by the settings."""
    whole, unheeded = with_settings(wish)
    for text in unheeded:
        warn(text)
    if not (whole.source or whole.agent or whole.team):
        hint = "crew run GOAL --agent pi, crew run GOAL --team review, or crew run GOAL -w FILE; crew config set team NAME"
        raise UsageError("nothing says what is to be run", hint=hint)
    if not goal and not whole.source:
        raise UsageError("an agent needs a goal", hint='crew run "fix the flaky test" --agent pi')
    if installed:
        initialise_extensions(warn)
    chosen = choose(whole, installed=installed)
    _check_used(wish, chosen)
    return chosen


def _check_used(wish: Wish, chosen: Chosen) -> None:
    """UsageError for an option about agents where there is none."""
    given = {
        "--model": wish.model,
        "--runtime": wish.program,
        "--skill": wish.skills,
        **{f"--{key}": value for key, value in wish.fields.items()},
    }
    for option, value in given.items():
        if value and not chosen.choices:
            raise UsageError(f"{option} is for an agent, and a workflow is run", hint="--agent NAME")


@click.command()
@click.argument("goal", default="")
@_what
@click.option("--input", "-i", "inputs", multiple=True, metavar="NAME=VALUE", help="An input that the workflow declares.")
@click.option("--dry-run", "-n", is_flag=True, help="Show what would be done, as crew plan does, and start nothing.")
@_options
@verb
def run(options: Options, goal: str, inputs: tuple[str, ...], dry_run: bool, **given: Any) -> None:  # noqa: FBT001 (a flag)
    """Run an agent, a team or a workflow for GOAL ('-': from stdin). A GOAL that begins with @NAME names a team or an agent.

    With a workflow, the agent or the team does the steps that say nothing of how they are done.
    """
    told = pairs_of(inputs, "--input")
    goal = text_from_here().strip() if goal == "-" else goal
    if goal and not goal.strip():
        raise UsageError("the goal is empty", hint='crew run "fix the flaky test", or no goal at all')
    goal, wish = _wish(goal, given)
    chosen = _choose(goal, wish, installed=not dry_run)
    given["secrets"] = (*given["secrets"], *(name for name in chosen.secrets if name not in given["secrets"]))
    if dry_run:
        _tell(options, goal, chosen, given, told)
        return
    _tell_not_run(chosen.hooks_not_run)
    _begin(options, chosen.workflow, goal, given, told, found=inventory())


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--agent", "-a", default="", metavar="NAME", help="Who works on the goals that name no agent.")
@click.option("--runtime", "program", default="", metavar="NAME", help="The program for agents that name none.")
@click.option("--model", default="", help="The agents' model (else what files say, or their own configuration).")
@click.option("--at-once", type=click.IntRange(1, AT_ONCE_MAX), help="So many goals at once (else at_once of crew.toml, or 4).")
@click.option("--dry-run", "-n", is_flag=True, help="Show what would be done and start nothing.")
@_options
@verb
def parallel(
    options: Options, file: str, agent: str, program: str, model: str, at_once: int | None, dry_run: bool, **given: Any  # noqa: FBT001
) -> None:  # fmt: skip
    """Run agents for the goals of a YAML or JSON list in FILE ('-': from stdin). None waits for another.

    A goal is a text, or a map with goal, agent, model, skills, cwd and name. Each is a step of one run.
    """
    directory = Path(shapes.directory(given["cwd"]))
    goals = read_goals(text_from_here() if file == "-" else read_text(Path(file)), file, directory)
    usual, unheeded = with_settings(Wish(agent, program=program, model=model, at_once=at_once or 0))
    for text in unheeded:
        warn(text)
    workflow = workflow_of_goals(goals, all_need_agents=not usual.agent)
    at_most = min(usual.at_once or usual.at_once_default or AT_ONCE_DEFAULT, AT_ONCE_MAX)
    chosen = choose(
        replace(usual, team="", source="", at_once_default=at_most), installed=not dry_run, given=workflow
    )  # fmt: skip
    given["secrets"] = (*given["secrets"], *(name for name in chosen.secrets if name not in given["secrets"]))
    if dry_run:
        _tell(options, "", chosen, given)
        return
    _tell_not_run(chosen.hooks_not_run)
    _begin(options, chosen.workflow, "", given, found=inventory())


@click.command()
@click.argument("goal", default="")
@_what
@verb
def plan(options: Options, goal: str, **given: Any) -> None:
    """Show what crew run would do with the same words: steps, agents, models, and what decides each. Nothing is started."""
    goal, wish = _wish(goal, given)
    chosen = _choose(goal, wish, installed=False)
    as_run(chosen.workflow)
    tell_plan(options, goal, chosen)


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="CMD [ARGS]...")
@click.option(
    "--stdin", default="auto", metavar="none|lines|-|FILE",
    help="Its input: nothing, each steer, what comes here on standard input, or a file. Without it: what is piped in here.",
)  # fmt: skip
@click.option("--pty", is_flag=True, help="Give it a terminal; a steer types. crew attach shows it and types what you type.")
@click.option(
    "--protocol",
    type=click.Choice(["crewd", "crewd-stdio"]),
    default=None,
    help="It speaks crewd's protocol itself, over its socket or in JSON lines: docs/protocol.md, docs/stdio.md.",
)
@click.option("--on-orphan", type=click.Choice(["keep", "end"]), default="keep", help="When crewd is away.")
@click.option("-e", "--env", multiple=True, metavar="K=V", help="Set for the command.")
@_options
@verb
def exec_(
    options: Options, argv: tuple[str, ...], stdin: str, pty: bool, protocol: PeerProtocol | None, on_orphan: str,  # noqa: FBT001
    env: tuple[str, ...], **given: Any,
) -> None:  # fmt: skip
    """Run a command as a worker. What follows CMD is the command's own: crew exec grep -n TODO notes.txt."""
    size = shutil.get_terminal_size()
    given_input = input_of(stdin)
    if (pty or protocol) and given_input != "none":
        what = "a terminal" if pty else "a command that speaks the protocol itself"
        raise UsageError(
            f"{what} has no other input", hint="--stdin none; crew steer and crew attach type" if pty else "--stdin none"
        )
    variables = pairs_of(env, "--env")
    if twice := next((text for text in given["secrets"] if text.partition("=")[0] in variables), ""):
        raise UsageError(f"{twice.partition('=')[0]} is given with --secret and with --env", hint="give it once")
    workflow = shapes.exec_workflow(
        argv, stdin=given_input, env=variables, on_orphan=on_orphan,
        pty=(size.lines, size.columns) if pty else None, protocol=protocol or "",
    )  # fmt: skip
    _begin(options, _hooked(workflow), "", given)


@click.command()
@click.argument("target")
@click.option("--arg", "args", multiple=True, metavar="K=JSON", help="A keyword argument.")
@click.option("--start", type=click.Choice(["fork", "spawn"]), default="fork", help="From the warm process, or fresh.")
@click.option("--on-orphan", type=click.Choice(["keep", "end"]), default="keep", help="When crewd is away.")
@_options
@verb
def call(options: Options, target: str, args: tuple[str, ...], start: str, on_orphan: str, **given: Any) -> None:
    """Run a Python callable as a worker: crew call MODULE:FUNC --arg depth=2."""
    workflow = shapes.call_workflow(target, arguments(args), start=start, on_orphan=on_orphan)
    _begin(options, _hooked(workflow), "", given)


def _hooked(workflow: Workflow) -> Workflow:
    initialise_extensions(warn)
    workflow, not_run = hooked(workflow)
    _tell_not_run(not_run)
    return workflow


def _tell_not_run(hooks: Sequence[str]) -> None:
    for text in hooks:
        warn(text)


_EXAMPLES = {"--input": "depth=2", "--label": "team=red", "--budget": "cost=5", "--env": "DEBUG=1"}


def pairs_of(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """What an option gives as `NAME=VALUE`. UsageError for what is not that, and for two values of one name."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f"{option} {text!r} is not NAME=VALUE", hint=f"for example {option} {_EXAMPLES[option]}")
        add_pair(found, name, value, option)
    return found


def bounds_of(pairs: tuple[str, ...], option: str, kind: type[Bounds]) -> Bounds:
    """Bounds from `NAME=VALUE`: `memory_bytes=512M`, `task_seconds=10m`, `turns=20`. UsageError for what is not that."""
    found: dict[str, object] = {}
    types = get_type_hints(kind)
    for pair in pairs:
        name, _, text = pair.partition("=")
        if name not in kind.__struct_fields__:
            raise UsageError(f"there is no {option} {name!r}", hint=f"--{option} takes: {', '.join(kind.__struct_fields__)}")
        if not text:
            raise UsageError(f"--{option} {pair!r} is not NAME=VALUE", hint=f"for example --{option} turns=20")
        value = quantity(f"--{option} {name}", text, integral=types[name] is int)
        add_pair(found, name, value, f"--{option}")
    return msgspec.convert(found, kind)


def arguments(pairs: tuple[str, ...]) -> dict[str, object]:
    """Keyword arguments from `KEY=JSON`; UsageError for what is not that."""
    found: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--arg {pair!r} is not KEY=JSON", hint="for example --arg depth=2")
        try:
            given = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            if value.lstrip()[:1] in {"{", "[", '"'}:
                raise UsageError(f"--arg {key}: {value!r} is no JSON: {error}", hint="for example --arg list=[1,2]") from None
            given = value  # a bare word is a string: what everybody means by it
        add_pair(found, key, given, "--arg")
    return found
