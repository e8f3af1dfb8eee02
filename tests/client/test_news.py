"""When a person is told of what: severities, batches, the same thing once, hours of quiet."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewd.client import calls
from crewd.client.news import BATCH_SECONDS, Teller, in_words, is_quiet, parse_hours
from crewd.model.errors import UsageError
from crewd.model.news import NewsItem, Severity
from crewd.protocol import replies as rl

INFO, WARNING, ERROR, CRITICAL = Severity


def item(seq: int, severity: Severity = INFO, text: str = "", at: float | None = None) -> NewsItem:
    return NewsItem(seq, float(seq) if at is None else at, "r", f"run{seq}", "", "completed", severity, text or str(seq))


def midnight(_: float) -> int:
    return 0


def seqs(told: list[list[NewsItem]]) -> list[list[int]]:
    return [[each.seq for each in together] for together in told]


def test_failures_are_told_at_once_and_successes_together() -> None:
    teller = Teller(midnight)
    assert seqs(teller.take([item(1), item(2, ERROR)], 10.0)) == [[2]]
    assert teller.upto(2) == 0, "the first is held back: it is not seen yet"
    assert seqs(teller.take([item(3)], 12.0)) == []
    assert seqs(teller.take([], 10.0 + BATCH_SECONDS)) == [[1, 3]]
    assert teller.upto(3) == 3
    assert in_words([item(1), item(3)]) == "info     2 completed: run1, run3"


def test_in_quiet_hours_only_what_cannot_wait_is_told_and_the_rest_in_the_morning() -> None:
    minute = [23 * 60]
    teller = Teller(lambda _: minute[0], parse_hours("22:00-07:00"))
    assert seqs(teller.take([item(1), item(2, ERROR), item(3, CRITICAL)], 10.0)) == [[3]]
    minute[0] = 7 * 60
    assert seqs(teller.take([], 20.0)) == [[2], [1]]


def test_the_same_thing_is_told_once() -> None:
    teller = Teller(midnight)
    again = [item(n, WARNING, "same", at) for n, at in ((1, 0.0), (2, 10.0), (3, 31.0))]
    again = [NewsItem(each.seq, each.at, "r", "run", "", "parked", WARNING, "same") for each in again]
    assert seqs([told for each in again for told in teller.take([each], each.at)]) == [[1], [3]]
    questions = [NewsItem(seq, 50.0, "r", "run", "r/a", "question", WARNING, "Proceed?") for seq in (4, 5)]
    assert seqs(teller.take(questions, 50.0)) == [[4], [5]], "two questions are two, whatever they ask"


def test_what_is_told_together_is_of_one_kind() -> None:
    teller = Teller(midnight, batch_seconds=0.0)
    mixed = [item(1), NewsItem(2, 2.0, "r", "slow", "", "long_running", INFO, ""), item(3)]
    assert seqs(teller.take(mixed, 3.0)) == [[1, 3], [2]]


def test_what_matters_less_than_was_asked_for_is_not_told() -> None:
    assert seqs(Teller(midnight, least=ERROR).take([item(1), item(2, WARNING), item(3, ERROR)], 99.0)) == [[3]]


def test_hours_go_over_midnight_and_wrong_ones_are_refused() -> None:
    night = parse_hours("22:00-07:00")
    assert [is_quiet(night, hour * 60) for hour in (21, 22, 0, 6, 7)] == [False, True, True, True, False]
    assert [is_quiet(parse_hours("12:30-13:00"), minute) for minute in (749, 750, 779, 780)] == [False, True, True, False]
    assert parse_hours("") is None
    for wrong in ("22-7", "24:00-01:00", "1:60-2:00", "night"):
        with pytest.raises(UsageError):
            parse_hours(wrong)


@given(st.lists(st.tuples(st.sampled_from(Severity), st.floats(0.0, 3.0), st.integers(0, 1_439))))
def test_in_the_end_everything_was_told_once(news: list[tuple[Severity, float, int]]) -> None:
    minute, now, told = 0, 0.0, []
    teller = Teller(lambda _: minute, parse_hours("22:00-07:00"))
    for seq, (severity, pause, minute) in enumerate(news, 1):  # noqa: B007 (the teller looks at it)
        now += pause
        told += seqs(teller.take([item(seq, severity, at=now)], now))
        held = set(range(1, seq + 1)) - {each for together in told for each in together}
        assert teller.upto(seq) == min(held, default=seq + 1) - 1, "what is not told yet is not seen"
    minute = 720
    for _ in range(2):
        told += seqs(teller.take([], now))
        now += BATCH_SECONDS + 1  # more than what rounding takes away
    assert sorted(each for together in told for each in together) == list(range(1, len(news) + 1))


def test_a_client_goes_on_through_the_log_until_there_is_news_or_its_end() -> None:
    """In a large log, an answer may hold no news of one's own and say that there is more to look through."""
    asking = calls.news(cast("Any", None), limit=10)
    asked = [next(asking)]
    asked += [asking.send(rl.NewsReply((), upto, more=True)) for upto in (22_583, 47_100)]
    with pytest.raises(StopIteration) as ended:
        asking.send(rl.NewsReply((item(50_000),), 50_000, more=True))
    assert ended.value.value.items == (item(50_000),)
    assert [cast("Any", each).request.after for each in asked] == [0, 22_583, 47_100]
    alone = calls.news(cast("Any", None))
    next(alone)
    with pytest.raises(StopIteration):
        alone.send(rl.NewsReply((), 7))
