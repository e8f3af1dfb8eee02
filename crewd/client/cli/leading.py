"""Verbs for programs that lead a crew, and editors that show one: `crew mcp`, `crew acp`.

Tests: tests/client/test_mcp_server.py, tests/client/acp/test_server.py.
"""

from __future__ import annotations

import os
import sys

import click

from crewd.client.cli.common import Options, verb, warn
from crewd.model.agent import Permissions
from crewd.model.errors import UsageError


@click.command()
@verb
def mcp(options: Options) -> None:
    """Serve MCP on standard input and output, for an agent that leads (needs crewd[mcp]; docs/mcp.md)."""
    try:
        from crewd.client.mcp_server import make_server
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed", hint="pip install 'crewd[mcp]'") from None
    _for_programs("MCP", "docs/mcp.md")
    make_server(options.home, os.environ.get("CREWD_AS", "")).run("stdio")


@click.command()
@click.option("--agent", "-a", default="", metavar="NAME|FILE", help="The agent of each run (else the editor chooses).")
@click.option("--team", "-t", default="", metavar="NAME", help="The team of each run.")
@click.option("-w", "--workflow", "source", default="", metavar="FILE", help="The workflow of each run.")
@click.option("--model", default="", help="The agent's model (else its own configuration's).")
@click.option(
    "--permissions", type=click.Choice(["ask", "allow", "deny"]), help="The answer when the agent asks for permission."
)
@verb
def acp(options: Options, agent: str, team: str, source: str, model: str, permissions: Permissions | None) -> None:
    """Serve ACP on standard input and output, for an editor: each session is a run (docs/acp.md)."""
    import asyncio

    from crewd.client.acp.server import Server, Start
    from crewd.client.chosen import Wish, choose

    if agent or team or source:
        choose(Wish(agent, team, source))  # what is wrong with it is said now, and not in the editor
    _for_programs("ACP", "docs/acp.md")
    start = Start(agent, team, source, model, permissions or "")
    asyncio.run(Server(options.home, os.environ.get("CREWD_AS", ""), start, sys.stdin.buffer, sys.stdout.buffer).serve())


def _for_programs(protocol: str, page: str) -> None:
    """Say to a person who has started it by hand what it waits for."""
    if sys.stdin is None:
        raise UsageError(f"standard input is closed, and {protocol} comes through it", hint=f"see {page}")
    if sys.stdin.isatty():
        warn(f"waiting for {protocol} from the program that has started this ({page}); Ctrl-D ends it")
