"""The same histories with a real daemon, a real guardian and a real worker process: real signals, real waiting."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from crewd.client.blocking import Crew, RunHandle
from crewd.clock import SystemClock
from crewd.model.errors import CrewdError, NotFound, Refused, UsageError
from crewd.model.reasons import FailureReason
from crewd.model.rows import AttemptRow
from crewd.model.statuses import RUN_TERMINAL, AttemptStatus
from crewd.testing.daemon import Daemon, wait_until
from crewd.testing.stress.gate import gate_for
from crewd.testing.stress.history import Cancel, Crash, FollowUp, History, Steer, after, default_answer
from crewd.testing.stress.lines import is_plain
from crewd.testing.stress.target import OUTPUT_CHARS, Place, Target, resumes, saved
from crewd.testing.stress.trial import Act, End, Point, SentMessage, Trial

TRIES = 3
IDLE_SECONDS = 5.0
"""How long a worker may come to no point when the history is over; then it is cancelled as idle."""


class Reality:
    """A daemon in a home of its own for as long as the `with` lasts; `try_out` does what `target.try_out` does."""

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="crewd-"))
        self._daemon = Daemon(self._root / "h", python_path=[str(Path.cwd())])

    def __enter__(self) -> Self:
        self._daemon.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._daemon.__exit__(kind, error, trace)
        finally:
            shutil.rmtree(self._root)

    def try_out(self, target: Target, history: History) -> Trial:
        """One trial. What fails on the side of the harness is tried again; CrewdError if it fails every time."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(CrewdError, OSError, ValueError, psutil.Error):
                return self._try_out(target, history)
        return self._try_out(target, history)

    def _try_out(self, target: Target, history: History) -> Trial:
        with tempfile.TemporaryDirectory(prefix="crewd-stress-") as name, self._daemon.connect() as crew:
            place = Place(Path(os.path.realpath(name)), target)
            acts: list[Act] = []
            output = ""
            while not acts or (acts[-1].end == "crashed" and not acts[-1].cancelled_at):
                one = _RealAct(self._daemon, crew, target, place, history, acts)
                acts.append(place.strip(one.play(), len(acts) + 1))
                output = one.output
                history = after(history, sum(len(act.points) for act in acts))
            wait_until(lambda: not self._daemon.marked(), "every process of the worker to be gone")
            files, temporary, kept = place.files(), tuple(place.temporary(acts)), place.watched()
            applied = target.seen(place.work)
            resumed = None
            if resumes(history, acts):
                one = _RealAct(self._daemon, crew, target, place, History(), acts)
                resumed = place.strip(one.play(), len(acts) + 1)
                wait_until(lambda: not self._daemon.marked(), "every process of the resumed worker to be gone")
            return Trial(
                acts=tuple(acts), files=files, temporary=temporary, output=output, applied=applied, resumed=resumed,
                resumed_files=place.files() if resumed is not None else {}, given=place.given, untouched=kept.untouched(),
            )  # fmt: skip


