"""Slots on the machine: fair, bounded, and never lost. Values, and a Hypothesis machine."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from crewd.supervisor.slots import STARTING_SECONDS, Key, SlotTable


def granted(places: SlotTable, *, memory: bool = True) -> list[Key]:
    found = []
    while (key := places.grant(memory=memory)) is not None:
        found.append(key)
    return found


def test_the_runs_take_turns() -> None:
    places = SlotTable(5)
    for number in range(6):
        places.ask((f"big/{number}", 1))
    places.ask(("small/x", 1))
    places.ask(("other/y", 1))
    assert granted(places) == [("big/0", 1), ("small/x", 1), ("other/y", 1), ("big/1", 1), ("big/2", 1)]
    places.leave(("small/x", 1))
    assert granted(places) == [("big/3", 1)]


def test_with_no_memory_one_worker_lives_and_no_second() -> None:
    places = SlotTable(5)
    places.ask(("r/a", 1))
    places.ask(("r/b", 1))
    assert granted(places, memory=False) == [("r/a", 1)]
    assert granted(places) == [("r/b", 1)]


def test_who_may_live_has_a_place_until_that_is_known() -> None:
    places = SlotTable(2)
    for name in ("a", "b"):
        places.may_have((f"back/{name}", 1))
    places.ask(("new/x", 1))
    assert granted(places) == []
    places.take(("back/a", 1))  # it lives
    assert granted(places) == []
    places.ask(("back/b", 1))  # it was never born
    assert granted(places) == [("new/x", 1)], "it has not kept its place"
    places.leave(("back/a", 1))
    assert granted(places) == [("back/b", 1)]


def test_only_so_many_start_at_once() -> None:
    places = SlotTable(10, most_starting=2)
    for number in range(5):
        places.ask((f"r/{number}", 1))
    assert granted(places) == [("r/0", 1), ("r/1", 1)]
    places.ready(("r/0", 1))
    assert granted(places) == [("r/2", 1)]
    places.leave(("r/1", 1))  # it died before its first word
    places.ready(("r/2", 1))
    assert granted(places) == [("r/3", 1), ("r/4", 1)]


def test_who_takes_long_over_its_first_word_holds_up_others_for_a_moment_only() -> None:
    places = SlotTable(10, most_starting=2)
    places.look(100.0)
    for number in range(5):
        places.ask((f"r/{number}", 1))
    assert granted(places) == [("r/0", 1), ("r/1", 1)]
    assert places.next_look == 100.0 + STARTING_SECONDS
    places.look(100.0 + STARTING_SECONDS / 2)
    assert granted(places) == []
    places.look(100.0 + STARTING_SECONDS)
    assert granted(places) == [("r/2", 1), ("r/3", 1)]
    assert places.held == {(f"r/{number}", 1) for number in range(4)}, "they keep their places"


class TheMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.places = SlotTable(3)
        self.alive: set[Key] = set()
        self.lent: set[Key] = set()
        self.wanting: set[Key] = set()
        self.unsure: set[Key] = set()

    @rule(run=st.integers(0, 3), task=st.integers(0, 4))
    def somebody_may_live(self, run: int, task: int) -> None:
        key = (f"{run}/{task}", 1)
        if key not in self.wanting:
            self.places.may_have(key)
            self.unsure |= {key} - self.alive

    @rule(run=st.integers(0, 3), task=st.integers(0, 4))
    def somebody_asks(self, run: int, task: int) -> None:
        key = (f"{run}/{task}", 1)
        self.places.ask(key)
        self.unsure.discard(key)
        if key not in self.alive:
            self.wanting.add(key)

    @rule(run=st.integers(0, 3), task=st.integers(0, 4))
    def somebody_who_lives_is_found(self, run: int, task: int) -> None:
        key = (f"{run}/{task}", 1)
        self.places.take(key)
        self.unsure.discard(key)
        self.wanting.discard(key)
        self.lent.discard(key)
        self.alive.add(key)

    @rule(run=st.integers(0, 3), task=st.integers(0, 4))
    def somebody_goes(self, run: int, task: int) -> None:
        key = (f"{run}/{task}", 1)
        self.places.leave(key)
        self.unsure.discard(key)
        self.wanting.discard(key)
        self.alive.discard(key)
        self.lent.discard(key)

    @rule(run=st.integers(0, 3), task=st.integers(0, 4), lent=st.booleans())
    def somebody_only_waits_or_goes_on(self, run: int, task: int, lent: bool) -> None:
        key = (f"{run}/{task}", 1)
        self.places.lend(key, lent=lent)
        if key in self.alive:
            (self.lent.add if lent else self.lent.discard)(key)

    @rule(memory=st.booleans())
    def places_are_granted(self, memory: bool) -> None:
        for key in granted(self.places, memory=memory):
            assert key in self.wanting, "only who asked"
            assert len((self.alive | self.unsure) - self.lent) < 3
            self.wanting.discard(key)
            self.alive.add(key)

    @invariant()
    def nobody_is_forgotten(self) -> None:
        assert self.places.held == self.alive
        assert {key for queue in self.places.waiting.values() for key in queue} == self.wanting


TestTheMachine = TheMachine.TestCase
