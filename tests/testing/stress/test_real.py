"""The same histories with real processes: the harness finds the same mistakes, and nothing is left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crewd.testing.stress import History, Search, Target, parse
from crewd.testing.stress.real import Reality
from tests.testing.stress import bad

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def reality() -> Iterator[Reality]:
    with Reality() as real:
        yield real


def test_a_history_in_reality_is_the_history_on_the_stage(reality: Reality) -> None:
    trial = reality.try_out(Target(bad.good), parse("follow-up@1:later steer@2:a crash@4 steer@6:b answer:blue"))
    assert [act.end for act in trial.acts] == ["crashed", "completed"]
    assert trial.last.result == {"colour": "blue", "heard": ["b"], "in": "<attempt>"}
    outcomes = {sent.text: sent.outcome for sent in trial.sent}
    assert outcomes == {"later": "unknown", "a": "unknown", "b": "done"}
    assert trial.files["attempt/artifacts/x.txt"].size == 1_000


def test_a_cancel_at_a_point(reality: Reality) -> None:
    trial = reality.try_out(Target(bad.good), parse("cancel@3"))
    assert (trial.last.end, trial.last.cancelled_at) == ("cancelled", 3)
    assert trial.last.stop_seconds < 1.0 + 1.0


def test_reality_finds_the_examples_bug_and_passes_its_twin(reality: Reality) -> None:
    found = Search(Target("examples.stressed:report"), reality.try_out).go(0, every_point=3)
    assert found.breach is not None
    assert found.breach.law == "leaves no half-written file"
    assert Search(Target("examples.stressed:mended"), reality.try_out).go(2, every_point=2).story == ""


def test_a_worker_that_swallows_its_cancel_is_ended_and_named(reality: Reality) -> None:
    trial = reality.try_out(Target(bad.swallows), History())
    assert trial.last.end == "completed"
    found = Search(Target(bad.swallows), reality.try_out, grace=0.2).replay(parse("cancel@2/0.2"))
    assert found.breach is not None
    assert found.breach.law == "stops within its grace"


def test_an_answer_that_does_not_fit_is_followed_by_one_that_does(reality: Reality) -> None:
    last = reality.try_out(Target(bad.confirms), parse("answer:maybe")).last
    assert (last.end, last.result) == ("completed", True)


def test_a_worker_that_leaves_when_it_is_cancelled_was_not_killed(reality: Reality) -> None:
    last = reality.try_out(Target(bad.exits_when_cancelled), parse("cancel@1/60")).last
    assert (last.end, last.signalled) == ("vanished", False)
