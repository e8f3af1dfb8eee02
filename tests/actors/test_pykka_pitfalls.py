"""One test per pitfall of Pykka: crewd's actors do not have it."""

from __future__ import annotations

import gc
import inspect
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pykka
import pytest

import crewd.actors
from crewd.actors import (
    Actor,
    ActorDead,
    ActorSystem,
    BlockingAsk,
    BrainDispatcher,
    ChildSpec,
    ExitKind,
    InboxFull,
    Lane,
    Ref,
    StartFailed,
    Supervisor,
)
from crewd.actors.exits import SHUTDOWN
from crewd.actors.inbox import CONTROL_MAX, DATA_MAX, Envelope, TwoLaneInbox
from crewd.clock import SystemChance, SystemClock
from crewd.model import events, rows
from crewd.protocol import replies, reports, requests
from crewd.testing import Scheduler


class Sleeper:
    def __init__(self) -> None:
        self.event = threading.Event()

    def poll(self, timeout: float | None) -> None:
        self.event.wait(timeout)
        self.event.clear()

    def wake(self) -> None:
        self.event.set()


@contextmanager
def real() -> Iterator[ActorSystem]:
    """A system with a brain on a thread of its own."""
    poller, clock = Sleeper(), SystemClock()
    brain = BrainDispatcher(poller, clock)
    system = ActorSystem(clock, SystemChance(), brain, wake=poller.wake, reporter=lambda name, incarnation, reason: None)
    thread = threading.Thread(target=brain.run, args=(system.timers,), daemon=True)
    thread.start()
    try:
        yield system
    finally:
        brain.stop()
        thread.join(10)


