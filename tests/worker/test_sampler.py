"""Progress in the history: of a hundred signs twelve, and every change of phase."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.errors import UsageError
from crewd.worker.context import _amount
from crewd.worker.sampler import Sampler


def kept(phases: list[str]) -> list[int]:
    sampler = Sampler()
    taken = [sampler.take(None, None, "", phase)[0] for phase in phases] + [sampler.last()]
    return [sample.count for sample in taken if sample is not None]


def test_of_a_hundred_twelve_are_kept() -> None:
    assert kept([""] * 100) == [1, *range(5, 100, 10), 100]


@given(st.lists(st.sampled_from(["plan", "edit", "test"]), min_size=1, max_size=200))
def test_no_change_of_phase_is_lost_and_the_rest_stays_few(phases: list[str]) -> None:
    found = kept(phases)
    changes = {1, len(phases), *(number for number in range(2, len(phases) + 1) if phases[number - 1] != phases[number - 2])}
    assert changes <= set(found)
    assert found == sorted(set(found)), "each once, in order"
    assert set(found) <= changes | set(range(5, len(phases) + 1, 10))


def test_a_sample_that_is_needed_says_so() -> None:
    sampler = Sampler()
    needed = [sampler.take(None, None, "", phase)[1] for phase in ("a", "a", "a", "a", "a", "b")]
    assert needed == [True, False, False, False, False, True]


@pytest.mark.parametrize("value", ["7", float("nan"), float("inf"), True, [1]])
def test_what_is_no_amount_is_refused_in_the_caller_s_own_line(value: Any) -> None:
    with pytest.raises(UsageError, match="done is"):
        _amount("done", value)
    assert (_amount("done", 3), _amount("done", None)) == (3.0, None)
