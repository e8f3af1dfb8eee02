"""The stand-in for `claude -p` with stream-json in both directions, as Claude Code 2.1.332 speaks.

Bad manners: a failure has the subtype `success`; the `type` of a result is not its first key; it echoes what it was answered;
a line that is no JSON ends it; a `now` message waits for a tool that runs; SIGTERM leaves a while.

Tests: tests/worker/test_agent.py.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from crewd.testing.agents.script import ScriptPlan
from crewd.testing.agents.standin import Record, StandIn, option

SESSION = "11111111-2222-4333-8444-555555555555"


class ClaudeStandIn(StandIn):
    """One session."""

    def __init__(self) -> None:
        super().__init__()
        self.session = SESSION
        self.asked: dict[str, asyncio.Future[bool]] = {}
        self.in_turn: list[str] = []
        self.fresh: list[str] = []
        self.now = False
        self.cost = 0.0
        self.said = ""

    def tell(self, record: Record) -> None:
        """A record with the session's name."""
        self.say({**record, "session_id": self.session, "uuid": f"record-{self.number()}"})

    def not_json(self, line: bytes) -> None:
        """See `StandIn`."""
        os.write(2, b"Error parsing streaming input line: " + line)
        os._exit(1)

    def heard(self, record: Record) -> None:
        """A message, a control request, or an answer."""
        match record.get("type"):
            case "user":
                key = record["uuid"]
                self.waiting.append((key, record["message"]["content"]))
                self.lifecycle(key, "queued")
                if self.busy and record.get("priority") == "now" and not self.uses_tools:
                    self.now = True
                    self.interrupt()
                self.begin()
            case "control_request":
                self.control(record["request_id"], record["request"])
            case "control_response":
                answer = record["response"]
                self.tell(record)
                question = self.asked.pop(answer["request_id"], None)
                if question is not None:
                    question.set_result(answer["response"]["behavior"] == "allow")

    def control(self, key: str, request: Record) -> None:
        """A control request."""
        reply: dict[str, Any] = {"subtype": "success", "request_id": key}
        match request["subtype"]:
            case "initialize":
                reply["response"] = {"claude_code_version": "2.1.332", "capabilities": ["msg_lifecycle_v1"], "commands": []}
            case "interrupt":
                queued = [each for each, _ in self.waiting]
                if request.get("cancel_queued"):
                    self.waiting.clear()
                    reply["response"] = {"cancelled": queued}
                else:
                    reply["response"] = {"still_queued": queued} if self.busy else {}
                for question in list(self.asked):
                    del self.asked[question]
                    self.tell({"type": "control_cancel_request", "request_id": question})
                self.interrupt()
            case other:
                reply = {"subtype": "error", "request_id": key, "error": f"Unsupported control request subtype: {other}"}
        self.tell({"type": "control_response", "response": reply})

    def lifecycle(self, key: str, state: str) -> None:
        """How far a message is."""
        self.tell({"type": "command_lifecycle", "command_uuid": key, "state": state})

    def began(self) -> None:
        """See `StandIn`."""
        self.tell({"type": "system", "subtype": "session_state_changed", "state": "running"})
        self.tell({"type": "system", "subtype": "init", "tools": ["Bash"], "model": "scripted"})
        self.in_turn, self.said = [], ""

    def take(self) -> bool:
        """All that waits is folded into one request while a tool runs; else each message is a turn of its own."""
        if not self.waiting:
            return False
        if self.in_turn and self.said:  # its text has ended: that turn is over
            self.result("completed")
            self.in_turn, self.said = [], ""
        key, self.last = self.waiting.pop(0)
        self.in_turn.append(key)
        self.fresh.append(key)
        self.tell({"type": "user", "message": {"role": "user", "content": self.last}, "uuid": key, "isReplay": True})
        self.say({"type": "user", "message": {"role": "user", "content": self.last}, "uuid": key, "isReplay": True})
        self.lifecycle(key, "started")
        return True

    def assistant(self, content: list[Any], **more: Any) -> None:
        """A piece of an answer of the model."""
        message = {"id": f"msg_{self.number()}", "role": "assistant", "content": content, "usage": {}}
        fresh, self.fresh = self.fresh, []
        marks = {"user_message_uuids": fresh} if fresh else {}
        self.tell({"type": "assistant", "message": message, "parent_tool_use_id": None, **marks, **more})

    async def ask(self, key: str) -> bool:
        """See `StandIn`."""
        question = f"ask-{key}"
        self.asked[question] = asyncio.get_running_loop().create_future()
        self.tell({"type": "system", "subtype": "session_state_changed", "state": "requires_action"})
        request = {"subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "sleep"}, "tool_use_id": key}
        self.tell({"type": "control_request", "request_id": question, "request": request})
        allowed = await self.asked[question]
        self.tell({"type": "system", "subtype": "session_state_changed", "state": "running"})
        return allowed

    def tool_began(self, key: str, command: str) -> None:
        """See `StandIn`."""
        self.assistant([{"type": "tool_use", "id": key, "name": "Bash", "input": {"command": command}}])

    def tool_ended(self, key: str, output: str, *, failed: bool) -> None:
        """See `StandIn`."""
        block = {"type": "tool_result", "tool_use_id": key, "content": output, "is_error": failed}
        self.tell({"type": "user", "message": {"role": "user", "content": [block]}, "tool_use_result": {"interrupted": False}})

    async def failed(self, status: int, *, lasting: bool) -> None:
        """See `StandIn`. Each of them is tried again."""
        for attempt in (1, 2) if lasting else (1,):
            retry = {"attempt": attempt, "max_retries": 2, "error_status": status, "error": f"scripted {status}"}
            self.tell({"type": "system", "subtype": "api_retry", **retry})
            await asyncio.sleep(0.01)
        if lasting:
            text = [{"type": "text", "text": f"API Error: {status}"}]
            self.assistant(text, is_api_error_message=True, api_error_status=status)

    async def answer(self, plan: ScriptPlan) -> None:
        """See `StandIn`."""
        self.said = ""
        async for word in self.words(plan):
            self.said += word
            delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": word}}
            self.tell({"type": "stream_event", "event": delta})
        self.assistant([{"type": "text", "text": self.said}] if self.said else [])

    def result(self, reason: str, *, error: str = "", status: int = 0) -> None:
        """The end of a turn."""
        self.cost += 0.001
        failed = reason not in {"completed", "aborted_streaming"}
        subtype = "error_during_execution" if reason == "aborted_tools" else "success"
        told: dict[str, Any] = {
            "subtype": subtype, "is_error": failed, "terminal_reason": reason, "total_cost_usd": self.cost, "num_turns": 1,
            "usage": {"input_tokens": 10, "output_tokens": 10}, "type": "result",
        }  # fmt: skip
        if reason != "aborted_tools":
            told["result"] = error or self.said
        if status:
            told["api_error_status"] = status
        self.tell(told)
        for key in self.in_turn:
            self.lifecycle(key, "completed" if reason == "completed" else "cancelled")

    def ended(self, how: str, error: str = "") -> None:
        """See `StandIn`."""
        if how == "completed":
            self.result("completed")
        elif how == "failed":
            status = int(error.partition(":")[0])
            self.result("api_error", error=f"API Error: {status} scripted", status=status)
        else:
            self.result("aborted_streaming" if self.now else "aborted_tools")
        self.now = False

    def rested(self) -> None:
        """See `StandIn`. What waits begins without a rest between."""
        if not self.waiting:
            self.tell({"type": "system", "subtype": "session_state_changed", "state": "idle"})
        self.begin()

    async def input_ended(self) -> int:
        """It works on to its end."""
        if self.work is not None:
            await asyncio.wait({self.work})
        return 0


def make(name: str, arguments: list[str]) -> StandIn:
    """The program of this name."""
    del name
    agent = ClaudeStandIn()
    agent.model = option(arguments, "--model")
    agent.session = f"{option(arguments, '--resume')}-copy" if "--fork-session" in arguments else SESSION
    return agent