class Echo(Actor[Any]):
    def receive(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        if callable(message):
            return message()
        return message


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_k1_a_handler_that_raises_ends_its_actor_whether_it_was_told_or_asked() -> None:
    with real() as system:
        for way in ("tell", "ask"):
            ref = system.spawn(ChildSpec("e", Echo), None)
            if way == "tell":
                ref.tell(ValueError("x"))
            else:
                with pytest.raises(ValueError, match="x"):
                    ref.ask(ValueError("x"), timeout=60)
            wait_for(lambda ref=ref: ref.reason)
            assert ref.reason is not None and ref.reason.kind is ExitKind.CRASHED


def test_k2_an_on_start_that_raises_is_reported_to_the_supervisor_with_its_cause() -> None:
    class Broken(Actor[Any]):
        def on_start(self) -> None:
            raise OSError("no disk")

    class Told(Supervisor[Any]):
        heard: ClassVar[list[Any]] = []

        def child_ended(self, ref: Ref[Any], reason: Any) -> None:
            self.heard.append(reason.error)

        def child_started(self, ref: Ref[Any]) -> None:
            self.heard.append("started")

    scheduler = Scheduler()
    scheduler.system.spawn(ChildSpec("top", lambda: Told([ChildSpec("broken", Broken)])), None)
    scheduler.settle()
    (error,) = Told.heard
    assert isinstance(error, StartFailed) and isinstance(error.__cause__, OSError)


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_k3_a_base_exception_ends_one_actor_and_answers_whoever_asked(error: BaseException) -> None:
    with real() as system:
        victim, bystander = (system.spawn(ChildSpec(name, Echo), None) for name in ("victim", "bystander"))
        with pytest.raises(type(error)):
            victim.ask(error, timeout=60)
        assert bystander.ask("still here", timeout=60) == "still here"


def test_k4_a_message_is_handled_refused_or_returned_whatever_the_moment_of_the_close() -> None:
    """Many threads tell while the actor stops, with the interpreter switching threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with real() as system:
            for _ in range(20):
                counted = _tell_while_it_stops(system)
                assert counted["handled"] + counted["refused"] + counted["returned"] == counted["told"]
    finally:
        sys.setswitchinterval(before)


def _tell_while_it_stops(system: ActorSystem) -> dict[str, int]:
    counted: dict[str, int] = dict.fromkeys(["handled", "refused", "returned", "told"], 0)

    class Counter(Actor[Any]):
        def receive(self, message: Any) -> None:
            counted["handled"] += 1

        def returned(self, message: Any) -> None:
            counted["returned"] += 1

    ref = system.spawn(ChildSpec("counter", Counter, pinned=True), None)
    refused = [0] * 4

    def teller(index: int) -> None:
        for number in range(500):
            if not ref.offer(number):
                refused[index] += 1

    threads = [threading.Thread(target=teller, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    system.stop(ref, SHUTDOWN)
    for thread in threads:
        thread.join()
    wait_for(lambda: ref.reason)
    counted["refused"] = sum(refused)
    counted["told"] = 2_000
    return counted


def test_k4_an_ask_of_an_actor_that_stops_is_answered() -> None:
    with real() as system:
        gate = threading.Event()
        ref = system.spawn(ChildSpec("slow", Echo, pinned=True), None)
        ref.tell(lambda: gate.wait(20))
        errors: list[Exception] = []

        def ask() -> None:
            try:
                ref.ask("late", timeout=20)
            except ActorDead as error:
                errors.append(error)

        asker = threading.Thread(target=ask)
        asker.start()
        wait_for(lambda: ref._cell.actor_inbox.depth()[1] == 1)
        system.stop(ref, SHUTDOWN)
        gate.set()
        asker.join(20)
        assert len(errors) == 1


def test_k5_an_ask_from_inside_an_actor_raises_at_once_instead_of_waiting_for_itself() -> None:
    with real() as system:
        ref = system.spawn(ChildSpec("e", Echo, pinned=True), None)
        with pytest.raises(BlockingAsk):
            ref.ask(lambda: ref.ask("me", timeout=60), timeout=10)


def test_k6_a_request_that_timed_out_is_not_executed_later() -> None:
    with real() as system:
        gate, done = threading.Event(), []
        ref = system.spawn(ChildSpec("slow", Echo, pinned=True), None)
        ref.tell(lambda: gate.wait(20))
        with pytest.raises(pykka.Timeout):
            ref.ask(lambda: done.append("late"), timeout=0.02)
        gate.set()
        assert ref.ask("next", timeout=60) == "next"
        assert done == []


def test_k7_nothing_in_crewd_awaits_a_pykka_future() -> None:
    """Awaiting one blocks the event loop. No module of crewd that has a coroutine imports Pykka, nor the room that does."""
    for path in Path(crewd.__file__).parent.rglob("*.py"):
        text = path.read_text()
        if "async def" in text:
            assert "pykka" not in text and "crewd.actors" not in text, path


def test_k8_and_k9_a_deadline_is_one_deadline_however_many_are_slow_and_everybody_is_reached() -> None:
    gate = threading.Event()
    inside: list[str] = []

    class Stuck(Actor[Any]):
        def receive(self, message: Any) -> None:
            inside.append(self.ref.name)
            gate.wait(60)

    with real() as system:
        names = [f"stuck{n}" for n in range(5)]
        specs = [ChildSpec(name, Stuck, pinned=True, shutdown_seconds=30.0) for name in names]
        stopped: list[str] = []

        class Polite(Actor[Any]):
            def on_stop(self) -> None:
                stopped.append("polite")

        top = system.spawn(ChildSpec("top", lambda: Supervisor([ChildSpec("polite", Polite), *specs])), None)
        wait_for(lambda: len(system.alive()) == 7)
        for ref in system.alive():
            if ref.name in names:
                ref.signal("hang")
        wait_for(lambda: len(inside) == 5)
        begun = time.monotonic()
        system.stop(top, SHUTDOWN, 1.0)
        wait_for(lambda: top.reason)
        taken = time.monotonic() - begun
        assert stopped == ["polite"]
        assert sorted(ref.name for ref in system.stuck) == names
        assert taken < 10.0, "one second for all, not 30 for each of five"
        gate.set()


def test_k10_there_is_no_broadcast_and_news_for_many_goes_on_past_the_dead() -> None:
    scheduler = Scheduler()
    heard: list[Any] = []

    class Watcher(Actor[Any]):
        def receive(self, message: Any) -> None:
            heard.append(self.ref.name)

    target = scheduler.system.spawn(ChildSpec("t", Echo), None)
    watchers = [scheduler.system.spawn(ChildSpec(name, Watcher), None) for name in "abc"]
    for watcher in watchers:
        scheduler.system.watch(watcher, target)
    scheduler.settle()
    scheduler.system.kill(watchers[1])
    scheduler.system.stop(target, SHUTDOWN)
    scheduler.settle()
    assert heard == ["a", "c"]


def test_k11_an_ask_gives_a_value_and_no_future_that_could_be_shared_or_hooked() -> None:
    with real() as system:
        ref = system.spawn(ChildSpec("e", Echo), None)
        assert ref.ask("value", timeout=60) == "value"
    assert "block" not in inspect.signature(Ref.ask).parameters
    assert inspect.signature(Ref.ask).parameters["timeout"].default is inspect.Parameter.empty


def test_k12_an_inbox_is_bounded_and_control_overtakes_what_fills_it() -> None:
    inbox = TwoLaneInbox(data_max=100_000)
    for number in range(100_000):
        inbox.offer(Envelope(number), Lane.DATA)
    with pytest.raises(InboxFull):
        inbox.offer(Envelope("one more"), Lane.DATA)
    inbox.offer(Envelope("cancel"), Lane.CONTROL)
    first = inbox.take()
    assert first is not None and first.message == "cancel"
    assert inbox.refused == 1
    assert DATA_MAX < CONTROL_MAX < 1_000_000


def test_k13_addresses_on_the_wire_are_ids_of_our_own_and_a_ref_cannot_be_pickled() -> None:
    ref = Scheduler().system.spawn(ChildSpec("e", Echo), None)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(ref)
    for module in (events, replies, reports, requests, rows):
        assert "crewd.actors" not in Path(str(module.__file__)).read_text()


def test_k14_what_crosses_between_actors_from_the_wire_or_the_store_cannot_be_changed() -> None:
    shared = [*events.Body.__args__, *requests.REQUESTS.values(), *replies.REPLIES.values(), *reports.FROM_WORKER.values()]
    for kind in shared:
        assert issubclass(kind, msgspec.Struct) and kind.__struct_config__.frozen, kind


def test_k15_a_thousand_actors_need_no_thread_of_their_own() -> None:
    with real() as system:
        threads = threading.active_count()
        refs = [system.spawn(ChildSpec(str(n), Echo), None) for n in range(1_000)]
        assert [ref.ask(n, timeout=120) for n, ref in enumerate(refs)] == list(range(1_000))
        assert threading.active_count() == threads
        for ref in refs:
            system.stop(ref, SHUTDOWN)
        wait_for(lambda: not system.alive())


def test_k16_no_user_code_runs_in_crewds_process() -> None:
    """CPU-bound threads beside the brain cost it 10 ms and more per turn. Only worker processes import user code."""
    for path in (Path(crewd.__file__).parent / "supervisor").rglob("*.py"):
        assert "import_module" not in path.read_text() or path.name == "zygote.py", path


def test_k17_a_stuck_actor_does_not_keep_the_program_alive() -> None:
    code = (
        "import threading\n"
        "from crewd.actors import *\n"
        "from crewd.clock import *\n"
        "class P:\n"
        "    def poll(self, t): pass\n"
        "    def wake(self): pass\n"
        "class Stuck(Actor[None]):\n"
        "    def on_start(self): print('stuck', flush=True); threading.Event().wait()\n"
        "c = SystemClock()\n"
        "s = ActorSystem(c, SystemChance(), BrainDispatcher(P(), c), wake=lambda: None, reporter=print)\n"
        "s.spawn(ChildSpec('stuck', Stuck, pinned=True), None)\n"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], timeout=120, capture_output=True, text=True, check=True)
    assert done.stdout in {"", "stuck\n"}


def test_k18_crewd_forks_nothing_but_from_processes_that_have_one_thread() -> None:
    """Threads do not survive a fork. The daemon, which has threads, starts its guardian with `spawn`."""
    root = Path(crewd.__file__).parent
    forking = {str(path.relative_to(root)) for path in root.rglob("*.py") if "os.fork()" in path.read_text()}
    forking.remove("testing/stress/apart.py")  # not of the daemon: a test forks itself, and its child starts no thread of crewd
    assert forking == {"guardian/zygote_link.py", "guardian/zygote.py"}
    for name in forking:
        text = (root / name).read_text()
        assert "import threading" not in text and "from threading" not in text
    assert 'get_context("spawn")' in (root / "supervisor/guardian_socket.py").read_text()


def test_no_test_here_leaves_a_thread_or_a_descriptor() -> None:
    gc.collect()
    wait_for(lambda: not [t for t in threading.enumerate() if t.name.startswith("stuck")])
    assert len(list(Path("/dev/fd").iterdir())) < 200
