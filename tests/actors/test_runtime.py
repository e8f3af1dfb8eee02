"""Actors under a scripted scheduler: the same classes as in the daemon, no threads."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pykka
import pytest

from crewd.actors import (
    Actor,
    ActorDead,
    ActorSystem,
    BlockingAsk,
    BrainDispatcher,
    ChildSpec,
    Down,
    ExitKind,
    ExitReason,
    InboxFull,
    Intensity,
    Lane,
    Ref,
    Restart,
    Strategy,
    Supervisor,
    Turn,
)
from crewd.actors.exits import SHUTDOWN
from crewd.actors.supervisor import StartDynamic
from crewd.actors.timers import SWEPT_FROM
from crewd.clock import Clock, SystemChance, SystemClock
from crewd.testing import Scheduler


class Echo(Actor[Any]):
    data_max = 3

    def __init__(self, log: list[Any] | None = None) -> None:
        super().__init__()
        self.log = log if log is not None else []

    def receive(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        self.log.append(message)
        return message


class Fussy(Actor[Any]):
    def on_start(self) -> None:
        raise ValueError("not today")


def started(scheduler: Scheduler, **kwargs: Any) -> tuple[Ref[Any], dict[str, Ref[Any]]]:
    supervisor: Supervisor[Any] = Supervisor([ChildSpec(name, Echo) for name in "abc"], **kwargs)
    top = scheduler.system.spawn(ChildSpec("top", lambda: supervisor), None)
    scheduler.settle()
    return top, children(scheduler)


def children(scheduler: Scheduler) -> dict[str, Ref[Any]]:
    return {ref.name: ref for ref in scheduler.system.alive()}


class Rounded(Actor[Any]):
    """What it keeps leads back to it."""

    def __init__(self, kept: list[Any]) -> None:
        super().__init__()
        kept.append(weakref.ref(self))
        self.handlers = {"me": self.receive}

    def on_start(self) -> None:
        self.context.after(1e6, "much later")

    def receive(self, message: Any) -> Any:
        return message


def test_an_actor_that_has_ended_is_kept_by_nobody() -> None:
    scheduler = Scheduler()
    kept: list[weakref.ref[Any]] = []
    refs = [scheduler.system.spawn(ChildSpec("rounded", lambda: Rounded(kept)), None) for _ in range(SWEPT_FROM)]
    scheduler.settle(turns=100_000)
    gc.disable()
    try:
        for ref in refs:
            scheduler.system.stop(ref, SHUTDOWN)
        scheduler.settle(turns=100_000)
        assert [ref() for ref in kept if ref() is not None] == []
    finally:
        gc.enable()
    with pytest.raises(ActorDead):
        refs[0].tell("late")
    assert not refs[0].signal("late")
    scheduler.system.kill(refs[0])
    last = scheduler.system.spawn(ChildSpec("last", lambda: Rounded(kept)), None)
    scheduler.settle(turns=100_000)
    assert len(scheduler.system.timers) == 1, "timers that were cancelled are swept"
    scheduler.system.stop(last, SHUTDOWN)
    scheduler.settle(turns=100_000)


def test_control_overtakes_data_and_a_full_lane_says_so() -> None:
    scheduler = Scheduler()
    log: list[Any] = []
    ref = scheduler.system.spawn(ChildSpec("e", lambda: Echo(log)), None)
    scheduler.settle()
    for number in range(3):
        ref.tell(number)
    with pytest.raises(InboxFull):
        ref.tell(3)
    ref.tell("first", lane=Lane.CONTROL)
    scheduler.settle()
    assert log == ["first", 0, 1, 2]


def test_a_closed_inbox_refuses_and_never_swallows() -> None:
    scheduler = Scheduler()
    log: list[Any] = []
    ref = scheduler.system.spawn(ChildSpec("e", lambda: Echo(log)), None)
    ref.tell("before")
    scheduler.system.stop(ref, SHUTDOWN)
    scheduler.settle()
    with pytest.raises(ActorDead):
        ref.tell("after")
    assert ref.offer("after") is False
    assert log == []  # the stop overtook it, and whoever asked would have been told


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt()])
def test_whatever_an_actor_raises_ends_only_this_actor(error: BaseException) -> None:
    scheduler = Scheduler()
    _, refs = started(scheduler)
    refs["b"].tell(error)
    scheduler.settle()
    scheduler.advance(1.0)
    after = children(scheduler)
    assert after["a"] is refs["a"]
    assert after["c"] is refs["c"]
    assert after["b"].incarnation == 2
    assert scheduler.ends[0][0] == "b"


def test_rest_for_one_restarts_what_came_after_in_order() -> None:
    scheduler = Scheduler()
    _, refs = started(scheduler, strategy=Strategy.REST_FOR_ONE)
    refs["b"].tell(ValueError("x"))
    scheduler.advance(1.0)
    assert {name: ref.incarnation for name, ref in children(scheduler).items()} == {"top": 1, "a": 1, "b": 2, "c": 2}


def test_one_for_all_restarts_everybody() -> None:
    scheduler = Scheduler()
    _, refs = started(scheduler, strategy=Strategy.ONE_FOR_ALL)
    refs["b"].tell(ValueError("x"))
    scheduler.advance(1.0)
    assert {name: ref.incarnation for name, ref in children(scheduler).items()} == {"top": 1, "a": 2, "b": 2, "c": 2}


def test_past_its_intensity_a_supervisor_ends_its_children_and_itself() -> None:
    scheduler = Scheduler()
    started(scheduler, intensity=Intensity(restarts_max=2, period_seconds=60.0))
    for _ in range(3):
        children(scheduler)["a"].tell(ValueError("x"))
        scheduler.advance(1.0)
    assert children(scheduler) == {}


def test_a_start_that_fails_counts_as_an_end_and_is_tried_with_backoff() -> None:
    scheduler = Scheduler()
    supervisor: Supervisor[Any] = Supervisor([ChildSpec("fussy", Fussy)], intensity=Intensity(3, 60.0))
    scheduler.system.spawn(ChildSpec("top", lambda: supervisor), None)
    scheduler.advance(60.0)
    assert [name for name, _, _ in scheduler.ends] == ["fussy"] * 4
    assert children(scheduler) == {}


def test_a_temporary_child_is_not_restarted_and_a_transient_one_only_after_a_crash() -> None:
    scheduler = Scheduler()
    top = scheduler.system.spawn(ChildSpec("top", Supervisor), None)
    scheduler.settle()
    top.tell(StartDynamic(ChildSpec("temporary", Echo, restart=Restart.TEMPORARY)))
    top.tell(StartDynamic(ChildSpec("transient", Echo, restart=Restart.TRANSIENT)))
    scheduler.settle()
    for ref in children(scheduler).values():
        if ref is not top:
            ref.tell(ValueError("x"))
    scheduler.advance(1.0)
    assert set(children(scheduler)) == {"top", "transient"}
    scheduler.system.stop(children(scheduler)["transient"], SHUTDOWN)
    scheduler.advance(1.0)
    assert set(children(scheduler)) == {"top"}


def test_a_stop_ends_children_in_reverse_order() -> None:
    scheduler = Scheduler()
    order: list[str] = []

    class Noted(Actor[Any]):
        def on_stop(self) -> None:
            order.append(self.ref.name)

    supervisor: Supervisor[Any] = Supervisor([ChildSpec(name, Noted) for name in "abc"])
    top = scheduler.system.spawn(ChildSpec("top", lambda: supervisor), None)
    scheduler.settle()
    scheduler.system.stop(top, SHUTDOWN)
    scheduler.settle()
    assert order == ["c", "b", "a"]


class Watcher(Actor[Any]):
    def __init__(self, target: Ref[Any], heard: list[Any]) -> None:
        super().__init__()
        self.target, self.heard = target, heard

    def on_start(self) -> None:
        self.context.watch(self.target)

    def receive(self, message: Any) -> None:
        self.heard.append(message)


def test_a_watcher_hears_exactly_one_down_also_of_the_dead() -> None:
    scheduler = Scheduler()
    heard: list[Any] = []
    ref = scheduler.system.spawn(ChildSpec("e", Echo), None)
    scheduler.settle()
    scheduler.system.spawn(ChildSpec("w1", lambda: Watcher(ref, heard)), None)
    scheduler.settle()
    ref.tell(ValueError("x"))
    scheduler.settle()
    scheduler.system.spawn(ChildSpec("w2", lambda: Watcher(ref, heard)), None)
    scheduler.settle()
    assert [type(each) for each in heard] == [Down, Down]
    assert all(each.reason.kind is ExitKind.CRASHED and each.ref is ref for each in heard)


def test_timers_fire_in_order_and_die_with_their_actor() -> None:
    scheduler = Scheduler()
    log: list[Any] = []
    echo = Echo(log)
    scheduler.system.spawn(ChildSpec("e", lambda: echo), None)
    scheduler.settle()
    context = echo.context
    for seconds in (3, 1, 2):
        context.after(seconds, seconds)
    context.after(1.5, "never").cancel()
    scheduler.advance(2.5)
    assert log == [1, 2]
    scheduler.system.stop(echo.ref, SHUTDOWN)
    scheduler.advance(10)
    assert log == [1, 2]
    assert scheduler.system.timers.next_due() is None


def test_an_ask_from_inside_an_actor_raises() -> None:
    scheduler = Scheduler()
    errors: list[Exception] = []
    target = scheduler.system.spawn(ChildSpec("e", Echo), None)

    class Asker(Actor[Any]):
        def receive(self, message: Any) -> None:
            try:
                target.ask("x", timeout=1)
            except BlockingAsk as error:
                errors.append(error)

    asker = scheduler.system.spawn(ChildSpec("asker", Asker), None)
    asker.tell("go")
    scheduler.settle()
    assert len(errors) == 1


class Sleeper:
    """A poller with nothing to poll."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def poll(self, timeout: float | None) -> None:
        self.event.wait(timeout)
        self.event.clear()

    def wake(self) -> None:
        self.event.set()


