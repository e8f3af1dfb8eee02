"""What a restart goes on with: the phase of an attempt, from what the log says of it. The simulated world looks at the rest."""

from __future__ import annotations

import pytest
from msgspec import structs

from crewd.client.shapes import one_step
from crewd.model import events as ev
from crewd.model.receipts import Effect, Level, Outcome, Receipt
from crewd.model.rows import AttemptRow, CancelInfo, ClaimInfo, MessageRow, RunRow, TaskRow
from crewd.model.statuses import RunStatus, TaskStatus
from crewd.model.workflow import WorkerSpec
from crewd.store.cache import Cache, Nowhere
from crewd.store.fold import fold
from crewd.store.messages import LiveRun
from crewd.supervisor.attempt.phases import Cancelling, Phase, Sought, Spawned, Working
from crewd.supervisor.run.creation import first_drafts
from crewd.supervisor.run.phases import IsClaimed
from crewd.supervisor.run.recall import attempt_of, mail_of, run_of

RUN = "r_" + "0" * 26
TASK = f"{RUN}/a"
CANCEL = CancelInfo("caller_cancelled")
CREATED = ev.RunCreated(name="n", goal="", cwd="/", workflow=one_step("a", WorkerSpec(call="m:f")), owner="o")
STARTED = ev.AttemptStarted(pid=7, start_time=1.0, boot_id="b")
READY = ev.AttemptReady(capabilities=())


def live_after(*of_attempt: ev.Body) -> LiveRun:
    """The rows of a run that was just created, and of whose only attempt the log says this besides."""
    drafts = [ev.Draft(CREATED, RUN), *first_drafts(RUN, CREATED, 0.0, lambda task, epoch: f"/{task}/{epoch}")]
    drafts += [ev.Draft(body, RUN, TASK, 1) for body in of_attempt]
    cache = Cache(Nowhere())
    for seq, each in enumerate(drafts, 1):
        fold(cache, ev.Event(seq, f"e_{seq}", 0, RUN, each.task, each.epoch, "", "", "", 1e9 + seq, each.body))
    return LiveRun(cache.over(RunRow, RUN, [])[0], cache.over(TaskRow, RUN, []), cache.over(AttemptRow, RUN, []), (), (), ())


def test_the_first_commit_of_a_run_says_that_it_has_begun_and_reserves_its_first_attempts() -> None:
    live = live_after()
    assert live.run.status == "running"
    assert [(row.task, row.epoch, row.status, row.directory) for row in live.attempts] == [(TASK, 1, "reserved", f"/{TASK}/1")]


@pytest.mark.parametrize(
    ("said", "phase"),
    [
        ((), Sought()),
        ((ev.AttemptCancelRequested(cancel=CANCEL),), Sought(CANCEL)),
        ((ev.AttemptStarting(),), Spawned()),
        ((ev.AttemptStarting(), STARTED), Spawned()),
        ((ev.AttemptStarting(), ev.AttemptCancelRequested(cancel=CANCEL)), Cancelling(CANCEL)),
        # crewd was away when the worker was ordered: it was cancelled before the guardian said that there is one
        ((ev.AttemptCancelRequested(cancel=CANCEL), ev.AttemptStarting(), STARTED), Cancelling(CANCEL)),
        ((ev.AttemptCancelRequested(cancel=CANCEL), ev.AttemptStarting(), STARTED, READY), Cancelling(CANCEL)),
        ((ev.AttemptStarting(), STARTED, READY), Working()),
    ],
)
def test_the_phase_is_what_the_log_says(said: tuple[ev.Body, ...], phase: Phase) -> None:
    live = live_after(*said)
    assert attempt_of(live, live.attempts[0], 1e9, 0.0).phase == phase


@pytest.mark.parametrize(("jump", "left"), [(0.0, 50.0), (-3_600.0, 60.0), (3_600.0, 0.0)])
def test_a_clock_that_was_set_back_makes_no_lease_and_no_message_live_longer_than_was_asked_for(
    jump: float, left: float
) -> None:
    begun = 1e9
    claim = ClaimInfo("o", "d", begun + 60.0, 60.0)
    task = TaskRow(TASK, RUN, "a", TaskStatus.CLAIMED, "outside", claim=claim)
    live = LiveRun(RunRow(RUN, "n", RunStatus.RUNNING, "", "/", CREATED.workflow, "o", "", begun), (task,), (), (), (), ())
    wall, now = begun + 10.0 + jump, 5.0
    phase = run_of(live, wall, now).tasks[0].phase
    assert isinstance(phase, IsClaimed)
    assert phase.due == now + left
    message = MessageRow(Receipt("m", "steer", RUN, TASK, Level.ACCEPTED, accepted_at=begun), deadline_at=begun + 60.0)
    expires = mail_of(message, wall, now).expires_at
    assert expires is not None
    assert max(0.0, expires - now) == left


def test_the_minutes_of_a_run_that_was_taken_up_again_begin_anew() -> None:
    workflow = structs.replace(CREATED.workflow, max_minutes=1.0)
    run = RunRow(RUN, "n", RunStatus.RUNNING, "", "/", workflow, started_at=1e9, reopened_at=1e9 + 500)
    task = TaskRow(TASK, RUN, "a", TaskStatus.RUNNING, "call", epoch=2)
    assert run_of(LiveRun(run, (task,), (), (), (), ()), 1e9 + 510, 5.0).deadline == 5.0 + 50.0


def test_a_restart_lists_what_this_opening_has_left_undelivered_and_nothing_that_was_refused_at_the_door() -> None:
    run = RunRow(RUN, "n", RunStatus.RUNNING, "", "/", CREATED.workflow, started_at=1e9, reopened_at=1e9 + 500)
    task = TaskRow(TASK, RUN, "a", TaskStatus.RUNNING, "call", epoch=2)

    def row(key: str, settled_at: float, effect: str = Effect.QUEUED, outcome: Outcome = Outcome.REFUSED) -> MessageRow:
        return MessageRow(
            Receipt(key, "steer", RUN, TASK, Level.SETTLED, outcome=outcome, effect=effect, settled_at=settled_at)
        )

    rows = (
        row("m_earlier", 1e9 + 400), row("m_refused", 1e9 + 501), row("m_at_the_door", 1e9 + 502, effect=""),
        row("m_done", 1e9 + 503, outcome=Outcome.DONE), row("m_expired", 1e9 + 504, outcome=Outcome.EXPIRED),
    )  # fmt: skip
    found = run_of(LiveRun(run, (task,), (), rows, (), ()), 1e9 + 510, 5.0)
    assert [each.id for each in found.undelivered] == ["m_refused", "m_expired"]
