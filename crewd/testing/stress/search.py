"""The search for a history that a worker does not survive well: every single point first, then drawn histories, shrunk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from crewd.clock import SystemClock
from crewd.model.arguments import checked
from crewd.model.errors import UsageError
from crewd.testing.stress.history import GRACE_SECONDS, Cancel, Crash, FollowUp, History, Steer, check_control
from crewd.testing.stress.laws import LATE, LAWS, LEFT_OVER, Breach, Case, WorkerLawBroken, breaches, left_over, unsteady
from crewd.testing.stress.lines import is_plain
from crewd.testing.stress.story import command_of, tell
from crewd.testing.stress.target import PATIENCE_SECONDS, Target, try_out
from crewd.testing.stress.trial import Act, Point, Trial
from crewd.worker.call import is_async

POINTS_TRIED_MAX = 200
"""Of a worker with more points, so many are tried, evenly spread, the first and the last among them."""
EXAMPLES = 100
"""Drawn histories, each another one."""
DRAWN_PER_EXAMPLE = 10
"""How many histories are drawn for one that was not tried yet; a worker with few points has few."""
DRAW_SECONDS = 45.0
"""From the beginning, then no other history is drawn; in proportion for more examples. A worker that really waits is slow."""
DRAW_PART = 3
"""However long the single points have taken, this part of that time is for drawn histories."""
Try = Callable[[Target, History], Trial]


@dataclass
class FoundMistake:
    """What a search did. `breach` is None if the worker kept every law.

    `history` and `trial` are those of the breach, else the last ones. `unreached` counts trials that ended before a point
    that their history names: nothing happened there. `late`: the time for drawn histories was over first. `flags` are the
    options of `crew stress` that do the same. `deaf_after` is the point after which the undisturbed worker came to no point for
    longer than its grace, both times it was tried.
    """

    target: Target
    reference: Trial
    trials: int = 0
    histories: Counter[str] = field(default_factory=Counter)
    breach: Breach | None = None
    history: History = field(default_factory=History)
    trial: Trial | None = None
    flags: Sequence[str] = ()
    unsteady: frozenset[str] = frozenset()
    unreached: int = 0
    late: bool = False
    deaf_after: Point | None = None

    @property
    def story(self) -> str:
        """The shortest history that breaks a law, and what happened, for people; empty if there is none."""
        if self.breach is None or self.trial is None:
            return ""
        return tell(self.target.name, dict(self.target.args), self.history, self.trial, self.breach, self._again())

    def _again(self) -> str:
        """A command, if the worker can be named in one and all of its target be said there; else a call."""
        target = self.target
        if target.applied is None and "<locals>" not in target.name:
            return command_of(target.name, dict(target.args), self.history, self.flags)
        return f"check(TARGET, parse({str(self.history)!r})), with the same target; see crewd.testing.stress"


class _Broken(Exception):
    """For Hypothesis: this example is the one that is wanted."""


class Search:
    """See the module's text. `attempt` carries out one trial: in process (`target.try_out`) or with a real daemon.

    `real`: whether `attempt` does that with a daemon. `tell` is called after each trial.
    """

    def __init__(
        self,
        target: Target,
        attempt: Try = try_out,
        without: Sequence[str] = (),
        grace: float = GRACE_SECONDS,
        tell: Callable[[FoundMistake], None] = lambda _found: None,
        *,
        real: bool = False,
    ) -> None:
        for law in without:
            if law not in LAWS:
                raise UsageError(f"there is no law {law!r}", hint=f"there are: {', '.join(LAWS)}")
        self.target = target
        self._attempt = attempt
        self._without = without
        self._grace = grace
        self._tell = tell
        self._left: dict[str, tuple[History, Trial]] = {}
        self._clock = SystemClock()
        self._begun = self._clock.monotonic()
        self._tried: set[History] = set()
        self._asked = False
        """Whether the worker has asked anything in any trial: else answers make no difference."""
        self._useful: set[str] = set()
        self.found = FoundMistake(target, Trial((), {}), flags=_flags(target, without, grace, real=real))

    def go(self, examples: int = EXAMPLES, seed: int = 0, every_point: int = POINTS_TRIED_MAX) -> FoundMistake:
        """Search until a law is broken or everything was tried."""
        if self._undisturbed():
            return self.found
        for kind, histories in self._single(every_point).items():
            if any(self._broken(kind, history) for history in histories):
                return self.found
            if self._left_over():
                return self.found
        if examples:
            self._draw(examples, seed)
        return self.found

    def replay(self, history: History, *, left_over: bool = True) -> FoundMistake:
        """Only this history. `left_over`: see `laws.left_over`; one trial alone may be wrong there."""
        if not self._undisturbed() and not self._broken("given", history) and left_over:
            self._left_over()
        return self.found

    def _undisturbed(self) -> bool:
        """Twice, to see what differs though nobody interferes."""
        if self._broken("undisturbed", History()):
            return True
        reference = self.found.reference
        if reference.last.end == "completed":
            again = self._attempt(self.target, History())
            self.found.unsteady = unsteady(reference, again)
            self.found.deaf_after = self._deaf_after(reference.last, again.last)
        return False

    def _deaf_after(self, first: Act, again: Act) -> Point | None:
        """Not where a cancel interrupts it: in a plain function, and in an async one."""
        function = self.target.function()
        longest = min(first.gap_seconds, again.gap_seconds)
        if is_plain(function) or is_async(function) or first.gap_after != again.gap_after or longest <= self._grace:
            return None
        return next((point for point in first.points if point.number == first.gap_after), None)

    def _left_over(self) -> bool:
        """Whether the trials so far left a file that never saved any work."""
        wrong = [name for name in self._left if name not in self._useful]
        if not wrong or LEFT_OVER in self._without:
            return False
        found = self.found
        found.history, found.trial = self._left[wrong[0]]
        found.breach = Breach(LEFT_OVER, f"{wrong[0]}, which no whole run leaves and which saves no work when it is resumed")
        return True

    def _single(self, most: int) -> dict[str, list[History]]:
        points = len(self.found.reference.points)
        chosen = range(1, points + 1)
        if points > most:
            chosen = sorted({1 + round(i * (points - 1) / max(1, most - 1)) for i in range(most)})  # type: ignore[assignment]
        takes = self.target.capabilities
        found = {
            "cancel at a point": [History((Cancel(at, self._grace),)) for at in chosen],
            "crash at a point": [History((Crash(at),)) for at in chosen],
        }
        if "steer" in takes:
            found["steer at a point"] = [History((Steer(at, "1"),)) for at in chosen]
        if "follow_up" in takes:
            found["follow-up at a point"] = [History((FollowUp(at, "1"),)) for at in chosen]
        return found

    def _draw(self, examples: int, seed: int) -> None:
        try:
            import hypothesis
            from hypothesis.errors import Flaky

            from crewd.testing.stress.strategies import histories
        except ImportError:
            raise UsageError("drawn histories need Hypothesis", hint="pip install 'crewd[testing]', or --examples 0") from None
        takes = self.target.capabilities
        drawn = histories(
            len(self.found.reference.points), steers="steer" in takes, follow_ups="follow_up" in takes,
            grace_seconds=self._grace,
        )  # fmt: skip

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=DRAWN_PER_EXAMPLE * examples, deadline=None, database=None, report_multiple_bugs=False,
            suppress_health_check=[hypothesis.HealthCheck.too_slow],
            phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink], verbosity=hypothesis.Verbosity.quiet,
        )  # fmt: skip
        @hypothesis.given(drawn)
        def holds(history: History) -> None:
            if not self._asked:
                history = History(history.controls)
            if history in self._tried or self.found.histories["drawn"] >= examples:
                return
            if clock.monotonic() > deadline + (seconds if self.found.breach else 0.0):  # so long again to find a shorter one
                self.found.late = self.found.breach is None
                return
            if stopped:  # Hypothesis would go on, to see whether another history ends in the same way
                raise stopped[0]
            try:
                broken = self._broken("drawn", history)
            except Exception as error:
                failed.append(error)
                raise
            except BaseException as error:
                stopped.append(error)
                raise
            if broken:
                raise _Broken

        clock, seconds = self._clock, DRAW_SECONDS * max(1.0, examples / EXAMPLES)
        deadline = max(self._begun + seconds, clock.monotonic() + seconds / DRAW_PART)
        failed: list[Exception] = []
        stopped: list[BaseException] = []
        """What ends the search from outside: a signal, or the timeout of a test."""
        try:
            holds()
        except _Broken:
            pass
        except Flaky:
            if self.found.breach is None and failed:
                raise failed[0] from None  # the harness failed once: that is no pass
            # Else it broke a law once and not again; the breach that was seen is kept.
        if stopped:
            raise stopped[0]

    def _broken(self, kind: str, history: History) -> bool:
        found = self.found
        trial = self._attempt(self.target, history)
        found.trials += 1
        found.histories[kind] += 1
        if kind == "undisturbed":
            found.reference = trial
        self._asked = self._asked or any(act.answered for act in trial.acts)
        broken = self._breaches(kind, history, trial)
        if broken and broken[0].law == LATE:  # it may be the machine that was late
            trial = self._attempt(self.target, history)
            broken = self._breaches(kind, history, trial)
        if kind not in {"undisturbed", "drawn"} and not broken:
            self._note(Case(trial, history, found.reference, self.target.appends, found.unsteady))
        found.unreached += any(control.at > len(trial.points) for control in history.controls)
        if not broken:
            self._tried.add(history)
        if broken or found.breach is None:
            found.history, found.trial = history, trial
        if broken:
            found.breach = broken[0]
        self._tell(found)
        return bool(broken)

    def _note(self, case: Case) -> None:
        if case.trial.resumed is None:
            return
        wrong = left_over(case)
        for name in case.trial.files.keys() - case.whole.keys():
            if name in wrong:
                self._left.setdefault(name, (case.history, case.trial))
            else:
                self._useful.add(name)

    def _breaches(self, kind: str, history: History, trial: Trial) -> list[Breach]:
        found = self.found
        reference = None if kind == "undisturbed" else found.reference
        return breaches(Case(trial, history, reference, self.target.appends, found.unsteady), self._without)


def _flags(target: Target, without: Sequence[str], grace: float, *, real: bool) -> list[str]:
    """The options that another run needs to do the same."""
    words = ["--real"] if real else []
    words += [f"--grace={grace:g}"] if grace != GRACE_SECONDS else []
    words += [f"--patience={target.patience:g}"] if target.patience != PATIENCE_SECONDS else []
    words += [f"--files={target.files}"] if target.files else []
    words += [f"--appends={pattern}" for pattern in target.appends]
    return words + [f"--without={law}" for law in without]


@checked
def stress(
    target: Target, *, examples: int = EXAMPLES, seed: int = 0, without: Sequence[str] = (), grace: float = GRACE_SECONDS
) -> FoundMistake:
    """Stress a worker in process; raises WorkerLawBroken with the story if it breaks a law. What was done, if not.

    It is cancelled at every point, killed and started again at every point, and put through `examples` drawn histories.
    """
    if examples < 0:
        raise UsageError(f"{examples} examples cannot be drawn", hint="0 or more")
    check_control(Cancel(1, grace))
    found = Search(target, try_out, without, grace).go(examples, seed)
    if found.breach is not None:
        raise WorkerLawBroken(found.story)
    return found


@checked
def check(target: Target, history: History, *, without: Sequence[str] = ()) -> Trial:
    """The trial of one history; raises WorkerLawBroken with the story. For use under `@given(histories(...))`."""
    found = Search(target, try_out, without).replay(history, left_over=False)
    if found.breach is not None:
        raise WorkerLawBroken(found.story)
    assert found.trial is not None
    return found.trial
