"""Which of many signs of progress go into the history: few, the same ones each time, and every change of phase.

Of a hundred in one phase: the first, every tenth from the fifth on, and the last, which is known when the work is over
.
"""

from __future__ import annotations

from dataclasses import dataclass

from crewd.protocol.reports import Sampled

EVERY = 10
OFFSET = 5
"""So that no regular sample is the first one or, of a round number, the last."""


@dataclass(slots=True)
class Sampler:
    """One per attempt."""

    _count: int = 0
    _phase: str = ""
    _held: Sampled | None = None

    def take(self, done: float | None, total: float | None, note: str, phase: str) -> tuple[Sampled | None, bool]:
        """The sample to keep, if this one is, and whether it must not be lost (the first, and a change of phase)."""
        self._count += 1
        sample = Sampled(count=self._count, done=done, total=total, note=note, phase=phase)
        turned = self._count == 1 or phase != self._phase
        self._phase = phase
        if turned or self._count % EVERY == OFFSET:
            self._held = None
            return sample, turned
        self._held = sample
        return None, False

    def last(self) -> Sampled | None:
        """The sample that turned out to be the last, if it was not kept before."""
        held, self._held = self._held, None
        return held
