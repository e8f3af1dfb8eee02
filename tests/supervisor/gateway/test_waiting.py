"""Who waits is answered by the news of a commit. The reader is asked once, and for the cancel of a living run not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from crewd.model import events as ev
from crewd.model.errors import CrewdError
from crewd.model.receipts import Level, Outcome, Receipt
from crewd.model.rows import RunRow
from crewd.model.statuses import RunStatus
from crewd.model.workflow import Step, Workflow
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.store.messages import Answer, Published, Read, Stand, Standing
from crewd.supervisor.caller import Caller
from crewd.supervisor.directory import READER, Directory
from crewd.supervisor.gateway.questions import AGAIN_SECONDS, Questions
from crewd.supervisor.gateway.waiting import Waiting

ME = Caller(b"me", "q1", "me:1")
R = "r_1"
FLOW = Workflow(name="w", steps=(Step(id="a"),))


class Reader:
    """A ref that keeps what it is told; `full` takes nothing."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.full = False

    def offer(self, message: object) -> bool:
        if not self.full:
            self.asked.append(message)
        return not self.full


class Desk:
    """A `Waiting` whose replies, errors and timers are kept; the clock is moved by hand."""

    def __init__(self) -> None:
        self.reader = Reader()
        directory = Directory()
        directory.enter(READER, cast("Any", self.reader))
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.sent: list[tuple[Caller, rl.Reply | CrewdError]] = []
        self.questions = Questions(directory, lambda: cast("Any", None), self.later)
        self.waiting = Waiting(
            directory, self.questions, lambda caller, reply: self.sent.append((caller, reply)),
            lambda caller, error: self.sent.append((caller, error)), self.later, lambda: self.now, lambda: ["nothing moves"],
        )  # fmt: skip

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self.timers.append((self.now + seconds, act))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        due, self.timers = [t for t in self.timers if t[0] <= self.now], [t for t in self.timers if t[0] > self.now]
        for _, act in due:
            act()

    def publish(self, seq: int, *rows: RunRow, receipts: tuple[Receipt, ...] = ()) -> None:
        event = ev.Event(seq, f"e_{seq}", 0, R, "", 0, "", "", "", 0.0, ev.RunEnded(status=RunStatus.CANCELLED))
        self.waiting.publish(Published((event,), receipts, rows))

    def answer(self, reply: object) -> None:
        question = self.reader.asked.pop(0)
        assert isinstance(question, Read | Stand)
        self.questions.answered(Answer(question.token, cast("Any", reply)).token, reply)


def row(status: RunStatus) -> RunRow:
    return RunRow(id=R, name="mine", status=status, goal="", cwd="/", workflow=FLOW)


def test_the_cancel_of_a_living_run_asks_nobody_and_an_older_end_does_not_answer_it() -> None:
    desk = Desk()
    desk.waiting.for_cancel(ME, R, "", rq.Cancel(target=R))
    desk.publish(3, row(RunStatus.FAILED))  # it was opened again before it was cancelled
    desk.waiting.cancel_recorded(ME, after=4)
    assert desk.sent == []
    desk.publish(6, row(RunStatus.CANCELLED))
    ((_, reply),) = desk.sent
    assert isinstance(reply, rl.CancelReply)
    assert (reply.status, reply.verified) == ("cancelled", True)
    assert desk.reader.asked == []
    assert len(desk.waiting) == 0


def test_an_end_that_was_heard_of_before_its_cancel_was_known_to_be_durable_answers_it() -> None:
    desk = Desk()
    desk.waiting.for_cancel(ME, R, "", rq.Cancel(target=R))
    desk.publish(6, row(RunStatus.CANCELLED))
    assert desk.sent == []
    desk.waiting.cancel_recorded(ME, after=4)
    assert len(desk.sent) == 1


def test_a_wait_for_an_end_asks_once_and_older_news_do_not_end_it() -> None:
    desk = Desk()
    desk.reader.full = True
    desk.waiting.for_end(ME, R, "", rq.AwaitEnd(target=R))
    desk.publish(3, row(RunStatus.FAILED))
    desk.reader.full = False
    desk.wait(AGAIN_SECONDS)
    desk.answer(Standing((row(RunStatus.RUNNING),), upto=4))
    assert (desk.sent, desk.reader.asked) == ([], [])
    desk.publish(4, row(RunStatus.COMPLETED))
    ((_, reply),) = desk.sent
    assert isinstance(reply, rl.EndReply)
    assert reply.run.status is RunStatus.COMPLETED
    assert desk.reader.asked == []


