"""`codex app-server`: JSON-RPC without the `jsonrpc` field, over lines. Pure.

A message always goes out as `turn/start`, which steers the turn that runs, or begins one: `turn/steer` is refused when the turn
has just ended. An interrupt forgets messages that the turn has not taken, and leaves commands running: the messages are sent
again, and the commands are ended with `thread/backgroundTerminals/clean`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crewd.agents import acts as do
from crewd.agents.calls import Calls, error_of
from crewd.agents.capabilities import Capabilities
from crewd.agents.faults import PERMANENT, fault_class
from crewd.agents.handed import Handed
from crewd.agents.records import at, list_at, number_at, preview, text_at
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.reasons import RefusalReason
from crewd.model.redact import clip

_APPROVALS = frozenset({"item/commandExecution/requestApproval", "item/fileChange/requestApproval"})
_NO_TOOLS = frozenset({"userMessage", "agentMessage", "reasoning", "plan", "error", "contextCompaction", ""})
"""Items of a turn in which nothing is done."""
_OUTCOMES: Mapping[str, do.ToolOutcome] = {"completed": "done", "failed": "failed", "declined": "cancelled"}


class Codex:
    """One thread."""

    def __init__(self, task: do.Task) -> None:
        self._task = task
        self._calls = Calls({})
        self._handed = Handed()
        self._asks: dict[str, tuple[object, list[Any]]] = {}
        """Open requests of the agent, with their numbers and, for questions, the questions."""
        self._answers: dict[str, dict[str, Any]] = {}
        self._tools: set[str] = set()
        self._cut: set[str] = set()
        """Tools that ran when the turn was interrupted: they end after it, as if they had failed."""
        self._thread = self._turn = self._over = ""
        self._working = self._cancelled = self._interrupting = False
        self._text = self._error = ""
        self._begun = False

    @property
    def capabilities(self) -> Capabilities:
        """What this agent can do."""
        return Capabilities(
            runtime="codex", steer="native", steer_point="tool", now="interrupt", receipts="answered",
            ask=("permission", "question"), resume=True, fork=True, usage="total", errors="told", end_record="turn/completed",
        )  # fmt: skip

    def greet(self) -> do.Acts:
        """See `Machine`."""
        client = {"name": "crewd", "title": "crewd", "version": "1"}
        capabilities = {"experimentalApi": True, "requestAttestation": False}
        return [self._calls.ask("initialize", {"clientInfo": client, "capabilities": capabilities})]

    def prompt(self, key: str, text: str) -> do.Acts:
        """See `Machine`."""
        self._working, self._text, self._error = True, "", ""
        return self._send(key, text)

    def steer(self, key: str, text: str, *, now: bool) -> do.Acts:
        """See `Machine`."""
        if not now or not self._turn:
            return self._send(key, text)
        self._handed.give(key, text)
        return self._interrupt()

    def answer(self, key: str, text: str | None) -> do.Acts:
        """See `Machine`."""
        number, questions = self._asks.pop(key, (None, []))
        if number is None:
            return []
        if questions:
            self._answers.setdefault(key, {})[text_at(questions[0], "id")] = {"answers": [] if text is None else [text]}
            if questions[1:] and text is not None:
                self._asks[key] = (number, questions[1:])
                return [_question(key, questions[1])]
            return [self._calls.result(number, {"answers": self._answers.pop(key)})]
        decision = "accept" if text == "allow" else "decline" if text is not None else "cancel"
        return [self._calls.result(number, {"decision": decision})]

    def cancel(self) -> do.Acts:
        """See `Machine`."""
        self._cancelled = True
        if not self._working or not self._turn:
            self._working = False
            return [do.Stopped("cancelled")]
        return self._interrupt()

    def due(self, what: str) -> do.Acts:
        """See `Machine`. Nothing is awaited here."""
        del what
        return []

    def hear(self, record: Mapping[str, Any]) -> do.Acts:
        """See `Machine`."""
        params, method = at(record, "params"), text_at(record, "method")
        if method and "id" in record:
            return self._asked(method, record["id"], params)
        if not method:
            call = self._calls.answered(record)
            return [*self._calls.stray(record)] if call is None else self._replied(*call, record)
        match method:
            case "item/started":
                return self._began(at(params, "item"))
            case "item/completed":
                return self._completed(at(params, "item"))
            case "turn/started":
                self._turn, self._begun = text_at(params, "turn", "id") or self._turn, True
            case "turn/completed" if text_at(params, "turn", "id") == self._turn:
                return self._ended(at(params, "turn"))
            case "thread/tokenUsage/updated":
                tokens = int(number_at(params, "tokenUsage", "last", "totalTokens"))
                return [do.Spent(1, tokens)] if self._begun else []  # a thread that goes on tells of what was before
            case "error":
                self._error = text_at(params, "error", "message") or "the agent tells of an error"
                if at(params, "willRetry") is True:
                    return [do.Noted("retry", self._error)]
            case "serverRequest/resolved":
                key = _key(at(params, "requestId"))
                return [do.Unask(key)] if self._asks.pop(key, None) is not None else []
            case "turn/plan/updated":
                steps = (f"{text_at(step, 'status')}: {text_at(step, 'step')}" for step in list_at(params, "plan"))
                return [do.Noted("plan", clip("; ".join(steps), NOTE_CHARS_MAX))]
        return []

    # -- inside -------------------------------------------------------------------------------------------------

    def _send(self, key: str, text: str) -> do.Acts:
        self._handed.give(key, text)
        given = [{"type": "text", "text": text, "text_elements": []}]
        params: dict[str, Any] = {"threadId": self._thread, "input": given}
        if key:
            params["clientUserMessageId"] = key
        return [self._calls.ask("turn/start", params, key)]

    def _interrupt(self) -> do.Acts:
        if self._interrupting:
            return []
        self._interrupting = True
        self._cut |= self._tools
        closed: do.Acts = [act for key in list(self._asks) for act in (*self.answer(key, None), do.Unask(key))]
        return [
            *closed,
            self._calls.ask("turn/interrupt", {"threadId": self._thread, "turnId": self._turn}),
            self._calls.ask("thread/backgroundTerminals/clean", {"threadId": self._thread}),
        ]

    def _replied(self, method: str, key: str, record: Mapping[str, Any]) -> do.Acts:
        error, result = error_of(record), at(record, "result")
        match method:
            case "initialize" if not error:
                return [self._calls.tell("initialized"), self._open_thread()]
            case "thread/start" | "thread/resume" | "thread/fork" if not error:
                self._thread = text_at(result, "thread", "id")
                if not self._thread:
                    return [do.Stopped("failed", "", "codex has not said which thread it has opened", PERMANENT)]
                return [do.Ready(self.capabilities, self._thread, "codex", method != "thread/start")]
            case "turn/start" if not error:
                turn = text_at(result, "turn", "id")
                if turn and turn == self._over:  # that turn has ended since, without the message
                    text = dict(self._handed.waiting()).get(key)
                    return [] if text is None else self._send(key, text)
                self._turn = turn or self._turn
            case "turn/start":
                self._handed.drop(key)
                if key:
                    return [do.Refused(key, RefusalReason.BY_WORKER, error)]
                self._working = False
                return [do.Stopped("failed", "", error, fault_class(error))]
            case "initialize" | "thread/start" | "thread/resume" | "thread/fork":
                return [do.Stopped("failed", "", error, fault_class(error))]
            case "turn/interrupt" if error:  # it has ended by itself meanwhile, or never began
                self._interrupting = False
                return self._again()
        return []

    def _open_thread(self) -> do.Write:
        params: dict[str, Any] = {"cwd": self._task.cwd}
        if self._task.model:
            params["model"] = self._task.model
        if self._task.system_prompt:
            params["baseInstructions" if self._task.replaces_prompt else "developerInstructions"] = self._task.system_prompt
        if self._task.session:
            method = "thread/fork" if self._task.forks else "thread/resume"
            return self._calls.ask(method, {**params, "threadId": self._task.session, "excludeTurns": True})
        return self._calls.ask("thread/start", params)

    def _began(self, item: object) -> do.Acts:
        kind = text_at(item, "type")
        if kind == "userMessage":
            self._handed.take(text_at(item, "clientId"))
            return []
        if kind in _NO_TOOLS:
            return []
        key = text_at(item, "id")
        if key in self._tools:
            return []
        self._tools.add(key)
        name = {"commandExecution": "shell", "fileChange": "edit"}.get(kind, text_at(item, "tool") or kind)
        shown = preview(text_at(item, "command") or at(item, "arguments") or at(item, "changes") or "")
        return [*self._handed.answered(), do.ToolBegan(key, name, shown)]

    def _completed(self, item: object) -> do.Acts:
        kind, key = text_at(item, "type"), text_at(item, "id")
        match kind:
            case "userMessage":
                self._handed.take(text_at(item, "clientId"))
            case "agentMessage":
                self._text = text_at(item, "text")
                return [*self._handed.answered(), do.Said(self._text)]
            case "error":
                return [do.Noted("warning", text_at(item, "message") or "the agent warns")]
            case "contextCompaction":
                return [do.Noted("compaction", "it has shortened what it remembers")]
            case _ if key in self._tools:
                self._tools.discard(key)
                outcome = _OUTCOMES.get(text_at(item, "status"), "done")
                outcome = "cancelled" if key in self._cut else outcome
                self._cut.discard(key)
                return [do.ToolEnded(key, outcome, text_at(item, "aggregatedOutput"))]
        return []

    def _ended(self, turn: object) -> do.Acts:
        status, error = text_at(turn, "status"), text_at(turn, "error", "message")
        interrupted, self._interrupting = self._interrupting, False
        closed: do.Acts = [do.Unask(key) for key in self._asks]
        self._asks.clear()
        self._over, self._turn = self._turn, ""
        if status == "failed":
            why = error or self._error or "the turn has failed"
            info = f"{why} {at(turn, 'error', 'codexErrorInfo')}"
            self._working = False
            return [*closed, *self._handed.stopped(), do.Stopped("failed", self._text, why, fault_class(info))]
        if status not in {"completed", "interrupted"}:
            self._working = False
            how = f"as {clip(status, NOTE_CHARS_MAX)}" if status else "and codex has not said how"
            return [*closed, *self._handed.stopped(), do.Stopped("failed", self._text, f"the turn has ended {how}")]
        if status == "interrupted" and not interrupted and not self._cancelled:
            self._working = False
            return [*closed, *self._handed.stopped(), do.Stopped("cancelled", self._text, "the turn was interrupted")]
        return [*closed, *self._again()]

    def _again(self) -> do.Acts:
        """What the turn that is over has not taken is sent again; without such messages the agent has stopped."""
        waiting = [] if self._cancelled else self._handed.waiting()
        if not waiting:
            self._working = False
            state = do.Stopped("cancelled") if self._cancelled else do.Stopped("completed", self._text)
            return [*self._handed.stopped(), state]
        on_the_way = self._calls.open("turn/start")  # those begin the next turn, or its answer says that they came too late
        return [act for key, text in waiting if key not in on_the_way for act in self._send(key, text)]

    def _asked(self, method: str, number: object, params: object) -> do.Acts:
        key = _key(number)
        if method in _APPROVALS:
            self._asks[key] = (number, [])
            what = text_at(params, "command") or text_at(params, "reason") or "change files"
            return [
                do.Ask(key, f"{'edit' if 'fileChange' in method else 'shell'}: {preview(what)}", "permission", permission=True)
            ]
        questions = list_at(params, "questions")
        if method == "item/tool/requestUserInput" and questions:
            self._asks[key] = (number, questions)
            return [_question(key, questions[0])]
        return [self._calls.refusal(number, f"crewd does not answer {method}")]


def _question(key: str, question: object) -> do.Ask:
    labels = tuple(text_at(option, "label") for option in list_at(question, "options"))
    choices = tuple(label for label in labels if label)
    return do.Ask(key, text_at(question, "question") or "the agent asks", "choose" if choices else "text", choices)


def _key(number: object) -> str:
    """The name of a request of the agent: its numbers begin with 0."""
    return f"request {number}"
