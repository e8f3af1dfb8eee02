"""The net for workers: each law catches its fish, good workers pass, and the story can be read and played again."""

from __future__ import annotations

import contextlib
import itertools
import json
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings

from crewd.client.cli.main import main
from crewd.model.errors import UsageError
from crewd.testing.stress import (
    LAWS,
    Act,
    Cancel,
    File,
    FoundMistake,
    History,
    Search,
    Steer,
    Target,
    Trial,
    WorkerLawBroken,
    check,
    parse,
    stress,
    try_out,
)
from crewd.testing.stress.cli import until_interrupted
from crewd.testing.stress.strategies import histories
from crewd.testing.stress.trial import Point
from examples.stressed import report
from tests.testing.stress import bad

pytestmark = pytest.mark.process
FISH = {
    "swallows": "stops within its grace",
    "sleeps_on": "stops within its grace",
    "trips_over_its_cleanup": "reaches a result or a Cancelled",
    "ignores_steers": "takes what it was sent",
    "carries_out_twice": "applies each steer once",
    "forgets_a_child": "leaves no process",
    "forgets_a_fork": "leaves no process",
    "answers_itself": "stops within its grace",
    "forgets_a_thread": "leaves no thread",
    "forgets_a_file": "leaves no temporary file",
    "adds_again": "resumes to the same end",
    "cannot_start_again": "resumes to the same end",
    "swallows_the_last_cancel": "stops within its grace",
    "goes_on_in_spite": "stops within its grace",
    "sleeps_through_its_cancel": "stops within its grace",
    "returns_in_spite": "stops within its grace",
    "is_late": "stops within its grace",
    "forgets_what_it_counted": "resumes to the same end",
    "adds_again_when_resumed": "resumes to the same end",
    "forgets_a_lock": "leaves no temporary file",
    "looks_for_steers_once": "takes what it was sent",
    "writes_on_after_its_checkpoint": "leaves no half-written file",
    "plain_half": "leaves no half-written file",
    "plain_adds_again": "leaves no half-written file",
    "plain_goes_on": "stops within its grace",
    "leaves_without_a_word": "reaches a result or a Cancelled",
}


def target(name: str) -> Target:
    def applied(work: Path) -> list[str]:
        return (work / "done.txt").read_text().splitlines() if (work / "done.txt").exists() else []

    return Target(getattr(bad, name), applied=applied if name == "carries_out_twice" else None)


DRAWN = 4
"""Histories that are drawn for each good worker: each single act at each point is tried before them."""


def search(name: str, examples: int = 20) -> FoundMistake:
    return Search(target(name), grace=0.2).go(examples)


@pytest.mark.parametrize("name", FISH)
def test_each_bad_worker_is_caught_by_its_law(name: str) -> None:
    found = search(name)
    assert found.breach is not None
    assert found.breach.law == FISH[name]
    assert len(found.history.controls) == 1, "the story is as short as it can be"
    again = Search(target(name), grace=0.2).replay(parse(str(found.history)))
    assert again.breach is not None
    assert again.breach.law == found.breach.law


@pytest.mark.parametrize(
    "name",
    [
        "good_async",
        "plain",
        "goes_on_where_it_was",
        "keeps_its_state",
        "keeps_a_ledger",
        "adds_lines",
        "returns_a_part",
        "shares_its_work",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in (
                "good",
                "good_group",
                "good_notes",
                "good_listener",
                "slow_async",
                "plain_whole",
                "depends_on_the_time",
                "keeps_its_pieces",
                "keeps_a_log_per_start",
            )
        ),
    ],
)
def test_good_workers_keep_every_law(name: str) -> None:
    found = search(name, DRAWN)
    assert found.story == ""
    assert found.histories["drawn"] >= min(DRAWN, len(found.reference.points))


def test_a_handler_of_the_program_that_runs_a_trial_is_none_of_the_worker() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for text in ("", "crash@1", "cancel@1"):
            assert try_out(target("ends_its_fork"), parse(text)).last.end in {"completed", "crashed", "cancelled"}
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_was_there_before_is_not_the_worker_s(tmp_path: Path) -> None:
    (tmp_path / "notes.txt~").write_text("mine")
    assert Search(Target(bad.keeps_its_pieces, files=tmp_path), grace=0.2).go(0).story == ""


def test_what_fails_in_the_harness_is_no_pass() -> None:
    calls = itertools.count()

    def hiccups(worker: Target, history: History) -> Any:
        if next(calls) == 8:
            raise ValueError("a hiccup")
        return try_out(worker, history)

    with pytest.raises(ValueError, match="a hiccup"):
        Search(Target(bad.plain), hiccups, grace=0.2).go(20)


