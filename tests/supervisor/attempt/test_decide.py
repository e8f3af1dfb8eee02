"""The machine of an attempt: values first, then a Hypothesis machine with its laws."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from crewd.model import events as ev
from crewd.model.hooks import HookRun
from crewd.model.limits import NOTE_CHARS_MAX, START_SECONDS_LONGEST, START_SECONDS_MAX
from crewd.model.policy import Limits
from crewd.model.reasons import FailureReason
from crewd.model.receipts import LEVELS, Level
from crewd.model.rows import CancelInfo, ExitStatus
from crewd.model.statuses import AttemptStatus
from crewd.model.terms import Terms
from crewd.protocol import reports as rp
from crewd.protocol.guardian import Exited
from crewd.supervisor.attempt import effects as do
from crewd.supervisor.attempt import events as heard
from crewd.supervisor.attempt.decide import decide
from crewd.supervisor.attempt.effects import NOTHING, Decision
from crewd.supervisor.attempt.mailbox import Mail
from crewd.supervisor.attempt.messages import accepted
from crewd.supervisor.attempt.phases import Finished, Queued, Reserving, Spawned, Working
from crewd.supervisor.attempt.state import Attempt, Rules
from crewd.supervisor.caller import Caller

T = "r_1/s"
CANCEL = CancelInfo(reason="caller_cancelled", mode="now")
CALLER, ANN = Caller(b"c", "q", "caller"), Caller(b"a", "q", "ann")


def fresh() -> Attempt:
    return Attempt(T, 1)


def reserved() -> Attempt:
    state, _ = decide(fresh(), heard.Reserve("/"))
    state, _ = decide(state, heard.Reserved())
    return decide(state, heard.SlotGranted(1.0))[0]


def running(*capabilities: str) -> Attempt:
    hello = rp.WorkerHello(task=T, epoch=1, token="", pid=1, capabilities=capabilities or ("steer", "follow_up"))
    return decide(reserved(), heard.Connected(hello))[0]


def send(key: str, kind: Any = "steer", ask: str = "") -> heard.Send:
    return heard.Send(Mail(key, kind, 1, "text", ask), "me", "digest", None, CALLER)


def kinds(decision: Decision) -> list[str]:
    return [type(body).__name__ for body in decision.events]


def on_terms(state: Attempt, kind: Any = "steer", **terms: Any) -> tuple[str, str]:
    """What becomes of a message with these terms: its effect, or why it is refused."""
    post = heard.Send(Mail("m", kind, 1, "text", terms=Terms(**terms)), "me", "digest", None, CALLER)
    _, decision = decide(state, post)
    (admitted, *settled) = decision.events
    assert isinstance(admitted, ev.MessageAccepted)
    assert admitted.terms == post.mail.terms
    return admitted.effect, settled[0].reason if settled and isinstance(settled[0], ev.MessageSettled) else ""


def test_the_effect_is_that_of_the_moment() -> None:
    assert on_terms(reserved()) == ("queued", "")
    assert on_terms(running()) == ("next_boundary", "")
    assert on_terms(running(), "follow_up") == ("next_turn", "")
    assert on_terms(running(), "steer", mode="next_turn") == ("next_turn", "")
    asking, _ = decide(running(), heard.Reported(rp.Report(number=1, body=rp.Asked(id="q", question="?")), 0.0))
    assert on_terms(asking) == ("held: waiting for question q", "")
    assert on_terms(asking, "follow_up") == ("held: waiting for question q", "")


def test_a_message_is_only_for_the_attempt_and_the_turn_that_it_names() -> None:
    second = replace(running().with_work(turn=3), epoch=2)
    assert on_terms(second, epoch=2, turn=3) == ("next_boundary", "")
    assert on_terms(second, epoch=1) == ("", "attempt_is_over")
    assert on_terms(second, epoch=3) == ("", "no_such_turn")
    assert on_terms(second, turn=2) == ("", "turn_is_over")
    assert on_terms(second, turn=4) == ("", "no_such_turn")
    held = Mail("m", "steer", 1, terms=Terms(epoch=1))
    _, decision = decide(second, heard.Handed(held))
    assert [getattr(body, "reason", "") for body in decision.events] == ["attempt_is_over"], "also if it was held for long"


def test_if_running_means_that_the_worker_is_at_work() -> None:
    assert on_terms(reserved(), if_running=True, on_idle="refuse") == ("", "not_running")
    assert on_terms(running(), if_running=True, on_idle="refuse") == ("next_boundary", "")


def test_a_turn_begins_when_the_worker_takes_what_waited_for_its_stop() -> None:
    state = running()
    for number, kind in ((1, "steer"), (2, "follow_up"), (3, "follow_up")):
        state, _ = decide(state, send(f"m{number}", kind))
        state, _ = decide(state, heard.Admitted(f"m{number}"))
    turns = []
    for number in (1, 2, 3):
        state, _ = decide(state, heard.Reported(rp.Report(number=number, body=rp.Applied(id=f"m{number}")), 0.0))
        turns.append(state.work.turn)
    assert turns == [1, 2, 3]


def test_the_worker_says_whether_something_was_broken_off() -> None:
    for said, effect in (("interrupted", "interrupted"), ("nonsense", ""), ("", "")):
        state, _ = decide(running(), send("m"))
        state, _ = decide(state, heard.Admitted("m"))
        _, decision = decide(state, heard.Reported(rp.Report(number=1, body=rp.Delivered(id="m", effect=said)), 0.0))
        assert decision.events == (ev.MessageDelivered(id="m", report=1, effect=effect),)


def test_nothing_is_spawned_before_the_reservation_is_durable() -> None:
    state, decision = decide(fresh(), heard.Reserve("/"))
    assert kinds(decision) == ["AttemptReserved"]
    assert decision.effects == (do.ReserveDone(),)
    state, decision = decide(state, heard.Reserved())
    assert decision.effects == (do.AskSlot(),)
    state, decision = decide(state, heard.SlotGranted(1.0))
    assert decision.prompt == (do.SpawnWorker(),), "the reservation is durable: the order waits for nothing"
    assert decide(state, heard.SlotGranted(2.0)) == (state, NOTHING), "a worker is spawned once"


def resumed() -> Attempt:
    state, decision = decide(fresh(), heard.Resume(0.0))
    assert decision.effects == (do.AskGuardian(1),)
    return state


def test_an_order_that_crewd_died_too_soon_to_record_is_recorded_when_the_worker_is_heard_of() -> None:
    started = ev.AttemptStarted(pid=7, start_time=1.0, boot_id="b")
    state, decision = decide(resumed(), heard.Started(started, 2.0))
    assert decision.events == (ev.AttemptStarting(), started)
    assert do.TakeSlot() in decision.effects
    assert state.status is AttemptStatus.STARTING
    assert state.observed.began == 2.0, "its limits count from somewhere"
    _, decision = decide(resumed(), heard.Ended(Exited(task=T, epoch=1, cause="spawn_failed", error="no"), (), 1.0))
    assert kinds(decision) == ["AttemptStarting", "AttemptEnded"]
    state, decision = decide(resumed(), heard.Unknown(1, unborn=True))
    assert decision.effects == (do.AskSlot(),), "nobody has heard of the order: it is given"
    assert decide(state, heard.SlotGranted(1.0))[1].prompt == (do.SpawnWorker(),)
    assert decide(resumed(), heard.Unknown(1))[0].status is AttemptStatus.LOST, "it was started, and has gone with its guardian"


def test_an_order_that_nobody_has_carried_out_is_given_again() -> None:
    state, _ = decide(fresh().become(Spawned()), heard.Resume(0.0))
    again, decision = decide(state, heard.Unknown(1, unborn=True))
    assert (again.status, decision.events, decision.effects) == (AttemptStatus.STARTING, (), (do.SpawnWorker(),))
    assert decide(again, heard.Unknown(1, unborn=True))[1] == NOTHING, "an answer to a question before the order"
    assert decide(state, heard.Unknown(1))[0].status is AttemptStatus.LOST, "somebody may have begun"
    cancelled, _ = decide(state, heard.Cancel(CANCEL))
    assert decide(cancelled, heard.Unknown(1, unborn=True))[0].status is AttemptStatus.CANCELLED


def test_a_process_is_recorded_with_its_first_word_or_a_moment_later() -> None:
    state, _ = decide(resumed(), heard.Unknown(1, unborn=True))
    state, _ = decide(state, heard.SlotGranted(1.0))
    started = ev.AttemptStarted(pid=7, start_time=1.0, boot_id="b")
    born, decision = decide(state, heard.Started(started, 2.0))
    assert decision == Decision(effects=(do.AlarmAt(2.0 + START_SECONDS_MAX), do.AlarmAt(2.05)))
    assert decide(born, heard.Started(started, 2.01))[1] == NOTHING, "said again, it is no news"
    hello = rp.WorkerHello(task=T, epoch=1, token="", pid=7)
    assert kinds(decide(born, heard.Connected(hello, 2.02))[1]) == ["AttemptStarted", "AttemptReady"]
    silent, decision = decide(born, heard.Due(2.05))
    assert decision.events == (started,)
    assert kinds(decide(silent, heard.Connected(hello, 9.0))[1]) == ["AttemptReady"]
    assert kinds(decide(born, heard.Ended(Exited(task=T, epoch=1), (), 1.0))[1]) == ["AttemptStarted", "AttemptEnded"]


def test_a_cancel_waits_for_the_word_whether_there_is_a_worker() -> None:
    state, decision = decide(resumed(), heard.Cancel(CANCEL))
    assert kinds(decision) == ["AttemptCancelRequested"]
    assert any(isinstance(effect, do.EndWorker) for effect in decision.effects)
    gone, decision = decide(state, heard.Unknown(None))
    assert gone.status is AttemptStatus.CANCELLED
    started = ev.AttemptStarted(pid=7, start_time=1.0, boot_id="b")
    state, decision = decide(state, heard.Started(started, 2.0))
    assert decision.events == (ev.AttemptStarting(), started)
    assert any(isinstance(effect, do.EndWorker) for effect in decision.effects)


def test_a_cancel_while_it_waits_for_a_place_means_that_there_is_no_worker() -> None:
    state, _ = decide(fresh(), heard.Reserve("/"))
    state, _ = decide(state, heard.Reserved())
    state, decision = decide(state, heard.Cancel(CANCEL))
    assert kinds(decision) == ["AttemptCancelRequested", "AttemptEnded"]
    assert decide(state, heard.SlotGranted(1.0)) == (state, NOTHING)


def test_a_cancel_before_the_spawn_means_that_there_is_none() -> None:
    state, _ = decide(fresh(), heard.Reserve("/"))
    state, decision = decide(state, heard.Cancel(CANCEL))
    assert kinds(decision) == []  # the attempt is not in the log yet, and may never be
    state, decision = decide(state, heard.Reserved())
    assert kinds(decision) == ["AttemptCancelRequested", "AttemptEnded"]
    assert state.status is AttemptStatus.CANCELLED
    assert decision.prompt == ()


def test_a_graceful_cancel_asks_first_and_now_does_not() -> None:
    graceful = CancelInfo(reason="shutdown", mode="graceful", grace_seconds=7.0)
    state, decision = decide(running(), heard.Cancel(graceful))
    assert do.EndWorker(7.0, 3.0, whole=True) in decision.effects
    state, decision = decide(state, heard.Cancel(graceful))
    assert decision == NOTHING
    state, decision = decide(state, heard.Cancel(CANCEL))
    assert do.EndWorker(0.0, 0.15) in decision.effects


def test_a_cancel_wins_over_what_the_worker_says_after_it_and_not_over_what_it_said_before() -> None:
    done = heard.Reported(rp.Report(number=1, body=rp.Outcome(outcome="completed", result=1)), 1.0)
    gone = heard.Ended(Exited(task=T, epoch=1), (), 1.0)
    state, _ = decide(running(), done)
    state, _ = decide(state, heard.Cancel(CANCEL))
    assert decide(state, gone)[0].status is AttemptStatus.COMPLETED
    state, _ = decide(running(), heard.Cancel(CANCEL))
    state, _ = decide(state, done)
    assert decide(state, gone)[0].status is AttemptStatus.CANCELLED


def test_survivors_are_not_hidden() -> None:
    from crewd.model.rows import Survivor

    state, _ = decide(running(), heard.Cancel(CANCEL))
    left = (Survivor(7, "stuck", 1.0, "D"),)
    state, decision = decide(state, heard.Ended(Exited(task=T, epoch=1, survivors=left), (), 1.0))
    assert state.status is AttemptStatus.CANCEL_INCOMPLETE
    assert isinstance(decision.events[-1], ev.AttemptEnded)
    assert decision.events[-1].survivors == left


def test_the_unsent_reports_count_like_reports() -> None:
    words = (rp.Report(number=1, body=rp.Outcome(outcome="completed", result=42)),)
    state, decision = decide(running(), heard.Ended(Exited(task=T, epoch=1), words, 1.0))
    assert state.status is AttemptStatus.COMPLETED
    assert kinds(decision) == ["AttemptOutcome", "AttemptEnded"]


def test_a_stop_is_deferred_while_something_waits_and_granted_once() -> None:
    state, _ = decide(running(), send("m1", "follow_up"))
    state, decision = decide(state, heard.Reported(rp.Report(number=1, body=rp.StopProposed()), 1.0))
    assert do.Say(rp.StopDeferred()) in decision.effects  # it may become durable before the stop does
    state, _ = decide(state, heard.Admitted("m1"))
    state, decision = decide(state, heard.Reported(rp.Report(number=2, body=rp.StopProposed()), 1.0))
    assert do.Say(rp.StopDeferred()) in decision.effects
    assert kinds(decision) == ["ReportTaken"]
    said: list[rp.ReportBody] = [rp.Delivered(id="m1"), rp.Applied(id="m1"), rp.StopProposed()]
    for number, body in enumerate(said, 3):
        state, decision = decide(state, heard.Reported(rp.Report(number=number, body=body), 1.0))
    assert kinds(decision) == ["AttemptFinishing"]
    _, decision = decide(state, send("m2"))
    assert kinds(decision) == ["MessageAccepted", "MessageSettled"]


def test_a_worker_that_waits_for_the_permission_to_stop_hears_an_answer_on_its_next_connection() -> None:
    proposed = heard.Reported(rp.Report(number=1, body=rp.StopProposed()), 1.0)
    hello = heard.Connected(rp.WorkerHello(task=T, epoch=1, token="", pid=1, capabilities=("steer",)))
    waits, _ = decide(running(), send("m1"))  # m1 becomes durable later, and the answer to the proposal is lost
    waits, _ = decide(waits, proposed)
    assert do.Say(rp.StopDeferred()) in decide(waits, hello)[1].effects
    granted, _ = decide(running(), proposed)
    assert do.Say(rp.StopGranted()) in decide(granted, hello)[1].effects


def test_a_question_is_answered_by_one_message() -> None:
    asked = rp.Report(number=1, body=rp.Asked(id="q1", question="?"))
    state, _ = decide(running(), heard.Reported(asked, 1.0))
    state, decision = decide(state, send("m1", "response", "q1"))
    assert kinds(decision) == ["MessageAccepted"]
    _, decision = decide(state, send("m2", "response", "q1"))
    assert isinstance(decision.events[1], ev.MessageSettled)
    assert decision.events[1].reason == "already_answered"
    _, decision = decide(state, send("m3", "response", "q9"))
    assert isinstance(decision.events[1], ev.MessageSettled)
    assert decision.events[1].reason == "no_such_ask"


def test_a_worker_that_never_says_hello_is_ended() -> None:
    state = reserved()
    state, decision = decide(state, heard.Due(1_000.0))
    assert any(isinstance(effect, do.EndWorker) for effect in decision.effects)
    state, _ = decide(state, heard.Ended(Exited(task=T, epoch=1, cause="ended", exit=ExitStatus(signal=15)), (), 1.0))
    assert state.status is AttemptStatus.FAILED


@pytest.mark.parametrize("cpu_seconds", [0.0, 2.0])
def test_the_time_of_a_task_counts_from_its_start_whether_or_not_its_worker_has_said_hello(cpu_seconds: float) -> None:
    state = replace(Attempt(T, 1, Queued()), rules=Rules(limits=Limits(task_seconds=3.0)))
    state, decision = decide(state, heard.SlotGranted(10.0))
    assert do.AlarmAt(13.0) in decision.effects
    state, _ = decide(state, heard.Measured(12.0, 0, cpu_seconds))
    state, decision = decide(state, heard.Due(13.0))
    assert any(isinstance(effect, do.EndWorker) for effect in decision.effects)
    _, decision = decide(state, heard.Ended(Exited(task=T, epoch=1, cause="ended", exit=ExitStatus(signal=15)), (), 14.0))
    (ended,) = (event for event in decision.events if isinstance(event, ev.AttemptEnded))
    assert (ended.reason, ended.error.partition(":")[0]) == (FailureReason.LIMIT, "task_seconds")
    assert ended.exit.timed_out == "task_seconds", "as of one that has said hello: a slow machine changes nothing"


def test_a_worker_whose_hooks_may_take_their_time_is_waited_for_as_long() -> None:
    state = replace(reserved(), rules=Rules(hook_seconds=60.0))
    state, _ = decide(state, heard.Connected(rp.WorkerHello(task=T, epoch=1, token="", pid=1, capabilities=())))
    assert isinstance(state.phase, Working)
    slow, _ = decide(replace(Attempt(T, 1, Spawned()), rules=Rules(hook_seconds=60.0)), heard.Resume(0.0))
    assert isinstance(slow.phase, Spawned)
    assert slow.phase.hello_by == 90.0


def test_what_came_of_a_hook_is_an_event_with_a_bounded_note() -> None:
    ran = HookRun("guard", "before_task_start", "block", "n" * 9_000, 0.5)
    _, decision = decide(running(), heard.Reported(rp.Report(number=1, body=rp.HookAsked(ran)), 1.0))
    (event,) = (each for each in decision.events if isinstance(each, ev.HookRan))
    assert (event.run.name, event.run.verdict, event.run.seconds, event.report) == ("guard", "block", 0.5, 1)
    assert len(event.run.note) <= NOTE_CHARS_MAX


def delivered(key: str = "m1") -> Attempt:
    state, _ = decide(running(), send(key))
    state, _ = decide(state, heard.Admitted(key))
    return decide(state, heard.Reported(rp.Report(number=1, body=rp.Delivered(id=key)), 1.0))[0]


def test_what_the_worker_may_have_is_asked_back_and_not_declared_withdrawn() -> None:
    state, decision = decide(delivered(), heard.Withdraw("m1", ANN))
    assert decision.events == ()
    assert decision.effects == (do.Say(rp.Recall(id="m1", outcome="withdrawn")),)
    again, decision = decide(state, heard.Withdraw("m1", ANN))
    assert (again, decision) == (state, NOTHING)
    given_back, decision = decide(state, heard.Reported(rp.Report(number=2, body=rp.Returned("m1", "withdrawn")), 1.0))
    assert kinds(decision) == ["MessageSettled"]
    assert do.TellReceipt(ANN, "m1") in decision.effects
    assert given_back.inbox.box.mails == ()
    _, decision = decide(state, heard.Reported(rp.Report(number=2, body=rp.Applied("m1")), 1.0))
    assert do.TellCannotWithdraw(ANN, "m1") in decision.effects


def test_a_deadline_asks_back_as_well_and_again_on_a_new_connection() -> None:
    late = heard.Send(Mail("m1", "steer", 1, "text", expires_at=5.0), "me", "digest", 5.0, CALLER)
    state, _ = decide(running(), late)
    state, _ = decide(state, heard.Admitted("m1"))
    state, decision = decide(state, heard.Due(5.0))
    recall = do.Say(rp.Recall(id="m1", outcome="expired"))
    assert (decision.events, decision.effects) == ((), (recall,))
    hello = rp.WorkerHello(task=T, epoch=1, token="", pid=1, capabilities=("steer",))
    _, decision = decide(state, heard.Connected(hello))
    assert recall in decision.effects
    assert not any(isinstance(effect, do.Deliver) for effect in decision.effects)


def test_a_message_that_becomes_durable_after_a_hello_does_not_overtake_those_before_it() -> None:
    state, _ = decide(reserved(), send("m1"))
    state, _ = decide(state, heard.Admitted("m1"))
    state, second = decide(state, send("m2"))
    assert not any(isinstance(effect, do.Deliver) for effect in second.effects), "it would be sent before the welcome"
    hello = rp.WorkerHello(task=T, epoch=1, token="", pid=1, capabilities=("steer",))
    state, welcome = decide(state, heard.Connected(hello))
    assert [e.message.id for e in welcome.effects if isinstance(e, do.Deliver)] == ["m1"]
    state, admitted = decide(state, heard.Admitted("m2"))
    assert admitted.effects == (do.Deliver(Mail("m2", "steer", 1, "text").deliver(), state.contact.number),)


def test_a_message_that_becomes_durable_after_a_hello_is_refused_by_a_worker_that_does_not_take_it() -> None:
    state, _ = decide(reserved(), send("m1"))
    hello = rp.WorkerHello(task=T, epoch=1, token="", pid=1, capabilities=())
    state, _ = decide(state, heard.Connected(hello))
    state, admitted = decide(state, heard.Admitted("m1"))
    assert [(e.outcome, e.reason) for e in admitted.events if isinstance(e, ev.MessageSettled)] == [
        ("refused", "not_supported")
    ]
    assert (admitted.effects, state.inbox.box.mails) == ((), ())


def test_who_waits_for_a_message_to_come_back_is_answered_by_the_end() -> None:
    state, _ = decide(delivered(), heard.Withdraw("m1", ANN))
    _, decision = decide(state, heard.Ended(Exited(task=T, epoch=1, exit=ExitStatus(signal=9)), (), 1.0))
    assert do.TellReceipt(ANN, "m1") in decision.effects


def test_what_a_killed_worker_may_have_taken_is_unknown_and_refused_if_its_last_word_was_heard() -> None:
    def outcome(words: tuple[rp.Report, ...]) -> str:
        _, decision = decide(delivered(), heard.Ended(Exited(task=T, epoch=1, exit=ExitStatus(signal=9)), words, 1.0))
        return next(body.outcome for body in decision.events if isinstance(body, ev.MessageSettled))

    assert outcome(()) == "unknown"
    assert outcome((rp.Report(number=2, body=rp.Outcome(outcome="failed")),)) == "refused"


def test_a_worker_that_was_starting_when_crewd_was_killed_may_not_start_for_ever() -> None:
    state, decision = decide(Attempt(T, 1, Spawned()), heard.Resume(100.0))
    while not any(isinstance(effect, do.EndWorker) for effect in decision.effects):
        (alarm,) = (effect for effect in decision.effects if isinstance(effect, do.AlarmAt))
        assert alarm.at <= 100.0 + 2 * START_SECONDS_LONGEST
        state, decision = decide(state, heard.Due(alarm.at))


def test_a_process_that_comes_long_after_its_order_has_all_of_its_time_to_say_hello() -> None:
    state, _ = decide(Attempt(T, 1, Queued()), heard.SlotGranted(100.0))
    came = 100.0 + START_SECONDS_MAX - 1.0
    state, decision = decide(state, heard.Started(ev.AttemptStarted(pid=7, start_time=1.0, boot_id="b"), came))
    assert do.AlarmAt(came + START_SECONDS_MAX) in decision.effects
    state, _ = decide(state, heard.Due(100.0 + START_SECONDS_MAX))
    assert isinstance(state.phase, Spawned), "it was there for a second when the time of its order was over"
    _, decision = decide(state, heard.Due(came + START_SECONDS_MAX))
    assert any(isinstance(effect, do.EndWorker) for effect in decision.effects)


def test_a_start_is_given_up_when_its_process_does_nothing_and_not_when_it_is_slow() -> None:
    state, _ = decide(Attempt(T, 1, Spawned()), heard.Resume(100.0))
    state, _ = decide(state, heard.Started(ev.AttemptStarted(pid=7, start_time=1.0, boot_id="b"), 100.0))
    due, ends = 100.0, [False]
    for cpu in (1.0, 2.0, 2.5, 2.5):
        state, _ = decide(state, heard.Measured(due + 1, 0, cpu))
        due += START_SECONDS_MAX
        state, decision = decide(state, heard.Due(due))
        ends.append(any(isinstance(effect, do.EndWorker) for effect in decision.effects))
    assert ends == [False, False, False, False, True], "it used the processor until the last look but one"
    late, decision = decide(state, heard.Connected(rp.WorkerHello(task=T, epoch=1, token="", pid=7, capabilities=())))
    assert "AttemptReady" not in kinds(decision), "it is being ended"
    assert late.phase == state.phase


@pytest.mark.parametrize("cause", ["exited", "spawn_failed", "orphaned", "limit"])
def test_a_durable_result_wins_over_whatever_is_heard_later(cause: Any) -> None:
    state, _ = decide(running(), heard.Reported(rp.Report(1, rp.Outcome(outcome="completed", result=42)), 1.0, 1.0))
    exited = Exited(T, 1, cause=cause, error="nobody has forked it", exit=ExitStatus(signal=9))
    _, decision = decide(state, heard.Ended(exited, (), 2.0))
    (ended,) = (body for body in decision.events if isinstance(body, ev.AttemptEnded))
    assert ended.status is AttemptStatus.COMPLETED


class AttemptLaws(RuleBasedStateMachine):
    """Whatever happens in whatever order: one end, every message settles once, receipts climb, numbers count once."""

    def __init__(self) -> None:
        super().__init__()
        self.state, _ = fresh(), None
        self.events: list[ev.Body] = []
        self.effects: list[Any] = []
        self.count = 0
        self.number = 0
        self.asks = 0
        self.unanswered: dict[str, Decision] = {}
        self.feed(heard.Reserve("/"))

    def feed(self, event: heard.AttemptEvent) -> None:
        before = self.state
        self.state, decision = decide(self.state, event)
        if len(self.state.inbox.pending) > len(before.inbox.pending):  # nothing of it happens before the store's word
            self.unanswered[self.state.inbox.pending[-1].id] = decision
            return
        if before.over:
            assert all(isinstance(body, ev.MessageAccepted | ev.MessageSettled) for body in decision.events)
        self.events += decision.events
        self.effects += decision.effects + decision.prompt

    @rule()
    def reservation_is_durable(self) -> None:
        if isinstance(self.state.phase, Reserving):
            self.feed(heard.Reserved())

    @rule(at_=st.floats(0, 100))
    def there_is_a_place(self, at_: float) -> None:
        self.feed(heard.SlotGranted(at_))

    @precondition(lambda self: [type(each) for each in self.events] == [ev.AttemptReserved, ev.AttemptStarting])
    @rule()
    def crewd_dies_and_comes_back_before_the_order_is_recorded(self) -> None:
        self.events.pop()
        self.effects.clear()
        self.state = fresh()
        self.feed(heard.Resume(0.0))

    @precondition(lambda self: self.state.spawned)
    @rule(at_=st.floats(0, 1000), beats=st.integers(0, 3), output=st.integers(0, 3))
    def it_gives_signs_of_life(self, at_: float, beats: int, output: int) -> None:
        self.feed(heard.Alive(at_, beats))
        self.feed(heard.Measured(at_, output))

    @rule(kind=st.sampled_from(["steer", "follow_up", "response"]))
    def someone_sends(self, kind: Any) -> None:
        self.count += 1
        self.feed(send(f"m{self.count}", kind, f"q{self.asks}" if kind == "response" else ""))

    @rule(mode=st.sampled_from(["now", "graceful"]))
    def someone_cancels(self, mode: str) -> None:
        self.feed(heard.Cancel(CancelInfo(reason="caller_cancelled", mode=mode, grace_seconds=5.0)))

    @precondition(lambda self: self.unanswered)
    @rule(admitted=st.booleans())
    def the_store_says(self, admitted: bool) -> None:
        key = next(iter(self.unanswered))
        decision = self.unanswered.pop(key)
        if admitted:
            self.events += decision.events
            self.effects += decision.effects + decision.prompt
        self.feed(heard.Admitted(key) if admitted else heard.NotAdmitted(key))

    @rule()
    def the_guardian_is_back(self) -> None:
        self.feed(heard.GuardianBack())

    @precondition(lambda self: not isinstance(self.state.phase, Reserving | Finished))
    @rule(kind=st.sampled_from(["steer", "follow_up"]))
    def the_run_hands_a_message_over(self, kind: Any) -> None:
        self.count += 1
        handed = send(f"m{self.count}", kind)
        self.events.append(accepted(handed))
        self.feed(heard.Handed(handed.mail))

    @rule()
    def someone_withdraws(self) -> None:
        self.feed(heard.Withdraw(f"m{self.count}", CALLER))

    @precondition(lambda self: self.state.spawned)
    @rule(capabilities=st.sampled_from([(), ("steer",), ("steer", "follow_up")]))
    def the_worker_connects(self, capabilities: tuple[str, ...]) -> None:
        self.feed(heard.Connected(rp.WorkerHello(task=T, epoch=1, token="", pid=1, capabilities=capabilities)))

    @rule()
    def the_connection_breaks(self) -> None:
        self.feed(heard.Disconnected())

    @precondition(lambda self: self.state.contact.connected)
    @rule(
        which=st.sampled_from(
            ["delivered", "applied", "settled", "returned", "asked", "ask_over", "open", "close", "stop", "outcome"]
        ),
        message=st.integers(0, 4),
        repeat=st.booleans(),
        outcome=st.sampled_from(["completed", "failed", "cancelled"]),
    )
    def the_worker_reports(self, which: str, message: int, repeat: bool, outcome: Any) -> None:
        if not (repeat and self.number):
            self.number += 1
        key = f"m{max(0, self.count - message)}"
        if which == "asked":
            self.asks += 1
        body = {
            "delivered": rp.Delivered(id=key),
            "applied": rp.Applied(id=key),
            "settled": rp.Settled(id=key, outcome="done"),
            "returned": rp.Returned(id=key, outcome="withdrawn"),
            "asked": rp.Asked(id=f"q{self.asks}", question="?"),
            "ask_over": rp.AskOver(id=f"q{self.asks}", outcome="expired"),
            "open": rp.OpOpened(id=f"o{self.number}", kind="tool", name="x"),
            "close": rp.OpClosed(id=f"o{self.number - 1}", outcome="done"),
            "stop": rp.StopProposed(),
            "outcome": rp.Outcome(outcome=outcome),
        }[which]
        self.feed(heard.Reported(rp.Report(number=self.number, body=body), 1.0))  # type: ignore[arg-type]

    @precondition(lambda self: self.state.spawned)
    @rule(adopted=st.booleans())
    def the_guardian_says_started(self, adopted: bool) -> None:
        self.feed(heard.Started(ev.AttemptStarted(pid=7, start_time=1.0, boot_id="b", adopted=adopted), 0.0))

    @precondition(lambda self: self.state.spawned)
    @rule(code=st.sampled_from([None, 0, 1]), cause=st.sampled_from(["exited", "ended", "orphaned", "spawn_failed"]))
    def the_guardian_says_exited(self, code: int | None, cause: Any) -> None:
        self.feed(heard.Ended(Exited(task=T, epoch=1, exit=ExitStatus(code=code), cause=cause), (), 1.0))

    @rule(number=st.sampled_from([None, 0, 1, 2]), unborn=st.booleans())
    def the_guardian_knows_nothing(self, number: int | None, unborn: bool) -> None:
        self.feed(heard.Unknown(number, unborn))

    @rule(at_=st.floats(0, 1000))
    def time_passes(self, at_: float) -> None:
        self.feed(heard.Due(at_))

    @invariant()
    def notices_are_raised_and_closed_in_turn(self) -> None:
        opened: dict[str, bool] = {}
        for each in self.events:
            if isinstance(each, ev.NoticeRaised):
                assert each.id not in opened
                opened[each.id] = True
            elif isinstance(each, ev.NoticeClosed):
                assert opened[each.id]
                opened[each.id] = False
        assert not (self.state.over and any(opened.values())), "an attempt that is over leaves no notice open"
        assert sum(isinstance(each, ev.AttemptLimitHit) for each in self.events) <= 1

    @invariant()
    def one_terminal_event_and_nothing_open_after_it(self) -> None:
        ends = [each for each in self.events if isinstance(each, ev.AttemptEnded)]
        assert len(ends) == (1 if self.state.over else 0)
        if not ends:
            return
        settled = {each.id for each in self.events if isinstance(each, ev.MessageSettled)}
        assert not self.state.inbox.box.mails
        accepted = {each.id for each in self.events if isinstance(each, ev.MessageAccepted)}
        assert settled == accepted
        assert {e.id for e in self.events if isinstance(e, ev.OperationOpened)} == {
            e.id for e in self.events if isinstance(e, ev.OperationClosed)
        }
        assert {e.id for e in self.events if isinstance(e, ev.AskOpened)} == {
            e.id for e in self.events if isinstance(e, ev.AskClosed)
        }

    @invariant()
    def every_message_settles_at_most_once_and_nothing_follows(self) -> None:
        order = {ev.MessageAccepted: Level.ACCEPTED, ev.MessageDelivered: Level.DELIVERED, ev.MessageApplied: Level.APPLIED,
                 ev.MessageSettled: Level.SETTLED}  # fmt: skip
        reached: dict[str, Level] = {}
        for body in self.events:
            level = order.get(type(body))
            if level is None:
                continue
            key = str(getattr(body, "id", ""))
            if level is Level.ACCEPTED:
                assert key not in reached
            else:
                assert reached[key] is not Level.SETTLED, f"{key} after it had settled"
            reached[key] = max(level, reached.get(key, level), key=LEVELS.index)

    @invariant()
    def nothing_is_told_of_a_worker_whose_order_is_not_recorded(self) -> None:
        kinds = [type(each) for each in self.events]
        assert kinds.count(ev.AttemptStarting) <= 1
        of_a_worker = {ev.AttemptStarted, ev.AttemptReady, ev.AttemptOutcome, ev.AttemptFinishing, ev.AttemptLimitHit}
        before = kinds[: kinds.index(ev.AttemptStarting)] if ev.AttemptStarting in kinds else kinds
        assert not of_a_worker & set(before)

    @invariant()
    def reports_count_once(self) -> None:
        numbers = [number for body in self.events if (number := getattr(body, "report", 0))]
        assert numbers == sorted(set(numbers))

    @invariant()
    def no_spawn_without_a_reservation_and_never_two(self) -> None:
        spawns = sum(isinstance(effect, do.SpawnWorker) for effect in self.effects)
        assert spawns <= (0 if isinstance(self.state.phase, Reserving | Queued) else 1)

    @invariant()
    def a_cancelled_attempt_never_completes(self) -> None:
        cancelled = False
        for body in self.events:
            cancelled = cancelled or isinstance(body, ev.AttemptCancelRequested)
            if isinstance(body, ev.AttemptEnded) and cancelled:
                assert body.status in {AttemptStatus.CANCELLED, AttemptStatus.CANCEL_INCOMPLETE}


TestAttemptLaws = AttemptLaws.TestCase


def test_who_takes_back_what_the_last_words_of_the_worker_take_is_told() -> None:
    state, _ = decide(delivered(), heard.Withdraw("m1", ANN))
    words = (rp.Report(number=2, body=rp.Applied("m1")), rp.Report(number=3, body=rp.Outcome(outcome="completed")))
    _, decision = decide(state, heard.Ended(Exited(task=T, epoch=1), words, 1.0))
    assert do.TellCannotWithdraw(ANN, "m1") in decision.effects
