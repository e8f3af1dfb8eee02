"""What is to be run when somebody names an agent, a workflow, or both.

Tests: tests/client/test_mcp_server.py, tests/client/acp/test_server.py, tests/client/cli/test_agents.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from crewd.client import shapes
from crewd.client.agents import agent_named, check_installed
from crewd.model.workflow import Workflow


@dataclass(frozen=True, slots=True)
class Chosen:
    """A workflow, and the names of the caller's secret variables that its agent looks at."""

    workflow: Workflow
    secrets: tuple[str, ...] = ()


def choose(agent: str, source: str = "", **changes: Any) -> Chosen:
    """This agent by name or file, this workflow file, or the file with the agent for the steps that say nothing of how.

    `changes` are fields of the agent; empty ones change nothing. Raises NotFound, UsageError, or Refused for an agent whose
    program is not installed.
    """
    if not agent:
        return Chosen(shapes.load_workflow(source))
    found = agent_named(agent)
    check_installed(found)
    spec = msgspec.structs.replace(found.definition.agent, **{key: value for key, value in changes.items() if value})
    if source:
        return Chosen(shapes.with_agent(shapes.load_workflow(source), spec, found.env), found.secrets)
    return Chosen(shapes.agent_workflow(spec, found.env), found.secrets)