def test_an_interrupt_whose_exception_is_lost_is_heard() -> None:
    def loses_it(worker: Target, history: History) -> Any:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run in the background, where it is ignored
    try:
        with until_interrupted(loses_it) as attempt, pytest.raises(KeyboardInterrupt):
            attempt(Target(bad.plain), History())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def test_the_example_has_a_bug_and_its_mended_twin_has_not() -> None:
    with pytest.raises(WorkerLawBroken) as caught:
        stress(Target("examples.stressed:report"))
    story = str(caught.value)
    assert "leaves no half-written file" in story
    assert "stressed.py:" in story
    assert "crew stress examples.stressed:report --history" in story
    assert stress(Target("examples.stressed:mended"), examples=10).trials > 30


@settings(max_examples=6)
@given(histories(12, grace_seconds=0.2))
def test_a_property_of_ones_own(history: History) -> None:
    check(Target("examples.stressed:mended"), history)


def test_a_log_may_be_cut_and_another_file_that_may_grow_is_said_how_to_declare() -> None:
    for name, breach in (("lines.log", False), ("lines.txt", True)):
        found = Search(Target(bad.appends_lines, {"name": name})).go(0)
        assert (found.breach is not None) is breach
        assert ("--appends lines.txt)" in found.story) is breach


def test_a_question_and_its_answer_are_in_the_story() -> None:
    found = Search(target("fails_in_silence")).replay(parse("silence"))
    assert found.breach is not None
    assert "it asks 'Which format?': nobody answers" in found.story
    fits = Search(target("fails_in_silence")).replay(parse("answer:purple"))
    assert fits.breach is None, "an answer that does not fit is followed by one that does, as with a crewd"
    assert [asked.answer for asked in fits.trial.last.asked] == ["CSV"] if fits.trial else False


@pytest.mark.parametrize(
    ("first", "again", "told"),
    [
        ((2.0, 1), (1.5, 1), 1),
        ((2.0, 2), (2.0, 2), 2),
        ((2.0, 1), (2.0, 2), 0),
        ((2.0, 1), (0.1, 1), 0),
        ((0.5, 1), (0.5, 1), 0),
    ],
)
def test_a_time_without_points_is_told_if_it_was_longer_than_the_grace_each_time(
    first: tuple[float, int], again: tuple[float, int], told: int
) -> None:
    points = tuple(Point(number, "ctx.progress", "") for number in (1, 2, 3))
    trials = iter(
        Trial((Act("completed", points=points, gap_seconds=gap, gap_after=after),), {}) for gap, after in (first, again)
    )
    found = Search(Target(bad.good), lambda _target, _history: next(trials), grace=1.0).go(0, every_point=0)
    assert (found.deaf_after.number if found.deaf_after else 0) == told


def test_a_worker_that_is_deaf_for_a_time_is_told_so() -> None:
    shown = crew("tests.testing.stress.bad:naps", "--arg", "seconds=1.0", "--grace", "0.3", "--examples", "0")
    told = " ".join(shown.output.split())
    assert "After point 1 (ctx.progress, " in told and "so a cancel in that time is late" in told
    assert "every law held" in told


def test_a_failure_that_came_of_a_caught_cancel_says_so() -> None:
    found = Search(target("tries_again")).replay(parse("cancel@1"))
    assert "it failed, after it had caught its cancel: RuntimeError: gave up" in found.story


def test_a_law_can_be_left_out_and_a_file_may_grow() -> None:
    assert Search(target("forgets_a_file"), without=["leaves no temporary file"]).go(0).breach is None
    assert (
        Search(Target("examples.stressed:report", appends=["report.txt"]), without=["resumes to the same end"]).go(0).breach
        is None
    )


def test_a_strategy_draws_only_what_the_worker_takes() -> None:
    @settings(max_examples=30, database=None)
    @given(histories(5, steers=False, follow_ups=False, cancels=False, crashes=0))
    def holds(history: History) -> None:
        assert history.controls == ()

    holds()


def test_half_a_file_is_a_beginning_and_not_all() -> None:
    whole = File(4, b"abcd", "")
    assert File(2, b"ab", "").begins(whole)
    assert not File(2, b"xy", "").begins(whole)
    assert not whole.begins(whole)


