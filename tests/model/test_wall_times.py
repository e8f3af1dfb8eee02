"""How long ago a wall-clock time was, whatever was done to the clock."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.wall_times import ERAS_MAX, SET_SECONDS, WallTimes


def test_without_eras_the_wall_clock_tells() -> None:
    assert WallTimes().ago(100.0, 160.0, 5.0) == 60.0
    assert WallTimes().ago(100.0, 40.0, 5.0) == 0.0


@pytest.mark.parametrize("jump", [3_600.0, -3_600.0, 86_400.0, -86_400.0, 5.0])
def test_a_clock_that_was_set_while_nobody_looked(jump: float) -> None:
    times = WallTimes().noted("b", 1e9, 1_000.0)
    at = 1e9 + 10  # at 1010 on the monotonic clock
    now, wall = 1_050.0, 1e9 + 50 + jump
    times = times.noted("b", wall, now)
    assert times.ago(at, wall, now) == pytest.approx(40.0)
    assert times.ago(wall + 5, wall + 15, now + 15) == pytest.approx(10.0), "and what was written since"


def test_another_boot_begins_anew() -> None:
    times = WallTimes().noted("b", 1e9, 1_000.0).noted("c", 1e9 + 500, 10.0)
    assert times.eras == ((0.0, 1e9 + 490),)
    assert times.ago(1e9 + 100, 1e9 + 500, 10.0) == 400.0, "the time between two boots is the wall clock's"


@given(st.lists(st.tuples(st.floats(10, 1_000), st.floats(2 * SET_SECONDS, 1e6), st.booleans()), max_size=2 * ERAS_MAX))
def test_the_last_era_is_right_and_there_are_not_many(steps: list[tuple[float, float, bool]]) -> None:
    now, ahead = 1_000.0, 1e9
    times = WallTimes().noted("b", now + ahead, now)
    for seconds, jump, forwards in steps:
        now += seconds
        ahead += jump if forwards else -jump
        times = times.noted("b", now + ahead, now)
        assert len(times.eras) <= ERAS_MAX
        assert times.ago(now + ahead, now + ahead + 3, now + 3) == pytest.approx(3.0, abs=1e-5)
    assert msgspec.json.decode(msgspec.json.encode(times), type=WallTimes) == times
