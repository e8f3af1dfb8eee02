"""Answers those who wait: for a level of a message's receipt, for an end, for what became of a cancel.

The news of a commit end a wait by themselves. The reader is asked once, when a wait for an end begins; for the cancel of a
run that lives it is not asked at all, so that a store that hangs holds up no cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from crewd.model.errors import CrewdError, DeadlineExceeded, NotFound, Refused
from crewd.model.receipts import Level, Receipt
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.supervisor.gateway import replies
from crewd.supervisor.gateway.waitgraph import cycle, in_words
from crewd.supervisor.gateway.waits import EndWait, LevelWait, W, WaitTable

if TYPE_CHECKING:
    from crewd.model.rows import RunRow
    from crewd.store.messages import Published, Standing
    from crewd.supervisor.caller import Caller
    from crewd.supervisor.directory import Directory
    from crewd.supervisor.gateway.questions import Questions


class Waiting:
    """See the module's text.

    `send` hands a reply to the wire, `failed` answers with an error and ends what the request had under way, `later` calls a
    function after some seconds, `held_up` says why no worker ends now.
    """

    def __init__(
        self,
        directory: Directory,
        questions: Questions,
        send: Callable[[Caller, rl.Reply], object],
        failed: Callable[[Caller, CrewdError], None],
        later: Callable[[float, Callable[[], None]], object],
        now: Callable[[], float],
        held_up: Callable[[], list[str]],
    ) -> None:  # fmt: skip
        self._directory = directory
        self._questions = questions
        self._send = send
        self._failed = failed
        self._later = later
        self._now = now
        self._held_up = held_up
        self._waits = WaitTable()
        self._look_at: float | None = None

    def __len__(self) -> int:
        return len(self._waits)

    # -- waits begin and end ------------------------------------------------------------------------------------

    def for_level(self, caller: Caller, send: rq.Send) -> None:
        """The caller waits until its message has come so far. Raises Busy."""
        if send.wait is not Level.ACCEPTED:
            self._enter(LevelWait(caller, send.id, send.wait, self._now() + send.timeout_seconds))

    def for_end(self, caller: Caller, run: str, task: str, request: rq.AwaitEnd) -> None:
        """The caller waits for an end, or for what holds it up. Raises Busy, Unavailable."""
        give_up_at = self._now() + request.timeout_seconds
        self._look(self._enter(EndWait(caller, run, task, request.or_waiting, cancel=False, give_up_at=give_up_at)))

    def for_cancel(self, caller: Caller, run: str, task: str, request: rq.Cancel) -> None:
        """The caller waits for what becomes of its cancel, which its run records next. Raises Busy."""
        if request.wait:
            give_up_at = self._now() + request.timeout_seconds
            self._enter(EndWait(caller, run, task, or_waiting=False, cancel=True, give_up_at=give_up_at))

    def cancel_recorded(self, caller: Caller, after: int) -> None:
        """The cancel is durable. An end that was recorded after the event `after` answers it."""
        for wait in self._ends_of(caller):
            self._waits.begin(wait, after)
            self._answer(self._waits.stands(wait.run, (), 0))

    def cancel_of_ended(self, caller: Caller) -> None:
        """What was to be cancelled has ended before: see how it did."""
        for wait in self._ends_of(caller):
            self._look(wait)

    def begin_anew(self, caller: Caller) -> None:
        """The request is made again: see `WaitTable`."""
        self._waits.begin_anew(caller)

    def drop_request(self, caller: Caller) -> None:
        """The request was refused: nothing is waited for."""
        for wait in self._waits.of_request(caller):
            self._waits.remove(wait)

    def drop(self, identity: bytes) -> None:
        """A client is gone: so are its waits."""
        self._waits.drop(identity)

    def check(self, worker: str, target: str, rows: dict[str, RunRow]) -> None:
        """Raises Refused for a worker's wait that could never end."""
        way = cycle(worker.rpartition("#")[0], target, self._waits.of_workers(), rows)
        if way is not None:
            words = in_words(way)
            for run, row in rows.items():
                words = words.replace(run, row.name)
            raise Refused(f"this wait would never end: {words}", hint="let one of them go on without the other")

    def _enter(self, wait: W) -> W:
        wait = self._waits.add(wait)
        if self._look_at is None or wait.give_up_at < self._look_at:
            self._alarm(wait.give_up_at)
        return wait

    def _ends_of(self, caller: Caller) -> list[EndWait]:
        return [wait for wait in self._waits.of_request(caller) if isinstance(wait, EndWait)]

    # -- answers ------------------------------------------------------------------------------------------------

    def receipt(self, caller: Caller, receipt: Receipt) -> None:
        """The caller's message has this receipt: it is sent now, unless the caller waits for more."""
        known = self._waits.answered(receipt, caller)
        if known is not None:
            self._send(caller, rl.ReceiptReply(receipt=known))
            return
        wait = self._waits.of_message(receipt.id, caller)
        if wait is not None and wait.give_up_at <= self._now() and self._waits.remove(wait):  # it passed before this was known
            self._give_up_message(wait)

    def publish(self, published: Published) -> None:
        """Answer those whom what was just committed concerns."""
        for receipt in published.receipts:
            self._heard(receipt)
        self._answer(self._waits.news(published.rows, published.events[-1].seq))

    def missed(self) -> None:
        """News were lost: ask for what they may have been."""
        for run in self._waits.runs():
            self._look_at_run(run, ())
        for wait in self._waits.messages():
            self._questions.surely(lambda wait=wait: self._ask_receipt(wait))  # type: ignore[misc]

    def _ask_receipt(self, wait: LevelWait) -> None:
        def ignored(_: CrewdError) -> None:
            """Do nothing: it is not durable yet, and its news come."""

        request = rq.GetReceipt(id=wait.message)
        self._questions.read(request, rl.ReceiptReply, lambda reply: self._heard(reply.receipt), ignored)

    def _heard(self, receipt: Receipt) -> None:
        for wait in self._waits.for_receipt(receipt):
            self._send(wait.caller, rl.ReceiptReply(receipt=receipt))

    def _look(self, wait: EndWait) -> None:
        self._look_at_run(wait.run, (wait,))

    def _look_at_run(self, run: str, waits: Sequence[EndWait]) -> None:
        def stands(found: Standing) -> None:
            for wait in waits:
                self._waits.begin(wait)
            self._answer(self._waits.stands(run, found.rows, found.upto))
            if any(wait.give_up_at <= self._now() for wait in waits):
                self._give_up()  # the alarm of these waits is set for later

        def failed(error: CrewdError) -> None:
            for wait in waits:
                if self._waits.remove(wait):
                    self._failed(wait.caller, error)

        attempts = any(wait.cancel for wait in waits)
        self._questions.surely(lambda: self._questions.stand(run, stands, failed, attempts=attempts))

    def _answer(self, met: Iterable[tuple[EndWait, rl.EndReply | rl.CancelReply]]) -> None:
        for wait, reply in met:
            self._send(wait.caller, reply)

    # -- time ---------------------------------------------------------------------------------------------------

    def _alarm(self, at: float) -> None:
        self._look_at = at
        self._later(max(0.0, at - self._now()), self._give_up_late)

    def _give_up_late(self) -> None:
        self._look_at = None
        self._give_up()
        due = self._waits.next_due
        if due is not None:
            self._alarm(due)

    def _give_up(self) -> None:
        for wait in self._waits.late(self._now()):
            if isinstance(wait, LevelWait):
                self._give_up_message(wait)
            else:
                self._send(wait.caller, replies.not_ended(wait, self._held_up()))

    def _give_up_message(self, wait: LevelWait) -> None:
        def late(reply: rl.ReceiptReply) -> None:
            self._send(wait.caller, reply if wait.met(reply.receipt) else replies.too_late(reply.receipt))

        def failed(error: CrewdError) -> None:
            if isinstance(error, NotFound):  # it is not durable yet
                hint = "crew messages lists it"
                error = DeadlineExceeded("the time to wait has passed: the message is on its way", hint=hint)
            self._failed(wait.caller, error)

        request = rq.GetReceipt(id=wait.message)
        self._questions.surely(lambda: self._questions.read(request, rl.ReceiptReply, late, failed))
