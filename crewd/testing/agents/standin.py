"""What all stand-ins share: lines in and out, tools that are real processes, and the way through a script.

Tests: tests/testing/agents/test_script.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from crewd.testing.agents.script import ScriptPlan, plan_of

TOOL = "import sys, time; time.sleep(float(sys.argv[1])); sys.stdout.write('y' * int(sys.argv[2]))"
Record = Mapping[str, Any]


class Broken(Exception):
    """The work was interrupted."""


def option(arguments: list[str], name: str) -> str:
    """What stands after this option on the command line; empty if it is not there."""
    return arguments[arguments.index(name) + 1] if name in arguments[:-1] else ""


class StandIn:
    """One agent program. A protocol's class says how each step looks in records (the methods that do nothing here)."""

    kills_tools_on_term = True
    """Whether SIGTERM ends its tools with it."""
    keeps_tools = False
    """Whether a tool goes on when the work is interrupted."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, str]] = []
        """Messages that it has and has not taken: their ids and texts."""
        self.work: asyncio.Task[None] | None = None
        self.tools: list[asyncio.subprocess.Process] = []
        self.uses_tools = False
        """Whether it has said that it uses a tool; its process comes a little later."""
        self.numbers = 0
        self.failures = 0
        self.last = ""
        self.model = "scripted"

    # -- lines --------------------------------------------------------------------------------------------------

    def say(self, record: Record) -> None:
        """One record, whole, whatever its length."""
        data = memoryview(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        while data:
            data = data[os.write(1, data) :]

    def number(self) -> int:
        """The next number, for ids."""
        self.numbers += 1
        return self.numbers

    async def serve(self) -> int:
        """Read records until the input ends: the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.terminated)
        lines = asyncio.Queue[bytes]()

        def read() -> None:
            while line := sys.stdin.buffer.readline():
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, b"")

        threading.Thread(target=read, daemon=True).start()  # whatever the input is: a pipe, a file or a terminal
        self.opened()
        while line := await lines.get():
            try:
                record = json.loads(line)
            except ValueError:
                self.not_json(line)
                continue
            self.heard(record)
        return await self.input_ended()

    def terminated(self) -> None:
        """SIGTERM."""
        if self.kills_tools_on_term:
            self.end_tools()
        os._exit(143)

    async def input_ended(self) -> int:
        """The input has ended: end the tools, and exit."""
        self.end_tools()
        return 0

    def end_tools(self) -> None:
        """Kill what the tools have started."""
        for tool in self.tools:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(tool.pid, signal.SIGKILL)
        self.tools.clear()
        self.uses_tools = False

    # -- work ---------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether it works."""
        return self.work is not None and not self.work.done()

    def begin(self) -> None:
        """Work on what waits, if it does not already."""
        if not self.busy and self.waiting:
            self.work = asyncio.ensure_future(self._work())

    def interrupt(self) -> None:
        """Break the work off."""
        if self.work is not None and not self.work.done():
            self.work.cancel()

    async def _work(self) -> None:
        self.began()
        try:
            while self.take():
                await self.turn(plan_of(self.last))
        except asyncio.CancelledError:
            if not self.keeps_tools:
                self.end_tools()
            self.ended("cancelled")
        except Broken as broken:
            self.ended("failed", str(broken))
        else:
            self.ended("completed")
        finally:
            asyncio.get_running_loop().call_soon(self.rested)

    async def turn(self, plan: ScriptPlan) -> None:
        """One text: an error, or a tool and words."""
        if plan.noise:
            os.write(1, b"Loading...\n{not json\n\xff\xfe\n")
            os.write(2, b"warning: noise\n" * 20_000)
        if plan.hangs:
            await asyncio.sleep(3_600)
        if plan.good_model and plan.good_model == self.model:
            plan = replace(plan, error=0)
        if plan.error or (plan.flaky and not self.failures):
            self.failures += 1
            await self.failed(plan.error or 500, lasting=bool(plan.error))
            if plan.error:
                raise Broken(f"{plan.error}: scripted")
        for _ in range(plan.rounds if plan.uses_tool else 0):
            if not await self.use_tool(plan):
                return
        if plan.dies is not None:
            os._exit(plan.dies)
        await self.answer(plan)

    async def words(self, plan: ScriptPlan) -> AsyncIterator[str]:
        """The words, each at its time."""
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        for number, word in enumerate(plan.words, 1):
            await asyncio.sleep(max(0.0, begun_at + number * plan.word_seconds - loop.time()))
            yield word

    async def use_tool(self, plan: ScriptPlan) -> bool:
        """Run the tool: whether the model is to answer now, with nothing new to take first."""
        key = f"call_{self.number()}"
        self.uses_tools = not plan.asks
        self.tool_began(key, f"sleep {plan.tool_seconds or 0:g}")
        if plan.asks and not await self.ask(key):
            self.tool_ended(key, "refused", failed=True)
            return not self.waiting
        self.uses_tools = True
        tool = await asyncio.create_subprocess_exec(
            sys.executable, "-c", TOOL, str(plan.tool_seconds or 0), str(plan.tool_bytes),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.tools.append(tool)
        try:
            output, _ = await tool.communicate()
        except asyncio.CancelledError:
            self.tool_ended(key, "Command aborted", failed=True)
            raise
        self.tool_ended(key, output.decode(), failed=tool.returncode != 0)
        return not self.waiting

    # -- what a protocol says -----------------------------------------------------------------------------------

    def opened(self) -> None:
        """It has started."""

    def heard(self, record: Record) -> None:
        """A record has come."""

    def not_json(self, line: bytes) -> None:
        """A line that is no record has come."""

    def began(self) -> None:
        """It begins to work."""

    def take(self) -> bool:
        """Take what waits into the conversation, and `last` with it: whether there was something."""
        if not self.waiting:
            return False
        while self.waiting:
            key, self.last = self.waiting.pop(0)
            self.taken(key, self.last)
        return True

    def taken(self, key: str, text: str) -> None:
        """A message is in the conversation now."""

    async def ask(self, key: str) -> bool:
        """Ask whether the tool may run."""
        del key
        return True

    def tool_began(self, key: str, command: str) -> None:
        """A tool runs."""

    def tool_ended(self, key: str, output: str, *, failed: bool) -> None:
        """A tool has ended."""

    async def failed(self, status: int, *, lasting: bool) -> None:
        """The model has answered with an error."""

    async def answer(self, plan: ScriptPlan) -> None:
        """The model answers with words."""

    def ended(self, how: str, error: str = "") -> None:
        """The work has ended."""

    def rested(self) -> None:
        """Nothing is under way any more."""
        self.begin()
