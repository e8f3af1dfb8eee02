"""What the worker's two threads share: reports not yet durable, messages not yet taken, the token. No I/O.

Rule 1: one lock, one condition; the link's thread calls `heard_*` and `unsent`, the code's thread the rest.
Rule 2: a report leaves the outbox when crewd says that it is durable, and not before.
Rule 3: a message id is taken once, whatever the wire repeats.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from crewd.model.errors import UsageError
from crewd.model.known_secrets import KnownSecrets
from crewd.model.limits import REPORT_BYTES_MAX, REPORTS_UNACKED_MAX
from crewd.model.message_kinds import MESSAGE_KINDS, Purpose
from crewd.model.reasons import RefusalReason
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.protocol.reports import Applied, CancelOrder, Deliver, Delivered, Report, ReportBody, Returned, Sampled, Settled

if TYPE_CHECKING:
    from crewd.worker.token import CancellationToken

Asking = rq.Send | rq.AwaitEnd | rq.GetReceipt
Answering = rl.ReceiptReply | rl.EndReply | rl.ErrorReply
SEEN_MAX = 10_000
"""Message ids remembered; crewd keeps at most 256 unsettled ones per attempt, so a repeat is always among them."""


def _check_sendable(body: ReportBody | Asking) -> None:
    """Raises UsageError for what crewd could not read: text that is no UTF-8, a value of another type, too many bytes."""
    try:
        encoded = _ENCODER.encode(body)
        _decoder(type(body)).decode(encoded)
    except (UnicodeEncodeError, TypeError, OverflowError, msgspec.ValidationError) as error:
        raise UsageError(f"this cannot be sent: {error}", hint="text that is UTF-8, JSON-like values") from None
    if len(encoded) > REPORT_BYTES_MAX:
        hint = f"{REPORT_BYTES_MAX:,} are possible; leave what is large as a file: ctx.artifact"
        raise UsageError(f"this cannot be sent: it has {len(encoded):,} bytes", hint=hint)


_ENCODER = msgspec.msgpack.Encoder()


@functools.cache
def _decoder(kind: type[ReportBody | Asking]) -> msgspec.msgpack.Decoder[ReportBody | Asking]:
    return msgspec.msgpack.Decoder(kind)


class Desk:
    """See the module's text. `wake` tells the link's thread that there is something to send.

    `interruptible` breaks off what the code does now for a message that comes `now`; it says whether it could. `breaking`:
    it came into code that must be whole, and the context's next call on the main thread breaks off instead.
    """

    def __init__(self, token: CancellationToken, wake: Callable[[], None]) -> None:
        self.token = token
        self._process = os.getpid()
        self._wake = wake
        self._condition = threading.Condition()
        self._outbox: deque[Report] = deque()
        self._given_up = False
        self._sent = 0
        self._number = 0
        self._seen: dict[str, None] = {}
        self._steers: deque[Deliver] = deque()
        self._follow_ups: deque[Deliver] = deque()
        self._letters: deque[Deliver] = deque(maxlen=SEEN_MAX)
        self._answers: dict[str, Deliver] = {}
        self._open_asks: set[str] = set()
        self._requests: dict[str, Asking] = {}
        self._unasked: list[str] = []
        self._farewells: list[tuple[str, Asking]] = []
        self._replies: dict[str, Answering] = {}
        self._proposed = False
        self._granted = False
        self._over = False
        self._turn = 1
        self._ever_sent = 0
        self._at_safe_point = False
        self.interruptible: Callable[[str], bool] | None = None
        self.breaking = False
        self.known = KnownSecrets()
        """Values that nothing that is reported may hold."""
        token.listen(self._notify)

    def _notify(self) -> None:
        with self._condition:
            self._condition.notify_all()

    # -- the code's side ----------------------------------------------------------------------------------------

    def report(self, body: ReportBody) -> int:
        """Number a report and hand it to the link. Waits while too many are not durable (back-pressure).

        Raises UsageError, in the caller's own line, for what cannot be sent.
        """
        if os.getpid() != self._process:
            raise UsageError(
                f"this context belongs to the worker (process {self._process}), and a fork of it cannot report",
                hint="use the context in the worker itself, and send there what is to be reported",
            )
        _check_sendable(body)
        body = self.known.in_struct(body)
        with self._condition:
            last = self._outbox[-1] if self._outbox else None
            merged = None if last is None or last.number <= self._ever_sent else _merged(last.body, body)
            if last is not None and merged is not None:
                self._outbox[-1] = Report(number=last.number, body=merged)
                return last.number
            while len(self._outbox) >= REPORTS_UNACKED_MAX and not self.token.cancelled:
                self._condition.wait()
            self._number = number = self._number + 1
            self._outbox.append(Report(number=number, body=body))
        self._wake()
        return number

    def sample(self, body: Sampled, *, needed: bool) -> None:
        """Report progress for the history. What is not needed is dropped while much is not durable: nobody waits for it."""
        with self._condition:
            if not needed and len(self._outbox) >= REPORTS_UNACKED_MAX // 2:
                return
        self.report(body)

    def next_steer(self, seconds: float = 0.0) -> Deliver | None:
        """The oldest steer that was not taken; waits up to `seconds` for one, or until the token fires."""
        with self._condition:
            if seconds > 0 and not self._steers:
                self._at_safe_point = True
                self._condition.wait_for(lambda: self._steers or self.token.cancelled, seconds)
                self._at_safe_point = False
            if self.token.cancelled:
                return None  # it is settled as refused: nothing is applied after a cancel
            return self._next_of(self._steers)

    def next_follow_up(self) -> Deliver | None:
        """The oldest follow-up that was not taken; none while a steer waits (steers go first)."""
        with self._condition:
            taken = self._next_of(self._follow_ups) if not self._steers else None
            self._turn += taken is not None
            return taken

    def _next_of(self, queue: deque[Deliver]) -> Deliver | None:
        """The oldest one that is for this turn; what is for one that is over is refused on the way."""
        while queue:
            message = queue.popleft()
            if self._is_for_now(message):
                return message
            self._number += 1
            self._outbox.append(Report(number=self._number, body=_turn_over(message, self._turn)))
            self._wake()
        return None

    def next_letters(self) -> list[Deliver]:
        """What lies in the mailbox and was not read, oldest first."""
        with self._condition:
            found = list(self._letters)
            self._letters.clear()
            return found

    def _is_for_now(self, message: Deliver) -> bool:
        return message.turn in {0, self._turn}

    def wait_for_steer(self) -> Deliver | None:
        """Wait for a steer; None when the work is over."""
        with self._condition:
            while not self._steers and not self._over:  # a command has one turn: what is here is for it
                self._condition.wait()
            return self._next_of(self._steers) if not self._over else None

    def wait_for_message(self) -> Deliver | None:
        """Wait for a steer, or for what lies in the mailbox; None when the work is over."""
        with self._condition:
            while not self._over:
                if self._letters:
                    return self._letters.popleft()
                steer = self._next_of(self._steers)
                if steer is not None:
                    return steer
                self._condition.wait()
            return None

    def finish(self) -> None:
        """The work is over: threads that wait here go on."""
        with self._condition:
            self._over = True
            self._condition.notify_all()

    def open_ask(self, ask: str) -> None:
        """An answer to this question will be taken."""
        with self._condition:
            self._open_asks.add(ask)

    def close_ask(self, ask: str) -> None:
        """Close the question. A thread that waits for its answer returns."""
        with self._condition:
            self._open_asks.discard(ask)
            self._condition.notify_all()

    def answered(self, ask: str) -> bool:
        """Whether the answer is here."""
        with self._condition:
            return ask in self._answers

    def wait_answer(self, ask: str, seconds: float | None) -> Deliver | None:
        """Wait for the answer; None when the time has passed, the token has fired or it was closed. Closes the question."""
        with self._condition:
            self._condition.wait_for(
                lambda: ask in self._answers or ask not in self._open_asks or self.token.cancelled, seconds
            )
            self._open_asks.discard(ask)
            return self._answers.pop(ask, None)

    def ask(self, key: str, request: Asking) -> None:
        """Ask crewd something, under an id that is new. Raises UsageError for what cannot be sent."""
        _check_sendable(request)
        with self._condition:
            self._requests[key] = request
            self._unasked.append(key)
        self._wake()

    def replied(self, key: str) -> bool:
        """Whether the reply is here."""
        with self._condition:
            return key in self._replies

    def wait_reply(self, key: str, seconds: float) -> Answering | None:
        """Wait for the reply; None when the time has passed, the token has fired, or it was given up.

        It is not asked again after this; a caller that waits no more for an end says so. This wait may be cut short.
        """
        reply: Answering | None = None
        with self._condition:
            try:
                self._condition.wait_for(
                    lambda: key in self._replies or key not in self._requests or self.token.cancelled, seconds
                )
            finally:
                reply = self._replies.pop(key, None)
                request = self._requests.pop(key, None)
                if reply is None and isinstance(request, rq.AwaitEnd):
                    self._let_go(key, request)
        return reply

    def give_up(self, key: str) -> None:
        """Nobody wants the reply any more."""
        with self._condition:
            request = self._requests.pop(key, None)
            if isinstance(request, rq.AwaitEnd):
                self._let_go(key, request)
            self._condition.notify_all()

    def _let_go(self, key: str, request: rq.AwaitEnd) -> None:
        """A wait with no time left: crewd forgets the one that had more."""
        self._farewells.append((key, replace(request, timeout_seconds=0.0)))
        self._wake()

    def propose(self) -> None:
        """A `StopProposed` is about to be reported."""
        with self._condition:
            self._proposed, self._granted = True, False

    def wait_verdict(self, seconds: float | None = None) -> bool | None:
        """Wait for the answer to the proposal: True if granted, False if there is more to do, None when the time has passed.

        Raises Cancelled.
        """
        with self._condition:
            answered = self._condition.wait_for(lambda: not self._proposed or self.token.cancelled, seconds)
            self.token.check()
            return self._granted if answered else None

    def wait_durable(self, seconds: float | None = None, *, upto: int | None = None) -> bool:
        """Wait until every report is durable, or those up to a number (then a cancel ends the wait, too)."""

        def durable() -> bool:
            return (
                not self._outbox
                or self._given_up
                or (upto is not None and (self._outbox[0].number > upto or self.token.cancelled))
            )

        with self._condition:
            return self._condition.wait_for(durable, seconds)

    def refused(self, reason: str) -> None:
        """Nothing that this worker says will ever be taken: cancel it, and wait for nothing more."""
        with self._condition:
            self._given_up = True
            self._condition.notify_all()
        self.token.cancel(reason, 0.0)

    def waiting(self) -> list[Report]:
        """Reports that are not known to be durable."""
        with self._condition:
            return list(self._outbox)

    # -- the link's side ----------------------------------------------------------------------------------------

    def unsent(self) -> list[Report]:
        """Reports not sent on this connection, oldest first; they count as sent now."""
        with self._condition:
            fresh = [report for report in self._outbox if report.number > self._sent]
            if fresh:
                self._sent = fresh[-1].number
                self._ever_sent = max(self._ever_sent, self._sent)
            return fresh

    def unasked(self) -> list[tuple[str, Asking]]:
        """Requests not sent on this connection; they count as sent now."""
        with self._condition:
            fresh, self._unasked = self._unasked, []
            farewells, self._farewells = self._farewells, []
            return [*((key, self._requests[key]) for key in fresh if key in self._requests), *farewells]

    def heard_reply(self, key: str, reply: Answering) -> None:
        """The reply to a request; nobody waits for one that comes twice."""
        with self._condition:
            if key in self._requests:
                self._replies[key] = reply
                self._condition.notify_all()

    def heard_welcome(self, reports: int) -> None:
        """A new connection: everything that is not durable is sent again, and everything open is asked again."""
        with self._condition:
            self._drop(reports)
            self._sent = reports
            self._unasked = list(self._requests)

    def heard_ack(self, upto: int) -> None:
        """These reports are durable."""
        with self._condition:
            self._drop(upto)

    def _drop(self, upto: int) -> None:
        while self._outbox and self._outbox[0].number <= upto:
            self._outbox.popleft()
        self._condition.notify_all()

    def heard_message(self, message: Deliver) -> None:
        """A control message arrived, perhaps again."""
        body: ReportBody
        with self._condition:
            if message.id in self._seen:
                return
            self._see(message.id)
            purpose = MESSAGE_KINDS[message.kind].purpose
            if purpose is Purpose.READING:
                self._letters.append(message)
                self._condition.notify_all()
                return
            breaks = message.now and self.interruptible is not None and self.interruptible(message.id)
            reports: list[ReportBody] = []
            if breaks or not self._is_taken_at_once(message):  # else `Applied` follows, which says so as well
                reports.append(Delivered(id=message.id, effect="interrupted" if breaks else ""))
            match purpose:
                case Purpose.WORK if not self._is_for_now(message):
                    reports.append(_turn_over(message, self._turn))
                case Purpose.WORK:
                    (self._follow_ups if message.mode == "next_turn" else self._steers).append(message)
                case Purpose.ANSWER if message.ask in self._open_asks and message.ask not in self._answers:
                    self._answers[message.ask] = message
                case Purpose.ANSWER:
                    body = Settled(id=message.id, outcome="refused", reason=RefusalReason.NO_SUCH_ASK)
                    reports.append(body)
            for body in reports:
                self._number += 1
                self._outbox.append(Report(number=self._number, body=body))
            self._condition.notify_all()
        self._wake()

    def heard_recall(self, key: str, outcome: Literal["withdrawn", "expired"]) -> None:
        """Give a message back that the code has not taken; one that is still on its way will not be taken when it comes."""
        with self._condition:
            queue = next((q for q in (self._steers, self._follow_ups) for message in q if message.id == key), None)
            ask = next((ask for ask, message in self._answers.items() if message.id == key), None)
            if queue is not None:
                kept = [message for message in queue if message.id != key]
                queue.clear()
                queue.extend(kept)
            elif ask is not None:
                del self._answers[ask]
            elif key in self._seen:
                return  # the code has it, or it was given back before
            else:
                self._see(key)
            self._number += 1
            self._outbox.append(Report(number=self._number, body=Returned(id=key, outcome=outcome)))
        self._wake()

    def _is_taken_at_once(self, message: Deliver) -> bool:
        """Whether the code waits at a safe point for this very message."""
        waited_for = (
            MESSAGE_KINDS[message.kind].purpose is Purpose.WORK and message.mode != "next_turn" and self._is_for_now(message)
        )
        return self._at_safe_point and waited_for and not self._steers

    def _see(self, key: str) -> None:
        self._seen[key] = None
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]

    def heard_verdict(self, *, granted: bool) -> None:
        """Crewd answered the proposal to stop."""
        with self._condition:
            self._proposed, self._granted = False, granted
            self._condition.notify_all()

    def heard_cancel(self, order: CancelOrder) -> None:
        """Crewd wants the worker to stop."""
        self.token.cancel(order.reason, order.grace_seconds, order.intent)


def _merged(old: ReportBody, new: ReportBody) -> ReportBody | None:
    """One report that says both; None if these two stay two. A later level of a message implies the earlier ones."""
    match old, new:
        case Delivered(earlier, ""), Applied(later) if earlier == later:
            return new
        case Applied(earlier), Settled(later) if earlier == later:
            return replace(new, applied=True)
    return None


def _turn_over(message: Deliver, turn: int) -> Settled:
    reason = RefusalReason.TURN_OVER if message.turn < turn else RefusalReason.NO_SUCH_TURN
    return Settled(id=message.id, outcome="refused", reason=reason, note=f"this is turn {turn}")
