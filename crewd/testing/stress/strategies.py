"""Hypothesis strategies for control histories (needs the extra `crewd[testing]`).

Tests: tests/testing/stress/test_search.py, tests/testing/stress/test_history.py.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from crewd.model.reasons import CancelReason
from crewd.testing.stress.history import Cancel, Control, Crash, FollowUp, History, Steer

TEXTS = ("", "stop", "skip the tests", "é¤汉\n\x00", "a" * 5_000)
"""What a steer may say, besides a number that tells it from the others."""


def histories(
    points: int,
    *,
    steers: bool = True,
    follow_ups: bool = True,
    cancels: bool = True,
    crashes: int = 1,
    messages_max: int = 4,
    grace_seconds: float | None = None,
) -> SearchStrategy[History]:
    """Histories over a worker with so many points. Steers are told apart by a number that their text begins with.

    They shrink to fewer controls, earlier points and shorter texts.
    """
    at = st.integers(1, max(1, points))
    kinds: list[type[Steer | FollowUp]] = [*([Steer] if steers else []), *([FollowUp] if follow_ups else [])]
    sent: SearchStrategy[list[Any]] = st.just([])
    if kinds:
        sent = st.lists(st.tuples(st.sampled_from(kinds), at, st.sampled_from(TEXTS)), max_size=messages_max)
    fired: SearchStrategy[list[Any]] = st.just([])
    if cancels:
        graces = st.just(grace_seconds) if grace_seconds is not None else st.sampled_from([1.0, 0.0, 0.2])
        reasons = st.sampled_from([str(reason) for reason in CancelReason])
        fired = st.lists(st.builds(Cancel, at, graces, reasons), max_size=1)
    killed = st.lists(st.builds(Crash, at), max_size=crashes)
    answers = st.lists(st.sampled_from(["yes", "no", None, ""]), max_size=3)

    def build(messages: list[Any], cancelled: list[Control], crashed: list[Control], said: list[str | None]) -> History:
        controls = [kind(where, f"{number} {text}".strip()) for number, (kind, where, text) in enumerate(messages, 1)]
        return History((*controls, *cancelled, *crashed), tuple(said))

    return st.builds(build, sent, fired, killed, answers)
