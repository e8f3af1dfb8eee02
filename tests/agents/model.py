"""A scripted model on loopback: the four wire formats that coding agents speak, with answers chosen by keyword.

`python -m tests.agents.model` prints its address and serves until SIGTERM. Formats: OpenAI chat completions
(/v1/chat/completions) and responses (/v1/responses), Anthropic messages (/v1/messages, .../count_tokens), Gemini
(/v1beta/models/M:streamGenerateContent and :generateContent). The last user text of a request decides:

    RECALL                  answer with the beginnings of all that the user has said in this conversation
    TOOL <seconds>          (or `sleep <seconds>`) call the agent's shell tool with a command that sleeps, once; then answer
    "echo: ..." CALL <tool> <json>      call that tool with those arguments, once (only if the request offers it) SLOWTEXT
    40 words, one each 0.1 s ERR401, ERR429, ERR500  that status with a JSON error, each time anything else           "echo: "
    and the text, clipped to 200 characters

Log: one record when a request is read, one ("end") when its answer was sent or the client went away.
"""

from __future__ import annotations

import itertools
import json
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

SHELL_TOOLS = ("bash", "shell_command", "exec_command", "shell", "run_shell_command", "local_shell")
CONTEXT = (
    "<environment_context",
    "<system-reminder",
    "<session_context",
    "# AGENTS.md",
    "<user_instructions",
    "<permissions",
    "<skills",
    "<plugins",
    "<apps",
)
STEER = re.compile(
    r"The user sent a new message while you were working:\n(.*?)(?:\n\n|\Z)", re.DOTALL
)  # how Claude Code folds a steer in


class Turn(NamedTuple):
    """One item of the history in common terms: kind is user, tool (a result) or other."""

    kind: str
    text: str


class Tool(NamedTuple):
    name: str
    schema: dict[str, Any]


class Plan(NamedTuple):
    """What to answer: words (each after `delay`), or a tool call, or an HTTP error."""

    words: tuple[str, ...] = ()
    delay: float = 0.0
    call: tuple[str, dict[str, Any]] | None = None
    error: int = 0


# ---- reading requests ------------------------------------------------------------------------------------------------


def blocks(content: Any) -> list[dict[str, Any]]:
    return (
        [{"type": "text", "text": content}] if isinstance(content, str) else [b for b in content or [] if isinstance(b, dict)]
    )


def read_chat(body: dict[str, Any]) -> tuple[list[Turn], list[Tool]]:
    turns = []
    for m in body.get("messages", []):
        kind = {"user": "user", "tool": "tool"}.get(m.get("role"), "other")
        turns += [Turn(kind, b.get("text", "")) for b in blocks(m.get("content"))]
    tools = [t["function"] for t in body.get("tools") or [] if t.get("type") == "function"]
    return turns, [Tool(t["name"], t.get("parameters") or {}) for t in tools]


def read_responses(body: dict[str, Any]) -> tuple[list[Turn], list[Tool]]:
    source, turns = body.get("input", []), []
    for item in [{"role": "user", "content": source}] if isinstance(source, str) else source:
        if str(item.get("type", "")).endswith("_output"):
            turns.append(Turn("tool", str(item.get("output"))))
        elif "role" in item:
            turns += [
                Turn("user" if item["role"] == "user" else "other", b.get("text", "")) for b in blocks(item.get("content"))
            ]
    return turns, [Tool(t["name"], t.get("parameters") or {}) for t in body.get("tools") or [] if t.get("type") == "function"]


def read_messages(body: dict[str, Any]) -> tuple[list[Turn], list[Tool]]:
    turns = []
    for m in body.get("messages", []):
        for b in blocks(m.get("content")):
            if b["type"] == "tool_result":
                inner = [c.get("text", "") for c in blocks(b.get("content"))]
                turns.append(Turn("tool", "\n".join(inner)))
            elif b["type"] == "text":
                turns.append(Turn("user" if m["role"] == "user" else "other", b["text"]))
    return turns, [Tool(t["name"], t.get("input_schema") or {}) for t in body.get("tools") or []]