class _RealAct:
    def __init__(self, daemon: Daemon, crew: Crew, target: Target, place: Place, history: History, acts: list[Act]) -> None:
        self.daemon, self.crew, self.target, self.place, self.history = daemon, crew, target, place, history
        self.clock = SystemClock()
        self.epoch = len(acts) + 1
        self.checkpoint = saved(acts)
        self.plain = is_plain(target.function())
        self.before = sum(len(act.points) for act in acts)
        self.answers = deque(history.answers[sum(act.answered for act in acts) :])
        self.answered: set[str] = set()
        self.sent: dict[str, int] = {}
        self.cancelled_at = 0
        self.grace = 0.0
        self.idle = self.crashed = self.stuck = False
        self.output = ""

    def play(self) -> Act:
        directory, temporary = self.place.act(self.epoch)
        self.gate = self.place.root / "tmp" / f"gate-{self.epoch}"
        self.gate.mkdir()
        stops = sorted({control.at for control in self.history.controls})
        given = {
            "target": self.target.name, "args": dict(self.target.args), "folder": str(self.gate), "stops": stops,
            "before": self.before, "attempt": str(directory), "temporary": str(temporary),
            "home": str(self.place.home), "checkpoint": self.checkpoint,
        }  # fmt: skip
        self.run: RunHandle = self.crew.call(gate_for(self.target.function()), given, cwd=str(self.place.work))
        try:
            self._steps(stops, self.clock.monotonic() + self.target.patience)
        except BaseException:  # somebody interrupts the test: nothing may write on into its folder
            with contextlib.suppress(CrewdError):
                self.crew.cancel(self.run.id, mode="now")
            raise
        return self._act()

    def _steps(self, stops: list[int], deadline: float) -> None:
        for stop in stops:
            self._wait(lambda stop=stop: (self.gate / f"point-{stop}").exists(), deadline)  # type: ignore[misc]
            if self._over() or self.stuck:
                break
            self._control(stop)
            if self.crashed:
                break
            if self.cancelled_at != stop:  # else its token opens the gate: it goes no further before it is told
                (self.gate / f"go-{stop}").touch()
        self._finish(deadline)

    def _control(self, at: int) -> None:
        for control in self.history.controls:
            if control.at != at:
                continue
            with contextlib.suppress(Refused, NotFound, psutil.NoSuchProcess):  # it takes none, or has ended by itself
                match control:
                    case Steer(_, text):
                        self._send("steer", text, at)
                    case FollowUp(_, text):
                        self._send("follow_up", text, at)
                    case Cancel(_, grace_seconds, reason):
                        grace = 0.0 if self.plain else grace_seconds  # it hears of a cancel only when it is interrupted
                        self.crew.begin_cancel(self.run.id, reason=reason, grace=grace)
                        self.cancelled_at, self.grace = at, grace_seconds
                    case Crash():
                        pid = self._attempt().pid
                        if pid is not None:
                            self.crashed = True
                            psutil.Process(pid).kill()
                        return

    def _send(self, kind: Any, text: str, at: int) -> None:
        key = self.crew.new_message_id()
        self.sent[key] = at
        self.crew.send(kind, self.run.id, text, id=key, wait="delivered", timeout=5.0)

    def _attempt(self) -> AttemptRow:
        return self.run.show().attempts[-1]

    def _born(self) -> bool:
        attempts = self.run.show().attempts
        return bool(attempts) and attempts[-1].ready_at is not None

    def _over(self) -> bool:
        return self.run.show().run.status in RUN_TERMINAL

    def _wait(self, condition: Callable[[], bool], deadline: float) -> None:
        """Until it holds, the run is over, or patience is; questions are answered meanwhile."""
        size, since = -1, self.clock.monotonic()
        while not condition() and not self._over():
            self._answer()
            now, grown = self.clock.monotonic(), self._grown()
            if grown != size or not self._born():  # until its first word it is not idle, however busy the machine is
                size, since = grown, now
            if now > deadline:
                self.stuck = True
                self.crew.cancel(self.run.id, mode="now")
            elif now - since > IDLE_SECONDS and not self.cancelled_at and not self.idle:
                self.idle = True
                self.crew.begin_cancel(self.run.id, grace=1.0)
            self.clock.sleep(0.005)

    def _answer(self) -> None:
        for ask in self.crew.inbox():
            if ask.run == self.run.id and ask.id not in self.answered:
                self.answered.add(ask.id)
                answer = self.answers.popleft() if self.answers else default_answer(ask.kind, ask.choices)
                if answer is None:
                    continue
                try:
                    self.crew.respond(ask.id, answer)
                except (NotFound, Refused, UsageError):  # over by now, or it does not fit: then it gets one that does
                    with contextlib.suppress(NotFound, Refused, UsageError):
                        self.crew.respond(ask.id, default_answer(ask.kind, ask.choices))

    def _finish(self, deadline: float) -> None:
        self._wait(lambda: False, deadline)
        self.crew.wait(self.run.id, timeout=60)
        task = self._attempt().task
        logs = [self.crew.log(task, stream="stdout").data, self.crew.log(task, stream="stderr").data]
        self.output = b"".join(logs).decode(errors="replace")[-OUTPUT_CHARS:]

    def _grown(self) -> int:
        path = self.gate / "points"
        return path.stat().st_size if path.exists() else 0

    def _points(self) -> list[list[Any]]:
        path = self.gate / "points"
        whole = path.read_text().rpartition("\n")[0] if path.exists() else ""  # a kill may have torn the last line
        return [json.loads(line) for line in whole.splitlines()]

    def _act(self) -> Act:
        attempt, lines = self._attempt(), self._points()
        messages = {message.receipt.id: message for message in self.run.show().messages}
        threads = self.gate / "threads"
        cancel = attempt.cancel
        stop_seconds = max(0.0, (attempt.ended_at or 0.0) - cancel.requested_at) if cancel else 0.0
        raised, again = self.gate / "raised", self.gate / "ignored"
        ignored = int(again.read_text()) if again.exists() else 0
        return Act(
            end=self._end(attempt),
            reason=attempt.reason,
            error=attempt.error,
            result=attempt.result,
            points=tuple(Point(number, call, line) for number, call, line, _ in lines),
            sent=tuple(
                SentMessage(
                    m.receipt.kind, m.text, at, m.receipt.delivered_at is not None, m.receipt.applied_at is not None,
                    m.receipt.outcome or "", m.receipt.reason,
                )
                for key, at in self.sent.items() if (m := messages.get(key)) is not None
            ),
            cancelled_at=self.cancelled_at,
            grace_seconds=self.grace,
            stop_seconds=0.0 if self.plain else stop_seconds,  # TERM interrupts a plain function when its grace is over
            signalled=not self.plain and cancel is not None and stop_seconds >= self.grace > 0.0,
            points_after=sum(number > self.cancelled_at for number, *_ in lines) if self.cancelled_at else 0,
            idle=self.idle,
            threads=tuple(json.loads(threads.read_text())) if threads.exists() else (),
            answered=len(self.answered),
            cancel_raised=raised.exists() or ignored > 0,
            points_ignored=ignored + (self.before + len(lines) - int(raised.read_text()) if raised.exists() else 0),
            checkpoint=attempt.checkpoint,
        )  # fmt: skip

    def _end(self, attempt: AttemptRow) -> End:
        if self.crashed:
            return "crashed"
        if self.stuck:
            return "stuck"
        if attempt.status is AttemptStatus.COMPLETED or (attempt.cancel and attempt.outcome == "completed"):
            return "completed"
        if attempt.cancel is not None:
            if attempt.outcome in {"cancelled", "failed"}:
                return attempt.outcome  # type: ignore[return-value]
            return "stuck" if attempt.exit.code is None else "vanished"  # it has left by itself
        return "vanished" if attempt.reason in {FailureReason.VANISHED, FailureReason.KILLED} else "failed"
