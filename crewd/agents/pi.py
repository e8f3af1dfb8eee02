"""`pi --mode rpc` and its relative oh-my-pi (`omp --mode rpc`): JSON lines with commands, responses and events. Pure.

A message goes out as a `prompt` that may steer, never as `steer`: a `steer` that comes when the agent has just stopped is
accepted and never carried out, and a `prompt` begins a new run then. An `abort` waits for open questions, so they are answered
first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crewd.agents import acts as do
from crewd.agents.capabilities import Capabilities
from crewd.agents.faults import PERMANENT, fault_class
from crewd.agents.handed import Handed
from crewd.agents.records import at, list_at, number_at, preview, text_at, texts_of
from crewd.model.limits import NOTE_CHARS_MAX
from crewd.model.numbers import SECONDS_MAX
from crewd.model.questions import QuestionKind
from crewd.model.reasons import RefusalReason
from crewd.model.redact import clip

STATE, ABORT, CLEAR, TASK, LOOK = "crewd-state", "crewd-abort", "crewd-clear", "crewd-task", "crewd-look"
"""Ids of commands of our own; a message's command has the message's id."""
TOO_OLD = (
    "this pi does not know clear_queue: crewd needs pi 0.84.4 or newer (npm install -g @earendil-works/pi-coding-agent;"
    " with an old Node.js, npm installs an old pi)"
)
_QUESTIONS: Mapping[str, QuestionKind] = {"select": "choose", "confirm": "confirm", "input": "text", "editor": "text"}


class Pi:
    """One session. `settles`: whether `agent_settled` ends its work (pi), or already `agent_end` (oh-my-pi)."""

    def __init__(self, task: do.Task, *, settles: bool = True) -> None:
        self._task = task
        self._settles = settles
        self._handed = Handed()
        self._sent = 0
        self._asks: dict[str, str] = {}
        self._tools: set[str] = set()
        self._ready = False
        self._working = False
        self._streaming = False
        self._cancelled = False
        self._aborting = False
        self._after_abort: list[tuple[str, str]] = []
        self._text = ""
        self._error = ""
        self._wants_tool = False
        """Its last answer asks for a tool, and none has ended since."""

    @property
    def capabilities(self) -> Capabilities:
        """What this agent can do."""
        return Capabilities(
            runtime="pi" if self._settles else "omp", steer="native", steer_point="tool", now="interrupt", receipts="answered",
            ask=("question",), resume=True, fork=self._settles, usage="each", errors="told",
            end_record="agent_settled" if self._settles else "agent_end",
        )  # fmt: skip

    def greet(self) -> do.Acts:
        """See `Machine`. It says nothing by itself before it is asked.

        A pi that cannot clear its queue may not say either that it has settled (before 0.80.4): its runs would never end.
        """
        known = [do.Write({"id": CLEAR, "type": "clear_queue"})] if self._settles else []
        return [*known, do.Write({"id": STATE, "type": "get_state"})]

    def prompt(self, key: str, text: str) -> do.Acts:
        """See `Machine`."""
        self._working, self._text, self._error, self._wants_tool = True, "", "", False
        return self._send(key, text)

    def steer(self, key: str, text: str, *, now: bool) -> do.Acts:
        """See `Machine`."""
        if not now:
            return self._send(key, text)
        if not self._settles:  # it has no `clear_queue`, and one command for both
            self._handed.give(key, text)
            self._sent += 1
            return [*self._close_questions(), do.Write({"id": key, "type": "abort_and_prompt", "message": text})]
        self._after_abort.append((key, text))
        return self._abort()

    def answer(self, key: str, text: str | None) -> do.Acts:
        """See `Machine`."""
        method = self._asks.pop(key, None)
        if method is None:
            return []
        reply: dict[str, Any] = {"type": "extension_ui_response", "id": key}
        if text is None:
            reply["cancelled"] = True
        elif method == "confirm":
            reply["confirmed"] = text == "yes"
        else:
            reply["value"] = text
        return [do.Write(reply)]

    def cancel(self) -> do.Acts:
        """See `Machine`."""
        self._cancelled, self._after_abort = True, []
        if not self._working:
            return [do.Stopped("cancelled")]
        return self._abort()

    def due(self, what: str) -> do.Acts:
        """See `Machine`. Nothing is awaited here."""
        del what
        return []

    def hear(self, record: Mapping[str, Any]) -> do.Acts:
        """See `Machine`."""
        match text_at(record, "type"):
            case "response":
                return self._response(record)
            case "message_start" if text_at(record, "message", "role") == "user":
                self._handed.take_text(texts_of(at(record, "message", "content")))
                return []
            case "message_end" if text_at(record, "message", "role") == "assistant":
                return self._answered(at(record, "message"))
            case "tool_execution_start":
                key = text_at(record, "toolCallId")
                self._tools.add(key)
                return [do.ToolBegan(key, text_at(record, "toolName"), preview(at(record, "args")))]
            case "tool_execution_end" if text_at(record, "toolCallId") in self._tools:
                self._tools.discard(text_at(record, "toolCallId"))
                self._wants_tool = False
                failed = at(record, "isError") is True
                outcome: do.ToolOutcome = "cancelled" if failed and self._aborting else "failed" if failed else "done"
                return [do.ToolEnded(text_at(record, "toolCallId"), outcome, texts_of(at(record, "result", "content")))]
            case "extension_ui_request":
                return self._question(record)
            case "auto_retry_start":
                of, error = int(number_at(record, "maxAttempts")), text_at(record, "errorMessage")
                return [do.Noted("retry", f"try {int(number_at(record, 'attempt')) + 1} of {of + 1}: {error}")]
            case "compaction_start" | "auto_compaction_start":
                return [do.Noted("compaction", text_at(record, "reason") or "it shortens what it remembers")]
            case "agent_start":
                self._working = self._streaming = True
                return []
            case "agent_end" if self._settles or at(record, "willRetry") is True or at(record, "isTerminal") is False:
                return []  # more comes: `agent_settled`, another try, or what a command gives that goes on in the background
            case "agent_end":
                return self._settled()
            case "agent_settled":
                return self._settled()
        return []

    # -- inside -------------------------------------------------------------------------------------------------

    def _send(self, key: str, text: str) -> do.Acts:
        self._handed.give(key, text)
        self._sent += 1
        command = {"id": key or TASK, "type": "prompt", "message": text, "streamingBehavior": "steer"}
        return [do.Write(command)]

    def _abort(self) -> do.Acts:
        if self._aborting:
            return []
        self._aborting = True
        clear = [do.Write({"id": CLEAR, "type": "clear_queue"})] if self._settles else []
        return [*self._close_questions(), *clear, do.Write({"id": ABORT, "type": "abort"})]

    def _close_questions(self) -> do.Acts:
        return [act for key in list(self._asks) for act in (*self.answer(key, None), do.Unask(key))]

    def _response(self, record: Mapping[str, Any]) -> do.Acts:
        key, good = text_at(record, "id"), at(record, "success") is True
        if not self._ready and text_at(record, "command") == "clear_queue":  # of a command that it does not know it says no id
            self._ready = not good
            return [] if good else [do.Stopped("failed", "", TOO_OLD, PERMANENT)]
        if key == STATE and not self._ready:
            self._ready = True
            if not good:
                error = text_at(record, "error") or "it does not say how it is"
                return [do.Stopped("failed", "", error, fault_class(error))]
            session, goes_on = text_at(record, "data", "sessionId"), bool(self._task.session)
            return [do.Ready(self.capabilities, session, goes_on=goes_on)]
        if key == CLEAR:
            for text in (*list_at(record, "data", "steering"), *list_at(record, "data", "followUp")):
                self._cleared(text)
            return []
        if key == ABORT:
            return self._aborted()
        if key.startswith(LOOK) and key != f"{LOOK}-{self._sent}":
            return []  # it was asked before another message was sent, and says nothing of that
        if key.startswith(LOOK):
            queued = number_at(record, "data", "pendingMessageCount") + number_at(record, "data", "queuedMessageCount")
            if at(record, "data", "isStreaming") is not False or queued or self._streaming:
                return []
            waiting = [key for key, _ in self._handed.waiting()]
            for each in waiting:
                self._handed.drop(each)
            done: do.Acts = [do.Done(each) for each in waiting if each]
            return [*done, *self._settled()] if waiting else []
        if text_at(record, "command") in {"prompt", "abort_and_prompt"} and good:
            # A command of the agent's own begins no run: then nothing else says that it is over.
            return [] if self._streaming else self._look()
        if text_at(record, "command") in {"prompt", "abort_and_prompt"}:
            key = "" if key == TASK else key
            error = text_at(record, "error") or "the agent does not take it"
            self._handed.drop(key)
            acts: do.Acts = [do.Refused(key, RefusalReason.BY_WORKER, error)] if key else []
            if not key:
                self._error = error
            if not key or not self._working:
                return [*acts, *self._settled()]
            return [*acts, *self._look()] if self._handed.waiting() and not self._streaming else acts
        return []

    def _cleared(self, text: object) -> None:
        for key, waiting in self._handed.waiting():
            if waiting == text:
                self._handed.drop(key)
                self._after_abort.insert(max(0, len(self._after_abort) - 1), (key, waiting))
                return

    def _aborted(self) -> do.Acts:
        """The abort is complete. Send the messages that waited for it; without any, the agent has stopped."""
        self._aborting = self._working = False
        again, self._after_abort = self._after_abort, []
        if self._cancelled or not again:
            return [*self._tools_cut(), *self._handed.stopped(), do.Stopped("cancelled")]
        acts = self._tools_cut()
        self._working, self._error, self._wants_tool = True, "", False
        for key, text in again:
            acts += self._send(key, text)
        return acts

    def _tools_cut(self) -> do.Acts:
        cut, self._tools = sorted(self._tools), set()
        return [do.ToolEnded(key, "cancelled") for key in cut]

    def _answered(self, message: Mapping[str, Any]) -> do.Acts:
        reason = text_at(message, "stopReason")
        text = texts_of(at(message, "content"))
        if reason in {"error", "aborted"}:
            self._error = text_at(message, "errorMessage") or f"the model's answer ended as {reason}"
            return []
        ends = reason in {"", "stop", "length"}
        self._error = "" if ends or reason == "toolUse" else f"the model's answer ended as {clip(reason, NOTE_CHARS_MAX)}"
        self._wants_tool = reason == "toolUse"
        self._text = text or self._text
        usage = at(message, "usage")
        acts: do.Acts = [
            *self._handed.answered(),
            do.Spent(1, int(number_at(usage, "totalTokens")), number_at(usage, "cost", "total")),
        ]
        for block in list_at(message, "content"):
            if text_at(block, "type") == "thinking" and text_at(block, "thinking"):
                acts.append(do.Said(text_at(block, "thinking"), thought=True))
        if text:
            acts.append(do.Said(text))
        if reason == "length":
            acts.append(do.Noted("warning", "the model's answer was cut at its longest"))
        return acts

    def _settled(self) -> do.Acts:
        self._streaming = False
        if self._aborting:
            return []  # the response to the abort says that it is over
        if self._handed.waiting():
            return self._look()  # it begins a new run for these, or has dealt with them
        self._working = False
        acts = [*self._tools_cut(), *self._handed.stopped()]
        if self._wants_tool and not self._error:
            self._error = "its last answer asks for a tool, and it has stopped without one"
        if self._error:
            return [*acts, do.Stopped("failed", self._text, self._error, fault_class(self._error))]
        return [*acts, do.Stopped("completed", self._text)]

    def _look(self) -> do.Acts:
        return [do.Write({"id": f"{LOOK}-{self._sent}", "type": "get_state"})]

    def _question(self, record: Mapping[str, Any]) -> do.Acts:
        method, key = text_at(record, "method"), text_at(record, "id")
        kind = _QUESTIONS.get(method)
        if kind is None or not key:
            return []  # it shows something in its own window
        self._asks[key] = method
        if self._aborting or self._cancelled:
            return self.answer(key, None)  # the abort waits for it
        title, more = text_at(record, "title"), text_at(record, "message") or text_at(record, "placeholder")
        choices = tuple(option for option in list_at(record, "options") if isinstance(option, str))
        if kind == "choose" and not choices:
            kind = "text"
        milliseconds = number_at(record, "timeout")
        question = ": ".join(part for part in (title, more) if part) or "the agent asks"
        return [
            do.Ask(key, question, kind, choices, seconds=min(milliseconds / 1000, SECONDS_MAX) if milliseconds > 0 else None)
        ]
