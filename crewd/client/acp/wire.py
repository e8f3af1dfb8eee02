"""JSON-RPC 2.0 over lines, on standard input and output: requests of both sides, notifications, errors.

Tests: tests/client/acp/test_server.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, BinaryIO

from crewd.model.errors import CrewdError
from crewd.model.json_line import json_line

LINE_BYTES_MAX = 16 << 20
"""What a peer says at once."""
WAITING_MAX = 1_000
"""Lines that were read and not looked at: while there are so many nothing more is read. And requests that are not answered."""
PARSE_ERROR, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
"""JSON-RPC 2.0, section 5.1."""
NOT_FOUND = -32002
"""The Agent Client Protocol's error for what is not there."""

Handler = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class WireFault(Exception):
    """A request is answered with this error. `data` is for programs."""

    def __init__(self, code: int, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.error: dict[str, Any] = {"code": code, "message": message, **({"data": data} if data else {})}


class Wire:
    """One peer. `handle` answers its requests, each as a task of its own; it is called for notifications, too."""

    def __init__(self, source: BinaryIO, sink: BinaryIO, handle: Handler) -> None:
        self._source = source
        self._sink = sink
        self._handle = handle
        self._last = 0
        self._open: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._one = asyncio.Lock()

    async def serve(self) -> None:
        """Answer until the input ends. What is open then is dropped."""
        lines: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING_MAX)
        loop = asyncio.get_running_loop()

        def read() -> None:
            while line := self._source.readline(LINE_BYTES_MAX):
                if len(line) == LINE_BYTES_MAX and not line.endswith(b"\n"):  # it is answered once, and not in pieces
                    while (rest := self._source.readline(LINE_BYTES_MAX)) and not rest.endswith(b"\n"):
                        pass
                if not _put(loop, lines, line):
                    return
            _put(loop, lines, None)

        threading.Thread(target=read, name="input", daemon=True).start()
        try:
            while (line := await lines.get()) is not None:
                if line.strip():
                    await self._hear(line)
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def tell(self, method: str, params: Mapping[str, Any]) -> None:
        """A notification."""
        await self._say({"method": method, "params": params})

    async def ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """A request of ours. Raises Fault if the peer refuses it; if nobody waits any more the peer is told."""
        self._last += 1
        number = self._last
        future: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._open[number] = future
        await self._say({"id": number, "method": method, "params": params})
        try:
            return await future
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                await self.tell("$/cancel_request", {"requestId": number})
            raise
        finally:
            self._open.pop(number, None)

    async def _hear(self, line: bytes) -> None:
        try:
            record = json.loads(line, parse_constant=_no_number, parse_float=_number)
        except (ValueError, RecursionError) as error:
            why = f"a line has more than {LINE_BYTES_MAX} bytes" if len(line) == LINE_BYTES_MAX else f"this is no JSON: {error}"
            await self._say({"id": None, "error": {"code": PARSE_ERROR, "message": why}})
            return
        method = record.get("method") if isinstance(record, dict) else None
        params = record.get("params", {}) if isinstance(record, dict) else None
        is_call = isinstance(record, dict) and ("method" in record or "id" not in record)
        if not isinstance(record, dict) or not isinstance(params, dict) or (is_call and not isinstance(method, str)):
            number = record.get("id") if isinstance(record, dict) else None
            await self._say({"id": number, "error": {"code": INVALID_REQUEST, "message": "this is no request of JSON-RPC 2.0"}})
        elif isinstance(method, str) and "id" in record and len(self._tasks) >= WAITING_MAX:
            message = f"{WAITING_MAX} requests are not answered yet: wait for some of them"
            await self._say({"id": record["id"], "error": {"code": INTERNAL_ERROR, "message": message}})
        elif isinstance(method, str):
            task = asyncio.create_task(self._answer(method, params, record))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(0)  # what it does first is done in the order in which it came
        else:
            future = self._open.get(record["id"]) if isinstance(record["id"], int) else None
            if future is None or future.done():
                return
            refusal, result = record.get("error"), record.get("result")
            if isinstance(refusal, dict):
                future.set_exception(WireFault(INTERNAL_ERROR, str(refusal.get("message", "it was refused"))))
            else:
                future.set_result(result if isinstance(result, dict) else {})

    async def _answer(self, method: str, params: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        answer: dict[str, Any]
        try:
            answer = {"result": await self._handle(method, params)}
        except WireFault as fault:
            answer = {"error": fault.error}
        except CrewdError as error:
            answer = {"error": fault_of(error).error}
        except Exception as error:  # noqa: BLE001 (the peer is told, and goes on)
            answer = {"error": {"code": INTERNAL_ERROR, "message": f"{type(error).__name__}: {error}"}}
        if "id" in record:
            await self._say({"id": record["id"], **answer})

    async def _say(self, record: Mapping[str, Any]) -> None:
        text = json.dumps({"jsonrpc": "2.0", **record}, ensure_ascii=False)
        data = json_line(text.encode("utf-8", "replace"))

        def write() -> None:
            self._sink.write(data)
            self._sink.flush()

        async with self._one:
            await asyncio.to_thread(write)


def fault_of(error: CrewdError) -> WireFault:
    """What crewd refuses, in words and with its code."""
    code = {"not_found": NOT_FOUND, "usage": INVALID_PARAMS}.get(error.code, INTERNAL_ERROR)
    return WireFault(code, f"{error.message} ({error.hint})" if error.hint else error.message, {"crewd": error.code})


def _number(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _put(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[bytes | None], line: bytes | None) -> bool:
    """Whether the line was taken: not if the loop is over."""
    try:
        asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()
    except (RuntimeError, asyncio.CancelledError):
        return False
    return True
