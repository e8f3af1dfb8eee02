"""Verbs for programs that lead a crew: `crew mcp`.

Tests: tests/client/test_mcp_server.py.
"""

from __future__ import annotations

import os

import click

from crewd.client.cli.common import Options, verb
from crewd.model.errors import UsageError


@click.command()
@verb
def mcp(options: Options) -> None:
    """Serve MCP on standard input and output, for an agent that leads (needs crewd[mcp]; docs/mcp.md)."""
    try:
        from crewd.client.mcp_server import make_server
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed", hint="pip install 'crewd[mcp]'") from None
    make_server(options.home, os.environ.get("CREWD_AS", "")).run("stdio")