def test_the_brain_and_a_pinned_thread_answer_from_outside_and_late_asks_are_never_handled() -> None:
    clock, poller = SystemClock(), Sleeper()
    brain = BrainDispatcher(poller, clock)
    system = ActorSystem(clock, SystemChance(), brain, wake=poller.wake, reporter=lambda name, incarnation, reason: None)
    thread = threading.Thread(target=brain.run, args=(system.timers,))
    thread.start()
    try:
        log: list[Any] = []
        pinned = system.spawn(ChildSpec("pinned", lambda: Echo(log), pinned=True), None)
        mine = system.spawn(ChildSpec("mine", Echo), None)
        assert [pinned.ask(1, timeout=120), mine.ask(2, timeout=120)] == [1, 2]
        with pytest.raises(ValueError, match="x"):
            pinned.ask(ValueError("x"), timeout=120)
        gate = threading.Event()

        class Slow(Echo):
            def receive(self, message: Any) -> Any:
                gate.wait(5)
                return super().receive(message)

        slow = system.spawn(ChildSpec("slow", lambda: Slow(log), pinned=True), None)
        slow.tell("holds the thread")
        with pytest.raises(pykka.Timeout):
            slow.ask("too late", timeout=0.05)
        gate.set()
        assert slow.ask("in time", timeout=120) == "in time"
        assert "too late" not in log
        system.stop(slow, SHUTDOWN)
    finally:
        brain.stop()
        thread.join(5)
    assert not thread.is_alive()


