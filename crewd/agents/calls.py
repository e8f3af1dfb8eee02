"""Our half of JSON-RPC: requests with numbers, what each was for, and answers to requests of the other side.

The numbers of both sides are two sets: a record with a method is theirs, whatever its number.

Tests: tests/agents/test_codex.py, tests/agents/test_acp.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crewd.agents.acts import Write
from crewd.agents.records import number_at, text_at

NO_METHOD, WRONG_PARAMS = -32601, -32602
"""JSON-RPC 2.0, section 5.1: the method is not there."""


class Calls:
    """`head` is what stands in each record (`jsonrpc`, where the protocol has it)."""

    def __init__(self, head: Mapping[str, str]) -> None:
        self._head = head
        self._last = 0
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
        if "method" in record or not isinstance(number, int):
            return None
        return self._open.pop(number, None)

    def open(self, method: str) -> set[str]:
        """The messages for which a request with this method has no answer yet."""
        return {key for each, key in self._open.values() if each == method}


def error_of(record: Mapping[str, Any]) -> str:
    """What the error of an answer says, with its code; empty if it has none."""
    error = record.get("error")
    if error is None:
        return ""
    return text_at(error, "message") or f"error {number_at(error, 'code'):g}"