def read_gemini(body: dict[str, Any]) -> tuple[list[Turn], list[Tool]]:
    turns = []
    for c in body.get("contents", []):
        for p in c.get("parts", []):
            if "functionResponse" in p:
                turns.append(Turn("tool", json.dumps(p["functionResponse"].get("response"))))
            elif "text" in p:
                turns.append(Turn("user" if c.get("role", "user") == "user" else "other", p["text"]))
    found = [f for t in body.get("tools") or [] for f in t.get("functionDeclarations", [])]
    return turns, [Tool(f["name"], f.get("parametersJsonSchema") or f.get("parameters") or {}) for f in found]


# ---- deciding --------------------------------------------------------------------------------------------------------


def asked(turns: list[Turn]) -> tuple[str, bool]:
    """The last text that a person wrote (not context that the agent added), and whether a tool result follows it."""
    answered = False
    for turn in reversed(turns):
        if turn.kind != "other" and (folded := STEER.search(turn.text)):
            return folded[1].strip(), answered
        if turn.kind == "tool":
            answered = True
        elif turn.kind == "user" and turn.text.strip() and not turn.text.lstrip().startswith(CONTEXT):
            return turn.text, answered
    return "", answered


def arguments(tool: Tool, command: str) -> dict[str, Any]:
    """Fill the tool's own schema: the command where it belongs, something harmless in other required places."""
    known: dict[str, Any] = {}
    properties = tool.schema.get("properties") or {}
    for name, spec in properties.items():
        if name in ("command", "cmd"):
            known[name] = ["bash", "-lc", command] if spec.get("type", "").lower() == "array" else command
        elif name in (tool.schema.get("required") or ()):
            known[name] = {"boolean": False, "number": 0, "integer": 0}.get(str(spec.get("type")).lower(), "scripted call")
    return known or {"command": command}


def decide(turns: list[Turn], tools: list[Tool]) -> tuple[str, Plan]:
    text, answered = asked(turns)
    if found := re.search(r"ERR(401|429|500)", text):
        return text, Plan(error=int(found[1]))
    if not answered and (found := re.search(r"(?:TOOL |`sleep )(\d+(?:\.\d+)?)", text)):
        shell = next((t for want in SHELL_TOOLS for t in tools if t.name.lower() == want), None)
        if shell:
            return text, Plan(call=(shell.name, arguments(shell, f"python3 -c 'import time; time.sleep({found[1]})'")))
    if (
        not answered
        and (found := re.search(r"CALL (\w+) (\{.*\})", text, re.DOTALL))
        and any(t.name == found[1] for t in tools)
    ):
        return text, Plan(call=(found[1], json.loads(found[2])))
    if "SLOWTEXT" in text:
        return text, Plan(words=tuple(f"word{n} " for n in range(1, 41)), delay=0.1)
    said = "echo: " + text[:200]
    if "RECALL" in text:
        said = "recall: " + "; ".join(turn.text[:60] for turn in turns if turn.kind == "user")
    return text, Plan(words=tuple(re.findall(r"\s*\S+\s*?", said)))


# ---- writing answers: each yields (event name or "", payload) ----------------------------------------------------------


def paced(plan: Plan) -> Iterator[str]:
    for word in plan.words:
        time.sleep(plan.delay)
        yield word