def test_a_wait_whose_first_look_is_late_is_answered_by_it_and_given_up_if_it_never_comes() -> None:
    for status, answer in ((RunStatus.COMPLETED, rl.EndReply), (RunStatus.RUNNING, rl.ErrorReply)):
        desk = Desk()
        desk.waiting.for_end(ME, R, "", rq.AwaitEnd(target=R, timeout_seconds=2.0))
        desk.wait(2.0)
        assert desk.sent == []
        desk.answer(Standing((row(status),), upto=4))
        assert [type(reply) for _, reply in desk.sent] == [answer]
        assert len(desk.timers) == 1, "one alarm, however often was looked"
    desk = Desk()
    desk.waiting.for_end(ME, R, "", rq.AwaitEnd(target=R, timeout_seconds=2.0))
    desk.wait(2.0)
    desk.wait(5.0)
    assert [type(reply) for _, reply in desk.sent] == [rl.ErrorReply]


def test_news_that_were_lost_are_asked_for() -> None:
    desk = Desk()
    desk.publish(3)
    desk.waiting.for_end(ME, R, "", rq.AwaitEnd(target=R))
    desk.answer(Standing((row(RunStatus.RUNNING),), upto=3))
    desk.waiting.for_level(ME, rq.Send(id="m_1", kind="steer", wait=Level.SETTLED))
    accepted = Receipt("m_1", "steer", R, "r_1/a", Level.ACCEPTED)
    desk.waiting.receipt(ME, accepted)
    desk.waiting.missed()
    assert [type(each) for each in desk.reader.asked] == [Stand, Read]
    desk.answer(Standing((row(RunStatus.COMPLETED),), upto=9))
    desk.answer(rl.ReceiptReply(receipt=Receipt("m_1", "steer", R, "r_1/a", Level.SETTLED, outcome=Outcome.DONE)))
    assert [type(reply) for _, reply in desk.sent] == [rl.EndReply, rl.ReceiptReply]


def test_whoever_has_waited_long_enough_hears_what_holds_it_up() -> None:
    desk = Desk()
    desk.waiting.for_end(ME, R, "", rq.AwaitEnd(target=R, timeout_seconds=5.0))
    desk.answer(Standing((row(RunStatus.RUNNING),), upto=3))
    desk.wait(5.0)
    ((_, reply),) = desk.sent
    assert isinstance(reply, rl.ErrorReply)
    assert "nothing moves" in reply.error.hint
    assert len(desk.waiting) == 0


def test_an_answer_of_another_kind_is_an_error_for_whoever_asked() -> None:
    desk = Desk()
    desk.waiting.for_end(ME, R, "", rq.AwaitEnd(target=R))
    desk.answer(rl.Done())
    ((_, error),) = desk.sent
    assert isinstance(error, CrewdError)
    assert "nobody has asked for" in error.message


def test_a_time_that_passes_before_a_message_is_accepted_is_told_once_with_the_receipt() -> None:
    for reached, told in ((Level.ACCEPTED, True), (Level.SETTLED, False)):
        desk = Desk()
        desk.waiting.for_level(ME, rq.Send(id="m", kind="steer", target=R, text="a", wait=Level.SETTLED, timeout_seconds=0.0))
        desk.wait(0.0)
        assert not desk.sent, "whether it is accepted was not heard yet"
        desk.waiting.receipt(ME, Receipt("m", "steer", R, "r_1/a", Level.ACCEPTED))
        receipt = Receipt("m", "steer", R, "r_1/a", reached, outcome=Outcome.DONE if reached is Level.SETTLED else None)
        desk.answer(rl.ReceiptReply(receipt=receipt))
        ((_, reply),) = desk.sent
        if told:
            assert isinstance(reply, rl.ErrorReply)
            assert (reply.error.code, reply.receipt) == ("deadline_exceeded", receipt)
        else:
            assert reply == rl.ReceiptReply(receipt=receipt)
        desk.wait(60.0)
        assert len(desk.sent) == 1
