"""A simulated worker: the production session, desk and token, with code that follows a plan instead of a function.

The code is a generator: it yields what it waits for, and the world resumes it when that is there, or kills it where it is.

Tests: tests/testing/world/test_world.py.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from crewd.model.hooks import HookRun
from crewd.model.ids import ASK, IdSource
from crewd.model.limits import REPORTS_UNACKED_MAX
from crewd.model.policy import Limits, Restarts, Retry
from crewd.model.reasons import FailureReason
from crewd.protocol import codec
from crewd.protocol import reports as rp
from crewd.protocol import requests as rq
from crewd.supervisor.gateway.wire import Side
from crewd.testing.world.network import SimLink
from crewd.worker.desk import Desk
from crewd.worker.message import Message
from crewd.worker.session import Session
from crewd.worker.token import CancellationToken, Cancelled

if TYPE_CHECKING:
    from crewd.clock import Clock
    from crewd.protocol.bootstrap import Bootstrap
    from crewd.testing.world.processes import Escape, Processes, SimProcess

Wait = tuple[float | None, Callable[[], object] | None]
"""Until a time (None: for ever) or until something is true, whichever comes first."""
How = Literal["returns", "raises", "vanishes", "hangs"]


HOOK_SECONDS = 45.0
"""Longer than a worker without hooks may be silent."""


class Plan(msgspec.Struct, frozen=True):
    """What a worker will do. Seconds are virtual.

    `steps` pieces of work of `step_seconds` each, with a safe point after each; before step `ask_at` it asks a question
    (with `ask_seconds` to answer); `operation` puts its work inside an operation. At the end it `returns` (through a natural
    stop if `follow_ups`), `raises`, `vanishes` (exits without a word) or `hangs`. `deaf` ignores TERM, `numb` does not look
    at its token, `undying` survives KILL, `lingers` does not exit after its last word. `children` are processes, each
    started by the one before, that leave it as they say and are as deaf as `deaf_children` says; `start_seconds` pass before
    its first word. A hook takes `HOOK_SECONDS` and blocks the first `barred_first` attempts. The first `fails_first` attempts
    raise; one that `freezes` is never heard of after its first word, as if
    it was stopped. Before its work it `waits_for` a step of its run; one that is `outside` is carried out by whoever claims
    it. Its result is a plan if it `hands_in` one: an `adaptive` one, or an `unfit` one that is better the second time. One that
    `spends` says after each piece of work that it has used another turn.
    `retry`, `restart` and `limits` are those of its spec.
    """

    steps: int = 2
    step_seconds: float = 0.5
    ends: How = "returns"
    start_seconds: float = 0.05
    steers: bool = True
    follow_ups: bool = True
    ask_at: int | None = None
    ask_seconds: float | None = 30.0
    operation: bool = False
    children: tuple[Escape, ...] = ()
    deaf_children: bool = False
    deaf: bool = False
    numb: bool = False
    undying: bool = False
    lingers: bool = False
    unborn: bool = False
    fails_first: int = 0
    barred_first: int = 0
    freezes: bool = False
    waits_for: str = ""
    outside: bool = False
    hands_in: str = ""
    spends: bool = False
    retry: Retry = msgspec.field(default_factory=Retry)
    restart: Restarts = msgspec.field(default_factory=Restarts)
    limits: Limits = msgspec.field(default_factory=Limits)

    @property
    def endless(self) -> bool:
        """Whether it goes on until somebody ends it."""
        if self.restart.policy != "temporary" or self.outside:
            return True
        return self.ends == "hangs" or (self.ask_at is not None and self.ask_seconds is None)


class Witness:
    """What the workers themselves know, by worker: the truth that receipts are measured against."""

    def __init__(self) -> None:
        self.delivered: dict[tuple[str, int], list[str]] = {}
        self.applied: dict[tuple[str, int], list[rp.Deliver]] = {}
        self.done: set[str] = set()
        self.refused: set[str] = set()
        self.cancelled: set[tuple[str, int]] = set()
        self.finished: set[tuple[str, int]] = set()
        self.granted: set[tuple[str, int]] = set()
        self.waited: set[tuple[str, int]] = set()


class SimWorker:
    """See the module's text. `ready_at` and `ready_if` are what the code waits for."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        plan: Plan,
        process: SimProcess,
        processes: Processes,
        clock: Clock,
        ids: IdSource,
        witness: Witness,
    ) -> None:
        self.key = (bootstrap.task, bootstrap.epoch)
        self.plan = plan
        self.process = process
        self._processes = processes
        self._clock = clock
        self._ids = ids
        self._witness = witness
        self.token = CancellationToken(clock)
        self._woken = False
        self.desk = Desk(self.token, self._wake)
        capabilities = tuple(name for name, on in (("steer", plan.steers), ("follow_up", plan.follow_ups)) if on)
        hello = rp.WorkerHello(
            task=bootstrap.task, epoch=bootstrap.epoch, token=bootstrap.token, pid=process.pid, capabilities=capabilities
        )
        self.session = Session(hello, self.desk, clock)
        self.link = SimLink(Side.WORKERS, f"{bootstrap.task}#{bootstrap.epoch}", self)
        self.link.wanted = False  # until its runtime is there
        self.online = False
        self._held: Message | None = None
        self._life = self._live()
        self._wait: Wait = (clock.monotonic(), None)

    # -- the process --------------------------------------------------------------------------------------------

    def handles_term(self) -> bool:
        """Whether its runtime is there and turns TERM into a cancel."""
        return self.online

    def termed(self) -> None:
        """TERM."""
        self.token.cancel("terminated", 0.0)

    def freeze(self) -> None:
        """It hangs in the kernel."""
        self.online = False
        self._wait = (None, None)
        self.link.wanted = False
        self.link.cut()

    def died(self) -> None:
        """The process is gone; the kernel closes its connection."""
        self.link.wanted = False
        self.link.cut()
        self._life.close()

    # -- the link (see `network.Peer`) --------------------------------------------------------------------------

    def connected(self) -> None:
        """See `Peer`."""
        self.session.connected()

    def disconnected(self) -> None:
        """See `Peer`."""
        self.session.disconnected()

    def heard(self, frames: list[bytes]) -> None:
        """See `Peer`."""
        before = len(self.desk.waiting())
        self.session.hear(frames)
        for report in self.desk.waiting()[before:]:
            if isinstance(report.body, rp.Delivered):
                self._witness.delivered.setdefault(self.key, []).append(report.body.id)
            if isinstance(report.body, rp.Settled) and report.body.outcome == "refused":
                self._witness.refused.add(report.body.id)

    def _wake(self) -> None:
        self._woken = True

    def speak(self) -> None:
        """Let the session say what is due."""
        self._woken = False
        if self.online and not self.process.dead:
            if self.session.wants_connection() and self.link.up:
                self.link.cut()
            self.session.speak(lambda body, key: self.link.send(codec.from_worker.encode(key, body)))

    # -- the code -----------------------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """When the code or the session has something to do."""
        dues = [self._wait[0]] if self._wait[0] is not None else []
        if self.online and self.link.up:
            dues.append(self.session.next_due())
        return min(dues, default=None)

    def speaks(self) -> bool:
        """Whether the session has something to say now."""
        return self.online and self.link.up and (self._woken or self.session.next_due() <= self._clock.monotonic())

    def runnable(self) -> bool:
        """Whether the code can go on now."""
        until, condition = self._wait
        return (until is not None and until <= self._clock.monotonic()) or (condition is not None and bool(condition()))

    def resume(self) -> None:
        """Let the code go on to its next wait."""
        try:
            self._wait = next(self._life)
        except StopIteration as end:
            self._processes.end(self.process, code=end.value)

    def _live(self) -> Generator[Wait, None, int]:
        plan = self.plan
        yield self._clock.monotonic() + plan.start_seconds, None
        barred = self.key[1] <= plan.barred_first
        if barred:
            yield self._clock.monotonic() + HOOK_SECONDS, None
        self.online = self.link.wanted = True
        parent = self.process
        for escape in plan.children:
            parent = self._processes.make(self.key, parent, escape=escape, deaf=plan.deaf_children)
        try:
            if barred:
                outcome = yield from self._barred()
            else:
                yield from self._work()
                outcome = rp.Outcome(outcome="completed", result=self._result())
        except Cancelled as cancelled:
            outcome = rp.Outcome(outcome="cancelled", reason=cancelled.reason)
            self._witness.cancelled.add(self.key)
        except ArithmeticError as error:
            outcome = rp.Outcome(outcome="failed", reason="raised", error=str(error))
        except SystemExit:
            return 7
        self.desk.finish()
        yield from self._report(outcome)
        self._processes.unsent_reports[self.key] = msgspec.msgpack.encode(self.desk.waiting())
        self._witness.finished.add(self.key)
        yield None, lambda: not self.desk.waiting()
        if plan.lingers:
            yield None, None
        return {"completed": 0, "failed": 1, "cancelled": 3}[outcome.outcome]

    def _barred(self) -> Generator[Wait, None, rp.Outcome]:
        ran = HookRun("guard", "before_task_start", "block", "as planned", HOOK_SECONDS)
        yield from self._report(rp.HookAsked(ran))
        return rp.Outcome(outcome="failed", reason=FailureReason.HOOK, error="hook guard blocks it")

    def _result(self) -> object:
        if not self.plan.hands_in:
            return self.plan.steps
        task = {"role": "cook" if self.plan.hands_in == "unfit" and self.key[1] == 1 else "mate", "task": "do it"}
        return {"phases": [{"tasks": [task, task]}, {"tasks": [task]}]}

    def _work(self) -> Generator[Wait, None, None]:
        plan = self.plan
        if plan.freezes:
            yield None, lambda: not self.desk.waiting() and self.session.next_due() > self._clock.monotonic()
            self.freeze()
            yield None, None
        if plan.waits_for:
            yield from self._wait_for(plan.waits_for)
        for step in range(plan.steps):
            if plan.operation:
                yield from self._report(rp.OpOpened(id=f"op{step}", kind="tool", name="work"))
            if plan.ask_at == step:
                yield from self._ask()
            yield self._clock.monotonic() + plan.step_seconds, None if plan.numb else (lambda: self.token.cancelled)
            yield from self._safe_point()
            if plan.operation:
                yield from self._report(rp.OpClosed(id=f"op{step}", outcome="done"))
            if plan.spends:
                yield from self._report(rp.UsageReport(turns=step + 1))
        if self.key[1] <= plan.fails_first:
            raise ArithmeticError("not yet")
        match plan.ends:
            case "returns" if plan.follow_ups:
                yield from self._natural_stop()
            case "raises":
                raise ArithmeticError("as planned")
            case "vanishes":
                raise SystemExit(7)
            case "hangs":
                while True:
                    yield None, (lambda: False) if plan.numb else (lambda: self.token.cancelled)
                    self._check()
            case _:
                pass
        yield from self._let_go()

    def _wait_for(self, step: str) -> Generator[Wait, None, None]:
        key = self._ids.next("x")
        self._witness.waited.add(self.key)
        yield from self._report(rp.OpOpened(id="wait", kind=rp.WAIT, name=step))
        self.desk.ask(key, rq.AwaitEnd(target=step, or_waiting=True, timeout_seconds=1_500.0))
        yield None, lambda: self.desk.replied(key) or self.token.cancelled
        self.desk.wait_reply(key, 0.0)
        yield from self._report(rp.OpClosed(id="wait", outcome="done"))
        self._check()

    def _check(self) -> None:
        if not self.plan.numb:
            self.token.check()

    def _report(self, body: rp.ReportBody) -> Generator[Wait, None, None]:
        while len(self.desk.waiting()) >= REPORTS_UNACKED_MAX and not self.token.cancelled:
            yield None, lambda: len(self.desk.waiting()) < REPORTS_UNACKED_MAX or self.token.cancelled
        self.desk.report(body)

    def _say(self, body: rp.ReportBody) -> None:
        if isinstance(body, rp.Settled):
            (self._witness.done if body.outcome == "done" else self._witness.refused).add(body.id)
        self.desk.report(body)

    def _take(self, deliver: rp.Deliver | None) -> Generator[Wait, None, bool]:
        if deliver is None:
            return False
        self._witness.applied.setdefault(self.key, []).append(deliver)
        yield from self._report(rp.Applied(id=deliver.id))
        self._held = Message(deliver.id, deliver.kind, deliver.text, self._say)
        if deliver.text == "refuse":
            self._held.refuse("as asked")
        return True

    def _let_go(self) -> Generator[Wait, None, None]:
        yield from ()
        if self._held is not None:
            held, self._held = self._held, None
            held.done()

    def _safe_point(self) -> Generator[Wait, None, None]:
        yield from self._let_go()
        self._check()
        yield from self._take(self.desk.next_steer())

    def _natural_stop(self) -> Generator[Wait, None, None]:
        while True:
            yield from self._let_go()
            self._check()
            if (yield from self._take(self.desk.next_steer() or self.desk.next_follow_up())):
                continue
            self.desk.propose()
            yield from self._report(rp.StopProposed())
            verdict: bool | None = None
            while verdict is None:
                yield None, lambda: self.token.cancelled or self._verdict() is not None
                verdict = self._verdict()
            if verdict:
                self._witness.granted.add(self.key)
                return

    def _verdict(self) -> bool | None:
        return self.desk.wait_verdict(0.0)

    def _ask(self) -> Generator[Wait, None, None]:
        ask = self._ids.next(ASK)
        seconds = self.plan.ask_seconds
        self.desk.open_ask(ask)
        yield from self._report(rp.Asked(id=ask, question="which?", timeout_seconds=seconds))
        until = None if seconds is None else self._clock.monotonic() + seconds
        yield until, lambda: self.desk.answered(ask) or self.token.cancelled
        answer = self.desk.wait_answer(ask, 0.0)
        if answer is not None:
            self._witness.applied.setdefault(self.key, []).append(answer)
            yield from self._report(rp.Applied(id=answer.id))
            yield from self._report(rp.AskOver(id=ask, outcome="answered", answered_by=answer.id))
            self._say(rp.Settled(id=answer.id, outcome="done"))
            return
        outcome: Any = "cancelled" if self.token.cancelled else "expired"
        yield from self._report(rp.AskOver(id=ask, outcome=outcome))
        self._check()
