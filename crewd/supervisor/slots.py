"""Slots: how many workers may live at once on the machine, and which one is next. A pure core and its actor.

Rule 1: a worker that lives has a slot, even when more workers live than there are slots (after a restart of crewd). So has a
worker that may live, as far as crewd knows.
Rule 2: free slots go to the runs in turn, so that a run with a thousand ready tasks does not block the others.
Rule 3: with too little free memory no worker starts, except the first: it gets a slot whatever the memory.
Rule 4: a worker that only waits for other workers does not count against the limit. When it continues, the limit may be
exceeded for a while.
Rule 5: only a few workers start at once, because many would slow each other and crewd down. A worker that starts slowly (an
import, the network) stops counting after a second.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from crewd.actors import Actor, AnyRef, Down, Lane, Ref, Timer
from crewd.supervisor import commands as cm
from crewd.supervisor.directory import SLOTS

if TYPE_CHECKING:
    from crewd.supervisor.services import Services

Key = tuple[str, int]
STARTING_PER_CORE = 2
"""Workers that have not said their first word. More of them only wait for a processor, and crewd waits with them."""
STARTING_SECONDS = 1.0
"""How long at most a worker counts as one that starts."""
LOOK_SECONDS = 1.0
"""Between two looks at the free memory while somebody waits for it."""


@dataclass(slots=True)
class SlotTable:
    """The core. `waiting` holds the queue of each run, in the order in which the runs are next."""

    most: int
    most_starting: int = 1_000
    held: set[Key] = field(default_factory=set)
    unsure: set[Key] = field(default_factory=set)
    lent: set[Key] = field(default_factory=set)
    starting: dict[Key, float] = field(default_factory=dict)
    waiting: dict[str, dict[Key, None]] = field(default_factory=dict)
    now: float = 0.0

    def ask(self, key: Key) -> None:
        """Somebody wants a slot."""
        self.unsure.discard(key)
        if key not in self.held:
            self.waiting.setdefault(_run(key), {})[key] = None

    def may_have(self, key: Key) -> None:
        """Somebody has one, or will ask."""
        if key not in self.held:
            self.unsure.add(key)

    def take(self, key: Key) -> None:
        """Somebody has one."""
        self.leave(key)
        self.held.add(key)

    def lend(self, key: Key, *, lent: bool) -> None:
        """Somebody needs its slot for nothing now, or does again."""
        if lent and key in self.held:
            self.lent.add(key)
        else:
            self.lent.discard(key)

    def ready(self, key: Key) -> None:
        """Somebody has started."""
        self.starting.pop(key, None)

    def look(self, now: float) -> None:
        """It is `now` (monotonic); who has been starting for long does not count any more."""
        self.now = now
        while self.starting and next(iter(self.starting.values())) <= now:
            del self.starting[next(iter(self.starting))]

    @property
    def next_look(self) -> float | None:
        """When a `look` will let somebody start who waits for that alone."""
        wait = self.waiting and self._used < self.most and len(self.starting) >= self.most_starting
        return next(iter(self.starting.values())) if wait else None

    @property
    def _used(self) -> int:
        return len(self.held) + len(self.unsure) - len(self.lent)

    def leave(self, key: Key) -> None:
        """Somebody wants or has one no more."""
        self.held.discard(key)
        self.unsure.discard(key)
        self.lent.discard(key)
        self.starting.pop(key, None)
        queue = self.waiting.get(_run(key))
        if queue is not None:
            queue.pop(key, None)
            if not queue:
                del self.waiting[_run(key)]

    def grant(self, *, memory: bool) -> Key | None:
        """Who may start now. `memory`: whether there is enough."""
        if not self.waiting or self.full or (self.held and not memory):
            return None
        run, queue = next(iter(self.waiting.items()))
        key = next(iter(queue))
        del queue[key], self.waiting[run]
        if queue:
            self.waiting[run] = queue  # at the end: the other runs are next
        self.held.add(key)
        self.starting[key] = self.now + STARTING_SECONDS
        return key

    @property
    def full(self) -> bool:
        """Whether nobody can start now, however much memory there is."""
        return self._used >= self.most or len(self.starting) >= self.most_starting


def _run(key: Key) -> str:
    return key[0].partition("/")[0]


class _LookAgain(msgspec.Struct, frozen=True):
    """It is time to see whether there is memory for one more."""


class Slots(Actor["cm.SlotsMessage | Down | _LookAgain"]):
    """See the module's text. A controller that ends gives its slot back by ending."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._places = SlotTable(services.config.workers_max, STARTING_PER_CORE * max(2, os.cpu_count() or 1))
        self._refs: dict[Key, Ref[cm.SlotGranted]] = {}
        self._keys: dict[AnyRef, Key] = {}
        self._look: Timer | None = None
        self._recalled = False

    def on_start(self) -> None:
        """Enter the directory."""
        self._services.directory.enter(SLOTS, self.ref)

    def on_stop(self) -> None:
        """Leave it."""
        self._services.directory.leave(SLOTS, self.ref)

    def receive(self, message: cm.SlotsMessage | Down | _LookAgain) -> None:
        """See the module's text."""
        match message:
            case cm.AskSlot(task, epoch, ref):
                self._know((task, epoch), ref)
                if (task, epoch) in self._places.held:
                    ref.offer(cm.SlotGranted(), lane=Lane.CONTROL)
                self._places.ask((task, epoch))
            case cm.MayHaveSlot(task, epoch, ref):
                self._know((task, epoch), ref)
                self._places.may_have((task, epoch))
            case cm.Recalled(attempts):
                for each in () if self._recalled else attempts:
                    if each not in self._refs:
                        self._places.may_have(each)
                self._recalled = True
            case cm.TakeSlot(task, epoch, ref):
                self._know((task, epoch), ref)
                self._places.take((task, epoch))
            case cm.LendSlot(task, epoch, lent):
                self._places.lend((task, epoch), lent=lent)
            case cm.SlotReady(task, epoch):
                self._places.ready((task, epoch))
            case Down(ref=ref):
                key = self._keys.pop(ref, None)
                if key is not None and self._refs.get(key) is ref:
                    del self._refs[key]
                    self._places.leave(key)
            case _LookAgain():
                self._look = None
            case _:
                self.unexpected(message)

    def on_turn_end(self) -> None:
        """Grant what can be granted."""
        now = self.context.now()
        self._places.look(now)
        while self._places.waiting and not self._places.full:
            reserve, available = self._services.config.memory_reserve_bytes, self._services.directory.memory_available
            key = self._places.grant(memory=available is None or available >= reserve)
            if key is None:
                self._look_again(now + LOOK_SECONDS)
                return
            self._refs[key].offer(cm.SlotGranted(), lane=Lane.CONTROL)
        if self._places.next_look is not None:
            self._look_again(self._places.next_look)

    def _look_again(self, at: float) -> None:
        if self._look is None:
            self._look = self.context.after(at - self.context.now(), _LookAgain())

    def _know(self, key: Key, ref: Ref[cm.SlotGranted]) -> None:
        if self._refs.get(key) is not ref:
            self._refs[key] = ref
            self._keys[ref] = key
            self.context.watch(ref)

    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._places.waiting.values()))
