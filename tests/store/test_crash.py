"""Whatever a crash leaves of the files: what was answered is there, the rest is whole or not there at all (R18)."""

from __future__ import annotations

import dataclasses
import os
import random
from pathlib import Path

import pytest

from tests.store.crashes import check, moments, written

KILLS = int(os.environ.get("CREWD_CRASH_POINTS", "300"))
"""Crashes that are tried; `make stress` tries many more."""


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_a_crash_leaves_what_was_answered_is_there_and_nothing_is_half(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    (tmp_path / "work").mkdir()
    (tmp_path / "after").mkdir()
    points = 0
    kinds: set[str] = set()
    for write in written(tmp_path / "work", KILLS, chance):
        for moment in moments(write, chance):
            check(tmp_path / "after", moment)
            points += 1
            kinds.add(" ".join(moment.name.split()[:2]))
        if points >= KILLS // 2:
            break
    assert points >= KILLS // 2
    assert kinds == {"killed at", "torn at", "power cut", "killed while"}


def test_the_search_sees_a_store_that_answers_too_early(tmp_path: Path) -> None:
    """The harness itself: if `least` were one commit further than what is on the disk, it would say so."""
    chance = random.Random(3)
    (tmp_path / "work").mkdir()
    (tmp_path / "after").mkdir()
    write = next(write for write in written(tmp_path / "work", 3, chance) if write.most > write.least > 0)
    early = next(iter(moments(dataclasses.replace(write, least=write.most), chance)))
    with pytest.raises(AssertionError, match="was answered"):
        check(tmp_path / "after", early)
