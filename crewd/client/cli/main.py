"""`crew`: the verbs. They are listed here and loaded when they are used, so that `crew ps` and `crew --help` are quick.

Tests: tests/client/cli/test_verbs.py, tests/testing/stress/test_search.py.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from crewd import __version__
from crewd.client.cli.common import PIPE_CLOSED, Options, close_off, fail, internal, unwritable, warn
from crewd.model.errors import CrewdError, UsageError, unencodable


class Verb(NamedTuple):
    """Where a verb is (a module of this package, unless it has dots), and what it does, in a line."""

    module: str
    function: str
    does: str


VERBS: dict[str, dict[str, Verb]] = {
    "Start something": {
        "run": Verb("start", "run", "Run an agent or a workflow for a goal."),
        "exec": Verb("start", "exec_", "Run a command as a worker."),
        "call": Verb("start", "call", "Run a Python callable as a worker."),
        "parallel": Verb("start", "parallel", "Run agents for the goals of a list, some at once."),
        "plan": Verb("start", "plan", "Show what run would do, and start nothing."),
        "recommend": Verb("recommend", "recommend", "Say which team a goal is for, and why."),
    },
    "Look": {
        "ps": Verb("look", "ps", "List runs."),
        "show": Verb("show", "show", "Show a run: how it stands, its tasks, what waits."),
        "summary": Verb("summary", "summary", "Say in a bounded text how a run stands, and what can be done."),
        "brief": Verb("summary", "brief", "Say in a bounded text how all of your runs stand."),
        "prompt": Verb("prompt", "prompt", "Show what an agent was told, and where it comes from."),
        "logs": Verb("logs", "logs", "Print the output of workers."),
        "wait": Verb("look", "wait", "Wait until runs or tasks have ended."),
        "result": Verb("look", "result", "Print the result of a run or task."),
        "events": Verb("look", "events", "Print events of a run, or of all."),
        "decisions": Verb("decisions", "decisions_", "List what crewd has decided on a run, and why."),
        "history": Verb("history", "history", "Show the history of a run as a tree."),
        "news": Verb("news", "news", "Tell what happened to your runs since you last looked."),
        "inbox": Verb("talk", "inbox", "List open questions, what workers said, and notices."),
        "messages": Verb("talk", "messages", "List the messages of a run or task with their receipts."),
        "receipt": Verb("talk", "receipt", "Show how far a message came."),
        "dead": Verb("again", "dead", "List tasks that failed for good."),
        "artifacts": Verb("keeping", "artifacts", "List what the workers of a run have left."),
        "artifact": Verb("keeping", "artifact", "Get what a worker has left."),
    },
    "Talk to workers": {
        "steer": Verb("talk", "steer", "Tell a working worker something."),
        "follow-up": Verb("talk", "follow_up", "Queue something for when the worker would stop."),
        "respond": Verb("talk", "respond", "Answer a question."),
        "message": Verb("talk", "message", "Put something into the mailbox of a worker or run."),
        "interrupt": Verb("talk", "interrupt", "Break off what a worker does, without ending it."),
        "ack": Verb("talk", "ack", "Say that messages of a mailbox were read."),
        "unsend": Verb("talk", "unsend", "Take a message back if the worker has not taken it."),
        "outbox": Verb("talk", "outbox", "List messages of yours that nobody has answered."),
        "attach": Verb("attach", "attach", "Show the terminal of a command, and type."),
        "signal": Verb("ending", "signal_", "Send a signal to a command or worker."),
        "cancel": Verb("ending", "cancel", "End runs or tasks, with proof that nothing is left."),
    },
    "Take up what has ended": {
        "retry": Verb("again", "retry", "Do again what failed or was parked."),
        "resume": Verb("again", "resume", "Go on with a run that was cancelled or has failed."),
        "approve": Verb("again", "approve", "Let a blocked run go on."),
        "reject": Verb("again", "reject", "End a blocked run."),
        "dismiss": Verb("again", "dismiss", "Put a dead letter away."),
        "claim": Verb("claims", "claim", "Carry out a waiting task yourself."),
        "release": Verb("claims", "release", "Give a claimed task back."),
        "finish": Verb("claims", "finish", "Say how a claimed task has ended."),
    },
    "Keep": {
        "forget": Verb("keeping", "forget", "Delete an ended run: its history, output and artifacts."),
        "archive": Verb("keeping", "archive", "Put an ended run into a compressed bundle."),
        "prune": Verb("keeping", "prune", "Forget or archive runs that ended long ago."),
        "export": Verb("keeping", "export", "Write an ended run into one file."),
        "import": Verb("keeping", "import_", "Take a run in from a bundle."),
        "backup": Verb("keeping", "backup", "Copy the home's state while everything goes on."),
    },
    "Define and check": {
        "init": Verb("own_files", "init", "Lay out .crew, for agents and teams of a project."),
        "check": Verb("check", "check", "Show what a workflow file is understood as."),
        "agents": Verb("agents", "agents", "List AI coding agents, and show what each can do."),
        "teams": Verb("resources", "teams", "List teams of agents, and show them."),
        "workflows": Verb("resources", "workflows", "List workflows that can be named, and show them."),
        "skills": Verb("resources", "skills", "List skills that agents can be given, and show them."),
        "hooks": Verb("hooks", "hooks", "List the commands that are asked before steps and acts."),
        "trust": Verb("hooks", "trust_", "Let the hooks of this project run."),
        "capabilities": Verb("inventory", "capabilities", "List what there is to run with, and its state."),
        "disable": Verb("inventory", "disable_", "Refuse runs that use an agent, a team, a tool and so on."),
        "enable": Verb("inventory", "enable_", "Allow what was disabled."),
        "initialise": Verb("hooks", "initialise", "Run the initialise command of an extension again."),
    },
    "The daemon": {
        "daemon": Verb("daemon", "daemon", "Start, stop and look at the daemon."),
        "config": Verb("config", "config", "Show and change settings."),
        "doctor": Verb("look", "doctor", "Examine the daemon, its state and its machine."),
        "metrics": Verb("metrics", "metrics", "Print metrics of the daemon, or feed them to an extension."),
        "mcp": Verb("leading", "mcp", "Serve MCP, for an agent that leads a crew."),
        "acp": Verb("leading", "acp", "Serve ACP, for an editor: each session is a run."),
        "stress": Verb("crewd.testing.stress.cli", "stress", "Stress-test a worker at every point of its work."),
        "help": Verb("help", "help_", "Help on a verb, or on exit-codes."),
        "version": Verb("help", "version", "Print the version."),
    },
}  # fmt: skip
ALIASES = {
    "ls": "ps", "list": "ps", "status": "ps", "top": "ps", "runs": "ps", "inspect": "show", "describe": "show", "info": "show",
    "log": "logs", "tail": "logs", "output": "result", "tell": "steer", "send": "steer", "followup": "follow-up",
    "answer": "respond", "reply": "respond", "questions": "inbox", "stop": "cancel", "abort": "cancel", "terminate": "cancel",
    "withdraw": "unsend", "rm": "forget", "remove": "forget", "delete": "forget", "rerun": "retry", "continue": "resume",
    "validate": "check", "lint": "check", "why": "decisions",
}  # fmt: skip
MEANT = {
    "kill": "crew cancel RUN --now ends a run at once; crew signal RUN KILL only sends the signal",
    "start": "crew exec, run and call start something; crew daemon start starts the daemon",
    "restart": "crew retry RUN starts again what failed or is parked; crew resume RUN what was cancelled",
    "shutdown": "crew daemon stop",
    "salvage": "crewd salvage, while crewd does not run",
    "restore": "crewd restore BACKUP, while crewd does not run",
    "serve": "crew daemon start, or crewd in the foreground",
    "spawn": "crew exec CMD, or crew call MODULE:FUNC",
    "submit": "crew run GOAL -w FILE, or crew exec CMD",
    "pause": "nothing is paused: crew cancel RUN, then crew resume RUN",
}
"""Words that people try for which no single verb is meant."""
_FLAT = {name: verb for section in VERBS.values() for name, verb in section.items()}


def _set(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """A global option that stands behind the verb."""
    options = context.find_root().obj
    if value and isinstance(options, Options):
        match parameter.name:
            case "json_":
                options.json = True
            case "home_":
                options.home = value
            case "as_":
                os.environ["CREWD_AS"] = value
            case "no_start_":
                options.start = False
    return value


def _with_globals(command: click.Command) -> click.Command:
    """The verb with the global options, also behind its name."""
    if any(parameter.name == "json_" for parameter in command.params):
        return command
    for flag, name, is_flag in (("--json", "json_", True), ("--home", "home_", False), ("--as", "as_", False),
                                ("--no-start", "no_start_", True)):  # fmt: skip
        option = click.Option([flag, name], is_flag=is_flag, hidden=True, expose_value=False, callback=_set, is_eager=True)
        command.params.append(option)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _with_globals(below)
    return command


class _OutputClosedError(Exception):
    """The reader of the output has closed it. `click` would exit with 1, which means that a run has failed."""


@contextlib.contextmanager
def _output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise _OutputClosedError from None


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(_FLAT)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        verb = _FLAT.get(ALIASES.get(cmd_name, cmd_name))
        if verb is None:
            return None
        module = importlib.import_module(verb.module if "." in verb.module else f"crewd.client.cli.{verb.module}")
        command: click.Command = getattr(module, verb.function)
        return _with_globals(command)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _FLAT and name not in ALIASES:
            meant = MEANT.get(name) or _did_you_mean(name)
            raise click.UsageError(f"there is no verb {name!r}. {meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, verbs in VERBS.items():
            with formatter.section(title):
                formatter.write_dl([(name, verb.does) for name, verb in verbs.items()], col_max=12)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """As click does; it prints help."""
        with _output():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does."""
        with _output():
            return super().invoke(ctx)

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, complete_var: str | None = None,
        standalone_mode: bool = True, **extra: Any,  # noqa: FBT001, FBT002 (click's signature)
    ) -> Any:  # fmt: skip
        """Run, say in a sentence what goes wrong, and exit: with `--json`, errors are JSON as well."""
        given, code = list(sys.argv[1:] if args is None else args), None
        for name in ("stdout", "stderr"):  # closed by whoever has started this: nobody reads it
            if getattr(sys, name) is None:
                setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (to the end of the process)
        try:
            code = super().main(given, prog_name or "crew", complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
        except CrewdError as error:
            fail(error, as_json="--json" in given)
        except click.ClickException as error:
            _wrong_usage(error, given, as_json="--json" in given)
        except click.Abort:
            warn("interrupted")
            sys.exit(130)
        except (BrokenPipeError, _OutputClosedError):
            close_off(1)  # nobody reads
            sys.exit(PIPE_CLOSED)
        except UnicodeEncodeError as error:
            fail(unencodable(error), as_json="--json" in given)
        except OSError as error:
            unwritable(error, as_json="--json" in given)
        except Exception as error:  # noqa: BLE001 (no traceback reaches a person, unless it is asked for)
            internal(error, as_json="--json" in given)
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code


def _did_you_mean(name: str) -> str:
    close = difflib.get_close_matches(name, [*_FLAT, *ALIASES], 1)
    if not close:
        return "crew --help lists them."
    stands_for = ALIASES.get(close[0])
    return f"Did you mean {close[0]}?" if stands_for is None else f"Did you mean {close[0]}, which is {stands_for}?"


def _wrong_usage(error: click.ClickException, given: list[str], *, as_json: bool) -> None:
    text = next((each for each in given if each.startswith("-") and len(each.split()) > 1 and "=" not in each), "")
    hint = "put -- before a text that begins with -" if text and isinstance(error, click.NoSuchOption) else ""
    if as_json:
        fail(UsageError(error.format_message(), hint=hint), as_json=True)
    try:
        error.show()
    except OSError:
        close_off(2)  # as `warn` does
    if hint:
        warn(f"({hint})")
    sys.exit(error.exit_code)


@click.group(
    cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]}, epilog="Options stand before or after the verb."
)
@click.option("--home", envvar="CREWD_HOME", help="The daemon's home.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output, errors too.")
@click.option("--as", "name", default="", help="Which client this is, who owns what it starts (else CREWD_AS, else the user).")
@click.option("--no-start", is_flag=True, help="Do not start the daemon (also CREWD_AUTOSTART=0).")
@click.version_option(__version__, prog_name="crew")
@click.pass_context
def main(context: click.Context, home: str | None, name: str, as_json: bool, no_start: bool) -> None:  # noqa: FBT001 (flags)
    """Start, watch, steer and cancel workers of crewd."""
    if name:
        os.environ["CREWD_AS"] = name
    context.obj = Options(home, as_json, False if no_start else None)
