"""The stand-in for `codex app-server`, as Codex 0.171.0 speaks.

Bad manners: an interrupt forgets what was accepted and leaves the command running, whose end is told after the turn's; the
item of a text that was cut never ends; numbers of its requests begin with 0.

Tests: tests/worker/test_agent.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

from crewd.testing.agents.script import ScriptPlan
from crewd.testing.agents.standin import Record, StandIn

THREAD = "thread-scripted"


class CodexStandIn(StandIn):
    """One thread."""

    keeps_tools = True

    def __init__(self) -> None:
        super().__init__()
        self.thread = THREAD
        self.turn_id = ""
        self.asked: dict[int, asyncio.Future[str]] = {}
        self.questions = 0
        self.tokens = 0
        self.left: list[str] = []
        self.open_tool = ""

    def tell(self, method: str, **params: Any) -> None:
        """A notification."""
        self.say({"method": method, "params": {"threadId": self.thread, **params}})

    def heard(self, record: Record) -> None:
        """A request, or an answer to one of its own."""
        number, method, params = record.get("id"), record.get("method"), record.get("params") or {}
        if method is None:
            question = self.asked.pop(int(record["id"]), None)
            if question is not None:
                self.tell("serverRequest/resolved", requestId=record["id"])
                question.set_result(record["result"].get("decision", ""))
            return
        match method:
            case "initialize":
                self.say({"id": number, "result": {"userAgent": "codex/0.171.0", "codexHome": "/dev/null"}})
            case "thread/start" | "thread/resume" | "thread/fork":
                self.thread = f"{params['threadId']}-copy" if method == "thread/fork" else THREAD
                self.model = params.get("model") or self.model
                self.say({"id": number, "result": {"thread": {"id": self.thread}, "model": self.model}})
                self.tell("thread/started", thread={"id": self.thread})
            case "turn/start":
                self.waiting.append((params.get("clientUserMessageId") or "", params["input"][0]["text"]))
                if not self.busy:
                    self.turn_id = f"turn-{self.number()}"
                self.say({"id": number, "result": {"turn": {"id": self.turn_id, "status": "inProgress"}}})
                if self.busy and not self.uses_tools:
                    self.interrupt_text()
                self.begin()
            case "turn/interrupt" if not self.busy:
                self.say({"error": {"code": -32600, "message": "no active turn to interrupt"}, "id": number})
            case "turn/interrupt":
                self.waiting.clear()
                self.say({"id": number, "result": {}})
                self.interrupt()
            case "thread/backgroundTerminals/clean":
                self.end_tools()
                self.say({"id": number, "result": {}})
                for key in self.left:
                    self.item("completed", command_item(key, "failed"), turnId="turn-before")
                self.left.clear()
            case "initialized":
                pass
            case _:
                self.say({"error": {"code": -32600, "message": f"Invalid request: unknown variant `{method}`"}, "id": number})

    def interrupt_text(self) -> None:
        """A steer cuts a text at once, in the same turn."""
        self.cut = True

    cut = False

    def item(self, what: str, item: Record, **more: Any) -> None:
        """An item of the turn has begun or ended."""
        self.tell(f"item/{what}", **{"turnId": self.turn_id, **more}, item=item)

    def began(self) -> None:
        """See `StandIn`."""
        self.tell("thread/status/changed", status={"type": "active", "activeFlags": []})
        self.tell("turn/started", turn={"id": self.turn_id})

    def taken(self, key: str, text: str) -> None:
        """See `StandIn`."""
        content = [{"type": "text", "text": text}]
        item = {"type": "userMessage", "id": f"item-{self.number()}", "clientId": key or None, "content": content}
        self.item("started", item)
        self.item("completed", item)

    async def ask(self, key: str) -> bool:
        """See `StandIn`."""
        number, self.questions = self.questions, self.questions + 1
        self.asked[number] = asyncio.get_running_loop().create_future()
        params = {
            "threadId": THREAD,
            "turnId": self.turn_id,
            "itemId": key,
            "command": "sleep",
            "availableDecisions": ["accept"],
        }
        self.say({"method": "item/commandExecution/requestApproval", "id": number, "params": params})
        decision = await self.asked[number]
        return decision == "accept"

    def tool_began(self, key: str, command: str) -> None:
        """See `StandIn`."""
        self.open_tool = key
        self.item("started", {**command_item(key, "inProgress"), "command": f"/bin/bash -lc '{command}'"})
        self.used()

    def tool_ended(self, key: str, output: str, *, failed: bool) -> None:
        """See `StandIn`. A command that was left running ends later."""
        if output == "Command aborted":
            self.left.append(key)
            return
        status = "declined" if output == "refused" else "failed" if failed else "completed"
        self.item("completed", {**command_item(key, status), "aggregatedOutput": output or None})

    async def failed(self, status: int, *, lasting: bool) -> None:
        """See `StandIn`."""
        error = {"message": "Reconnecting... 1/1", "codexErrorInfo": {"responseStreamDisconnected": {"httpStatusCode": status}}}
        self.tell("error", error=error, willRetry=True)
        await asyncio.sleep(0.01)
        if lasting:
            self.tell("error", error={"message": f"unexpected status {status}: scripted"}, willRetry=False)

    async def answer(self, plan: ScriptPlan) -> None:
        """See `StandIn`."""
        key, said = f"msg-{self.number()}", ""
        self.cut = False
        self.item("started", {"type": "agentMessage", "id": key, "text": ""})
        async for word in self.words(plan):
            said += word
            self.tell("item/agentMessage/delta", turnId=self.turn_id, itemId=key, delta=word)
            if self.cut:
                return  # this item never ends
        if said:
            self.item("completed", {"type": "agentMessage", "id": key, "text": said})
        self.used()

    def used(self) -> None:
        """What an answer of the model has used: also one that only calls a tool."""
        self.tokens += 20
        usage = {"total": {"totalTokens": self.tokens}, "last": {"totalTokens": 20}}
        self.tell("thread/tokenUsage/updated", turnId=self.turn_id, tokenUsage=usage)

    def ended(self, how: str, error: str = "") -> None:
        """See `StandIn`."""
        self.tell("thread/status/changed", status={"type": "idle"})
        status = {"completed": "completed", "failed": "failed"}.get(how, "interrupted")
        turn: dict[str, Any] = {"id": self.turn_id, "status": status, "error": None, "items": []}
        if error:
            number = int(error.partition(":")[0])
            turn["error"] = {"message": f"unexpected status {number}: scripted", "codexErrorInfo": "other"}
        self.tell("turn/completed", turn=turn)
        for number in list(self.asked):
            del self.asked[number]
            self.tell("serverRequest/resolved", requestId=number)


def command_item(key: str, status: str) -> dict[str, Any]:
    """An item for a command."""
    code = 0 if status == "completed" else -1
    return {"type": "commandExecution", "id": key, "command": "sleep", "status": status, "exitCode": code}


def make(name: str, arguments: list[str]) -> StandIn:
    """The program of this name."""
    del name, arguments
    return CodexStandIn()
