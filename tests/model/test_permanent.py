"""Errors by their text: what is tried again, and what never is."""

from __future__ import annotations

import pytest

from crewd.model.errors import UsageError
from crewd.model.permanent import check_texts, is_permanent
from crewd.model.policy import Retry


@pytest.mark.parametrize(
    "error",
    [
        "RuntimeError: 401", "401 Unauthorized", "exit code 1: 403 Client Error", "HTTP 403", "status code: 401", "Error (402)",
        "HTTPError: HTTP Error 403: Forbidden", "Unauthorised", "invalid api key", "Invalid API-key",
        "invalid key", "invalid_token", "no API key was given",
        "missing credentials", "the token has expired", "your API key is invalid", "authentication_error: bad", "auth failed",
        "billing is not active", "payment required", "insufficient credits", "insufficient_quota",
        "429 Too Many Requests: your credit balance is too low", "exit code 2: curl: (22) error: 401",
    ],
)  # fmt: skip
def test_what_another_try_cannot_change(error: str) -> None:
    assert is_permanent(error)
    assert Retry(attempts=3).hopeless("RuntimeError", None, error)


@pytest.mark.parametrize(
    "error",
    [
        "main.c:402: error: expected ;", "File x.py:403: ConnectionResetError", "connection to 10.0.0.1:402 refused",
        "exit code 1: 403 files processed", "took (402 ms)", "[401/500] compiling", "Error: 401 lines",
        "", "429 Too Many Requests", "rate limit exceeded", "503 Service Unavailable", "overloaded_error", "connection refused",
        "ECONNRESET", "timed out after 401 s", "exit code 1: line 403", "took 401.5 ms", "file401.txt is missing",
        "KeyError: 'key'", "there is no key of this name",
        "exit code 1: 12 passed, 401 failed", "the keyboard is invalid", "socket hang up", "502 Bad Gateway", "port 4010",
    ],
)  # fmt: skip
def test_what_may_be_tried_again(error: str) -> None:
    assert not is_permanent(error)


def test_the_table_can_be_another() -> None:
    assert not Retry(permanent_texts=()).hopeless("", None, "401 Unauthorized")
    assert Retry(permanent_texts=("quota",)).hopeless("", None, "over QUOTA")
    for wrong in ("", "a" * 501):
        with pytest.raises(UsageError, match="characters"):
            check_texts("step a", (wrong,))
