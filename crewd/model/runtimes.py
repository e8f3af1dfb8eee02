"""The runtimes of workers: a table with one row for each, which says everything in which they differ outside the worker.

How a worker of each is run is in `crewd/worker/runtimes`. docs/contributing.md tells how to add one.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

import msgspec

from crewd.model.agent import AGENT_RUNTIMES, Agent, AgentRuntime


class SpecLike(Protocol):
    """What of a worker's spec decides on its runtime and its capabilities (see `WorkerSpec`)."""

    @property
    def call(self) -> str:
        """`MODULE:FUNCTION`."""
        ...

    @property
    def argv(self) -> tuple[str, ...]:
        """A command and its arguments."""
        ...

    @property
    def shell(self) -> str:
        """A command line."""
        ...

    @property
    def outside(self) -> bool:
        """Whether somebody else carries it out."""
        ...

    @property
    def protocol(self) -> str:
        """What a command speaks."""
        ...

    @property
    def stdin(self) -> str:
        """What a command reads."""
        ...

    @property
    def agent(self) -> Agent | None:
        """The agent that it is."""
        ...

    @property
    def pty(self) -> tuple[int, int] | None:
        """The size of a command's terminal."""
        ...


class By(Enum):
    """Who carries a task out."""

    CREWD = "crewd, which starts a process"
    OUTSIDE = "a person or program that claims it"
    NOBODY = "nobody: there is no such runtime in this crewd"


class Runtime(msgspec.Struct, frozen=True):
    """One row.

    `accepts`: whether a spec means this runtime; the first row that does counts. `capabilities`: which messages its worker
    takes; None where the worker says that itself. `may_be_silent`: its silence is no sign of a fault. `plain_output`: a large
    result is what it wrote to its standard output, and not JSON. `hosted`: a process of crewd's own starts it and waits for it,
    and what that exits with says nothing of it.
    """

    accepts: Callable[[SpecLike], bool]
    by: By = By.CREWD
    capabilities: Callable[[SpecLike], tuple[str, ...]] | None = None
    may_be_silent: bool = False
    plain_output: bool = False
    hosted: bool = False


def _is_command(spec: SpecLike) -> bool:
    return bool(spec.argv or spec.shell)


def _of_command(spec: SpecLike) -> tuple[str, ...]:
    if spec.pty is not None:
        return ("steer", "eof", "keys")
    return ("steer", "eof") if spec.stdin == "lines" else ()


def _speaks(runtime: AgentRuntime) -> Callable[[SpecLike], bool]:
    return lambda spec: spec.agent is not None and spec.agent.runtime == runtime


RUNTIMES: Final[dict[str, Runtime]] = {
    "call": Runtime(lambda spec: bool(spec.call)),
    "outside": Runtime(lambda spec: spec.outside, By.OUTSIDE),
    "crewd": Runtime(lambda spec: _is_command(spec) and spec.protocol == "crewd"),
    "crewd-stdio": Runtime(lambda spec: _is_command(spec) and spec.protocol == "crewd-stdio", hosted=True),
    "exec": Runtime(_is_command, capabilities=_of_command, may_be_silent=True, plain_output=True, hosted=True),
    **{runtime: Runtime(_speaks(runtime), may_be_silent=True, hosted=True) for runtime in AGENT_RUNTIMES},
    "agent": Runtime(lambda _: True, By.NOBODY),
}


def runtime_of(spec: SpecLike) -> str:
    """The name of the runtime that a spec means."""
    return next(name for name, runtime in RUNTIMES.items() if runtime.accepts(spec))


def runtime_named(name: str) -> Runtime:
    """The runtime of this name. A row that came from another crewd may name one that is not known here: nobody's."""
    return RUNTIMES.get(name, RUNTIMES["agent"])
