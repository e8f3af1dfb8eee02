"""Our half of JSON-RPC: requests with numbers, what each was for, and answers to requests of the other side.

The numbers of both sides are two sets: a record with a method is theirs, whatever its number.

Tests: tests/agents/test_codex.py, tests/agents/test_acp.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crewd.agents.acts import Noted, Write
from crewd.agents.records import at, text_at
from crewd.model.redact import clip

NO_METHOD, WRONG_PARAMS = -32601, -32602
"""JSON-RPC 2.0, section 5.1: the method is not there."""
DIGITS_MAX = 16
"""Of the number of a request that comes back as a text."""


class Calls:
    """`head` is what stands in each record (`jsonrpc`, where the protocol has it)."""

    def __init__(self, head: Mapping[str, str]) -> None:
        self._head = head
        self._last = 0
        self._strayed = False
        self._open: dict[int, tuple[str, str]] = {}

    def ask(self, method: str, params: Mapping[str, Any], key: str = "") -> Write:
        """A request; `key` says for which message it is."""
        self._last += 1
        self._open[self._last] = (method, key)
        return Write({**self._head, "id": self._last, "method": method, "params": params})

    def tell(self, method: str, params: Mapping[str, Any] | None = None) -> Write:
        """A notification."""
        record: dict[str, Any] = {**self._head, "method": method}
        return Write(record if params is None else {**record, "params": params})

    def result(self, number: object, result: Mapping[str, Any]) -> Write:
        """The answer to a request of theirs."""
        return Write({**self._head, "id": number, "result": result})

    def refusal(self, number: object, message: str, code: int = NO_METHOD) -> Write:
        """A request of theirs that is not known here, or (`WRONG_PARAMS`) that cannot be answered."""
        return Write({**self._head, "id": number, "error": {"code": code, "message": message}})

    def answered(self, record: Mapping[str, Any]) -> tuple[str, str] | None:
        """Which request of ours this record answers: its method, and the message that it was for. None if it answers none."""
        number = record.get("id")
        if "method" in record:
            return None
        if isinstance(number, str) and number.isdecimal() and len(number) < DIGITS_MAX:  # some give the number back as a text
            number = int(number)
        return self._open.pop(number, None) if isinstance(number, int) and not isinstance(number, bool) else None

    def stray(self, record: Mapping[str, Any]) -> list[Noted]:
        """The warning about an answer to no request of ours, the first time: what waits for that answer waits on."""
        if self._strayed or not ("result" in record or "error" in record):
            return []
        self._strayed = True
        error = error_of(record)
        what = f"id {clip(repr(record.get('id')), 80)}{f': {error}' if error else ''}"
        return [Noted("warning", f"it has answered no open request: {what}")]

    def open(self, method: str) -> set[str]:
        """The messages for which a request with this method has no answer yet."""
        return {key for each, key in self._open.values() if each == method}


def error_of(record: Mapping[str, Any]) -> str:
    """What the error of an answer says, or its code if it says nothing; empty if there is no error."""
    error = record.get("error")
    if error is None:
        return ""
    said = error if isinstance(error, str) else text_at(error, "message")
    code = at(error, "code")
    told = f" (code {code})" if isinstance(code, int) else ""
    return said.strip() or f"it gives an error without a text{told}"
