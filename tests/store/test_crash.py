"""Whatever a crash leaves of the files: what was answered is there, the rest is whole or not there at all (R18)."""

from __future__ import annotations

import itertools
import os
import random
from pathlib import Path

import pytest

from tests.store.crashes import check, committed, moments

KILLS = int(os.environ.get("CREWD_CRASH_POINTS", "300"))
"""Crashes that are tried; `make stress` tries many more."""


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_a_crash_leaves_what_was_answered_is_there_and_nothing_is_half(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    (tmp_path / "work").mkdir()
    (tmp_path / "after").mkdir()
    least = points = 0
    kinds: set[str] = set()
    for most, before, after in committed(tmp_path / "work", KILLS, chance):
        if least:  # a home that was never opened is another matter
            for moment in moments(least, most, before, after, chance):
                check(tmp_path / "after", moment)
                points += 1
                kinds.add(" ".join(moment.name.split()[:2]))
        least = most
        if points >= KILLS // 2:
            break
    assert points >= KILLS // 2
    assert kinds == {"killed at", "torn at", "power cut", "killed while"}


def test_the_search_sees_a_store_that_answers_too_early(tmp_path: Path) -> None:
    """The harness itself: if `least` were one commit further than what is on the disk, it would say so."""
    chance = random.Random(3)
    (tmp_path / "work").mkdir()
    (tmp_path / "after").mkdir()
    (_, _, _), (most, before, after) = itertools.islice(committed(tmp_path / "work", 3, chance), 2)
    early = next(iter(moments(most, most, before, after, chance)))
    with pytest.raises(AssertionError, match="was answered"):
        check(tmp_path / "after", early)
