"""Retries, restarts and parking: the pure decision, the run's machine, and reopening."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.policy import PERMANENT_EXIT_CODE, Restarts, Retry
from crewd.model.rows import CancelInfo, ExitStatus
from crewd.model.statuses import AttemptStatus, RunStatus, TaskStatus
from crewd.model.terms import Terms
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.supervisor.attempt.mailbox import Mail
from crewd.supervisor.run import effects as do
from crewd.supervisor.run import events as heard
from crewd.supervisor.run import tries
from crewd.supervisor.run.again import to_do_before
from crewd.supervisor.run.decide import decide
from crewd.supervisor.run.effects import Recorded
from crewd.supervisor.run.phases import IsOver
from crewd.supervisor.run.state import Run, new_run

FAILED = tries.AttemptEnd(AttemptStatus.FAILED, "raised", "ValueError", at=100.0)


@given(st.integers(1, 60), st.floats(0, 1), st.floats(0.01, 10), st.floats(1, 10), st.floats(0, 1))
def test_the_back_off_grows_within_its_jitter_and_its_cap(
    n: int, chance: float, first: float, factor: float, jitter: float
) -> None:
    retry = Retry(attempts=99, backoff_seconds=first, factor=factor, jitter=jitter, cap_seconds=60.0)
    middle = min(60.0, first * factor ** (n - 1))
    assert middle * (1 - jitter) - 1e-9 <= retry.wait_seconds(n, chance) <= middle * (1 + jitter) + 1e-9


def test_the_default_is_that_of_the_system_that_it_follows() -> None:
    waits = [Retry().wait_seconds(n, 0.5) for n in (1, 2, 3)]
    assert waits == [1.0, 2.0, 4.0]
    assert (Retry().wait_seconds(1, 0.0), Retry().wait_seconds(1, 1.0)) == (0.7, 1.3)


@pytest.mark.parametrize(
    ("end", "again"),
    [
        (FAILED, True),
        (tries.AttemptEnd(AttemptStatus.LOST, "lost"), True),
        (tries.AttemptEnd(AttemptStatus.COMPLETED), False),
        (tries.AttemptEnd(AttemptStatus.CANCELLED), False),
        (tries.AttemptEnd(AttemptStatus.FAILED, "spawn_failed"), False),
        (tries.AttemptEnd(AttemptStatus.FAILED, "raised", "PermanentError"), False),
        (tries.AttemptEnd(AttemptStatus.FAILED, "raised", "my.module.Fatal"), False),
        (tries.AttemptEnd(AttemptStatus.FAILED, "exit_code", exit_code=PERMANENT_EXIT_CODE), False),
        (tries.AttemptEnd(AttemptStatus.FAILED, "exit_code", exit_code=1), True),
    ],
)
def test_what_is_tried_again(end: tries.AttemptEnd, again: bool) -> None:
    verdict, _ = tries.after(end, 1, tries.Tried(), Retry(attempts=2, permanent=("my.*",)), Restarts())
    assert isinstance(verdict, tries.TryAgain) is again
    assert isinstance(tries.after(end, 2, tries.Tried(), Retry(attempts=2), Restarts())[0], tries.NoMore), (
        "the last try was the last"
    )


@pytest.mark.parametrize(
    ("policy", "status", "again"),
    [
        ("permanent", AttemptStatus.COMPLETED, True), ("permanent", AttemptStatus.FAILED, True),
        ("transient", AttemptStatus.COMPLETED, False), ("transient", AttemptStatus.LOST, True),
        ("temporary", AttemptStatus.FAILED, False), ("permanent", AttemptStatus.CANCELLED, False),
        ("permanent", AttemptStatus.CANCEL_INCOMPLETE, False),
    ],
)  # fmt: skip
def test_the_policies_mean_what_they_mean_in_otp(policy: Any, status: AttemptStatus, again: bool) -> None:
    verdict, _ = tries.after(tries.AttemptEnd(status, at=1.0), 1, tries.Tried(), Retry(), Restarts(policy=policy))
    assert isinstance(verdict, tries.TryAgain) is again


@given(st.lists(st.floats(0.0, 30.0), min_size=1, max_size=60), st.integers(0, 6))
def test_a_worker_is_parked_when_its_window_is_full_whatever_its_health(gaps: list[float], most: int) -> None:
    restarts = Restarts(policy="transient", restarts_max=most, period_seconds=60.0, healthy_seconds=5.0)
    tried = tries.Tried()
    now, all_ends = 0.0, []
    for gap in gaps:
        now += gap
        all_ends.append(now)
        end = tries.AttemptEnd(AttemptStatus.FAILED, "exit_code", at=now, lived=gap)
        verdict, tried = tries.after(end, 1, tried, Retry(), restarts)
        within = len([t for t in all_ends if t > now - 60.0])
        assert isinstance(verdict, tries.Park) == (within > most)
        if isinstance(verdict, tries.Park):
            return
        assert isinstance(verdict, tries.TryAgain)
        assert now < verdict.due <= now + restarts.cap_seconds * 1.3
        assert tried.quick == 1 or gap < 5.0, "a healthy life begins the back-off anew"


# -- the run --------------------------------------------------------------------------------------------------------


def run_of(*steps: tuple[str, tuple[str, ...], WorkerSpec], **workflow: Any) -> Run:
    made = Workflow("w", tuple(Step(id=name, depends_on=after, worker=worker) for name, after, worker in steps), **workflow)
    return new_run("r_1", made)


def feed(run: Run, *events: heard.RunEvent) -> tuple[Run, list[Recorded], list[do.RunEffect]]:
    bodies: list[Recorded] = []
    effects: list[do.RunEffect] = []
    for event in events:
        run, decision = decide(run, event)
        bodies += decision.events
        effects += decision.effects
    return run, bodies, effects


def over(task: str = "r_1/a", status: AttemptStatus = AttemptStatus.FAILED, at: float = 10.0, **more: Any) -> heard.AttemptOver:
    return heard.AttemptOver(task, ev.AttemptEnded(status=status, reason="raised", **more), at=at, wall=at + 1000.0)


def names(bodies: list[Recorded]) -> list[str]:
    return [ev.type_of(each.body) for each in bodies]


RETRIED = WorkerSpec(call="m:f", retry=Retry(attempts=2))


def test_a_retry_is_a_new_attempt_after_the_back_off() -> None:
    run, _, _ = feed(run_of(("a", (), RETRIED)), heard.Proceed(0.0))
    run, bodies, effects = feed(run, over(at=10.0))
    assert names(bodies) == ["task.retrying"]
    assert effects == [do.AlarmAt(11.0)]
    assert run.tasks[0].status is TaskStatus.BACKOFF
    assert feed(run, heard.Due(10.9, 0.0))[2] == [], "not before it is due"
    run, _, effects = feed(run, heard.Due(11.0, 0.0))
    assert effects == [do.StartAttempt("r_1/a", 2, ())]
    run, bodies, _ = feed(run, over(at=12.0))
    assert names(bodies) == ["task.ended", "notice.raised", "run.ended"]
    assert run.status is RunStatus.FAILED


def test_a_cancel_during_the_back_off_ends_the_task_with_its_reason() -> None:
    run, _, _ = feed(run_of(("a", (), RETRIED)), heard.Proceed(0.0), over(at=10.0))
    run, bodies, effects = feed(run, heard.CancelRun(CancelInfo(reason="leader_interrupted")))
    assert names(bodies) == ["run.cancel_requested", "task.ended", "run.ended"]
    assert effects == [do.Leave()]
    assert [each.body.reason for each in bodies[1:]] == ["leader_interrupted"] * 2  # type: ignore[union-attr]
    assert feed(run, heard.Due(99.0, 0.0))[2] == [], "nothing starts after it"


def test_a_task_in_back_off_takes_no_place() -> None:
    run, _, _ = feed(run_of(("a", (), RETRIED), ("b", (), RETRIED), max_concurrency=1), heard.Proceed(0.0))
    run, _, effects = feed(run, over("r_1/a", at=10.0))
    assert do.StartAttempt("r_1/b", 1, ()) in effects
    run, _, effects = feed(run, heard.Due(11.0, 0.0))
    assert effects == [], "now the place is taken"
    run, _, effects = feed(run, over("r_1/b", AttemptStatus.COMPLETED, at=12.0))
    assert do.StartAttempt("r_1/a", 2, ()) in effects


def test_a_parked_worker_is_started_by_hand_and_counts_anew() -> None:
    spec = WorkerSpec(argv=("x",), restart=Restarts(policy="transient", restarts_max=1))
    run, _, _ = feed(run_of(("a", (), spec)), heard.Proceed(0.0), over(at=1.0))
    run, _, _ = feed(run, heard.Due(2.0, 0.0))
    run, bodies, _ = feed(run, over(at=3.0))
    assert names(bodies) == ["task.parked", "notice.raised"]
    assert run.status is RunStatus.RUNNING, "the run waits for somebody"
    run, bodies, effects = feed(run, heard.Reopen("retry", 4.0))
    assert names(bodies) == ["task.requeued", "notice.closed"]
    assert do.StartAttempt("r_1/a", 3, ()) in effects
    assert feed(run, over(at=5.0))[0].tasks[0].status is TaskStatus.BACKOFF, "its window is empty again"


def test_a_retry_takes_up_what_failed_and_what_was_skipped_for_it() -> None:
    plain = WorkerSpec(call="m:f")
    run, _, _ = feed(run_of(("a", (), plain), ("b", ("a",), plain), ("c", (), plain)), heard.Proceed(0.0))
    run, _, _ = feed(run, over("r_1/c", AttemptStatus.COMPLETED), over("r_1/a"))
    assert [task.status.value for task in run.tasks] == ["failed", "skipped", "completed"]
    run, bodies, effects = feed(run, heard.Reopen("retry", 20.0, requester="ann"))
    assert names(bodies) == ["run.reopened", "task.requeued", "notice.closed", "task.requeued"]
    assert effects == [do.StartAttempt("r_1/a", 2, ())]
    run, bodies, _ = feed(run, over("r_1/a", AttemptStatus.COMPLETED), over("r_1/b", AttemptStatus.COMPLETED))
    assert names(bodies)[-1] == "run.ended"
    assert run.status is RunStatus.COMPLETED


def test_resuming_three_times_repeats_nothing() -> None:
    plain = WorkerSpec(call="m:f")
    run, _, _ = feed(run_of(("a", (), plain), ("b", ("a",), plain)), heard.Proceed(0.0), over("r_1/a", AttemptStatus.COMPLETED))
    run, _, _ = feed(run, heard.CancelRun(CancelInfo(reason="shutdown")), over("r_1/b", AttemptStatus.CANCELLED))
    assert run.status is RunStatus.CANCELLED
    starts = []
    for _ in range(3):
        run, _, effects = feed(run, heard.Reopen("resume", 20.0))
        starts += [each for each in effects if isinstance(each, do.StartAttempt)]
    assert starts == [do.StartAttempt("r_1/b", 2, ())]


def test_what_may_still_live_is_not_done_again() -> None:
    run, _, _ = feed(run_of(("a", (), RETRIED)), heard.Proceed(0.0), heard.CancelRun(CancelInfo(reason="caller_cancelled")))
    run, _, _ = feed(run, over(status=AttemptStatus.CANCEL_INCOMPLETE))
    assert feed(run, heard.Reopen("resume", 20.0)) == (run, [], [])


def test_a_dead_letter_is_dismissed_once() -> None:
    run, _, _ = feed(run_of(("a", (), WorkerSpec(call="m:f"))), heard.Proceed(0.0), over())
    run, bodies, _ = feed(run, heard.Dismiss())
    assert names(bodies) == ["task.dismissed", "notice.closed"]
    assert feed(run, heard.Dismiss())[1] == []


def test_what_is_asked_for_again_by_the_same_id_is_done_once() -> None:
    plain = WorkerSpec(call="m:f")
    run, _, _ = feed(run_of(("a", (), plain)), heard.Proceed(0.0), over())
    run, bodies, _ = feed(run, heard.Reopen("retry", 2.0, order="m_1"))
    assert names(bodies) == ["run.reopened", "task.requeued", "notice.closed", "run.order_done"]
    run, _, _ = feed(run, over(at=3.0))
    assert feed(run, heard.Reopen("retry", 4.0, order="m_1")) == (run, [], [])
    run, bodies, _ = feed(run, heard.Dismiss(order="m_2 dismiss r_1/a"))
    assert (bodies[-1].body, run.orders) == (ev.RunOrderDone("m_2", "dismiss r_1/a"), ("m_1", "m_2 dismiss r_1/a"))
    assert feed(run, heard.Dismiss(order="m_3"))[1] == [], "nothing was done, and nothing is remembered"
    for number in range(3, 40):
        run, _, _ = feed(run, heard.Reopen("retry", 4.0, order=f"m_{number}"), over(at=5.0))
    assert run.orders == tuple(f"m_{number}" for number in range(24, 40))


def test_a_run_may_take_so_many_minutes() -> None:
    run, _, effects = feed(run_of(("a", (), WorkerSpec(call="m:f")), max_minutes=1.0), heard.Proceed(5.0))
    assert do.AlarmAt(65.0) in effects
    assert feed(run, heard.Due(64.0, 0.0))[1] == []
    run, bodies, effects = feed(run, heard.Due(65.0, 7.0))
    assert names(bodies) == ["run.cancel_requested"]
    assert [each.cancel.reason for each in effects if isinstance(each, do.CancelAttempt)] == ["run_timeout"]


def test_the_exit_code_of_a_command_can_say_that_it_is_hopeless() -> None:
    run, _, _ = feed(run_of(("a", (), RETRIED)), heard.Proceed(0.0))
    _, bodies, _ = feed(run, over(exit=ExitStatus(code=PERMANENT_EXIT_CODE)))
    assert "task.ended" in names(bodies)


# -- a message that starts a worker ---------------------------------------------------------------------------------


def for_it(key: str = "m_1", **more: Any) -> heard.StartFor:
    return heard.StartFor("r_1/a", Mail(key, "follow_up", 1, "text", terms=Terms(on_idle="start"), **more), 20.0, "somebody")


def ended(status: AttemptStatus = AttemptStatus.COMPLETED) -> Run:
    return feed(run_of(("a", (), WorkerSpec(call="m:f"))), heard.Proceed(0.0), over(status=status))[0]


@pytest.mark.parametrize("status", [AttemptStatus.COMPLETED, AttemptStatus.FAILED, AttemptStatus.CANCELLED])
def test_a_worker_that_has_ended_is_queued_again_with_its_message(status: AttemptStatus) -> None:
    run, bodies, effects = feed(ended(status), for_it())
    assert names(bodies)[:2] == ["run.reopened", "task.requeued"]
    assert getattr(bodies[1].body, "message", "") == "m_1"
    assert [effect for effect in effects if isinstance(effect, do.StartAttempt)] == [
        do.StartAttempt("r_1/a", 2, (for_it().mail,))
    ]
    assert run.status is RunStatus.RUNNING


def test_no_message_starts_what_may_still_live_or_is_being_ended() -> None:
    left = ended(AttemptStatus.CANCEL_INCOMPLETE)
    ending, _, _ = feed(
        run_of(("a", (), WorkerSpec(call="m:f")), ("b", (), WorkerSpec(call="m:f"))), heard.Proceed(0.0), over(),
        heard.CancelRun(CancelInfo(reason="shutdown")),
    )  # fmt: skip
    for run, reason in ((left, "worker_ended"), (ending, "cancelled")):
        after, bodies, effects = feed(run, for_it())
        listed = [] if run.over else ["m_1"]
        assert [each.id for each in after.undelivered] == listed, "the end of the run lists it, if it is still to come"
        assert replace(after, undelivered=()) == run
        assert [(ev.type_of(b.body), getattr(b.body, "reason", "")) for b in bodies] == [("message.settled", reason)]
        assert effects == []


def test_a_held_message_expires_where_it_waits() -> None:
    run, _, _ = feed(run_of(("a", (), RETRIED), max_concurrency=1), heard.Proceed(0.0), over(at=10.0))
    late = Mail("m_1", "steer", 1, "text", expires_at=10.5)
    run, _, effects = feed(run, heard.Hold("r_1/a", late))
    assert effects == [do.AlarmAt(10.5)]
    run, bodies, effects = feed(run, heard.Due(10.5, 0.0))
    assert [(b.body.outcome, b.body.reason) for b in bodies if isinstance(b.body, ev.MessageSettled)] == [
        ("expired", "deadline")
    ]
    run, _, effects = feed(run, heard.Due(11.0, 0.0))
    assert effects == [do.StartAttempt("r_1/a", 2, ())], "the next attempt does not get it"
    assert [each.id for each in run.undelivered] == ["m_1"]


def test_an_end_that_is_heard_of_late_counts_when_it_was() -> None:
    restarts = Restarts("transient", restarts_max=5, period_seconds=60.0)
    late = replace(FAILED, ago=50.0)
    _, tried = tries.after(late, 1, tries.Tried(), Retry(), restarts)
    assert tried.ends == (50.0,)
    _, tried = tries.after(replace(FAILED, at=120.0), 2, tried, Retry(), restarts)
    assert tried.ends == (120.0,), "the first one is out of the window"


@pytest.mark.parametrize(
    ("before", "after", "first"),
    [
        (TaskStatus.FAILED, TaskStatus.SKIPPED, "r_1/a"), (TaskStatus.CANCELLED, TaskStatus.SKIPPED, "r_1/a"),
        (TaskStatus.COMPLETED, TaskStatus.FAILED, None), (TaskStatus.FAILED, None, None),
    ],
)  # fmt: skip
def test_what_a_task_depends_on_is_to_end_well_before_it_is_done_again(
    before: TaskStatus, after: TaskStatus | None, first: str | None
) -> None:
    worker = WorkerSpec(call="m:f")
    run = new_run("r_1", Workflow("w", (Step("a", worker=worker), Step("b", depends_on=("a",), worker=worker))))
    a, b = run.tasks
    run = run.with_task(a.become(IsOver(before)))
    run = run if after is None else run.with_task(b.become(IsOver(after)))
    found = to_do_before(run, "r_1/b")
    assert (None if found is None else found.id) == first
    assert to_do_before(run, "r_1/a") is None
    assert to_do_before(run, "") is None
