"""Any agent that speaks the Agent Client Protocol, version 1: JSON-RPC 2.0 over lines. Pure.

A second `session/prompt` means three things to three agents, so none is ever sent while one is open. A steer goes out as
`_session/steering` to an agent that has said that it knows it; else it waits for the end of the turn. `now` is a cancel, and
then a prompt. Each open question is answered in a cancel: some agents wait for it, others ask nothing any more if it never
comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crewd.agents import acts as do
from crewd.agents.calls import WRONG_PARAMS, Calls, error_of
from crewd.agents.capabilities import Capabilities
from crewd.agents.faults import PERMANENT, fault_class
from crewd.agents.handed import Handed
from crewd.agents.models import candidates, split_level, why_not
from crewd.agents.pieces import TEXT_CHARS_MAX, Pieces
from crewd.agents.records import at, list_at, number_at, preview, telling, text_at
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.reasons import RefusalReason
from crewd.model.redact import clip

VERSION = 1
_ALLOWING, _REJECTING = ("allow_once", "allow_always"), ("reject_once", "reject_always")
"""Kinds of options of a permission, the one that is chosen first before the other."""
QUIET = "quiet"
QUIET_SECONDS = 0.15
"""Updates may come after the answer to their prompt: so long nothing must have come."""
OVER_MAX = 1_000
LOG_IN = -32000
"""The protocol's error where the agent must be logged in first."""
_WARNINGS = {
    "max_tokens": "the model's answer was cut at its longest",
    "max_turn_requests": "the agent has made as many requests in this turn as it may",
}