def write_chat(n: int, model: str, plan: Plan, size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> tuple[str, dict[str, Any]]:
        return "", {
            "id": f"chatcmpl-{n}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            **more,
        }

    yield chunk({"role": "assistant", "content": ""})
    if plan.call:
        function = {"name": plan.call[0], "arguments": json.dumps(plan.call[1])}
        yield chunk({"tool_calls": [{"index": 0, "id": f"call_{n}", "type": "function", "function": function}]})
    for word in paced(plan):
        yield chunk({"content": word})
    used = {"prompt_tokens": size, "completion_tokens": 10, "total_tokens": size + 10}
    yield chunk({}, "tool_calls" if plan.call else "stop", usage=used)
    yield "", {"[DONE]": True}


def write_responses(n: int, model: str, plan: Plan, size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    serial = itertools.count()

    def event(name: str, **fields: Any) -> tuple[str, dict[str, Any]]:
        return name, {"type": name, "sequence_number": next(serial), **fields}

    whole: dict[str, Any] = {
        "id": f"resp_{n}",
        "object": "response",
        "created_at": int(time.time()),
        "model": model,
        "status": "in_progress",
        "output": [],
        "error": None,
    }
    yield event("response.created", response=whole)
    if plan.call:
        item: dict[str, Any] = {
            "type": "function_call",
            "id": f"fc_{n}",
            "call_id": f"call_{n}",
            "name": plan.call[0],
            "arguments": "",
        }
        yield event("response.output_item.added", output_index=0, item=item)
        item = {**item, "arguments": json.dumps(plan.call[1]), "status": "completed"}
        yield event("response.function_call_arguments.delta", output_index=0, item_id=item["id"], delta=item["arguments"])
        yield event("response.function_call_arguments.done", output_index=0, item_id=item["id"], arguments=item["arguments"])
    else:
        item = {"type": "message", "id": f"msg_{n}", "role": "assistant", "status": "in_progress", "content": []}
        where = {"output_index": 0, "item_id": item["id"], "content_index": 0}
        yield event("response.output_item.added", output_index=0, item=item)
        yield event("response.content_part.added", **where, part={"type": "output_text", "text": "", "annotations": []})
        text = ""
        for word in paced(plan):
            text += word
            yield event("response.output_text.delta", **where, delta=word)
        part = {"type": "output_text", "text": text, "annotations": []}
        yield event("response.output_text.done", **where, text=text)
        yield event("response.content_part.done", **where, part=part)
        item = {**item, "status": "completed", "content": [part]}
    yield event("response.output_item.done", output_index=0, item=item)
    used = {
        "input_tokens": size,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": size + 10,
    }
    yield event("response.completed", response={**whole, "status": "completed", "output": [item], "usage": used})


def write_messages(n: int, model: str, plan: Plan, size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    message: dict[str, Any] = {
        "id": f"msg_{n}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": size, "output_tokens": 1},
    }
    yield "message_start", {"message": message}
    if plan.call:
        block = {"type": "tool_use", "id": f"toolu_{n}", "name": plan.call[0], "input": {}}
        yield "content_block_start", {"index": 0, "content_block": block}
        yield (
            "content_block_delta",
            {"index": 0, "delta": {"type": "input_json_delta", "partial_json": json.dumps(plan.call[1])}},
        )
    else:
        yield "content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}
        for word in paced(plan):
            yield "content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": word}}
    yield "content_block_stop", {"index": 0}
    reason = "tool_use" if plan.call else "end_turn"
    yield "message_delta", {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 10}}
    yield "message_stop", {}


def write_gemini(n: int, model: str, plan: Plan, size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    used = {"promptTokenCount": size, "candidatesTokenCount": 10, "totalTokenCount": size + 10}

    def chunk(parts: list[dict[str, Any]], **more: Any) -> tuple[str, dict[str, Any]]:
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0, **more}
        return "", {"candidates": [candidate], "usageMetadata": used, "modelVersion": model, "responseId": f"resp-{n}"}

    if plan.call:
        yield chunk([{"functionCall": {"name": plan.call[0], "args": plan.call[1]}}])
    for word in paced(plan):
        yield chunk([{"text": word}])
    yield chunk([{"text": ""}], finishReason="STOP")


