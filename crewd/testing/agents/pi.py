"""The stand-in for `pi --mode rpc` and `omp --mode rpc`, as pi 0.87.1 and oh-my-pi 18.2.0 speak.

Bad manners: a `steer` that comes while it rests is accepted and never carried out; an `abort` waits for open questions;
oh-my-pi says something of a tool after its end, leaves tools alive at SIGTERM, and has no record that it has settled.

Tests: tests/worker/test_agent.py.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from crewd.testing.agents.script import ScriptPlan
from crewd.testing.agents.standin import Record, StandIn, option

MODEL = {"api": "openai-completions", "provider": "scripted", "model": "scripted"}


class PiStandIn(StandIn):
    """`settles` is what tells pi from oh-my-pi."""

    def __init__(self, *, settles: bool) -> None:
        super().__init__()
        self.session = "scripted-session"
        self.settles = settles
        self.kills_tools_on_term = settles
        self.stuck: list[str] = []
        self.asked: dict[str, asyncio.Future[bool]] = {}
        self.aborts: list[str] = []
        self.instead: list[tuple[str, str]] = []

    def opened(self) -> None:
        """oh-my-pi says that it is ready."""
        if not self.settles:
            self.say({"type": "ready", "protocolVersion": 1, "supportedProtocolVersions": [1, 2], "maxFrameBytes": 1_048_576})

    def heard(self, record: Record) -> None:
        """A command."""
        kind, key = record.get("type"), record.get("id")
        match kind:
            case "prompt":
                if self.busy and "streamingBehavior" not in record:
                    self.respond(
                        key, kind, error="Agent is already processing. Specify streamingBehavior to queue the message."
                    )
                    return
                self.waiting.append((str(key), record["message"]))
                if self.busy:
                    self.tell_queue()
                self.respond(key, kind)
                self.begin()
            case "steer" if not self.busy:
                self.stuck.append(record["message"])
                self.respond(key, kind)
            case "abort":
                self.aborts.append(str(key))
                if not self.busy:
                    self.rested()
                elif not self.asked:
                    self.interrupt()
            case "abort_and_prompt" if not self.settles:
                self.instead.append((str(key), record["message"]))
                if self.busy:
                    self.interrupt()
                else:
                    self.rested()
            case "clear_queue" if self.settles:
                cleared, self.waiting = [text for _, text in self.waiting], []
                self.respond(key, kind, data={"steering": cleared, "followUp": []})
            case "get_state":
                state = {"isStreaming": self.busy, "pendingMessageCount": len(self.waiting) + len(self.stuck)}
                self.respond(key, kind, data={"sessionId": self.session, "sessionFile": "/dev/null", **state})
            case "extension_ui_response":
                question = self.asked.pop(str(key), None)
                if question is not None:
                    question.set_result(record.get("confirmed") is True)
                if self.aborts:
                    self.interrupt()
            case _:
                self.respond(None, str(kind), error=f"Unknown command: {kind}")

    def respond(self, key: object, command: str, *, data: Any = None, error: str = "") -> None:
        """The answer to a command."""
        record = {"type": "response", "command": command, "success": not error}
        self.say(
            {
                **({} if key is None else {"id": key}),
                **record,
                **({"data": data} if data is not None else {}),
                **({"error": error} if error else {}),
            }
        )

    def tell_queue(self) -> None:
        """How many messages wait."""
        if self.settles:
            self.say({"type": "queue_update", "steering": [text for _, text in self.waiting], "followUp": []})

    def message(self, message: Record, **more: Any) -> None:
        """A message of the conversation, from its beginning to its end."""
        for kind in ("message_start", "message_end"):
            self.say({"type": kind, "message": message, **more})

    def began(self) -> None:
        """See `StandIn`."""
        self.say({"type": "agent_start"})
        self.say({"type": "turn_start"})

    def take(self) -> bool:
        """One message for each turn, as `one-at-a-time` has it."""
        if not self.waiting:
            return False
        _, self.last = self.waiting.pop(0)
        self.tell_queue()
        self.message({"role": "user", "content": [{"type": "text", "text": self.last}], "timestamp": 0})
        return True

    async def ask(self, key: str) -> bool:
        """See `StandIn`."""
        question = f"ask-{key}"
        self.asked[question] = asyncio.get_running_loop().create_future()
        request = {"type": "extension_ui_request", "id": question, "method": "confirm", "title": "Run this command?"}
        self.say({**request, "message": "sleep"})
        return await self.asked[question]

    def tool_began(self, key: str, command: str) -> None:
        """See `StandIn`."""
        call = {"type": "toolCall", "id": key, "name": "bash", "arguments": {"command": command}}
        self.message({"role": "assistant", "content": [call], "stopReason": "toolUse", "usage": usage(), **MODEL})
        arguments = {"command": command}
        self.say({"type": "tool_execution_start", "toolCallId": key, "toolName": "bash", "args": arguments})
        self.say({"type": "tool_execution_update", "toolCallId": key, "toolName": "bash", "partialResult": {"content": []}})

    def tool_ended(self, key: str, output: str, *, failed: bool) -> None:
        """See `StandIn`."""
        content = [{"type": "text", "text": output}]
        result = {"toolCallId": key, "toolName": "bash"}
        self.say({"type": "tool_execution_end", **result, "result": {"content": content}, "isError": failed})
        if not self.settles:
            self.say({"type": "tool_execution_update", **result, "partialResult": {"content": content}})
        self.message({"role": "toolResult", **result, "content": content, "isError": failed})

    async def failed(self, status: int, *, lasting: bool) -> None:
        """See `StandIn`. 401 is told at once, the others are tried again."""
        error = f'{status}: {{"message":"scripted {status}"}}'
        tries = 0 if status == 401 else 2 if lasting else 1
        for attempt in range(1, tries + 1):
            self.broken_answer(error)
            self.say({"type": "agent_end", "messages": [], "willRetry": True})
            retry = {"attempt": attempt, "maxAttempts": 2, "delayMs": 10, "errorMessage": error}
            self.say({"type": "auto_retry_start", **retry})
            await asyncio.sleep(0.01)
            self.say({"type": "agent_start"})
        if lasting:
            self.broken_answer(error)

    def broken_answer(self, error: str, reason: str = "error") -> None:
        """An answer of the model that is none."""
        self.message(
            {"role": "assistant", "content": [], "stopReason": reason, "errorMessage": error, "usage": usage(0), **MODEL}
        )

    async def answer(self, plan: ScriptPlan) -> None:
        """See `StandIn`."""
        said: list[str] = []
        self.say({"type": "message_start", "message": {"role": "assistant", "content": [], "stopReason": "pending", **MODEL}})
        async for word in self.words(plan):
            said.append(word)
            self.say(
                {"type": "message_update", "assistantMessageEvent": {"type": "text_delta", "contentIndex": 0, "delta": word}}
            )
        content = [{"type": "text", "text": "".join(said)}] if said else []
        message = {"role": "assistant", "content": content, "stopReason": "stop", "usage": usage(), **MODEL}
        self.say({"type": "message_end", "message": message})
        self.say({"type": "turn_end", "message": message, "toolResults": []})

    def ended(self, how: str, error: str = "") -> None:
        """See `StandIn`."""
        del error
        if how == "cancelled":
            while self.waiting and self.settles:
                self.take()  # it is written into the conversation, and no model ever sees it
            self.broken_answer("This operation was aborted", "error" if self.settles else "aborted")
        self.say({"type": "agent_end", "messages": [], "willRetry": False, "isTerminal": True})
        if self.settles:
            self.say({"type": "agent_settled"})

    def rested(self) -> None:
        """See `StandIn`."""
        aborts, self.aborts = self.aborts, []
        for key in aborts:
            self.respond(key, "abort")
        instead, self.instead = self.instead, []
        for key, _ in instead:
            self.respond(key, "abort_and_prompt")
        self.waiting = [*instead, *self.waiting]
        self.begin()


def usage(tokens: int = 10) -> dict[str, Any]:
    """What an answer has used."""
    return {
        "input": tokens,
        "output": tokens,
        "cacheRead": 0,
        "cacheWrite": 0,
        "totalTokens": 2 * tokens,
        "cost": {"total": 0.001},
    }


def make(name: str, arguments: list[str]) -> StandIn:
    """The program of this name. A session called `gone` cannot be gone on with."""
    if "gone" in arguments:
        sys.stderr.write("No session found matching 'gone'\n")
        sys.exit(1)
    agent = PiStandIn(settles=name == "pi")
    agent.model = option(arguments, "--model")
    forked = option(arguments, "--fork")
    agent.session = f"{forked}-copy" if forked else agent.session
    return agent