def test_nothing_is_left_behind_by_the_harness_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for text in ("cancel@1", "crash@1", ""):
        try_out(target("forgets_a_child"), parse(text))
        try_out(target("sleeps_on"), parse(f"{text}/0.1" if "cancel" in text else text))
    assert list(tmp_path.iterdir()) == []


# -- crew stress ----------------------------------------------------------------------------------------------------


def crew(*args: str) -> Any:
    return CliRunner().invoke(main, ["stress", *args])


def test_crew_stress_prints_the_story_and_exits_1() -> None:
    shown = crew("examples.stressed:report", "--examples", "0")
    assert shown.exit_code == 1
    assert "it is cancelled (caller_cancelled, 1 s of grace)" in " ".join(shown.output.split())
    command = next(line for line in shown.output.splitlines() if "again:" in line)
    assert crew("examples.stressed:report", "--history", command.rpartition("--history ")[2]).exit_code == 1


def test_crew_stress_says_what_was_done_when_every_law_held() -> None:
    shown = crew("examples.stressed:mended", "--examples", "5")
    assert shown.exit_code == 0
    done = "12 cancel at a point, 12 crash at a point, 12 steer at a point, 12 follow-up at a point, 5 drawn)"
    assert done in " ".join(shown.output.split())
    assert "every law held" in shown.output


def test_crew_stress_in_json() -> None:
    shown = CliRunner().invoke(main, ["--json", "stress", "examples.stressed:report", "--examples", "0"])
    document = json.loads(shown.stdout)
    assert (document["law"], document["history"], document["points"]) == ("leaves no half-written file", "cancel@1", 12)


@pytest.mark.parametrize(
    "args",
    [
        ["nothing"],
        ["nothing:"],
        ["examples/stressed.py:report"],
        ["no.module:f"],
        ["examples.stressed:mended", "--history", "cancel@0"],
        ["examples.stressed:mended", "--without", "gravity"],
        ["examples.stressed:mended", "--history", "jump@1"],
        ["examples.stressed:mended", "--here"],
        ["examples.stressed:mended", "--arg", "x"],
        ["examples.stressed:mended", "--arg", "nothing=1"],
    ],
)
def test_crew_stress_refuses_what_it_cannot_do(args: list[str]) -> None:
    shown = crew(*args)
    assert shown.exit_code == 2
    assert "crew: " in shown.output


def test_the_line_that_repeats_what_python_asked_for_has_its_options() -> None:
    found = Search(Target("examples.stressed:report", appends=["*.log"], patience=9), without=["leaves no thread"]).go(0)
    line = found.story.rpartition("again: ")[2]
    assert line.endswith("--patience=9 '--appends=*.log' '--without=leaves no thread'")
    assert crew(*shlex.split(line)[2:]).exit_code == 1


def test_what_no_command_can_say_is_repeated_in_python() -> None:
    def local(ctx: Any) -> None:
        report(ctx)

    applied = Target("examples.stressed:report", applied=lambda _folder: ())
    for each in (Target(local), applied):
        line = Search(each).go(0).story.rpartition("again: ")[2]
        assert line == "check(TARGET, parse('cancel@1')), with the same target; see crewd.testing.stress"


@pytest.mark.parametrize(
    ("history", "says"),
    [
        ("cancel@99 steer@2:x", ("Nothing came of cancel@99: the worker came to 12 points.",)),
        ("answer:yes silence", ("Nothing came of 2 answers: the worker asked 0 questions.",)), ("steer@2:x", ()),
        ("cancel@3 steer@3:late", ("Nothing came of steer@3: it was refused (cancelled).",)),
    ],
)  # fmt: skip
def test_what_of_a_history_did_nothing_is_said(history: str, says: tuple[str, ...]) -> None:
    shown = crew("examples.stressed:mended", "--history", history)
    assert shown.exit_code == 0
    assert tuple(line for line in shown.output.splitlines() if "came of" in line) == says


def test_the_line_that_repeats_it_has_every_option(tmp_path: Path) -> None:
    options = [
        "--grace",
        "0.5",
        "--patience",
        "9",
        "--files",
        str(tmp_path),
        "--appends",
        "*.log",
        "--without",
        "leaves no thread",
    ]
    shown = crew("examples.stressed:report", *options)
    line = next(line for line in shown.output.splitlines() if "again:" in line)
    words = shlex.split(line.partition("crew stress ")[2])
    assert words[1:3] == ["--history", "cancel@1/0.5"]
    assert words[3:] == [
        "--grace=0.5",
        "--patience=9.0".replace(".0", ""),
        f"--files={tmp_path}",
        "--appends=*.log",
        "--without=leaves no thread",
    ]
    again = crew(*words)
    assert (again.exit_code, "leaves no half-written file" in again.output) == (1, True)


