"""Tries an agent out: a prompt, a steer, a follow-up, an interruption and a cancel, and what it leaves behind.

It needs nothing but the model that the agent's own configuration names, and costs a few of its answers.

Tests: tests/client/cli/test_agents.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from crewd.client.shapes import agent_workflow
from crewd.model.errors import CrewdError
from crewd.model.events import OperationOpened
from crewd.model.terms import Terms

if TYPE_CHECKING:
    from crewd.client.agents import FoundAgent
    from crewd.client.blocking import Crew, RunHandle
    from crewd.client.environment import Brought
    from crewd.clock import SystemClock

TOOL_SECONDS = 180.0
"""How long an agent may take to begin with a tool: some are slow to start, and models are slow to answer."""
LOOK_SECONDS = 0.1


class ProbeStep(msgspec.Struct, frozen=True):
    """One thing that was tried: whether it went well, how long it took, and what was seen."""

    what: str
    good: bool
    seconds: float
    seen: str


class Probe:
    """`seconds` bound each single step."""

    def __init__(self, crew: Crew, found: FoundAgent, brought: Brought, cwd: str, clock: SystemClock, seconds: float) -> None:
        self._crew, self._found, self._brought, self._cwd = crew, found, brought, cwd
        self._clock, self._seconds = clock, seconds

    def run(self) -> Iterator[ProbeStep]:
        """Try one thing after the other; a step that goes wrong ends none of the others but those that need it."""
        steps: tuple[tuple[str, Callable[[], str]], ...] = (
            ("prompt", self._prompt), ("steer", self._steer), ("follow-up", self._follow_up), ("now", self._now),
            ("cancel", self._cancel),
        )  # fmt: skip
        for what, step in steps:
            began = self._clock.monotonic()
            try:
                good, seen = True, step()
            except (CrewdError, _NotSeenError) as error:
                good, seen = False, str(error)
            yield ProbeStep(what, good, self._clock.monotonic() - began, seen)
            if not good and what == "prompt":
                return  # nothing else can go well

    def _begin(self, goal: str) -> RunHandle:
        return self._crew.run(
            agent_workflow(self._found.definition.agent, self._found.env), goal, cwd=self._cwd, brought=self._brought
        )

    def _with_tool(self, seconds: int) -> RunHandle:
        run = self._begin(f"Use your shell tool to run the command `sleep {seconds}`. Wait for its end, then say DONE.")
        until = self._clock.monotonic() + min(TOOL_SECONDS, self._seconds)
        while self._clock.monotonic() < until:
            if any(isinstance(event.body, OperationOpened) for event in self._crew.events(run.id)):
                return run
            if run.show().run.ended_at is not None:
                break
            self._clock.sleep(LOOK_SECONDS)
        run.cancel(mode="now")
        raise _NotSeenError("it has not used its shell tool, so this was not seen")

    def _prompt(self) -> str:
        text = str(self._begin("Answer with the one word READY.").result(timeout=self._seconds))
        if not text:
            raise _NotSeenError("it ended and said nothing")
        return f"said {text[:60]!r}"

    def _steer(self) -> str:
        run = self._with_tool(6)
        receipt = run.steer("Say STEERED instead of DONE.", wait="settled", timeout=self._seconds)
        text = str(run.result(timeout=self._seconds))
        if receipt.outcome != "done":
            raise _NotSeenError(f"the steer is {receipt.level} {receipt.outcome or ''}".strip())
        return f"reached a tool that ran; said {text[:60]!r}"

    def _follow_up(self) -> str:
        run = self._with_tool(2)
        receipt = run.follow_up("Now say FOLLOWED.", wait="settled", timeout=self._seconds)
        run.result(timeout=self._seconds)
        if receipt.outcome != "done":
            raise _NotSeenError(f"the follow-up is {receipt.level} {receipt.outcome or ''}".strip())
        return "answered where it would have stopped"

    def _now(self) -> str:
        began, run = self._clock.monotonic(), self._with_tool(600)
        receipt = run.steer("Stop that. Say STOPPED.", wait="settled", timeout=self._seconds, terms=Terms(now=True))
        if receipt.outcome != "done":
            run.cancel(mode="now")
            raise _NotSeenError(f"the steer is {receipt.level} {receipt.outcome or ''}".strip())
        run.result(timeout=self._seconds)
        return f"broke off a tool of 600 s after {self._clock.monotonic() - began:.0f} s"

    def _cancel(self) -> str:
        reply = self._with_tool(601).cancel(timeout=self._seconds)
        if not reply.verified:
            raise _NotSeenError(f"the run is {reply.status}: {reply.survivors}")
        return "ended with its tool; no process is left"


class _NotSeenError(Exception):
    """What was tried did not happen."""
