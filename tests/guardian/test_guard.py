"""When the guardian reads the process table, and when it need not."""

from __future__ import annotations

import pytest

from crewd.guardian.care import Keep
from crewd.guardian.guard import FEW_PROCESSES, LOOKS_LEFT_OUT, Guard
from crewd.guardian.guard_effects import Fork, Mark
from crewd.guardian.tree import Key, Proc
from crewd.model.policy import Limits
from crewd.model.workflow import WorkerSpec
from crewd.protocol import guardian as gd
from crewd.protocol.bootstrap import Bootstrap

KEY: Key = ("r_1/a", 1)
OWN, ZYGOTE = 2, 3
MAIN = Proc(10, ZYGOTE, 10, 10, "S", 1.0)
TABLE = {OWN: Proc(OWN, 1, OWN, OWN, "S", 0.0), ZYGOTE: Proc(ZYGOTE, OWN, ZYGOTE, ZYGOTE, "S", 0.0), 10: MAIN}


def spawn(limits: Limits | None = None) -> gd.Spawn:
    worker = WorkerSpec(call="jobs:listen", limits=limits or Limits())
    return gd.Spawn(Bootstrap(*KEY, "", "", "/d", "/s", "/", goal="", text="", reads=(), output="", worker=worker))


def with_a_worker(limits: Limits | None = None) -> Guard:
    guard = Guard("home", "boot", OWN, 0.0)
    guard.zygote = ZYGOTE
    guard.ordered(gd.Attach("home"), 0.0)
    guard.ordered(spawn(limits), 0.0)
    guard.forked(KEY, MAIN, 0.0)
    return guard


def look(guard: Guard, now: float, newest: int | None = 100) -> None:
    sorting = guard.begin_look(TABLE, {})
    guard.looked(
        sorting, {}, {}, {KEY: 0}, now=now, took=0.001, since_boot=now + 100.0, heard_at=now, newest=newest
    )  # fmt: skip


def test_a_look_is_left_out_while_nothing_happens_but_not_for_ever() -> None:
    guard = with_a_worker()
    for now in (1.0, 4.0, 7.0):
        look(guard, now)  # the first ones tell what the worker uses
    left_out = 0
    now = 7.0
    while now < 60.0 and not left_out > LOOKS_LEFT_OUT:
        now += 1.01
        assert guard.wants_look(now)
        if not guard.leaves_out(100 + left_out, now):
            break
        left_out += 1
    assert left_out == LOOKS_LEFT_OUT
    look(guard, now)
    assert guard.leaves_out(100, now + 1.1), "and then again"


@pytest.mark.parametrize("newest", [None, 99, 101 + FEW_PROCESSES])
def test_nothing_is_left_out_when_processes_were_started_or_nobody_can_say(newest: int | None) -> None:
    guard = with_a_worker()
    for now in (1.0, 4.0, 7.0):
        look(guard, now)
    assert not guard.leaves_out(newest, 8.1)


@pytest.mark.parametrize("limits", [Limits(memory_bytes=1), Limits(cpu_seconds=1.0)])
def test_what_a_worker_may_use_is_measured_each_second(limits: Limits) -> None:
    guard = with_a_worker(limits)
    for now in (1.0, 4.0, 7.0):
        look(guard, now)
    assert not guard.leaves_out(100, 8.1)


def test_an_end_is_looked_at() -> None:
    guard = with_a_worker()
    for now in (1.0, 4.0, 7.0):
        look(guard, now)
    guard.ordered(gd.End(*KEY, grace_seconds=1.0, term_seconds=1.0), 7.5)
    assert not guard.leaves_out(100, 8.1)


def test_a_worker_that_was_just_started_is_looked_at_soon() -> None:
    guard = Guard("home", "boot", OWN, 0.0)
    guard.ordered(gd.Attach("home"), 0.0)
    guard.zygote = ZYGOTE
    guard.nothing_to_look_at(0.0)
    guard.ordered(spawn(), 2.0)
    guard.forked(KEY, MAIN, 2.0)
    assert guard.due_at() <= 3.0


def test_without_workers_looks_keep_their_own_pause() -> None:
    guard = Guard("home", "boot", OWN, 0.0)
    guard.ordered(gd.Attach("home"), 0.0)
    sorting = guard.begin_look({}, {})
    guard.looked(sorting, {}, {}, {}, now=1.0, took=0.0, since_boot=1.0, heard_at=0.0, newest=100)
    assert not guard.leaves_out(100, 11.1)


def test_what_was_agreed_of_a_worker_is_written_down_before_it_is_forked() -> None:
    """A guardian that is killed before it hears of the fork leaves a worker behind: its successor must know what holds."""
    guard = Guard("home", "boot", OWN, 0.0)
    guard.ordered(gd.Attach("home"), 0.0)
    kept, fork = guard.ordered(spawn(Limits(memory_bytes=1)), 0.0)
    assert isinstance(kept, Keep)
    assert isinstance(fork, Fork)
    successor = Guard("home", "boot", OWN, 0.0)
    successor.adopt(TABLE, {10: Mark(KEY)}, [kept.record], {}, [], 1.0)
    [care] = successor.cares.values()
    assert care.record.limits.memory_bytes == 1


def test_what_goes_without_saying_is_not_written_down() -> None:
    guard = Guard("home", "boot", OWN, 0.0)
    guard.ordered(gd.Attach("home"), 0.0)
    assert [type(effect) for effect in guard.ordered(spawn(), 0.0)] == [Fork]
