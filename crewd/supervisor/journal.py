"""Nothing leaves before its cause is durable: an actor's decisions wait here, in order, for the store's word.

Rule 1: effects are performed in the order in which they were decided; one that needs no event waits for those before it.
Rule 2: when the disk refuses, only urgent effects (an end that was ordered) are performed before their events are durable.
Rule 3: what one turn of the actor decides becomes durable together, but for what is recorded under a guard.

Tests: tests/testing/world/test_machine.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from crewd.actors import Ref
from crewd.model.events import Draft
from crewd.store.messages import Append, Committed, Delayed, Guard, Journaled, Known, Rejected, ToStore

E = TypeVar("E")


@dataclass(slots=True)
class _Entry(Generic[E]):
    token: int
    effects: list[E]
    drafts: list[Draft] = field(default_factory=list)
    durable: bool = False
    before: int | None = None
    refused: Callable[[Known | Rejected], None] | None = None


@dataclass(slots=True)
class Journal(Generic[E]):
    """One per actor incarnation, which calls `seal` at the end of each turn.

    `store` finds the store's living ref; `perform` does one effect. `before` is the seq before the events of the last entry
    whose effects were performed.
    """

    ref: Ref[Journaled]
    store: Callable[[], Ref[ToStore]]
    perform: Callable[[E], None]
    urgent: Callable[[E], bool]
    before: int = 0
    _entries: deque[_Entry[E]] = field(default_factory=deque)
    _open: _Entry[E] | None = None
    _next: int = 0
    _flushing: bool = False

    def record(
        self,
        drafts: Sequence[Draft],
        effects: Sequence[E],
        *,
        guard: Guard | None = None,
        refused: Callable[[Known | Rejected], None] | None = None,
    ) -> None:
        """Make `drafts` durable, then perform `effects`. If nothing was written, `refused` is called instead.

        That is for what a guard keeps out, and for what may be about a run that is gone; it stands alone in the log.
        """
        if not drafts and not effects and guard is None:
            return
        if guard is not None or refused is not None:
            self.seal()
            entry = self._enter(_Entry(self._next + 1, list(effects), refused=refused))
            self.store().tell(Append(tuple(drafts), self.ref, entry.token, guard))
            return
        if self._open is None:
            if not drafts and not self._entries:
                self._enter(_Entry(self._next + 1, list(effects), durable=True))
                self._flush()
                return
            self._open = self._enter(_Entry(self._next + 1, []))
        self._open.drafts.extend(drafts)
        self._open.effects.extend(effects)

    def _enter(self, entry: _Entry[E]) -> _Entry[E]:
        self._next = entry.token
        self._entries.append(entry)
        return entry

    def seal(self) -> None:
        """What was recorded so far goes to the store."""
        while self._open is not None:  # an effect may record something
            entry, self._open = self._open, None
            if entry.drafts:
                self.store().tell(Append(tuple(entry.drafts), self.ref, entry.token))
            else:
                entry.durable = True
                self._flush()

    def heard(self, answer: Journaled) -> None:
        """The store's word on one entry."""
        entry = next((entry for entry in self._entries if entry.token == answer.token), None)
        if entry is None:
            return
        match answer:
            case Committed(_, events):
                entry.durable = True
                entry.before = events[0].seq - 1 if events else None
            case Delayed():
                rushed = [effect for effect in entry.effects if self.urgent(effect)]
                entry.effects = [effect for effect in entry.effects if not self.urgent(effect)]
                for effect in rushed:
                    self.perform(effect)
            case Known() | Rejected():
                self._entries.remove(entry)
                if entry.refused is None:
                    raise RuntimeError(f"an append without a guard was refused: {answer}")
                entry.refused(answer)
        self._flush()

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._entries

    def _flush(self) -> None:
        if self._flushing:  # an effect that records something: what follows from it waits for its turn
            return
        self._flushing = True
        while self._entries and self._entries[0].durable:
            entry = self._entries.popleft()
            self.before = self.before if entry.before is None else entry.before
            for effect in entry.effects:
                self.perform(effect)
        self._flushing = False
