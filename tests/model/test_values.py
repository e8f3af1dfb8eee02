from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.model.errors import InvariantError, UsageError
from crewd.model.home import SOCKET_PATH_BYTES_MAX, Home
from crewd.model.ids import IdSource, check_name, is_id, marker, spell, split_marker, uuid7
from crewd.model.receipts import LEVELS, Level, Outcome, Receipt, climb
from crewd.model.redact import clip, redact
from crewd.model.statuses import (
    ATTEMPT_MOVES,
    ATTEMPT_TERMINAL,
    RUN_MOVES,
    RUN_TERMINAL,
    TASK_MOVES,
    TASK_TERMINAL,
    task_may_move,
)
from crewd.testing import VirtualClock


class Zero:
    def bytes(self, count: int) -> bytes:
        return bytes(count)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) / 2


def test_ids_sort_as_they_were_made_also_when_the_clock_goes_back() -> None:
    clock = VirtualClock()
    source = IdSource(clock, Zero())
    made = []
    for step in range(10_000):
        clock.now += (-0.01, 0.0, 0.02)[step % 3]
        made.append(source.next("r"))
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(is_id(each, "r") for each in made)


def test_ids_sort_after_those_of_an_earlier_process_whose_clock_was_ahead() -> None:
    clock = VirtualClock()
    clock.now += 3_600
    before = [IdSource(clock, Zero()).next("r") for _ in range(3)]
    clock.now -= 3_600
    source = IdSource(clock, Zero())
    source.follow(max(before))
    source.follow("")
    assert source.next("r") > max(before)
    source.follow("r_7zzzzzzzzzzzzzzzzzzzzzzzzz")
    assert source.next("r") < "r_1"


def test_uuid7_has_its_version_and_variant() -> None:
    raw = uuid7(1, b"\xff" * 10)
    assert raw[6] >> 4 == 7
    assert raw[8] >> 6 == 2
    assert len(spell("m", raw)) == 28


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", "a b", "x" * 65, "a..b", "é"])
def test_names_that_could_leave_a_folder_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_name("run", name)


def test_a_marker_comes_apart_as_it_was_put_together() -> None:
    assert split_marker(marker("abc", "r_1/step", 3)) == ("abc", "r_1/step", 3)
    assert split_marker("abc:---") is None
    assert split_marker("nonsense") is None


def receipt() -> Receipt:
    return Receipt(id="m", kind="steer", run="r", task="r/t", level=Level.ACCEPTED)


@given(st.lists(st.sampled_from(LEVELS), max_size=8))
def test_a_receipt_only_climbs(levels: list[Level]) -> None:
    now = receipt()
    for level in levels:
        after = climb(now, level, 1.0, outcome=Outcome.DONE if level is Level.SETTLED else None)
        assert after.reached(now.level)
        assert after.reached(level)
        now = after


def test_a_receipt_settles_once() -> None:
    done = climb(receipt(), Level.SETTLED, 1.0, outcome=Outcome.DONE)
    with pytest.raises(InvariantError):
        climb(done, Level.SETTLED, 2.0, outcome=Outcome.REFUSED)
    with pytest.raises(InvariantError):
        climb(receipt(), Level.APPLIED, 2.0, outcome=Outcome.REFUSED)


def test_terminal_is_where_nothing_follows() -> None:
    assert {s for s, after in RUN_MOVES.items() if not after} == set(RUN_TERMINAL)
    assert {s for s, after in TASK_MOVES.items() if not after} == set(TASK_TERMINAL)
    assert {s for s, after in ATTEMPT_MOVES.items() if not after} == set(ATTEMPT_TERMINAL)
    for before, after in ((a, b) for a in TASK_MOVES for b in TASK_MOVES):
        assert task_may_move(before, after) == (before == after or after in TASK_MOVES[before])


@pytest.mark.parametrize(
    "secret",
    ["sk-abcdefghijklmnop1234", "ghp_abcdefghijklmnopqrstuv", "AKIAABCDEFGHIJKLMNOP", "Bearer abcdefghijklmnopqrstuvwx"],
)
def test_secrets_leave_a_text(secret: str) -> None:
    assert secret not in redact(f"it said {secret} and went on")
    assert "hunter22" not in redact("MY_PASSWORD=hunter22")
    assert redact("nothing to hide here") == "nothing to hide here"


@given(st.text(max_size=300), st.integers(20, 100))
def test_a_clipped_text_is_short(text: str, limit: int) -> None:
    assert len(clip(text, limit)) <= max(limit, 0)


def test_socket_paths_fit_whatever_the_home_is_called(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / ("x" * 150)):
        home = Home(root)
        for path in (home.guardian_socket, home.clients_socket, home.workers_socket):
            assert len(str(path).encode()) <= SOCKET_PATH_BYTES_MAX


def test_what_is_no_level_is_named() -> None:
    with pytest.raises(UsageError, match="'bogus' is no level of a message"):
        receipt().reached("bogus")  # type: ignore[arg-type]
    assert receipt().reached(Level.ACCEPTED)
    assert not receipt().reached(Level.APPLIED)
