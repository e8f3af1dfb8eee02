"""`crew`: the verbs. They are listed here and loaded when they are used, so that `crew ps` is quick."""

from __future__ import annotations

import importlib
import os

import click

from crewd import __version__
from crewd.client.cli.common import Options

_VERBS = {
    "run": ("start", "run"),
    "exec": ("start", "exec_"),
    "call": ("start", "call"),
    "ps": ("look", "ps"),
    "show": ("look", "show"),
    "logs": ("look", "logs"),
    "events": ("look", "events"),
    "history": ("history", "history"),
    "wait": ("look", "wait"),
    "result": ("look", "result"),
    "doctor": ("look", "doctor"),
    "steer": ("talk", "steer"),
    "follow-up": ("talk", "follow_up"),
    "message": ("talk", "message"),
    "ack": ("talk", "ack"),
    "respond": ("talk", "respond"),
    "inbox": ("talk", "inbox"),
    "news": ("news", "news"),
    "messages": ("talk", "messages"),
    "unsend": ("talk", "unsend"),
    "outbox": ("talk", "outbox"),
    "receipt": ("talk", "receipt"),
    "cancel": ("talk", "cancel"),
    "retry": ("again", "retry"),
    "resume": ("again", "resume"),
    "dead": ("again", "dead"),
    "dismiss": ("again", "dismiss"),
    "claim": ("claims", "claim"),
    "release": ("claims", "release"),
    "finish": ("claims", "finish"),
    "artifacts": ("keeping", "artifacts"),
    "artifact": ("keeping", "artifact"),
    "forget": ("keeping", "forget"),
    "archive": ("keeping", "archive"),
    "prune": ("keeping", "prune"),
    "export": ("keeping", "export"),
    "import": ("keeping", "import_"),
    "backup": ("keeping", "backup"),
    "daemon": ("daemon", "daemon"),
    "stress": ("crewd.testing.stress.cli", "stress"),
}
"""By name: the module (in this package, unless it has dots) and the function."""
_ALIASES = {"ls": "ps", "status": "ps", "inspect": "show", "tail": "logs", "tell": "steer", "followup": "follow-up",
            "answer": "respond", "stop": "cancel", "withdraw": "unsend", "output": "result"}  # fmt: skip


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        place = _VERBS.get(_ALIASES.get(cmd_name, cmd_name))
        if place is None:
            return None
        module = importlib.import_module(place[0] if "." in place[0] else f"crewd.client.cli.{place[0]}")
        command: click.Command = getattr(module, place[1])
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--home", envvar="CREWD_HOME", help="The daemon's home.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.option("--as", "name", default="", help="Which client this is, who owns what it starts (else CREWD_AS, else the user).")
@click.option("--no-start", is_flag=True, help="Do not start the daemon (also CREWD_AUTOSTART=0).")
@click.version_option(__version__, prog_name="crew")
@click.pass_context
def main(context: click.Context, home: str | None, name: str, as_json: bool, no_start: bool) -> None:  # noqa: FBT001 (flags)
    """Start, watch, steer and cancel workers of crewd."""
    if name:
        os.environ["CREWD_AS"] = name
    context.obj = Options(home, as_json, False if no_start else None)
