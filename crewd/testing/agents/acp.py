"""The stand-in for an agent that speaks ACP, version 1: as opencode 1.18.33 does, or, with `--steering`, as codex-acp 2.6.0.

Bad manners: an update comes after the answer to its prompt; a cancel waits for an open question; a tool that was cut has
`completed`; a second prompt interrupts the first; SIGTERM leaves tools alive.

Tests: tests/worker/test_agent.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from crewd.testing.agents.script import ScriptPlan
from crewd.testing.agents.standin import Record, StandIn

MODELS = {"availableModels": [{"modelId": "scripted"}, {"modelId": "big"}], "currentModelId": "scripted"}
SESSION = "ses_scripted"
LATE_SECONDS = 0.05


class AcpStandIn(StandIn):
    """One session. `steers`: whether it knows `_session/steering`."""

    kills_tools_on_term = False

    def __init__(self, *, steers: bool) -> None:
        super().__init__()
        self.session = SESSION
        self.steers = steers
        self.prompts: list[int] = []
        self.asked: dict[int, asyncio.Future[str]] = {}
        self.questions = 0
        self.cancelled = False
        self.late = ""

    def result(self, number: object, **result: Any) -> None:
        """The answer to a request."""
        self.say({"jsonrpc": "2.0", "id": number, "result": result})

    def update(self, what: str, **update: Any) -> None:
        """A `session/update`."""
        params = {"sessionId": self.session, "update": {"sessionUpdate": what, **update}}
        self.say({"jsonrpc": "2.0", "method": "session/update", "params": params})

    def heard(self, record: Record) -> None:
        """A request, a notification or an answer."""
        number, method, params = record.get("id"), record.get("method"), record.get("params") or {}
        match method:
            case None:
                question = self.asked.pop(int(record["id"]), None)
                if question is not None:
                    question.set_result(record["result"]["outcome"].get("optionId", ""))
                    if self.cancelled:
                        self.interrupt()
            case "initialize":
                meta = {"_meta": {"steering": {"supported": True}}} if self.steers else {}
                can: dict[str, Any] = {"fork": {}} if self.steers else {}
                capabilities = {"loadSession": True, "promptCapabilities": {}, "sessionCapabilities": can}
                info = {"name": "scripted", "version": "1"}
                self.result(number, protocolVersion=1, agentCapabilities=capabilities, agentInfo=info, authMethods=[], **meta)
            case "session/new":
                self.result(number, sessionId=SESSION, models=MODELS)
                self.update("available_commands_update", availableCommands=[])
            case "session/fork" if self.steers:
                self.session = f"{params['sessionId']}-copy"
                self.result(number, sessionId=self.session, models=MODELS)
            case "session/load":
                self.update("user_message_chunk", content={"type": "text", "text": "before"})
                self.update("agent_message_chunk", content={"type": "text", "text": "said before"})
                self.result(number, models=MODELS)
            case "session/set_model":
                self.model = params["modelId"]
                self.result(number)
            case "session/prompt":
                self.prompts.append(int(record["id"]))
                self.waiting.append(("", "\n".join(block["text"] for block in params["prompt"])))
                if self.busy:
                    self.interrupt()
                self.begin()
            case "_session/steering" if self.steers and self.busy:
                self.waiting.append(("", params["prompt"][0]["text"]))
                self.result(number, outcome="injected")
            case "_session/steering" if self.steers:
                self.result(number, outcome="promptRequired", reason="noRunningTurn")
            case "session/cancel":
                self.cancelled = self.busy
                if not self.asked:
                    self.interrupt()
            case _:
                error = {"code": -32601, "message": f"Method not found: {method}"}
                self.say({"jsonrpc": "2.0", "id": number, "error": error})

    async def ask(self, key: str) -> bool:
        """See `StandIn`."""
        number, self.questions = self.questions, self.questions + 1
        self.asked[number] = asyncio.get_running_loop().create_future()
        call = {"toolCallId": key, "title": "sleep", "kind": "execute", "rawInput": {"command": "sleep"}}
        kinds = ("allow_once", "allow_always", "reject_once")
        options = [{"optionId": kind, "name": kind, "kind": kind} for kind in kinds]
        params = {"sessionId": self.session, "toolCall": call, "options": options}
        self.say({"jsonrpc": "2.0", "id": number, "method": "session/request_permission", "params": params})
        return (await self.asked[number]).startswith("allow")

    def tool_began(self, key: str, command: str) -> None:
        """See `StandIn`."""
        self.update("tool_call", toolCallId=key, title="bash", kind="execute", status="pending", rawInput={"cwd": "/"})
        self.update("tool_call_update", toolCallId=key, status="in_progress", title=command, rawInput={"command": command})

    def tool_ended(self, key: str, output: str, *, failed: bool) -> None:
        """See `StandIn`."""
        content = [{"type": "content", "content": {"type": "text", "text": output}}]
        status = "failed" if failed and output != "Command aborted" else "completed"
        self.update("tool_call_update", toolCallId=key, status=status, content=content)

    async def failed(self, status: int, *, lasting: bool) -> None:
        """See `StandIn`. It tells nobody that it tries again."""
        del status, lasting
        await asyncio.sleep(0.05)

    async def answer(self, plan: ScriptPlan) -> None:
        """See `StandIn`. The last piece comes after the end."""
        if len(plan.words) == 1 and len(plan.words[0]) > 1:
            self.late = plan.words[0][-1]
            plan = replace(plan, words=(plan.words[0][:-1],))
        async for word in self.words(plan):
            self.update("agent_message_chunk", messageId="m", content={"type": "text", "text": word})
        if self.waiting:
            self.flush_late()

    def flush_late(self) -> None:
        """The piece that was held back."""
        late, self.late = self.late, ""
        if late:
            self.update("agent_message_chunk", messageId="m", content={"type": "text", "text": late})

    def ended(self, how: str, error: str = "") -> None:
        """See `StandIn`."""
        self.update("usage_update", used=20, size=1000, cost={"amount": 0.001 * self.number(), "currency": "USD"})
        number = self.prompts.pop(0) if self.prompts else 0
        self.cancelled = False
        if error:
            status = error.partition(":")[0]
            told = {"code": -32603, "message": f"Internal error: scripted {status}"}
            self.say({"jsonrpc": "2.0", "id": number, "error": told})
        else:
            self.result(number, stopReason="cancelled" if how == "cancelled" else "end_turn")
        asyncio.get_running_loop().call_later(LATE_SECONDS, self.flush_late)


def make(name: str, arguments: list[str]) -> StandIn:
    """The program of this name."""
    del name
    return AcpStandIn(steers="--steering" in arguments)
