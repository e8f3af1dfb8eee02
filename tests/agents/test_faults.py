from __future__ import annotations

import pytest

from crewd.agents.faults import PERMANENT, TRANSIENT, fault_class


@pytest.mark.parametrize(
    "text",
    [
        "429 Too Many Requests", "rate limit reached", "503 Service Unavailable", "502: bad gateway", "Overloaded",
        "connection refused", "fetch failed", "socket hang up", "the upstream has timed out", "ECONNRESET: reset by peer",
        "quota exceeded", "internalServerError",
    ],
)  # fmt: skip
def test_what_another_try_may_mend(text: str) -> None:
    assert fault_class(text) == TRANSIENT


@pytest.mark.parametrize(
    "text",
    [
        "401: unauthorized", "403 Forbidden", "invalid API key", "token has expired", "billing: no credit left",
        "429: your credit balance is too low", "Not logged in", "the context window is full",
    ],
)  # fmt: skip
def test_what_no_other_try_mends_also_where_it_sounds_like_the_other(text: str) -> None:
    assert fault_class(text) == PERMANENT


def test_what_says_neither() -> None:
    assert fault_class("the model has lost its thread") == ""
    assert fault_class("error 14290") == ""
