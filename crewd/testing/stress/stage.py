"""The in-process harness: one worker's crewd, on the worker's own thread, at exactly the points that a history names.

Production code on both sides: the worker's `Context`, `Desk` and `Session`, the protocol's bytes, and crewd's own
`attempt.decide` and `fold`. Simulated are the wire (a function call), the disk (every commit succeeds at once) and waiting:
what the SDK would wait for passes in no time, unless a child process or a thread of the worker is at work meanwhile.
Therefore the same history finds a worker that does not look at the real time at the same line every time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import crewd
from crewd.clock import SeededChance, SystemClock
from crewd.model import events as ev
from crewd.model.errors import Unavailable, UsageError
from crewd.model.ids import MESSAGE, IdSource
from crewd.model.message_kinds import MessageKind
from crewd.model.questions import check_answer
from crewd.model.rows import CancelInfo, ExitStatus, MessageRow
from crewd.model.workflow import Step, Workflow
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.protocol import reports as rp
from crewd.protocol import requests as rq
from crewd.protocol.bootstrap import Bootstrap
from crewd.protocol.guardian import Exited
from crewd.store.cache import Cache, Nowhere
from crewd.store.fold import fold
from crewd.supervisor.attempt import effects as do
from crewd.supervisor.attempt import events as heard
from crewd.supervisor.attempt.decide import decide
from crewd.supervisor.attempt.mailbox import Mail
from crewd.supervisor.attempt.state import Attempt
from crewd.testing.stress.history import Cancel, Crash, FollowUp, History, Steer, default_answer
from crewd.testing.stress.lines import is_plain, lines_of
from crewd.testing.stress.loop import passing
from crewd.testing.stress.trial import Act, AskedQuestion, End, Point, SentMessage
from crewd.testing.stress.where import from_worker, where
from crewd.worker.call import run_call
from crewd.worker.context import Context
from crewd.worker.declare import capabilities_of
from crewd.worker.desk import Desk
from crewd.worker.session import Session
from crewd.worker.token import CancellationToken, Cancelled

if TYPE_CHECKING:
    from crewd.clock import Clock

POINTS_MAX = 1_000
"""A worker that comes to more points than this is cancelled: its work is meant to be long, or it waits for something."""
POINTS_AFTER_MAX = 20
"""So often may a worker come back to its channel when it has been told to stop; then it has not understood."""
IDLE_WAITS_MAX = 2
"""Waits for messages that nobody will send, one after the other, until the worker is cancelled as idle."""
TASK = "stress/worker"


class StageClock:
    """The real time, plus all the waiting that was skipped."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.skipped = 0.0

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._clock.monotonic() + self.skipped

    def wall(self) -> float:
        """See `Clock`."""
        return self._clock.wall() + self.skipped

    def real(self) -> float:
        """The real time alone."""
        return self._clock.monotonic()


def _has_children() -> bool:
    """Whether a child process of this one is at work (one that has ended and was not waited for is not)."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


class StagedToken(CancellationToken):
    """A token on which nobody waits; a look at it from the worker's own code is a point."""

    def __init__(self, clock: StageClock) -> None:
        super().__init__(clock)
        self._stage_clock = clock
        self.on_point: Callable[[str], None] = lambda _call: None
        self.on_raise: Callable[[], None] = lambda: None
        self.on_waited: Callable[[], None] = lambda: None
        self.threads = threading.active_count()

    @property
    def cancelled(self) -> bool:
        """See `CancellationToken`."""
        if from_worker():
            self.on_point("token.cancelled")
        return super().cancelled

    def check(self) -> None:
        """See `CancellationToken`."""
        if from_worker():
            self.on_point("token.check")
        try:
            super().check()
        except Cancelled:
            self.on_raise()
            raise

    def wait(self, seconds: float) -> None:
        """See `CancellationToken`."""
        if from_worker():
            self.on_point("token.wait")
        try:
            super().wait(0.0 if self._fired.is_set() else self.passes(seconds))
        finally:
            self.on_waited()

    async def wait_async(self, seconds: float) -> None:
        """See `CancellationToken`. A cancel of this moment comes out of the waiting itself, as `asyncio.CancelledError`."""
        try:
            await asyncio.sleep(0.0 if self._fired.is_set() else seconds)
        except asyncio.CancelledError:
            if self._fired.is_set():
                self.on_raise()
            raise
        self.check()

    def passes(self, seconds: float) -> float:
        """How much of a wait must be waited for: all of it while a child process or a thread of the worker is at work."""
        if _has_children() or threading.active_count() > self.threads:
            return seconds
        self._stage_clock.skipped += max(0.0, seconds)
        return 0.0


