"""Liveness, limits and notices of an attempt, by value."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from crewd.model import events as ev
from crewd.model.limits import ATTENTION_COOLDOWN_SECONDS
from crewd.model.policy import Limits
from crewd.model.reasons import FailureReason, Liveness
from crewd.model.rows import ExitStatus
from crewd.model.statuses import AttemptStatus
from crewd.protocol import reports as rp
from crewd.protocol.guardian import Exited
from crewd.supervisor.attempt import effects as do
from crewd.supervisor.attempt import events as heard
from crewd.supervisor.attempt.decide import decide
from crewd.supervisor.attempt.phases import OverLimit
from crewd.supervisor.attempt.state import Attempt, Rules

T = "r_1/s"


def working(runtime: str = "call", **limits: Any) -> Attempt:
    """A worker that said hello at second 0."""
    state = Attempt(T, 1, rules=Rules(runtime, Limits(**limits)))
    for event in (
        heard.Reserve("/"),
        heard.Reserved(),
        heard.SlotGranted(0.0),
        heard.Connected(rp.WorkerHello(T, 1, "", 1), 0.0),
    ):
        state, _ = decide(state, event)
    return state


def feed(state: Attempt, *events: heard.AttemptEvent) -> tuple[Attempt, list[ev.Body], list[do.AttemptEffect]]:
    bodies: list[ev.Body] = []
    effects: list[do.AttemptEffect] = []
    for event in events:
        state, decision = decide(state, event)
        bodies += decision.events
        effects += decision.effects
    return state, bodies, effects


def report(number: int, body: Any, at_: float) -> heard.Reported:
    return heard.Reported(rp.Report(number=number, body=body), 0.0, at_)


def levels(bodies: list[ev.Body]) -> list[str]:
    return [each.level for each in bodies if isinstance(each, ev.AttemptLiveness)]


def test_the_gradient_is_climbed_and_left_again() -> None:
    state, bodies, _ = feed(working(), heard.Due(29.9), heard.Due(30.0), heard.Due(60.0), heard.Due(61.0))
    assert levels(bodies) == ["warn", "stale"]
    assert [each.kind for each in bodies if isinstance(each, ev.NoticeRaised)] == ["needs_attention"]
    state, bodies, _ = feed(state, heard.Alive(62.0, 1))
    assert levels(bodies) == ["healthy"]
    assert [type(each).__name__ for each in bodies] == ["AttemptLiveness", "NoticeClosed"]


def test_dead_needs_both_signals() -> None:
    mute = working()
    for second in range(10, 400, 10):  # its code gives no sign, its process does: it hangs, and is not dead
        mute, _, effects = feed(mute, heard.Alive(float(second), 0), heard.Due(float(second)))
        assert not any(isinstance(each, do.EndWorker) for each in effects)
    assert mute.observed.level is Liveness.STALE
    state, bodies, effects = feed(working(), heard.Due(300.0))
    assert [each.limit for each in bodies if isinstance(each, ev.AttemptLimitHit)] == [FailureReason.UNRESPONSIVE]
    assert do.EndWorker(0.0, 3.0) in effects
    state, bodies, _ = feed(state, heard.Ended(Exited(T, 1, exit=ExitStatus(signal=9)), (), 0.0))
    assert (state.status, bodies[-1].reason) == (AttemptStatus.FAILED, "unresponsive")  # type: ignore[union-attr]


@pytest.mark.parametrize("body", [rp.Asked(id="q_1", question="?"), rp.OpOpened(id="o1", kind="tool", name="build")])
def test_a_question_and_an_operation_are_no_silence(body: Any) -> None:
    state, _, _ = feed(working(quiet_seconds=20.0), report(1, body, 1.0))
    for second in range(10, 1000, 10):
        state, bodies, _ = feed(state, heard.Alive(float(second), 0), heard.Due(float(second)))
        assert not levels(bodies)
    assert state.observed.level is Liveness.HEALTHY
    assert not state.limit


def test_a_command_that_runs_is_no_silence_but_one_that_writes_nothing_can_be_limited() -> None:
    state, bodies, _ = feed(working("exec"), *(heard.Alive(float(s), 0) for s in range(0, 500, 5)), heard.Due(500.0))
    assert not levels(bodies)
    state, bodies, _ = feed(
        working("exec", quiet_seconds=50.0), heard.Measured(40.0, 10), heard.Alive(60.0, 0), heard.Due(60.0)
    )
    assert not state.limit
    state, bodies, _ = feed(state, heard.Alive(90.0, 0), heard.Due(90.0))
    assert state.limit == "quiet_seconds"


@pytest.mark.parametrize(
    ("limits", "events", "name"),
    [
        ({"task_seconds": 10.0}, [heard.Due(9.0), heard.Alive(10.0, 5), heard.Due(10.0)], "task_seconds"),
        (
            {"operation_seconds": 5.0},
            [report(1, rp.OpOpened(id="o", kind="tool", name="x"), 1.0), heard.Due(5.9), heard.Due(6.0)],
            "operation_seconds",
        ),
        ({}, [report(1, rp.OpOpened(id="o", kind="tool", name="x", seconds=2.0), 1.0), heard.Due(3.0)], "operation_seconds"),
        ({"turns": 3}, [report(1, rp.UsageReport(turns=2), 1.0), report(2, rp.UsageReport(turns=3), 1.0)], "turns"),
        ({"tokens": 100}, [report(1, rp.UsageReport(tokens=100), 1.0)], "tokens"),
        ({"cost": 0.5}, [report(1, rp.UsageReport(cost=0.7), 1.0)], "cost"),
    ],
)
def test_a_limit_ends_the_attempt_with_its_name(limits: dict[str, Any], events: list[Any], name: str) -> None:
    before, _, _ = feed(working(**limits), *events[:-1])
    assert not before.limit, "not before it is reached"
    state, bodies, effects = feed(before, events[-1])
    assert [each.limit for each in bodies if isinstance(each, ev.AttemptLimitHit)] == [name]
    assert any(isinstance(each, do.Say) and isinstance(each.order, rp.CancelOrder) for each in effects), "it hears why"
    assert do.EndWorker(3.0, 3.0) in effects
    done = rp.Outcome(outcome="completed")  # what it says afterwards does not help it
    state, bodies, _ = feed(state, report(state.contact.reports + 1, done, 20.0), heard.Ended(Exited(T, 1), (), 0.0))
    ended = bodies[-1]
    assert isinstance(ended, ev.AttemptEnded)
    assert (ended.status, ended.reason) == (AttemptStatus.FAILED, FailureReason.LIMIT)
    assert ended.exit.timed_out == name
    assert name in ended.error


def test_what_the_guardian_measured_too_high_says_which_limit() -> None:
    exited = Exited(T, 1, cause="limit", error="9e9, 1e9 are allowed", exit=ExitStatus(signal=15, timed_out="memory_bytes"))
    _, bodies, _ = feed(working(), heard.Ended(exited, (), 0.0))
    ended = bodies[-1]
    assert isinstance(ended, ev.AttemptEnded)
    assert (ended.reason, ended.error) == (FailureReason.LIMIT, "memory_bytes: 9e9, 1e9 are allowed")


def test_a_limit_survives_a_restart_of_crewd() -> None:
    state = working().become(OverLimit("turns", "3 turns, 3 are allowed"))
    _, _, effects = feed(state, heard.Started(ev.AttemptStarted(pid=1, start_time=0.0, boot_id=""), 0.0))
    assert do.EndWorker(0.0, 3.0) in effects, "the new guardian is told again"


def test_one_that_is_silent_when_crewd_comes_back_is_watched_from_then_on() -> None:
    state = working(task_seconds=1_000.0).with_observed(active_at=50.0, heard_at=50.0, look_at=None)
    state, _, effects = feed(state, heard.Resume(50.0))
    assert do.AlarmAt(80.0) in effects
    state, bodies, _ = feed(state, heard.Due(80.0), heard.Due(110.0), heard.Due(350.0))
    assert [each.limit for each in bodies if isinstance(each, ev.AttemptLimitHit)] == [FailureReason.UNRESPONSIVE]


def test_a_notice_comes_once_and_again_only_after_a_while() -> None:
    state, bodies, _ = feed(working(), heard.Due(60.0), heard.Alive(61.0, 1))
    state, more, _ = feed(state, *(heard.Alive(float(t), 1) for t in (80, 100)), heard.Due(120.9))
    assert len([each for each in bodies + more if isinstance(each, ev.NoticeRaised)]) == 1, "cooldowns for a while"
    raised = [
        each for each in feed(state, heard.Due(61.0 + ATTENTION_COOLDOWN_SECONDS + 1))[1] if isinstance(each, ev.NoticeRaised)
    ]
    assert [each.id for each in raised] == [f"{T}#1:needs_attention"], "the same notice, open again"
    assert len(state.observed.told) == 1, "however often it comes"


def test_failures_in_a_row_and_a_long_run_are_told() -> None:
    state, bodies = working(), list[ev.Body]()
    for number in range(3):
        opened = rp.OpOpened(id=f"o{number}", kind="tool", name="x")
        closed = rp.OpClosed(id=f"o{number}", outcome="failed")
        state, bodies, _ = feed(state, report(2 * number + 1, opened, 1.0), report(2 * number + 2, closed, 1.0))
    state, more, _ = feed(state, heard.Due(31.0))
    assert "repeated_failures" in [each.kind for each in bodies + more if isinstance(each, ev.NoticeRaised)]
    state, bodies, _ = feed(working(), *(heard.Alive(float(t), t) for t in range(0, 620, 20)), heard.Due(600.0))
    assert [each.kind for each in bodies if isinstance(each, ev.NoticeRaised)] == ["long_running"]


def test_an_end_closes_every_notice() -> None:
    _, bodies, _ = feed(working(), heard.Due(60.0), heard.Ended(Exited(T, 1), (), 0.0))
    raised = [each.id for each in bodies if isinstance(each, ev.NoticeRaised)]
    assert raised
    assert [each.id for each in bodies if isinstance(each, ev.NoticeClosed)] == raised


def test_one_alarm_at_a_time() -> None:
    state, _, effects = feed(working(), *(heard.Alive(float(t), t) for t in range(1, 25)))
    assert not [each for each in effects if isinstance(each, do.AlarmAt)], "a sign of life only puts it off"
    state, _, effects = feed(state, heard.Due(30.0))
    assert [each for each in effects if isinstance(each, do.AlarmAt)] == [do.AlarmAt(54.0)]


def test_a_bound_of_the_whole_run_ends_an_attempt_that_is_at_work_once() -> None:
    text = "its run has written 9 bytes into the store, 5 are allowed (run_store_bytes)"
    state, bodies, effects = feed(working(), heard.HitLimit("store_bytes", text), heard.HitLimit("store_bytes", text))
    assert [(each.limit, each.text) for each in bodies if isinstance(each, ev.AttemptLimitHit)] == [("store_bytes", text)]
    assert [type(each) for each in effects].count(do.EndWorker) == 1
    over, bodies, _ = feed(
        state, heard.Ended(Exited(T, 1, exit=ExitStatus(signal=15)), (), 0.0), heard.HitLimit("store_bytes", text)
    )
    assert over.over and not any(isinstance(each, ev.AttemptLimitHit) for each in bodies)


def test_an_artifact_of_an_impossible_size_is_not_recorded() -> None:
    for size in (-1, 1 << 63, (256 << 20) + 1):
        artifact = rp.Artifact(id="a", name="x", path="/x", sha256="0" * 64, size=size, mime="")
        _, bodies, _ = feed(working(), report(working().contact.reports + 1, artifact, 1.0))
        assert not any(isinstance(each, ev.ArtifactRecorded) for each in bodies)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"sha256": "0" * 64}, "its data is not what size and sha256 say"), ({"size": 99}, "its data is not what size"),
        ({"sha256": "x"}, "sha256 is no hash"), ({"name": "a/b"}, "its name has a slash"),
    ],
)  # fmt: skip
def test_an_artifact_that_is_not_what_it_says_is_not_recorded_and_told(changed: dict[str, Any], says: str) -> None:
    right = rp.Artifact(id="a", name="x", path="/x", sha256=hashlib.sha256(b"abc").hexdigest(), size=3, mime="", data=b"abc")
    number = working().contact.reports + 1
    _, bodies, _ = feed(working(), report(number, right, 1.0))
    assert any(isinstance(each, ev.ArtifactRecorded) for each in bodies)
    _, bodies, _ = feed(working(), report(number, msgspec.structs.replace(right, **changed), 1.0))
    (notice,) = (each for each in bodies if isinstance(each, ev.NoticeRaised))
    assert says in notice.text
    assert not any(isinstance(each, ev.ArtifactRecorded) for each in bodies)


def test_a_checkpoint_that_is_too_large_is_not_kept_and_told() -> None:
    _, bodies, _ = feed(working(), report(working().contact.reports + 1, rp.Checkpoint("x" * 500_000), 1.0))
    (notice,) = (each for each in bodies if isinstance(each, ev.NoticeRaised))
    assert "a checkpoint was not kept" in notice.text
    assert not any(isinstance(each, ev.CheckpointSaved) for each in bodies)
