"""Monitors, links, the watchdog, and what is counted."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

import pytest
from loguru import logger

from crewd.actors import (
    Actor,
    ActorSystem,
    BrainDispatcher,
    ChildSpec,
    Down,
    ExitKind,
    InboxFull,
    Lane,
    LinkBroken,
    LongTurn,
    Ref,
    Supervisor,
    Watchdog,
)
from crewd.actors.exits import SHUTDOWN
from crewd.actors.watchdog import DUMP_SECONDS
from crewd.clock import SystemChance
from crewd.testing import Scheduler, VirtualClock


class Subject(Actor[Any]):
    data_max = 3

    def __init__(self, heard: list[Any] | None = None) -> None:
        super().__init__()
        self.heard = heard if heard is not None else []

    def receive(self, message: Any) -> None:
        if isinstance(message, Exception):
            raise message
        self.heard.append(message)


def living(scheduler: Scheduler, name: str) -> list[Ref[Any]]:
    return [cast("Ref[Any]", ref) for ref in scheduler.system.alive() if ref.name == name]


def spawn(scheduler: Scheduler, name: str, heard: list[Any] | None = None) -> Ref[Any]:
    ref: Ref[Any] = scheduler.system.spawn(ChildSpec(name, lambda: Subject(heard)), None)
    scheduler.settle()
    return ref


def test_watching_twice_is_watching_once_and_unwatching_is_final() -> None:
    scheduler = Scheduler()
    heard: list[Any] = []
    target, watcher = spawn(scheduler, "t"), spawn(scheduler, "w", heard)
    scheduler.system.watch(watcher, target)
    scheduler.system.watch(watcher, target)
    other: list[Any] = []
    left = spawn(scheduler, "left", other)
    scheduler.system.watch(left, target)
    scheduler.system.unwatch(left, target)
    target.tell(ValueError("x"))
    scheduler.settle()
    assert [(down.ref, down.reason.kind, down.incarnation) for down in heard] == [(target, ExitKind.CRASHED, 1)]
    assert other == []


def test_the_reason_of_an_end_is_known_for_ever() -> None:
    scheduler = Scheduler()
    first = spawn(scheduler, "first")
    first.tell(ValueError("long ago"))
    for number in range(5_000):
        scheduler.system.stop(spawn(scheduler, str(number)), SHUTDOWN)
    scheduler.settle()
    heard: list[Any] = []
    watcher = spawn(scheduler, "w", heard)
    scheduler.system.watch(watcher, first)
    scheduler.settle()
    assert isinstance(heard[0], Down) and str(heard[0].reason.error) == "long ago"


def test_a_watcher_that_ends_leaves_nothing_behind() -> None:
    scheduler = Scheduler()
    target = spawn(scheduler, "t")
    for number in range(100):
        watcher = spawn(scheduler, str(number))
        scheduler.system.watch(watcher, target)
        scheduler.system.stop(watcher, SHUTDOWN)
        scheduler.settle()
    assert scheduler.system._watchers[target] == {} and scheduler.system._watched == {}


def test_a_link_takes_the_other_end_along_both_ways_and_only_after_a_crash() -> None:
    scheduler = Scheduler()
    one, other, third = (spawn(scheduler, name) for name in "abc")
    scheduler.system.link(one, other)
    scheduler.system.link(third, other)
    scheduler.system.stop(third, SHUTDOWN)
    scheduler.settle()
    assert other.reason is None
    other.tell(ValueError("x"))
    scheduler.settle()
    assert one.reason is not None and one.reason.kind is ExitKind.LINKED and str(one.reason.error) == "x"
    late = spawn(scheduler, "late")
    scheduler.system.link(late, other)
    scheduler.settle()
    assert late.reason is not None and late.reason.kind is ExitKind.LINKED


def test_an_unlinked_actor_lives_on_and_so_does_one_that_takes_it_as_news() -> None:
    scheduler = Scheduler()
    heard: list[Any] = []

    class Calm(Subject):
        def link_broken(self, broken: LinkBroken) -> None:
            heard.append(broken.reason.kind)

    one, other = spawn(scheduler, "a"), spawn(scheduler, "b")
    calm = scheduler.system.spawn(ChildSpec("calm", Calm), None)
    scheduler.system.link(one, other)
    scheduler.system.link(calm, other)
    scheduler.system.unlink(other, one)
    other.tell(ValueError("x"))
    scheduler.settle()
    assert one.reason is None and calm.reason is None
    assert heard == [ExitKind.CRASHED]


def test_a_ref_of_an_incarnation_that_has_ended_never_reaches_the_next_one() -> None:
    scheduler = Scheduler()
    heard: list[Any] = []
    spec = ChildSpec("a", lambda: Subject(heard))
    scheduler.system.spawn(ChildSpec("top", lambda: Supervisor([spec])), None)
    scheduler.settle()
    (old,) = living(scheduler, "a")
    old.tell(ValueError("x"))
    scheduler.advance(1.0)
    (new,) = living(scheduler, "a")
    assert (old.incarnation, new.incarnation) == (1, 2)
    assert old.offer("to the old one") is False
    new.tell("to the new one")
    scheduler.settle()
    assert heard == ["to the new one"]


def test_depth_age_refusals_turns_and_restarts_are_counted_per_class() -> None:
    scheduler = Scheduler()
    scheduler.system.spawn(ChildSpec("top", lambda: Supervisor([ChildSpec("a", Subject)])), None)
    scheduler.settle()
    (ref,) = living(scheduler, "a")
    for number in range(3):
        ref.tell(number)
    with pytest.raises(InboxFull):
        ref.tell(3)
    ref.tell("control", lane=Lane.CONTROL)
    scheduler.clock.now += 2.0
    measured = {each.name: each for each in scheduler.system.measure()}["Subject"]
    assert (measured.depth, measured.age_seconds, measured.refused, measured.peak) == ((1, 3), (2.0, 2.0), 1, 3)
    scheduler.settle()
    ref.tell(ValueError("x"))
    scheduler.advance(1.0)
    measured = {each.name: each for each in scheduler.system.measure()}["Subject"]
    assert (measured.alive, measured.made, measured.restarts, measured.crashes) == (1, 2, 1, 1)
    assert (measured.depth, measured.refused, measured.peak) == ((0, 0), 1, 3)
    assert measured.messages == 7  # two of them the first messages that start an actor


class Idle:
    def poll(self, timeout: float | None) -> None:
        time.sleep(0)

    def wake(self) -> None:
        pass


def test_the_watchdog_names_who_is_busy_with_the_stack_and_again_much_later() -> None:
    clock = VirtualClock()
    brain = BrainDispatcher(Idle(), clock)
    system = ActorSystem(clock, SystemChance(), brain, wake=lambda: None, reporter=lambda name, incarnation, reason: None)
    inside, gate = threading.Event(), threading.Event()

    class Slow(Actor[Any]):
        def receive(self, message: Any) -> None:
            self.dawdle()

        def dawdle(self) -> None:
            inside.set()
            gate.wait(20)

    for pinned in (False, True):
        system.spawn(ChildSpec(f"slow-{pinned}", Slow, pinned=pinned), None).tell("go")
        reported: list[LongTurn] = []
        dog = Watchdog(system, reported.append)
        thread = threading.Thread(target=brain.run, args=(system.timers,))
        thread.start()
        assert inside.wait(20)
        assert dog.look() == []
        clock.now += 1.5
        (first,) = dog.look()
        assert first.ref.name == f"slow-{pinned}" and "dawdle" in first.stack and first.seconds == 1.5
        assert dog.look() == []
        clock.now += DUMP_SECONDS
        assert [turn.ref.name for turn in dog.look()] == [f"slow-{pinned}"]
        clock.now += 10 * DUMP_SECONDS
        assert dog.look() == []
        gate.set()
        brain.stop()
        thread.join(20)
        inside.clear()
        gate.clear()
        brain = BrainDispatcher(Idle(), clock)
        system = ActorSystem(clock, SystemChance(), brain, wake=lambda: None, reporter=lambda name, incarnation, reason: None)


def test_who_may_work_long_is_not_named() -> None:
    clock = VirtualClock()
    brain = BrainDispatcher(Idle(), clock)
    system = ActorSystem(clock, SystemChance(), brain, wake=lambda: None, reporter=lambda name, incarnation, reason: None)
    inside, gate = threading.Event(), threading.Event()

    class Patient(Actor[Any]):
        works_long = True

        def receive(self, message: Any) -> None:
            inside.set()
            gate.wait(20)

    system.spawn(ChildSpec("patient", Patient, pinned=True), None).tell("go")
    thread = threading.Thread(target=brain.run, args=(system.timers,))
    thread.start()
    assert inside.wait(20)
    clock.now += 100.0
    assert Watchdog(system, lambda _: None).look() == []
    gate.set()
    brain.stop()
    thread.join(20)


def test_the_watchdog_reports_from_its_own_thread() -> None:
    clock = VirtualClock()
    brain = BrainDispatcher(Idle(), clock)
    system = ActorSystem(clock, SystemChance(), brain, wake=lambda: None, reporter=lambda name, incarnation, reason: None)
    gate, heard = threading.Event(), threading.Event()

    class Slow(Actor[Any]):
        def receive(self, message: Any) -> None:
            clock.now += 5.0
            gate.wait(20)

    system.spawn(ChildSpec("slow", Slow, pinned=True), None).tell("go")
    dog = Watchdog(system, lambda turn: heard.set())
    dog.start()
    assert heard.wait(20)
    gate.set()
    dog.stop()


def test_what_an_actor_does_not_take_is_logged_with_its_sender_and_ends_nobody() -> None:
    scheduler, heard, log = Scheduler(), list[int](), list[str]()
    sink = logger.add(lambda line: log.append(line.record["message"]), level="WARNING")

    class Counts(Actor[int]):
        def receive(self, message: int) -> None:
            match message:
                case int():
                    heard.append(message)
                case _:
                    self.unexpected(message)

        def state_in_words(self) -> str:
            return f"has {len(heard)}"

    counts = scheduler.system.spawn(ChildSpec("counts", Counts), None)

    class Confused(Actor[None]):
        def receive(self, message: None) -> None:
            cast("Ref[Any]", counts).tell("a word")

    confused = scheduler.system.spawn(ChildSpec("confused", Confused), None)
    counts.tell(1)
    confused.tell(None)
    scheduler.settle()
    counts.tell(2)
    scheduler.settle()
    logger.remove(sink)
    assert heard == [1, 2]
    assert log == ["counts (has 1) was told by confused what it does not take: 'a word'"]
