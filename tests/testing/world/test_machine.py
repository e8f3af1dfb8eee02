"""The laws (docs/laws.md) over the simulated world: Hypothesis chooses what people do, what breaks, and in which order.

`CREWD_STRESS_MINUTES` and `CREWD_STRESS_SEED` make it run for longer, from another seed (`make stress`).
"""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from crewd.model.receipts import Level
from crewd.testing.world.faults import FLAKY, HARSH, NONE, Faults
from crewd.testing.world.hunt import Count
from crewd.testing.world.play import PLANS, SHAPES, TURNING_POINTS, Move, Player

MINUTES = float(os.environ.get("CREWD_STRESS_MINUTES", "0"))
SEED = int(os.environ.get("CREWD_STRESS_SEED", "0"))
EXAMPLES = 60
"""In `make test`: some seconds."""
BATCH = 500
"""Examples between two looks at the clock in `make stress`."""

numbers = st.integers(0, 7)
few = st.integers(0, 2)
who = st.integers(0, 1)
plans = st.lists(st.sampled_from(sorted(PLANS)), min_size=1, max_size=3).map(tuple)
levels = st.sampled_from([str(level) for level in Level])


class Crews(RuleBasedStateMachine):
    """A world, and everything that people and bad luck can do to it."""

    count: ClassVar[Count] = Count()

    def __init__(self) -> None:
        super().__init__()
        self.player = Player(0)
        self.moves = 0

    @initialize(
        order=st.integers(0, 2**32),
        faults=st.sampled_from([NONE, FLAKY, HARSH]),
        shape=st.sampled_from(sorted(SHAPES)),
        first=plans,
    )
    def begin(self, order: int, faults: Faults, shape: str, first: tuple[str, ...]) -> None:
        note(f"order {order}, {'some' if faults != NONE else 'no'} random faults")
        self.player = Player(order, faults)
        self.play("start", shape=shape, plans=first)

    def play(self, verb: str, **given: Any) -> None:
        self.player.play(Move(verb, given))
        self.moves += 1

    @rule(shape=st.sampled_from(sorted(SHAPES)), first=plans, by=who, limit=st.integers(0, 2))
    def reserve_and_spawn(self, shape: str, first: tuple[str, ...], by: int, limit: int) -> None:
        self.play("start", shape=shape, plans=first, who=by, limit=limit)

    @rule(which=numbers, by=who)
    def ask_for_the_same_run(self, which: int, by: int) -> None:
        self.play("again", which=which, who=by)

    @rule(run=few, step=few, text=st.sampled_from(["", "refuse"]), wait=levels, by=who)
    def steer(self, run: int, step: int, text: str, wait: str, by: int) -> None:
        self.play("steer", run=run, step=step, text=text, wait=wait, who=by)

    @rule(run=few, step=few, wait=levels, by=who)
    def follow_up(self, run: int, step: int, wait: str, by: int) -> None:
        self.play("follow_up", run=run, step=step, wait=wait, who=by)

    @rule(run=few, step=few, count=st.integers(2, 4), by=who)
    def steer_several_times(self, run: int, step: int, count: int, by: int) -> None:
        self.play("burst", run=run, step=step, count=count, who=by)

    @rule(run=few, seconds=st.sampled_from([0.01, 0.5, 5.0]))
    def steer_with_a_deadline(self, run: int, seconds: float) -> None:
        self.play("expiring", run=run, seconds=seconds)

    @rule(which=numbers)
    def send_again(self, which: int) -> None:
        self.play("resend", which=which)

    @rule(which=numbers, by=who)
    def respond(self, which: int, by: int) -> None:
        self.play("respond", which=which, who=by)

    @rule(which=numbers)
    def withdraw(self, which: int) -> None:
        self.play("withdraw", which=which)

    @rule(
        run=few,
        step=st.none() | few,
        mode=st.sampled_from(["now", "graceful"]),
        grace=st.sampled_from([0.0, 1.0, 10.0]),
        wait=st.booleans(),
        twice=st.booleans(),
        by=who,
    )
    def cancel(self, run: int, step: int | None, mode: str, grace: float, wait: bool, twice: bool, by: int) -> None:
        for _ in range(2 if twice else 1):
            self.play("cancel", run=run, step=step, mode=mode, grace=grace, wait=wait, who=by)

    @rule(which=numbers)
    def query_a_receipt(self, which: int) -> None:
        self.play("receipt", which=which)

    @rule(run=few, or_waiting=st.booleans())
    def wait_for_an_end(self, run: int, or_waiting: bool) -> None:
        self.play("await_end", run=run, or_waiting=or_waiting)

    @rule(by=who)
    def follow_the_events(self, by: int) -> None:
        self.play("subscribe", who=by)

    @rule()
    def stop_crewd(self) -> None:
        self.play("stop")

    @precondition(lambda self: self.moves > 1)
    @rule(kind=st.sampled_from(["kill_crewd", "kill_guardian"]))
    def kill_a_part(self, kind: str) -> None:
        self.play(kind)

    @rule(calls=st.integers(0, 12))
    def kill_crewd_in_the_middle_of_a_turn(self, calls: int) -> None:
        self.play("kill_crewd_inside", calls=calls)

    @rule(event=st.sampled_from(TURNING_POINTS))
    def kill_crewd_after_a_commit(self, event: str) -> None:
        self.play("kill_crewd_after", event=event)

    @rule()
    def start_crewd(self) -> None:
        self.play("start_crewd")

    @rule(which=numbers, signal=st.sampled_from([9, 11]))
    def kill_a_worker(self, which: int, signal: int) -> None:
        self.play("kill_worker", which=which, signal=signal)

    @rule(which=numbers)
    def break_a_connection(self, which: int) -> None:
        self.play("cut", which=which)

    @rule(which=numbers, seconds=st.sampled_from([0.5, 20.0]))
    def stall_a_peer(self, which: int, seconds: float) -> None:
        self.play("stall", which=which, seconds=seconds)

    @rule(seconds=st.sampled_from([0.1, 2.0, 10.0]))
    def fill_the_disk(self, seconds: float) -> None:
        self.play("fill_disk", seconds=seconds)

    @rule(seconds=st.sampled_from([-3600.0, 3600.0]))
    def set_the_clock(self, seconds: float) -> None:
        self.play("jump_clock", seconds=seconds)

    @rule(steps=st.sampled_from([1, 2, 5, 10, 30, 100]), in_order=st.booleans())
    def let_things_happen(self, steps: int, in_order: bool) -> None:
        self.play("go_in_order" if in_order else "go", steps=steps)

    def teardown(self) -> None:
        if self.moves:
            try:
                self.player.world.rest()
            finally:
                self.count.add(self.player)


def quick(examples: int, **more: Any) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
        print_blob=True,
        **more,
    )


def test_no_law_is_broken_whatever_happens_in_whatever_order() -> None:
    run_state_machine_as_test(Crews, settings=quick(EXAMPLES, derandomize=True))
    kept = Crews.count.laws
    for law in ("applied at most once", "a cancel answers with proof", "no receipt without the deed", "a feed has no gap"):
        assert kept[law] > 0, f"no example looked at the law: {law}"


@pytest.mark.skipif(not MINUTES, reason="make stress")
def test_for_as_long_as_told() -> None:
    clock, batch = time.monotonic, 0
    Crews.count = Count()
    begun = clock()
    while clock() - begun < MINUTES * 60:
        run = seed(SEED + batch)(Crews)
        run_state_machine_as_test(run, settings=quick(BATCH, database=None, phases=(Phase.generate, Phase.shrink)))
        batch += 1
        Crews.count.seconds = clock() - begun
    print()
    print(f"simulated world, seeds {SEED} to {SEED + batch - 1} ({BATCH} examples each):")
    for line in Crews.count.lines():
        print(f"  {line}")