class StagedDesk(Desk):
    """A desk at which nobody waits: what would be waited for is a point, and then comes or does not come."""

    def __init__(self, token: StagedToken, stage: Stage) -> None:
        super().__init__(token, stage.pump)
        self._stage = stage

    def next_steer(self, seconds: float = 0.0) -> rp.Deliver | None:
        """See `Desk`."""
        steer = super().next_steer()
        if steer is None and seconds > 0 and not self.token.cancelled:
            self._stage.waits("wait for a steer", seconds)
            steer = super().next_steer()
        return steer

    def wait_answer(self, ask: str, seconds: float | None) -> rp.Deliver | None:
        """See `Desk`."""
        if not self.answered(ask):
            self._stage.point("wait for an answer")
            self._stage.silence(seconds)
        return super().wait_answer(ask, 0.0)

    def wait_verdict(self, seconds: float | None = None) -> bool | None:
        """See `Desk`."""
        self._stage.point("wait for the permission to stop")
        return super().wait_verdict(seconds)


class Stage:
    """See the module's text. Use `run` once. `on_point` is told of each point; `on_cancel` when the token fires.

    That one hears the grace, and what was until then. `crash` ends the process.
    """

    def __init__(
        self,
        bootstrap: Bootstrap,
        history: History,
        points_before: int = 0,
        answers_before: int = 0,
        *,
        on_point: Callable[[Point], None] = lambda _point: None,
        on_cancel: Callable[[float, Act], None] = lambda _grace, _act: None,
        crash: Callable[[Act], None],
    ) -> None:
        self._bootstrap = bootstrap
        self._script = deque(history.controls)
        self._answers = deque(history.answers[answers_before:])
        self._before = points_before
        self._on_point = on_point
        self._on_cancel = on_cancel
        self._crash = crash
        self._clock = StageClock(SystemClock())
        self._ids = IdSource(self._clock, SeededChance(bootstrap.epoch))
        self._token = StagedToken(self._clock)
        self._token.on_point = self.point
        self._token.on_raise = self._raised
        self._token.on_waited = self._waited
        self._desk = StagedDesk(self._token, self)
        self._lock = threading.RLock()
        self._pumping = self._pump_again = False
        self._state = Attempt(TASK, bootstrap.epoch)
        self._rows = Cache(Nowhere())
        self._seq = 0
        self._at: dict[str, int] = {}
        self._points: list[Point] = []
        self._answered = 0
        self._asked: list[AskedQuestion] = []
        self._held: tuple[str, ...] = ()
        self._idle_waits = 0
        self._idle = False
        self._cancelled_at = self._after = 0
        self._raised_after: int | None = None
        self._lines: set[str] = set()
        self._ignored = 0
        self._fired = self._grace = 0.0
        self._gap, self._gap_after, self._last_point = 0.0, 0, self._clock.real()

    # -- the worker's side --------------------------------------------------------------------------------------

    def run(self, function: Callable[..., Any]) -> Act:
        """Let the worker live from its hello to its last word."""
        threads = set(threading.enumerate())
        capabilities = capabilities_of(function)
        hello = rp.WorkerHello(
            task=TASK, epoch=self._bootstrap.epoch, token="", pid=0, capabilities=capabilities,
            software=f"python/{crewd.__version__}",
        )  # fmt: skip
        self._session = Session(hello, self._desk, self._clock)
        self._record(ev.RunCreated("stress", "", "", Workflow("stress", (Step("worker"),))), task="")
        self._record(ev.RunStarted(), task="")
        self._feed(heard.Reserve(self._bootstrap.directory))
        self._session.connected()
        self.pump()
        context = Context(self._bootstrap, self._desk, self, self._ids)
        lines = lines_of(function, self._line) if is_plain(function) else contextlib.nullcontext()
        with passing(self._clock.monotonic, self._token.passes), lines:
            outcome = run_call(function, self._bootstrap, context)
        stop_seconds = self._clock.monotonic() - self._fired if self._cancelled_at else 0.0
        self._desk.finish()
        self._desk.report(outcome)
        left = tuple(
            thread.name for thread in threading.enumerate() if thread not in threads and thread.is_alive() and not thread.daemon
        )
        self._feed(heard.Ended(Exited(TASK, self._bootstrap.epoch, exit=ExitStatus(code=0)), (), self._clock.wall()))
        return self._act(
            outcome.outcome, reason=outcome.reason, error=outcome.error, result=outcome.result, threads=left,
            stop_seconds=stop_seconds,
        )  # fmt: skip

    def progress(self, report: rp.ProgressReport) -> None:  # noqa: ARG002 (the interface)
        """See `Pulse`."""
        self.point("")

    def beat(self, beats: int) -> None:  # noqa: ARG002
        """See `Pulse`."""
        self.point("")

    # -- points -------------------------------------------------------------------------------------------------

    def _line(self, line: str) -> None:
        """A plain function is at its next line: a cancel is raised there, as crewd's TERM does."""
        if self._cancelled_at:
            self._ignored += line in self._lines  # it goes on with its work: what it does for its end stands elsewhere
        elif len(self._points) < POINTS_MAX:
            self._lines.add(line)
            self.point("", line)
            self._token.check()

    def _waited(self) -> None:
        """A wait that a cancel would have broken off is over."""
        self._last_point = self._clock.real()

    def _raised(self) -> None:
        if self._raised_after is None:
            self._raised_after = len(self._points)

    def point(self, call: str, line: str = "") -> None:
        """The worker is at its next point: what the history has for it happens now."""
        with self._lock:
            number = self._before + len(self._points) + 1
            now = self._clock.real()
            if self._points and not self._cancelled_at and now - self._last_point > self._gap:
                self._gap, self._gap_after = now - self._last_point, number - 1
            self._last_point = now
            caller, line = where() if not line else ("", line)
            self._points.append(Point(number, call or caller, line))
            self._on_point(self._points[-1])
            if self._cancelled_at:
                self._after += 1
                if self._after > POINTS_AFTER_MAX:
                    self._crash(self._act("stuck"))
                return
            if len(self._points) > POINTS_MAX and call + caller:
                self._end_idle()
            while self._script and self._script[0].at <= number:
                control = self._script.popleft()
                match control:
                    case Steer(_, text):
                        self._send("steer", text, number)
                    case FollowUp(_, text):
                        self._send("follow_up", text, number)
                    case Cancel(_, grace_seconds, reason):
                        self._cancel(number, grace_seconds, reason)
                    case Crash():
                        self._crash(self._act("crashed"))

    def waits(self, call: str, seconds: float) -> None:
        """The worker waits for a message."""
        self.point(call)
        if self._cancelled_at:
            return
        self._clock.skipped += seconds
        self._idle_waits = 0 if self._script else self._idle_waits + 1
        if self._idle_waits >= IDLE_WAITS_MAX:
            self._end_idle()

    def silence(self, seconds: float | None) -> None:
        """Nobody answers."""
        if seconds is None:
            self._end_idle()
        elif not self._cancelled_at:
            self._clock.skipped += seconds

    def _end_idle(self) -> None:
        if not self._cancelled_at:
            self._idle = True
            self._cancel(len(self._points) + self._before, 1.0, "caller_cancelled")

    # -- crewd's side -------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Carry what the worker has to say; called by the desk whenever there is something."""
        with self._lock:
            if self._pumping:
                self._pump_again = True
                return
            self._pumping = True
            try:
                self._pump_again = True
                while self._pump_again:
                    self._pump_again = False
                    self._session.speak(self._hear)
            finally:
                self._pumping = False

    def _hear(self, said: rp.FromWorker, key: str) -> bool:
        body = codec.from_worker.decode(codec.from_worker.encode(key, said)).body
        match body:
            case rp.WorkerHello():
                self._feed(heard.Connected(body))
                self._pump_again = True
            case rp.Reports(reports):
                for report in reports:
                    self._feed(heard.Reported(report, self._clock.wall()))
                    if isinstance(report.body, rp.Asked):
                        self._answer(report.body)
            case rq.Send() | rq.AwaitEnd() | rq.GetReceipt():
                alone = rl.ErrorReply(error=Unavailable("nobody else is here: the worker is on its own").info)
                self._session.hear(codec.to_worker.encode(key, alone))
            case _:
                pass
        return True

    def _answer(self, asked: rp.Asked) -> None:
        usual = default_answer(asked.kind, asked.choices)
        answer = self._answers.popleft() if self._answers else usual
        self._answered += 1
        if answer is not None:
            try:
                check_answer(asked.kind, asked.choices, answer)
            except UsageError:  # crewd refuses it to its sender, who gives another one
                answer = usual
        self._asked.append(AskedQuestion(asked.question, self._before + len(self._points), answer))
        if answer is not None:
            self._mail(Mail(self._ids.next(MESSAGE), "response", 0, answer, asked.id))

    def _send(self, kind: MessageKind, text: str, number: int) -> None:
        key = self._ids.next(MESSAGE)
        self._at[key] = number
        self._mail(Mail(key, kind, len(self._at), text))

    def _mail(self, mail: Mail) -> None:
        self._feed(heard.Send(mail, "stress", "", None, None))

    def _cancel(self, number: int, grace_seconds: float, reason: str) -> None:
        self._cancelled_at, self._grace = number, grace_seconds
        self._fired = self._clock.monotonic()
        self._held = _open_below(Path(self._bootstrap.cwd).parent)
        self._on_cancel(grace_seconds, self._act("stuck"))  # the last that is heard of a worker that does not stop
        self._feed(heard.Cancel(CancelInfo(reason=reason, grace_seconds=grace_seconds)))

    def _feed(self, event: heard.AttemptEvent) -> None:
        self._state, decision = decide(self._state, event)
        for body in decision.events:
            self._record(body)
        for effect in decision.effects:
            match effect:
                case do.ReserveDone():
                    self._feed(heard.Reserved())
                case do.AskSlot():
                    self._feed(heard.SlotGranted(self._clock.monotonic()))
                case do.Admit(key):
                    self._feed(heard.Admitted(key))
                case do.Say(order) | do.Deliver(order):
                    self._session.hear(codec.to_worker.encode("", order))
                case _:
                    pass  # processes, callers and the run are not on this stage

    def _record(self, body: ev.Body, task: str = TASK) -> None:
        self._seq += 1
        event = ev.Event(
            seq=self._seq, event_id=str(self._seq), parent=0, run="stress", task=task, epoch=self._bootstrap.epoch,
            causation="", correlation="", provenance="crewd", at=self._clock.wall(), body=body,
        )  # fmt: skip
        fold(self._rows, event)

    def _act(self, end: End, *, result: object = None, **more: Any) -> Act:
        sent = []
        for key, number in self._at.items():
            row = self._rows.get(MessageRow, key)
            if row is not None:
                sent.append(_sent(row, number))
        return Act(
            end=end, result=msgspec.to_builtins(result), points=tuple(self._points), sent=tuple(sent),
            cancelled_at=self._cancelled_at, grace_seconds=self._grace, points_after=self._after, idle=self._idle,
            answered=self._answered, cancel_raised=self._raised_after is not None,
            points_ignored=self._ignored + (0 if self._raised_after is None else len(self._points) - self._raised_after),
            checkpoint=msgspec.to_builtins(self._state.work.checkpoint), held=self._held, asked=tuple(self._asked),
            gap_seconds=self._gap, gap_after=self._gap_after, **more,
        )  # fmt: skip


def _open_below(folder: Path) -> tuple[str, ...]:
    """The files in this folder that this process has open, named as `Place.files` names them."""
    found: set[str] = set()
    descriptors = Path("/proc/self/fd")
    for link in descriptors.iterdir() if descriptors.exists() else ():
        with contextlib.suppress(OSError, ValueError):
            parts = link.readlink().relative_to(folder).parts
            if parts:
                found.add("/".join(parts if parts[0] != "attempt" else ("attempt", *parts[2:])))
    return tuple(sorted(found))


def _sent(row: MessageRow, number: int) -> SentMessage:
    receipt = row.receipt
    return SentMessage(
        kind=receipt.kind, text=row.text, at=number, delivered=receipt.delivered_at is not None,
        applied=receipt.applied_at is not None, outcome=receipt.outcome or "", reason=receipt.reason,
    )  # fmt: skip