def test_it_says_that_the_worker_really_runs_what_was_not_reached_and_where_it_hung() -> None:
    shown = crew("examples.stressed:mended", "--history", "cancel@40")
    assert "is really run" in shown.output
    assert "Nothing came of cancel@40: the worker came to 12 points" in shown.output
    shown = crew("tests.testing.stress.bad:hangs", "--patience", "1")
    assert "it was here:" in shown.output
    assert "bad.py" in shown.output.partition("it was here:")[2]


def test_a_worker_has_a_home_and_a_folder_for_temporary_files_of_its_own() -> None:
    trial = try_out(target("tells_its_home"), History())
    home, temporary = trial.last.result
    assert (home, temporary) == ("<folder>/home", "<folder>/tmp/1")


def test_check_gives_the_trial_of_its_history() -> None:
    trial = check(target("goes_on_where_it_was"), parse("cancel@3"))
    assert (trial.last.end, trial.last.cancelled_at) == ("cancelled", 3)
    assert trial.resumed is not None
    assert (trial.resumed.end, len(trial.resumed.points)) == ("completed", 3)


def test_every_law_is_named_in_the_help() -> None:
    words = " ".join(crew("--help").output.split())
    assert all(law in words for law in LAWS)


def test_steers_differ_by_their_number() -> None:
    seen: set[int] = set()

    @settings(max_examples=30, database=None)
    @given(histories(5, follow_ups=False))
    def holds(history: History) -> None:
        texts = [control.text for control in history.controls if isinstance(control, Steer)]
        assert len({text.split(" ")[0] for text in texts}) == len(texts)
        seen.add(len(texts))

    holds()
    assert max(seen) > 1


@pytest.mark.parametrize("error", [SystemExit(143), pytest.fail.Exception("Timeout")], ids=["signal", "timeout"])
def test_what_ends_a_search_from_outside_is_no_pass(error: BaseException) -> None:
    tried: list[History] = []

    def attempt(target: Target, history: History) -> Trial:
        tried.append(history)
        if len(history.controls) + len(history.answers) > 1:  # drawn
            raise error
        return try_out(target, history)

    with pytest.raises(type(error)):
        Search(target("keeps_its_state"), attempt).go(20)
    assert sum(len(history.controls) + len(history.answers) > 1 for history in tried) == 1, "and nothing more is tried"


def test_no_history_is_tried_twice_and_none_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[History] = []

    def attempt(target: Target, history: History) -> Trial:
        tried.append(history)
        return try_out(target, history)

    found = Search(target("keeps_its_state"), attempt).go(30)
    assert found.breach is None
    assert not found.late
    assert len(set(tried)) == len(tried) - 1, "undisturbed it is tried twice"
    assert not any(history.answers for history in tried), "it asks nothing"
    monkeypatch.setattr("crewd.testing.stress.search.DRAW_SECONDS", -1.0)
    found = Search(target("keeps_its_state")).go(30)
    assert found.late
    assert not found.histories["drawn"]


def test_lines_for_people_fit_their_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = crew("examples.stressed:report", "--examples", "0").output.splitlines()
    assert [line for line in lines if len(line) > 80 and "again: " not in line] == []


TEXT: Any = "cancel@1"
NUMBER: Any = -1.0
NAN = float("nan")
REASON: Any = Cancel(1, reason="foo")
HALF = Target("json:loads")


@pytest.mark.parametrize(
    "call",
    [
        lambda: stress(TEXT), lambda: check(TEXT, History()), lambda: check(HALF, TEXT),
        lambda: stress(HALF, examples=-3), lambda: stress(HALF, grace=NUMBER),
        lambda: stress(HALF, without=TEXT), lambda: History(REASON),
        lambda: History((REASON,)), lambda: History((Cancel(1, NAN),)), lambda: History((Cancel(TEXT),)),
        lambda: History((Steer(1, NUMBER),)), lambda: History((), (NUMBER,)),
        lambda: parse(NUMBER), lambda: parse("cancel@1/-1"), lambda: parse("cancel@1:foo"), lambda: parse("cancel@1/nan"),
        lambda: Target("json:loads", TEXT), lambda: Target("json:loads", patience=0),
        lambda: Target("json:loads", files=Path("/no")),
        lambda: Target("json:loads", appends=TEXT), lambda: Target("json:loads", applied=lambda _: TEXT).seen(Path()),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_words(call: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        call()
