"""An AI coding agent: pi, oh-my-pi, Claude Code, Codex, or whatever speaks the Agent Client Protocol (docs/agents.md).

Tests: tests/worker/test_agent.py.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from crewd.model.errors import InvariantError
from crewd.worker.agent import AgentProcess
from crewd.worker.call import hear_term
from crewd.worker.hosting import begin_session

if TYPE_CHECKING:
    from crewd.protocol.reports import Outcome
    from crewd.worker.hosting import Hosting


def run(host: Hosting) -> Outcome:
    """Start it, wait until it answers, and serve it until it ends."""
    agent = host.bootstrap.worker.agent
    if agent is None:
        raise InvariantError("the worker is no agent")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # an agent that closes its input is no reason to die
    hear_term(host.desk.token, interrupt=False)
    begin_session()
    process = AgentProcess(host.bootstrap, agent, host.desk)
    process.start()
    link = host.connect(process.wait_until_ready(), process.pid)
    return host.end(process.serve(host.context(link)), link)
