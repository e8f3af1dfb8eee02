"""Claude Code, `claude -p` with stream-json in both directions: JSON lines with user messages and control requests. Pure.

A `result` ends a turn; `session_state_changed` to `idle` ends its work. Neither `subtype` nor `is_error` alone says how a turn
has ended: `terminal_reason` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crewd.agents import acts as do
from crewd.agents.capabilities import Capabilities
from crewd.agents.faults import fault_class
from crewd.agents.handed import Handed
from crewd.agents.records import at, list_at, number_at, preview, text_at, texts_of
from crewd.model.reasons import RefusalReason

INIT, INTERRUPT = "crewd-init", "crewd-interrupt"
"""Ids of control requests of our own."""
QUESTIONS_TOOL = "AskUserQuestion"


@dataclass(slots=True)
class _Asked:
    """An open control request of the agent: the tool's input and, if it asks questions, the answers so far."""

    input: Mapping[str, Any]
    questions: list[Any] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)


class Claude:
    """One session."""

    def __init__(self, task: do.Task) -> None:
        self._task = task
        self._handed = Handed()
        self._keys: dict[str, str] = {}
        """Messages by their uuid."""
        self._asks: dict[str, _Asked] = {}
        self._tools: set[str] = set()
        self._answers: set[str] = set()
        self._ready = self._working = self._cancelled = self._interrupting = self._tells_idle = False
        self._session = ""
        self._text = ""
        """What it has said last in this turn."""
        self._cost = task.cost
        self._stopped: do.Stopped | None = None
        """How its last turn has ended, as its result says."""
        self._is_idle = False
        """It is idle, and has given no result yet."""

    @property
    def capabilities(self) -> Capabilities:
        """What this agent can do."""
        return Capabilities(
            runtime="claude", steer="native", steer_point="tool", now="native", receipts="answered",
            ask=("permission", "question"), resume=True, fork=True, usage="total", errors="told", end_record="result and idle",
        )  # fmt: skip

    def greet(self) -> do.Acts:
        """See `Machine`."""
        return [_control(INIT, {"subtype": "initialize"})]

    def prompt(self, key: str, text: str) -> do.Acts:
        """See `Machine`."""
        self._working, self._stopped, self._is_idle = True, None, False
        return self._send(key, text)

    def steer(self, key: str, text: str, *, now: bool) -> do.Acts:
        """See `Machine`."""
        if not now:
            return self._send(key, text)
        if not self._tools and not self._asks:
            return self._send(key, text, priority="now")  # which cuts text at once, and would wait for a tool
        self._interrupting = True
        return [*self._send(key, text), _control(INTERRUPT, {"subtype": "interrupt"})]

    def answer(self, key: str, text: str | None) -> do.Acts:
        """See `Machine`."""
        asked = self._asks.get(key)
        if asked is None:
            return []
        if asked.questions and text is not None:
            asked.answers[text_at(asked.questions.pop(0), "question")] = text
            if asked.questions:
                return [_question(key, asked.questions[0])]
        del self._asks[key]
        if text is None or (text == "deny" and not asked.answers):
            return [_reply(key, {"behavior": "deny", "message": "nobody has allowed it"})]
        changed = {**asked.input, **({"answers": asked.answers} if asked.answers else {})}
        return [_reply(key, {"behavior": "allow", "updatedInput": changed})]

    def cancel(self) -> do.Acts:
        """See `Machine`."""
        self._cancelled = True
        if not self._working:
            return [do.Stopped("cancelled")]
        self._interrupting = True
        return [_control(INTERRUPT, {"subtype": "interrupt", "cancel_queued": True})]

    def due(self, what: str) -> do.Acts:
        """See `Machine`. Nothing is awaited here."""
        del what
        return []

    def hear(self, record: Mapping[str, Any]) -> do.Acts:
        """See `Machine`."""
        kind, subtype = text_at(record, "type"), text_at(record, "subtype")
        acts = self._named(text_at(record, "session_id"))
        match kind:
            case "control_response" if text_at(record, "response", "request_id") == INIT and not self._ready:
                self._ready = True
                if text_at(record, "response", "subtype") == "error":
                    error = text_at(record, "response", "error") or "it cannot be initialized"
                    return [*acts, do.Stopped("failed", "", error, fault_class(error))]
                version = text_at(record, "response", "response", "claude_code_version")
                goes_on = bool(self._task.session)
                acts.append(do.Ready(self.capabilities, self._session, f"claude {version}".strip(), goes_on))
            case "control_request":
                acts += self._asked(record)
            case "control_cancel_request":
                key = text_at(record, "request_id")
                if self._asks.pop(key, None) is not None:
                    acts.append(do.Unask(key))
            case "command_lifecycle":
                acts += self._lifecycle(self._keys.get(text_at(record, "command_uuid")), text_at(record, "state"))
            case "user":
                acts += self._user(record)
            case "assistant":
                acts += self._assistant(record)
            case "result":
                acts += self._result(record)
            case "system" if subtype == "session_state_changed":
                self._tells_idle, self._is_idle = True, False
                if text_at(record, "state") == "idle":
                    acts += self._idle()
            case "system" if subtype == "api_retry":
                of, error = int(number_at(record, "max_retries")), text_at(record, "error")
                acts.append(do.Noted("retry", f"try {int(number_at(record, 'attempt')) + 1} of {of + 1}: {error}"))
            case "system" if subtype == "compact_boundary":
                acts.append(do.Noted("compaction", "it has shortened what it remembers"))
        return acts

    # -- inside -------------------------------------------------------------------------------------------------

    def _named(self, session: str) -> do.Acts:
        if not session or session == self._session:
            return []
        self._session = session
        return [do.Session(session)] if self._ready else []

    def _send(self, key: str, text: str, **more: str) -> do.Acts:
        name = _name_of(f"{self._task.attempt} {key}")
        self._keys[name] = key
        self._handed.give(key, text)
        return [do.Write({"type": "user", "uuid": name, "message": {"role": "user", "content": text}, **more})]

    def _lifecycle(self, key: str | None, state: str) -> do.Acts:
        if key is None or key not in self._handed:
            return []
        waiting = any(each == key for each, _ in self._handed.waiting())
        if state == "cancelled" and waiting and not self._cancelled:
            self._handed.drop(key)
            return [do.Refused(key, RefusalReason.BY_WORKER, "the agent has put it away")] if key else []
        if state == "completed" and waiting:  # by the program itself, as a command of its own: no model was asked
            self._handed.drop(key)
            return [do.Done(key)] if key else []
        return []

    def _user(self, record: Mapping[str, Any]) -> do.Acts:
        if at(record, "isReplay") is True:
            key = self._keys.get(text_at(record, "uuid"))
            if key is not None:
                self._handed.take(key)
            return []
        acts: do.Acts = []
        for block in list_at(record, "message", "content"):
            key = text_at(block, "tool_use_id")
            if text_at(block, "type") == "tool_result" and key in self._tools:
                self._tools.discard(key)
                failed = at(block, "is_error") is True
                outcome: do.ToolOutcome = "cancelled" if failed and self._interrupting else "failed" if failed else "done"
                acts.append(do.ToolEnded(key, outcome, texts_of(at(block, "content"))))
        return acts

    def _assistant(self, record: Mapping[str, Any]) -> do.Acts:
        if at(record, "is_api_error_message") is True:
            return []
        acts: do.Acts = []
        below = at(record, "parent_tool_use_id") is not None
        for name in (*list_at(record, "user_message_uuids"), text_at(record, "user_message_uuid")):
            if isinstance(name, str) and name in self._keys:
                self._handed.take(self._keys[name])
        if at(record, "aborted") is not True and not below:
            acts += self._handed.answered()
        message = text_at(record, "message", "id")
        if message not in self._answers:
            self._answers.add(message)
            acts.append(do.Spent(turns=1))
        for block in list_at(record, "message", "content"):
            match text_at(block, "type"):
                case "text" if text_at(block, "text") and not below:
                    self._text = text_at(block, "text")
                    acts.append(do.Said(self._text))
                case "thinking" if text_at(block, "thinking") and not below:
                    acts.append(do.Said(text_at(block, "thinking"), thought=True))
                case "tool_use":
                    key = text_at(block, "id")
                    self._tools.add(key)
                    acts.append(do.ToolBegan(key, text_at(block, "name"), preview(at(block, "input"))))
        return acts

    def _result(self, record: Mapping[str, Any]) -> do.Acts:
        acts: do.Acts = []
        usage, cost = at(record, "usage"), number_at(record, "total_cost_usd")
        tokens = sum(
            int(number_at(usage, key))
            for key in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        )
        acts.append(do.Spent(tokens=tokens, cost=max(0.0, cost - self._cost)))
        self._cost = max(self._cost, cost)
        self._answers.clear()
        self._interrupting = False
        acts += [do.ToolEnded(key, "cancelled") for key in sorted(self._tools)]
        self._tools.clear()
        reason, subtype = text_at(record, "terminal_reason"), text_at(record, "subtype")
        text = text_at(record, "result") if isinstance(at(record, "result"), str) else self._text
        self._text = ""
        if self._cancelled or reason.startswith("aborted"):
            self._stopped = do.Stopped("cancelled", text)
        elif at(record, "is_error") is True or reason not in {"", "completed"} or subtype not in {"", "success"}:
            errors = [each for each in list_at(record, "errors") if isinstance(each, str)]
            error = (
                text_at(record, "result")
                or "; ".join(errors)
                or f"the turn ended as {subtype if reason == 'completed' else reason or subtype}"
            )
            status = int(number_at(record, "api_error_status"))
            self._stopped = do.Stopped("failed", "", error, fault_class(f"{status or ''} {error}"))
        else:
            self._stopped = do.Stopped("completed", text)
        if not self._tells_idle or self._is_idle:
            acts += self._idle()
        return acts

    def _idle(self) -> do.Acts:
        if not self._working or (self._handed.waiting() and not self._cancelled):
            return []  # what it has not begun with begins a turn of its own
        stopped = do.Stopped("cancelled") if self._stopped is None and self._cancelled else self._stopped
        if stopped is None:
            self._is_idle = True
            return []  # its result says how the turn has ended
        self._working = False
        acts: do.Acts = [do.Unask(key) for key in self._asks]
        self._asks.clear()
        return [*acts, *self._handed.stopped(), stopped]

    def _asked(self, record: Mapping[str, Any]) -> do.Acts:
        key, request = text_at(record, "request_id"), at(record, "request")
        if text_at(request, "subtype") != "can_use_tool":
            error = {"subtype": "error", "request_id": key, "error": "crewd does not answer this"}
            return [do.Write({"type": "control_response", "response": error})]
        if not key:
            return [do.Noted("warning", "it asks for a permission without an id, so no answer can reach it")]
        given = at(request, "input")
        asked = self._asks[key] = _Asked(given if isinstance(given, Mapping) else {})
        tool = text_at(request, "tool_name") or "a tool without a name"
        if tool == QUESTIONS_TOOL:
            asked.questions = list_at(given, "questions")
            if asked.questions:
                return [_question(key, asked.questions[0])]
        what = f"{text_at(request, 'display_name') or tool}: {preview(given)}".removesuffix(": ")
        return [do.Ask(key, what, "permission", permission=True)]


def _name_of(text: str) -> str:
    """A UUID for this text: the same one each time, in the form of version 8 (RFC 9562, section 5.8)."""
    made = hashlib.sha256(text.encode()).hexdigest()
    return f"{made[:8]}-{made[8:12]}-8{made[13:16]}-a{made[17:20]}-{made[20:32]}"


def _question(key: str, question: object) -> do.Ask:
    labels = tuple(text_at(option, "label") for option in list_at(question, "options"))
    choices = tuple(label for label in labels if label)
    return do.Ask(key, text_at(question, "question") or "the agent asks", "choose" if choices else "text", choices)


def _control(key: str, request: Mapping[str, Any]) -> do.Write:
    return do.Write({"type": "control_request", "request_id": key, "request": request})


def _reply(key: str, response: Mapping[str, Any]) -> do.Write:
    return do.Write({"type": "control_response", "response": {"subtype": "success", "request_id": key, "response": response}})