class Acp:
    """One session."""

    def __init__(self, task: do.Task) -> None:
        self._task = task
        self._calls = Calls({"jsonrpc": "2.0"})
        self._handed = Handed()
        self._asks: dict[str, tuple[object, dict[str, str]]] = {}
        """Open requests for permission: their numbers, and the options by their kind."""
        self._tools: set[str] = set()
        self._session = self._software = ""
        self._steers = self._resumes = self._forks = self._loading = False
        self._working = self._prompting = self._cancelled = self._cancelling = False
        self._first = True
        self._told_elsewhere = False
        self._answering = False
        self._text, self._thought = Pieces(), Pieces()
        self._last, self._last_cut = "", False
        self._message = ""
        self._over: set[str] = set()
        """Tools that have ended. A later update of one is ignored."""
        self._cost = task.cost
        self._end: do.Stopped | None = None
        self._quiet_since = 0

    @property
    def capabilities(self) -> Capabilities:
        """What this agent can do, as far as it has said."""
        return Capabilities(
            runtime="acp", steer="extension" if self._steers else "interrupt", steer_point="tool" if self._steers else "turn",
            now="interrupt", receipts="answered", ask=("permission",), resume=self._resumes,
            fork=self._forks, usage="total", errors="hidden",
            end_record="the answer to session/prompt",
        )  # fmt: skip

    def greet(self) -> do.Acts:
        """See `Machine`."""
        can = {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}
        client = {"name": "crewd", "title": "crewd", "version": "1"}
        given = {"protocolVersion": VERSION, "clientCapabilities": can, "clientInfo": client}
        return [self._calls.ask("initialize", given)]

    def prompt(self, key: str, text: str) -> do.Acts:
        """See `Machine`."""
        self._working, self._end, self._last, self._last_cut = True, None, "", False
        return self._send([(key, text)])

    def steer(self, key: str, text: str, *, now: bool) -> do.Acts:
        """See `Machine`."""
        self._handed.give(key, text)
        if now:
            return self._interrupt()
        if not self._steers or not self._prompting or self._cancelling:
            return []  # it goes out when the turn has ended
        return [
            self._calls.ask(
                "_session/steering",
                {
                    "sessionId": self._session, "prompt": [_block(text)],
                    "_meta": {"steering": {"idleBehavior": "promptRequired"}},
                },
                key,
            )
        ]  # fmt: skip

    def answer(self, key: str, text: str | None) -> do.Acts:
        """See `Machine`."""
        number, options = self._asks.pop(key, (None, {}))
        if number is None:
            return []
        kinds = _ALLOWING if text == "allow" else _REJECTING
        option = next((options[kind] for kind in kinds if kind in options), None)
        if text is None or option is None:
            return [self._calls.result(number, {"outcome": {"outcome": "cancelled"}})]
        return [self._calls.result(number, {"outcome": {"outcome": "selected", "optionId": option}})]

    def cancel(self) -> do.Acts:
        """See `Machine`."""
        self._cancelled = True
        if not self._prompting:
            self._working = False
            return [do.Stopped("cancelled")]
        return self._interrupt()

    def due(self, what: str) -> do.Acts:
        """See `Machine`."""
        if what != f"{QUIET} {self._quiet_since}" or self._end is None:
            return []
        if self._calls.open("_session/steering"):
            return self._still()  # the answer says whether the turn has had it
        end, self._end = self._end, None
        acts = [*self._flush(), *self._cut()]
        if end.state == "completed":
            acts += self._handed.answered()
        waiting = self._handed.waiting()
        if waiting and not self._cancelled and end.state != "failed":
            return [*acts, *self._handed.stopped(), *self._send(waiting)]
        self._working = False
        warnings = end.warnings
        if self._last_cut:
            warnings = (
                *warnings,
                f"long_answer: of the agent's last text only the first {TEXT_CHARS_MAX:,} characters are kept",
            )
        return [*acts, *self._handed.stopped(), do.Stopped(end.state, self._last, end.error, end.error_class, warnings)]

    def hear(self, record: Mapping[str, Any]) -> do.Acts:
        """See `Machine`."""
        params, method = at(record, "params"), text_at(record, "method")
        if method and "id" in record:
            return self._asked(method, record["id"], params)
        if method == "session/update" and not self._loading:
            if text_at(params, "sessionId") not in {"", self._session}:
                return self._elsewhere()
            return [*self._update(at(params, "update")), *self._still()]
        if method == "$/cancel_request":
            key = f"request {at(params, 'id')}"
            return [do.Unask(key)] if self._asks.pop(key, None) is not None else []
        if method:
            return []
        call = self._calls.answered(record)
        return [*self._calls.stray(record)] if call is None else self._replied(*call, record)

    # -- inside -------------------------------------------------------------------------------------------------

    def _send(self, messages: list[tuple[str, str]]) -> do.Acts:
        blocks = [_block(text) for _, text in messages]
        if self._first and self._task.system_prompt:
            blocks.insert(0, _block(self._task.system_prompt))
        self._first, self._prompting, self._answering = False, True, False
        if len(self._over) > OVER_MAX:
            self._over.clear()
        for key, text in messages:
            self._handed.give(key, text)
            self._handed.take(key)
        return [self._calls.ask("session/prompt", {"sessionId": self._session, "prompt": blocks})]

    def _elsewhere(self) -> do.Acts:
        """What another session of this agent says is left out; the first time while it works that is told."""
        if self._told_elsewhere or not self._prompting:
            return []
        self._told_elsewhere = True
        return [do.Noted("warning", "what it says in another session than the one that it has opened is left out")]

    def _interrupt(self) -> do.Acts:
        if not self._prompting or self._cancelling:
            return []
        self._cancelling = True
        closed: do.Acts = [act for key in list(self._asks) for act in (*self.answer(key, None), do.Unask(key))]
        return [self._calls.tell("session/cancel", {"sessionId": self._session}), *closed]

    def _replied(self, method: str, key: str, record: Mapping[str, Any]) -> do.Acts:
        error, result = error_of(record), at(record, "result")
        match method:
            case "initialize" if not error:
                return self._initialized(result)
            case "session/load" | "session/fork" if error:
                self._loading = False
                what = "copied" if method == "session/fork" else "gone on with"
                return [do.Noted("warning", f"its session could not be {what}: {error}"), self._new_session()]
            case "session/new" | "session/load" | "session/fork" if not error:
                self._loading = False
                self._session = text_at(result, "sessionId") or (self._task.session if method == "session/load" else "")
                if not self._session:
                    return [do.Stopped("failed", "", "the agent has not said which session it has opened", PERMANENT)]
                ready = do.Ready(self.capabilities, self._session, self._software, method != "session/new")
                return [*self._with_model(result), ready]
            case "initialize" | "session/new":
                if number_at(record, "error", "code") or at(record, "error", "code") != LOG_IN:
                    return [do.Stopped("failed", "", error, fault_class(error))]
                return [do.Stopped("failed", "", f"{error}: log in with the agent itself first", PERMANENT)]
            case "session/prompt":
                return self._prompted(error, record, result)
            case "_session/steering" if key not in dict(self._handed.waiting()):
                return []
            case "_session/steering" if error or text_at(result, "outcome") == "failed":
                self._handed.drop(key)
                return [do.Refused(key, RefusalReason.BY_WORKER, error or "the agent could not take it")]
            case "_session/steering" if text_at(result, "outcome") != "promptRequired":
                self._handed.take(key)  # what it says now may have been asked for before: the next answer counts
            case "session/set_model" if error:
                return [do.Noted("warning", f"the model {self._task.model} was not taken: {error}")]
        return []

    def _initialized(self, result: object) -> do.Acts:
        if not isinstance(result, Mapping):
            return [do.Stopped("failed", "", "the agent's answer to initialize is no JSON object", PERMANENT)]
        spoken = at(result, "protocolVersion")
        if spoken not in (None, VERSION, str(VERSION)) or isinstance(spoken, bool):
            why = f"the agent speaks version {clip(str(spoken), 40)} of the Agent Client Protocol, and crewd version {VERSION}"
            return [do.Stopped("failed", "", why, PERMANENT)]
        self._steers = at(result, "_meta", "steering", "supported") is True
        self._resumes = at(result, "agentCapabilities", "loadSession") is True
        info = at(result, "agentInfo")
        self._software = " ".join(part for part in (text_at(info, "name"), text_at(info, "version")) if part)
        self._forks = isinstance(at(result, "agentCapabilities", "sessionCapabilities", "fork"), Mapping)
        if self._task.session and (self._forks if self._task.forks else self._resumes):
            self._loading, self._first = True, self._task.given
            given = {"sessionId": self._task.session, "cwd": self._task.cwd, "mcpServers": []}
            return [self._calls.ask("session/fork" if self._task.forks else "session/load", given)]
        if self._task.forks and self._task.session:
            return [do.Noted("warning", "the agent cannot begin with a copy of a session"), self._new_session()]
        return [self._new_session()]

    def _new_session(self) -> do.Write:
        self._first = True
        return self._calls.ask("session/new", {"cwd": self._task.cwd, "mcpServers": []})

    def _with_model(self, result: object) -> do.Acts:
        used = text_at(result, "models", "currentModelId")
        offered = [*(text_at(model, "modelId") for model in list_at(result, "models", "availableModels")), used]
        names = list(dict.fromkeys(filter(None, offered)))
        wanted, level = self._task.model, ""
        if not wanted:
            return []
        if wanted not in names:
            wanted, level = split_level(wanted)
        found = candidates(wanted, names)
        ignored: do.Acts = [do.Noted("warning", f"no level of thinking is given over ACP: {level}")] if level else []
        if len(found) != 1:
            return [do.Noted("warning", f"{why_not(wanted, found, names)}; it uses its own")]
        if found[0].lower() != wanted.lower():
            ignored.append(do.Noted("model", f"{wanted!r} is {found[0]}"))
        if found[0] == used:
            return ignored
        return [*ignored, self._calls.ask("session/set_model", {"sessionId": self._session, "modelId": found[0]})]

    def _prompted(self, error: str, record: Mapping[str, Any], result: object) -> do.Acts:
        self._prompting = False
        cancelling, self._cancelling = self._cancelling, False
        closed: do.Acts = [do.Unask(key) for key in self._asks]
        self._asks.clear()
        used = number_at(result, "usage", "totalTokens")
        quota = at(result, "_meta", "quota", "token_count")
        used = used or number_at(quota, "input_tokens") + number_at(quota, "output_tokens")
        closed += [do.Spent(tokens=int(used))] if used else []
        reason = text_at(result, "stopReason")
        if self._cancelled or cancelling or reason == "cancelled":
            self._end = do.Stopped("cancelled")
        elif error:
            self._end = do.Stopped("failed", "", error, fault_class(f"{at(record, 'error', 'code')} {error}"))
        elif reason == "refusal":
            self._end = do.Stopped("failed", "", "the model refuses to go on", PERMANENT)
        elif reason not in {"end_turn", *_WARNINGS}:
            how = f"as {clip(reason, NOTE_CHARS_MAX)}, which ACP does not know" if reason else "and the agent has not said how"
            self._end = do.Stopped("failed", "", f"the turn has ended {how}")
        else:
            self._end = do.Stopped("completed", warnings=(_WARNINGS[reason],) if reason in _WARNINGS else ())
        return [*closed, *self._still()]

    def _still(self) -> do.Acts:
        """Start the quiet time again, because a record has come."""
        if self._end is None:
            return []
        self._quiet_since += 1
        return [do.After(QUIET_SECONDS, f"{QUIET} {self._quiet_since}")]

    def _update(self, update: object) -> do.Acts:
        text = text_at(update, "content", "text")
        match text_at(update, "sessionUpdate"):
            case "agent_message_chunk" | "agent_thought_chunk" | "tool_call" if not self._working:
                return []  # nothing was asked yet: a greeting is no answer
            case "agent_message_chunk":
                message = text_at(update, "messageId")
                if message != self._message:
                    self._message, self._answering = message, False
                self._text.add(text)
                return self._answer()
            case "agent_thought_chunk":
                self._thought.add(text)
                return self._answer()
            case "tool_call":
                return [*self._answer(), *self._flush(), *self._tool(update)]
            case "tool_call_update":
                return self._tool(update)
            case "plan":
                steps = (f"{text_at(each, 'status')}: {text_at(each, 'content')}" for each in list_at(update, "entries"))
                return [do.Noted("plan", clip("; ".join(steps), NOTE_CHARS_MAX))]
            case "usage_update":
                cost, before = number_at(update, "cost", "amount"), self._cost
                self._cost = max(cost, before)
                return [do.Spent(cost=self._cost - before)] if cost > before else []
        return []

    def _answer(self) -> do.Acts:
        """The model answers: the first word of an answer counts."""
        if self._answering:
            return []
        self._answering = True
        return [*self._handed.answered(), do.Spent(turns=1)]

    def _tool(self, update: object) -> do.Acts:
        key, status = text_at(update, "toolCallId"), text_at(update, "status")
        acts: do.Acts = []
        if key in self._over:
            return []
        if key not in self._tools and status in {"pending", "in_progress", "completed", "failed", ""}:
            if not self._working:
                return []  # it ended after its turn: nothing is opened again
            if status in {"pending", ""} and not telling(at(update, "rawInput")):
                return []  # some agents say only with the next update what it is
            self._tools.add(key)
            shown = preview(at(update, "rawInput")) or text_at(update, "title")
            acts.append(do.ToolBegan(key, text_at(update, "kind") or text_at(update, "title") or "tool", shown))
        if status in {"completed", "failed"}:
            self._tools.discard(key)
            self._over.add(key)
            self._answering = False
            outcome: do.ToolOutcome = "cancelled" if self._cancelling else "done" if status == "completed" else "failed"
            said = "".join(text_at(block, "content", "text") for block in list_at(update, "content"))
            acts.append(do.ToolEnded(key, outcome, said))
        return acts

    def _flush(self) -> do.Acts:
        """What was said in pieces is a block."""
        cut = self._text.cut
        thought, text = self._thought.take(), self._text.take()
        if text:
            self._last, self._last_cut = text, cut
        acts: do.Acts = [do.Said(thought, thought=True)] if thought else []
        return [*acts, do.Said(text)] if text else acts

    def _cut(self) -> do.Acts:
        cut, self._tools = sorted(self._tools), set()
        self._over.update(cut)
        return [do.ToolEnded(key, "cancelled") for key in cut]

    def _asked(self, method: str, number: object, params: object) -> do.Acts:
        if method != "session/request_permission":
            return [self._calls.refusal(number, f"crewd does not answer {method}")]
        options = {text_at(option, "kind"): text_at(option, "optionId") for option in reversed(list_at(params, "options"))}
        if not any(kind in options for kind in _ALLOWING):
            return [self._calls.refusal(number, f"no option is of the kind {' or '.join(_ALLOWING)}", WRONG_PARAMS)]
        key, call = f"request {number}", at(params, "toolCall")
        self._asks[key] = (number, options)
        if self._cancelling or self._cancelled:
            return self.answer(key, None)
        what = preview(at(call, "rawInput")) or text_at(call, "title")
        return [do.Ask(key, f"{text_at(call, 'kind') or 'tool'}: {what}", "permission", permission=True)]


def _block(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
