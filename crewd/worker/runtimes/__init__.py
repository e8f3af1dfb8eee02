"""How a worker of each runtime is run: a registry of functions, by the names of `model.runtimes`.

Each is given a `Hosting` and returns the outcome when it is durable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from crewd.model.agent import AGENT_RUNTIMES
from crewd.worker.runtimes import agent, call, command, peer, program

if TYPE_CHECKING:
    from crewd.protocol.reports import Outcome
    from crewd.worker.hosting import Hosting

RUNNERS: Final[dict[str, Callable[[Hosting], Outcome]]] = {
    "call": call.run,
    "exec": command.run,
    "crewd-stdio": program.run,
    "crewd": peer.run,
    **dict.fromkeys(AGENT_RUNTIMES, agent.run),
}