def joined(path: str, events: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer of a request that does not stream, made from the events of one that does."""
    if path.endswith("/responses"):
        return dict(events[-1]["response"])
    if path.endswith("/messages"):
        texts = [e["delta"].get("text", "") for e in events if e.get("type") == "content_block_delta"]
        return {**events[0]["message"], "content": [{"type": "text", "text": "".join(texts)}], "stop_reason": "end_turn"}
    if path.endswith(":generateContent"):
        parts = [p for e in events for p in e["candidates"][0]["content"]["parts"]]
        text = "".join(p.get("text", "") for p in parts)
        calls = [p for p in parts if "functionCall" in p]
        return {
            **events[-1],
            "candidates": [
                {"content": {"role": "model", "parts": calls or [{"text": text}]}, "finishReason": "STOP", "index": 0}
            ],
        }
    deltas = [e["choices"][0]["delta"] for e in events if "choices" in e]
    calls = [c for d in deltas for c in d.get("tool_calls", [])]
    message = {
        "role": "assistant",
        "content": "".join(d.get("content") or "" for d in deltas),
        **({"tool_calls": calls} if calls else {}),
    }
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return {**events[-2], "object": "chat.completion", "choices": [choice]}


# ---- the server ------------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]  # there is no other one

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def reply(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.reply(200, {})

    def do_GET(self) -> None:
        self.server.log(method="GET", path=self.path)
        self.reply(200, {"object": "list", "data": [{"id": "fake", "object": "model"}], "models": []})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        number = next(self.server.serial)
        try:
            body = json.loads(raw)
        except ValueError:
            self.server.log(
                request=number, method="POST", path=self.path, bad_bytes=len(raw), encoding=self.headers.get("Content-Encoding")
            )
            return self.reply(400, {"error": {"type": "invalid_request_error", "message": "not JSON"}})
        table = {
            "/chat/completions": (read_chat, write_chat),
            "/responses": (read_responses, write_responses),
            "/messages": (read_messages, write_messages),
            ":streamGenerateContent": (read_gemini, write_gemini),
            ":generateContent": (read_gemini, write_gemini),
        }
        if path.endswith(("/count_tokens", ":countTokens")):
            self.server.log(request=number, method="POST", path=self.path)
            return self.reply(200, {"input_tokens": len(raw) // 4, "totalTokens": len(raw) // 4})
        pair = next((v for k, v in table.items() if path.endswith(k)), None)
        if pair is None:
            self.server.log(request=number, method="POST", path=self.path, unknown=True)
            return self.reply(404, {"error": {"type": "not_found_error", "message": "no such path"}})
        turns, tools = pair[0](body)
        text, plan = decide(turns, tools)
        model = body.get("model") or path.rpartition("/")[2].partition(":")[0]
        stream = bool(body.get("stream")) or path.endswith(":streamGenerateContent")
        self.server.log(
            request=number,
            method="POST",
            path=self.path,
            model=model,
            stream=stream,
            tools=[t.name for t in tools],
            user_texts=[t.text[:2000] for t in turns if t.kind == "user"],
            tool_results=sum(t.kind == "tool" for t in turns),
            last=text[:300],
            plan=f"error {plan.error}" if plan.error else f"call {plan.call[0]}" if plan.call else "text",
        )
        if plan.error:
            kind = {401: "authentication_error", 429: "rate_limit_error", 500: "api_error"}[plan.error]
            error = {
                "type": kind,
                "code": plan.error if "contents" in body else kind,
                "message": f"scripted {plan.error}",
                "status": kind.upper(),
            }
            self.server.log(request=number, end="error")
            return self.reply(plan.error, {"type": "error", "error": error})
        events = pair[1](number, model, plan, len(raw) // 4)
        try:
            if stream:
                self.send_events(events, named=path.endswith(("/responses", "/messages")))
            else:
                self.reply(200, joined(path, [{**({"type": name} if name else {}), **data} for name, data in events]))
            self.server.log(request=number, end="complete")
        except OSError:
            self.server.log(request=number, end="disconnected")

    def send_events(self, events: Iterator[tuple[str, dict[str, Any]]], named: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for name, data in events:
            text = "[DONE]" if "[DONE]" in data else json.dumps({"type": name, **data} if named else data)
            self.wfile.write(f"event: {name}\ndata: {text}\n\n".encode() if named else f"data: {text}\n\n".encode())
            self.wfile.flush()
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int = 0, log: Path | None = None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.serial, self.lock = itertools.count(1), threading.Lock()
        self.file = log.open("a", encoding="utf-8") if log else None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def log(self, **record: Any) -> None:
        if self.file:
            with self.lock:
                self.file.write(json.dumps({"t": round(time.time(), 3), **record}) + "\n")
                self.file.flush()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    server = Server(log=Path(sys.argv[1]) if sys.argv[1:] else None)
    sys.stdout.write(f"listening on {server.url}\n")
    sys.stdout.flush()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()


if __name__ == "__main__":
    main()
