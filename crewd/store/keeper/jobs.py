"""Requests that wait for the store: appends that are on the way, and what they do when they are durable.

Tests: tests/test_keeping.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from crewd.actors import Lane
from crewd.model.errors import CrewdError
from crewd.protocol import keeping as kp
from crewd.protocol import replies as rl
from crewd.store.messages import Answer, Append, Arrival, Committed, Journaled, Keep, Known, Rejected, Removal, ToStore

if TYPE_CHECKING:
    from crewd.actors import Ref
    from crewd.model.events import Draft


@dataclass(slots=True)
class Job:
    """An answer that waits for the store; `finish` makes it when nothing is on the way any more."""

    keep: Keep
    finish: Callable[[], kp.KeepReply]
    waits: set[int] = field(default_factory=set)


class _Step(msgspec.Struct, frozen=True):
    job: Job
    durable: Callable[[], None]
    refused: Callable[[CrewdError], None]


class Jobs:
    """What the keeper has on the way. `ref` is its own, `store` finds the store's."""

    def __init__(self, ref: Ref[Journaled], store: Callable[[], Ref[ToStore]]) -> None:
        self._ref, self._store = ref, store
        self._steps: dict[int, _Step] = {}
        self._token = 0

    def answer(self, keep: Keep, reply: kp.KeepReply | rl.DoctorReply | CrewdError) -> None:
        """Answer the caller."""
        keep.reply_to.offer(Answer(keep.token, reply), lane=Lane.CONTROL)

    def send(
        self, job: Job, draft: Draft, guard: Removal | Arrival, durable: Callable[[], None],
        refused: Callable[[CrewdError], None],
    ) -> None:  # fmt: skip
        """Append under this guard, as a part of the job; one of the two is called when the store has answered."""
        self._token += 1
        job.waits.add(self._token)
        self._steps[self._token] = _Step(job, durable, refused)
        self._store().tell(Append((draft,), self._ref, self._token, guard))

    def keep_of(self, token: int) -> Keep | None:
        """Whose request an answer of the store is about."""
        step = self._steps.get(token)
        return None if step is None else step.job.keep

    def heard(self, token: int, answer: Committed | Rejected | Known) -> None:
        """The store has answered."""
        step = self._steps.pop(token)
        step.job.waits.discard(token)
        if isinstance(answer, Rejected):
            step.refused(answer.error)
        else:
            step.durable()
        self.settle(step.job)

    def settle(self, job: Job) -> None:
        """Answer, if nothing of the job is on the way."""
        if not job.waits:
            try:
                self.answer(job.keep, job.finish())
            except CrewdError as error:
                self.answer(job.keep, error)