class _Threadless:
    """A dispatcher whose thread cannot be started."""

    busy = Turn()

    def __init__(self, name: str, clock: Clock) -> None:
        del name, clock

    def schedule(self, actor: object) -> None:
        raise RuntimeError("can't start new thread")

    def owns_thread(self) -> bool:
        return False


def test_an_actor_whose_thread_cannot_be_started_is_reported_and_leaves_nothing() -> None:
    clock, poller = SystemClock(), Sleeper()
    reports: list[tuple[str, str]] = []
    brain = BrainDispatcher(poller, clock)

    def report(name: str, incarnation: int, reason: ExitReason) -> None:
        del incarnation
        reports.append((name, str(reason)))

    system = ActorSystem(clock, SystemChance(), brain, wake=poller.wake, reporter=report, pin=_Threadless)
    with pytest.raises(RuntimeError, match="new thread"):
        system.spawn(ChildSpec("pinned", Echo, pinned=True), None)
    family: Supervisor[Any] = Supervisor([ChildSpec("pinned", Echo, pinned=True)])
    top = system.spawn(ChildSpec("top", lambda: family), None)
    system.on_end(top, lambda _: brain.stop())
    thread = threading.Thread(target=brain.run, args=(system.timers,))
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "the supervisor gives up"
    assert reports
    assert all(name == "pinned" and "new thread" in reason for name, reason in reports), reports
    assert system.alive() == ()
    assert system.dispatchers() == (brain,)
