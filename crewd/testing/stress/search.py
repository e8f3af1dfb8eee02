"""The search for a history that a worker does not survive well: every single point first, then drawn histories, shrunk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from crewd.protocol.errors import UsageError
from crewd.testing.stress.history import GRACE_SECONDS, Cancel, Crash, History
from crewd.testing.stress.laws import LAWS, Breach, Case, WorkerLawBroken, breaches
from crewd.testing.stress.story import tell
from crewd.testing.stress.target import Target, try_out
from crewd.testing.stress.trial import Trial

POINTS_TRIED_MAX = 200
"""Of a worker with more points, so many are tried, evenly spread, the first and the last among them."""
EXAMPLES = 100
Try = Callable[[Target, History], Trial]


@dataclass
class Found:
    """What a search did. `breach` is None if the worker kept every law."""

    target: Target
    reference: Trial
    trials: int = 0
    histories: Counter[str] = field(default_factory=Counter)
    breach: Breach | None = None
    history: History = field(default_factory=History)
    trial: Trial | None = None
    flags: str = ""

    @property
    def story(self) -> str:
        """The shortest history that breaks a law, and what happened, for people; empty if there is none."""
        if self.breach is None or self.trial is None:
            return ""
        return tell(self.target.name, dict(self.target.args), self.history, self.trial, self.breach, self.flags)


class _Broken(Exception):
    """For Hypothesis: this example is the one that is wanted."""


class Search:
    """See the module's text. `attempt` carries out one trial: in process (`target.try_out`) or with a real daemon.

    `flags` are those of `crew stress` that do the same, for the story.
    """

    def __init__(
        self,
        target: Target,
        attempt: Try = try_out,
        without: Sequence[str] = (),
        grace: float = GRACE_SECONDS,
        flags: str = "",
    ) -> None:
        for law in without:
            if law not in LAWS:
                raise UsageError(f"there is no law {law!r}", hint=f"there are: {', '.join(LAWS)}")
        self.target = target
        self._attempt = attempt
        self._without = without
        self._grace = grace
        self.found = Found(target, Trial((), {}), flags=flags)

    def go(self, examples: int = EXAMPLES, seed: int = 0, every_point: int = POINTS_TRIED_MAX) -> Found:
        """Search until a law is broken or everything was tried."""
        if self._broken("undisturbed", History()):
            return self.found
        for history, kind in self._single(every_point):
            if self._broken(kind, history):
                return self.found
        if examples:
            self._draw(examples, seed)
        return self.found

    def replay(self, history: History) -> Found:
        """Only this history."""
        if not self._broken("undisturbed", History()):
            self._broken("given", history)
        return self.found

    def _single(self, most: int) -> Iterator[tuple[History, str]]:
        points = len(self.found.reference.points)
        chosen = range(1, points + 1)
        if points > most:
            chosen = sorted({1 + round(i * (points - 1) / max(1, most - 1)) for i in range(most)})  # type: ignore[assignment]
        for at in chosen:
            yield History((Cancel(at, self._grace),)), "cancel at a point"
        for at in chosen:
            yield History((Crash(at),)), "crash at a point"

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
            max_examples=examples, deadline=None, database=None, report_multiple_bugs=False,
            suppress_health_check=[hypothesis.HealthCheck.too_slow],
            phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink], verbosity=hypothesis.Verbosity.quiet,
        )  # fmt: skip
        @hypothesis.given(drawn)
        def holds(history: History) -> None:
            if self._broken("drawn", history):
                raise _Broken

        try:
            holds()
        except _Broken:
            pass
        except Flaky:
            pass  # it depends on the machine's time; what was seen last is kept

    def _broken(self, kind: str, history: History) -> bool:
        found = self.found
        trial = self._attempt(self.target, history)
        found.trials += 1
        found.histories[kind] += 1
        if kind == "undisturbed":
            found.reference = trial
        reference = None if kind == "undisturbed" else found.reference
        broken = breaches(Case(trial, history, reference, self.target.appends), self._without)
        if broken:
            found.breach, found.history, found.trial = broken[0], history, trial
        return bool(broken)


def stress(
    target: Target, *, examples: int = EXAMPLES, seed: int = 0, without: Sequence[str] = (), grace: float = GRACE_SECONDS
) -> Found:
    """Stress a worker in process; raises WorkerLawBroken with the story if it breaks a law. What was done, if not.

    It is cancelled at every point, killed and started again at every point, and put through `examples` drawn histories.
    """
    found = Search(target, try_out, without, grace).go(examples, seed)
    if found.breach is not None:
        raise WorkerLawBroken(found.story)
    return found


def check(target: Target, history: History, *, without: Sequence[str] = ()) -> Trial:
    """One history; raises WorkerLawBroken with the story. For use under `@given(histories(...))`."""
    found = Search(target, try_out, without).replay(history)
    if found.breach is not None:
        raise WorkerLawBroken(found.story)
    return found.trial or found.reference
