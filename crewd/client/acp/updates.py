"""What an editor is told: `session/update`s of acts, of steps, and of questions; and what its prompts mean. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crewd.client.cli.screen import plain
from crewd.model.events import AskOpened
from crewd.model.rows import TaskRow
from crewd.model.statuses import TASK_TERMINAL, TaskStatus

Update = dict[str, Any]
_STEPS = {TaskStatus.RUNNING: "in_progress", TaskStatus.WAITING: "in_progress"}
_OUTCOMES = {"done": "completed", "cancelled": "failed", "failed": "failed"}


def said(text: str, *, thought: bool = False, user: bool = False) -> Update:
    """A piece of text of the agent, or of somebody who told it something."""
    kind = "user_message_chunk" if user else "agent_thought_chunk" if thought else "agent_message_chunk"
    return {"sessionUpdate": kind, "content": {"type": "text", "text": plain(text)}}


def update_of(act: Mapping[str, Any], source: str, sent: Iterable[str]) -> Update | None:
    """The update for an act of an agent; `source` tells attempts apart. None for what the editor knows: what it has sent."""
    text = str(act.get("text", ""))
    match act.get("type"):
        case "prompt":
            message = str(act.get("message", ""))
            return None if message.startswith("~") or message in sent else said(text, user=True)
        case "text" | "thought" as kind:
            return said(f"{text}\n\n", thought=kind == "thought")
        case "note":
            return said(f"{act.get('about')}: {text}\n", thought=True)
        case "tool":
            name, preview = plain(str(act.get("name", ""))), plain(str(act.get("preview", "")))
            return {
                "sessionUpdate": "tool_call", "toolCallId": f"{source}:{act.get('id')}", "status": "in_progress",
                "kind": kind_of(name), "title": f"{name}: {preview}" if preview else name,
            }  # fmt: skip
        case "tool_ended":
            content = [{"type": "content", "content": {"type": "text", "text": plain(text)}}] if text else []
            return {
                "sessionUpdate": "tool_call_update", "toolCallId": f"{source}:{act.get('id')}", "content": content,
                "status": _OUTCOMES.get(str(act.get("outcome")), "failed"),
            }  # fmt: skip
    return None


def kind_of(tool: str) -> str:
    """The protocol's word for what a tool does, from its name: it chooses a picture."""
    name = tool.lower()
    for kind, words in (
        ("execute", ("bash", "shell", "exec", "command", "terminal")),
        ("edit", ("edit", "write", "patch", "replace")),
        ("search", ("grep", "search", "glob", "find")),
        ("fetch", ("fetch", "web", "http")),
        ("read", ("read", "list", "ls", "view")),
    ):
        if any(word in name for word in words):
            return kind
    return "other"


def plan_of(tasks: Sequence[TaskRow]) -> Update:
    """The steps of a run, as a plan."""
    entries: list[dict[str, str]] = []
    for task in tasks:
        over = task.status in TASK_TERMINAL
        content = f"{task.step} ({task.status.value})" if over and task.status != TaskStatus.COMPLETED else task.step
        status = "completed" if over else _STEPS.get(task.status, "pending")
        entries.append({"content": content, "priority": "medium", "status": status})
    return {"sessionUpdate": "plan", "entries": entries}


def options_of(ask: AskOpened) -> list[dict[str, str]]:
    """The answers to choose from: each one's id is the answer. Empty if the answer is a text of its own."""
    match ask.kind:
        case "permission":
            given = [("allow", "Allow", "allow_once"), ("deny", "Deny", "reject_once")]
        case "confirm":
            given = [("yes", "Yes", "allow_once"), ("no", "No", "reject_once")]
        case "choose":
            given = [(choice, choice, "allow_once") for choice in ask.choices]
        case _:
            given = []
    return [{"optionId": answer, "name": plain(name), "kind": kind} for answer, name, kind in given]


def text_of(blocks: Sequence[Mapping[str, Any]]) -> str:
    """A prompt as text. ValueError for a block that is none, such as a picture."""
    parts: list[str] = []
    for block in blocks:
        kind, inside = block.get("type"), block.get("resource")
        if kind == "text":
            text = block.get("text")
            if not isinstance(text, str):
                raise ValueError("a block of the type text has no text")
            parts.append(text)
        elif kind == "resource_link":
            parts.append(f"[{block.get('title') or block.get('name') or 'file'}]({block.get('uri', '')})")
        elif kind == "resource" and isinstance(inside, dict) and isinstance(inside.get("text"), str):
            parts.append(f"{inside.get('uri', '')}:\n\n{inside['text']}\n")
        else:
            raise ValueError(f"a block of type {kind!r} is no text, and workers are given text")
    return "\n".join(parts).strip()


def addressed(text: str, steps: Iterable[str]) -> tuple[str, str]:
    """The step that a prompt names with `@STEP` as its first word, and the rest; an empty step if it names none."""
    first, _, rest = text.partition(" ")
    if first.startswith("@") and first[1:] in set(steps) and rest.strip():
        return first[1:], rest.strip()
    return "", text
