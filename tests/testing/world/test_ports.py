"""The real and the simulated body of each port keep the same contract: one test, two bodies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
import zmq
from msgspec.structs import replace

from crewd.actors import Actor, ActorSystem, BrainDispatcher, ChildSpec, ExitReason, Lane, Ref
from crewd.actors.exits import SHUTDOWN
from crewd.clock import SystemChance, SystemClock
from crewd.model.config import Config
from crewd.model.errors import InvariantError
from crewd.model.home import Home
from crewd.model.rows import MessageRow, RunRow
from crewd.model.workflow import WorkerSpec
from crewd.protocol import guardian as hp
from crewd.protocol.bootstrap import Bootstrap
from crewd.store.cache import Cache
from crewd.store.database import Database
from crewd.store.fold import fold
from crewd.store.ports import Reading, Where, Writing
from crewd.store.readonly import ReadOnly
from crewd.store.rebuild import rebuild
from crewd.store.schema import TABLES
from crewd.supervisor.gateway.wire import Sent, Side, Wire, ZmqWire
from crewd.supervisor.guardian_socket import GuardianSocket, UnixGuardianSocket
from crewd.supervisor.poller import ZmqPoller
from crewd.testing import Scheduler
from crewd.testing.world import FLAKY, Plan, World
from crewd.testing.world.disk import Disk
from crewd.testing.world.network import SimLink, SimWire
from crewd.testing.world.play import draw, play


def wait_for(condition: Callable[[], Any], pump: Callable[[], object], seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        pump()
    return found


# -- disk -----------------------------------------------------------------------------------------------------------


def bodies(folder: Path, store_id: str) -> tuple[tuple[Writing, Reading], tuple[Writing, Reading]]:
    disk = Disk()
    real = Database(folder / "crewd.db", store_id), ReadOnly(folder / "crewd.db")
    return real, (disk.writer(store_id), disk.reader())


def filters(reader: Reading) -> list[Where]:
    """Each event of the first few tells how it could be looked for."""
    found = []
    for event in reader.events(limit=5):
        found.append(Where(task=event.task, epoch=event.epoch))
        found.append(Where(run=event.run, types=frozenset({event.type, "run.ended"})))
        found.append(Where(since=event.at))
        found.append(Where(run=event.run, until=event.at))
    return found


def all_that_can_be_read(reader: Reading, runs: list[str], texts: list[str]) -> dict[str, Any]:
    kinds: list[Any] = list(TABLES)
    return {
        "last": reader.last_seq(),
        "counts": reader.counts(),
        "check": reader.check(),
        "runs": [reader.runs(ended=ended, limit=limit) for ended in (True, False) for limit in (2, 100)],
        "matching": [reader.runs_matching(text, limit) for text in texts for limit in (1, 2)],
        "rows": [reader.rows_of(kind, run, limit) for kind in kinds for run in runs for limit in (1, 100)],
        "one": [reader.row(MessageRow, key) for key, _ in reader.all_rows(MessageRow)],
        "none": reader.row(RunRow, "r_nobody"),
        "all": [list(reader.all_rows(kind)) for kind in kinds],
        "open": [reader.rows_with(kind, status, 100) for kind in kinds for status in ("open", "running", "settled", "")],
        "events": [
            reader.events(after=after, before=before, where=where, limit=limit)
            for after in (0, 3, 10**6)
            for before in (0, 9, 10**6)
            for where in (*map(Where, ["", *runs]), *filters(reader))
            for limit in (2, 999)
        ],
        "events of runs": [reader.size_of(run)[0] for run in runs],
        "latest": reader.latest("progress:"),
        "unflushed": reader.unflushed(),
    }


@pytest.mark.parametrize("seed", range(4))
def test_both_disks_show_the_same_after_the_same_commits(seed: int, tmp_path: Path) -> None:
    moves = [move for move in draw(seed) if move.verb != "jump_clock"]  # times are looked up as if they only grew
    played = play(seed, moves, replace(FLAKY, clock_jump=0.0)).disk
    log = played.events
    (real, shown), (simulated, seen) = bodies(tmp_path, played.store_id)
    real_rows, simulated_rows = Cache(real), Cache(simulated)
    for number, start in enumerate(range(0, len(log), 7)):
        batch = log[start : start + 7]
        for writer, rows in ((real, real_rows), (simulated, simulated_rows)):
            for event in batch:
                fold(rows, event)
            writer.commit(batch, [("request:1", b"r_1")])
            assert writer.last_seq() == batch[-1].seq
            assert [event.seq for event in writer.unflushed()][-len(batch) :] == [event.seq for event in batch]
            if number % 3 == 2 or batch[-1] is log[-1]:
                writer.flush(rows.changed(), [(f"progress:{number % 3}", b"%d" % number), ("progress:2", None)])
                rows.settle()
        runs = sorted({event.run for event in log if event.run})
        texts = [text for run in runs for text in (run, run[:9], run[-6:], run.upper()[:9])] + ["run0", "%", "nobody", "r_"]
        assert all_that_can_be_read(shown, runs, texts) == all_that_can_be_read(seen, runs, texts)
        assert real.last_seq() == simulated.last_seq() and real.latest("progress:1") == simulated.latest("progress:1")
        branches = {(event.run, event.task, epoch) for event in log for epoch in (event.epoch, 0, -1)}
        assert {each: real.last_seq_of(*each) for each in branches} == {each: simulated.last_seq_of(*each) for each in branches}
        assert [real.run_named(name) for name in ("run0", "x")] == [simulated.run_named(name) for name in ("run0", "x")]
    assert rebuild(shown) == rebuild(seen)
    for writer in (real, simulated):
        with pytest.raises(InvariantError):
            writer.commit(log[-1:])
        assert writer.last_seq() == log[-1].seq
    for port in (real, shown, simulated, seen):
        port.close()


# -- wire -----------------------------------------------------------------------------------------------------------


class Far(Protocol):
    """A peer as these tests see it."""

    def say(self, frames: list[bytes]) -> None: ...
    def heard(self) -> list[list[bytes]]: ...
    def leave(self) -> None: ...


class RealFar:
    def __init__(self, context: zmq.Context[Any], endpoint: str) -> None:
        self.socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, 10)
        self.socket.connect(endpoint)

    def say(self, frames: list[bytes]) -> None:
        self.socket.send_multipart(frames)

    def heard(self) -> list[list[bytes]]:
        found = []
        while self.socket.poll(0):
            found.append(self.socket.recv_multipart())
        return found

    def leave(self) -> None:
        self.socket.close(0)


class Ear:
    """The simulated wire's side of a peer: it keeps what it hears."""

    def __init__(self) -> None:
        self.inbox: list[list[bytes]] = []

    def connected(self) -> None: ...
    def disconnected(self) -> None: ...
    def heard(self, frames: list[bytes]) -> None:
        self.inbox.append(frames)


class SimFar:
    def __init__(self, wire: SimWire, side: Side) -> None:
        self.ear = Ear()
        self.link = SimLink(side, "ann", self.ear)
        wire.connect(self.link)

    def say(self, frames: list[bytes]) -> None:
        self.link.send(frames)

    def heard(self) -> list[list[bytes]]:
        found, self.ear.inbox = self.ear.inbox, []
        return found

    def leave(self) -> None:
        self.link.cut()


class WireWorld:
    """A wire, its peers, and a way to let things happen."""

    def __init__(self, wire: Wire, connect: Callable[[Side], Far], pump: Callable[[], None]) -> None:
        self.wire, self.connect, self.pump = wire, connect, pump
        self.readable: list[Side] = []


@contextmanager
def real_wire(folder: Path) -> Iterator[WireWorld]:
    home = Home(folder)
    home.run.mkdir(parents=True)
    poller = ZmqPoller()
    context: zmq.Context[Any] = zmq.Context()
    wire = ZmqWire(home, poller, 100, 100)
    endpoints = {Side.CLIENTS: home.clients_endpoint, Side.WORKERS: home.workers_endpoint}
    try:
        yield WireWorld(wire, lambda side: RealFar(context, endpoints[side]), lambda: poller.poll(0.01))
    finally:
        wire.close()
        context.destroy(0)
        poller.close()


@contextmanager
def simulated_wire(_folder: Path) -> Iterator[WireWorld]:
    wire = SimWire(lambda: True, lambda side, name, frames: None)

    def pump() -> None:
        for link in wire.links.values():
            if link.up and link.to_crewd:
                wire.arrive(link)
            if link.up and link.to_peer:
                link.peer.heard(link.to_peer.popleft())
        wire.nudge()

    yield WireWorld(wire, lambda side: SimFar(wire, side), pump)


@pytest.mark.parametrize("body", [real_wire, simulated_wire])
def test_both_wires_carry_refuse_and_announce_alike(body: Any, home: Path) -> None:
    with body(home / "h") as world:
        wire = world.wire
        wire.open(world.readable.append)
        assert wire.receive(Side.CLIENTS) is None
        assert wire.send(Side.CLIENTS, [b"nobody", b"x"]) is Sent.GONE
        ann = world.connect(Side.CLIENTS)
        worker = world.connect(Side.WORKERS)
        for number in range(3):
            ann.say([b"%d" % number, b""])
        wait_for(lambda: Side.CLIENTS in world.readable, world.pump)
        got: list[list[bytes]] = []
        wait_for(lambda: got.extend(iter(lambda: wire.receive(Side.CLIENTS), None)) or len(got) == 3, world.pump)  # type: ignore[func-returns-value]
        name = got[0][0]
        assert name.startswith(b"\0"), "a connection has an identity that its peer has not chosen"
        assert got == [[name, b"%d" % number, b""] for number in range(3)]
        assert wire.send(Side.WORKERS, [name, b"x"]) is Sent.GONE, "the two sides do not know each other's peers"
        assert [wire.send(Side.CLIENTS, [name, b"%d" % number]) for number in range(5)] == [Sent.OK] * 5
        heard: list[list[bytes]] = []
        wait_for(lambda: heard.extend(ann.heard()) or len(heard) == 5, world.pump)  # type: ignore[func-returns-value]
        assert heard == [[b"%d" % number] for number in range(5)]
        worker.say([b"hello"])
        said = wait_for(lambda: wire.receive(Side.WORKERS), world.pump)
        answers = [wire.send(Side.WORKERS, [said[0], bytes(10_000)]) for _ in range(5_000)]
        assert answers[0] is Sent.OK and answers[-1] is Sent.BUSY, "a peer that does not read fills its queue"
        ann.leave()
        wait_for(lambda: wire.send(Side.CLIENTS, [name, b"x"]) is Sent.GONE, world.pump)
        other = world.connect(Side.CLIENTS)
        other.say([b"again"])
        again = wait_for(lambda: wire.receive(Side.CLIENTS), world.pump)
        assert again[1:] == [b"again"] and again[0] != name, "another connection is another peer"
        for each in (other, worker):
            each.leave()
        wire.close()


# -- the socket to the guardian ------------------------------------------------------------------------------------------


class GuardianSocketWorld:
    """crewd's end of a guardian, and a way to let things happen."""

    def __init__(self, port: GuardianSocket, pump: Callable[[], None], directory: Path) -> None:
        self.port, self.pump, self.directory = port, pump, directory
        self.codec: hp.StreamCodec[hp.Notice] = hp.StreamCodec(hp.NOTICES)
        self.orders: hp.StreamCodec[hp.Order] = hp.StreamCodec(hp.ORDERS)
        self.heard: list[hp.Notice] = []
        self.over = False

    def attach(self) -> None:
        self.over = False
        self.codec = hp.StreamCodec(hp.NOTICES)
        wait_for(lambda: self.port.connect(lambda: None), self.pump)
        self.say(hp.Attach(home_key="k"))

    def say(self, order: hp.Order) -> None:
        data = self.orders.encode(order)
        while data:
            sent = self.port.write(data)
            assert sent >= 0
            data = data[sent:]
            self.pump()

    def listen(self) -> None:
        self.pump()
        chunk = self.port.read()
        if chunk == b"":
            self.over = True
        elif chunk:
            self.heard += self.codec.feed(chunk)

    def wait(self, kind: type[Any], task: str | None = None) -> Any:
        def found() -> Any:
            return next((n for n in self.heard if isinstance(n, kind) and task in {None, getattr(n, "task", None)}), None)

        notice = wait_for(found, self.listen)
        self.heard.remove(notice)
        return notice


@contextmanager
def real_guardian_socket(folder: Path) -> Iterator[GuardianSocketWorld]:
    home = Home(folder)
    for directory in (home.root, home.run, home.logs):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    poller = ZmqPoller()
    port = UnixGuardianSocket(home, Config(), poller, 1_024)
    try:
        yield GuardianSocketWorld(port, lambda: poller.poll(0.01), home.root)
    finally:
        port.close()
        port.retire(20)
        poller.close()


@contextmanager
def simulated_guardian_socket(folder: Path) -> Iterator[GuardianSocketWorld]:
    world = World(1, FLAKY.__class__(cut=0.5))
    world.plans["sleeper"] = Plan(ends="hangs")
    world.go(20)
    world.kill_crewd()
    world.kill_guardian()
    world._quiet = False
    world.laws.ordered = lambda data: None  # type: ignore[method-assign]  # there is no crewd here, and no disk
    world.laws.started = lambda process: None  # type: ignore[method-assign]
    world.house._ordered = world.laws.ordered
    from crewd.testing.world.guardian import SimGuardianSocket

    def pump() -> None:
        moves = [move for move in world._moves() if not move[0].startswith(("turn", "connect", "hello"))]
        if moves:
            world._do(moves[0])
        else:
            world._jump()

    yield GuardianSocketWorld(SimGuardianSocket(lambda: True, world.house), pump, folder)


def bootstrap(world: GuardianSocketWorld, task: str) -> Bootstrap:
    worker = WorkerSpec(argv=("sleep", "1000")) if "Unix" in type(world.port).__name__ else WorkerSpec(call="world:sleeper")
    return Bootstrap(
        task=task, epoch=1, token="t", endpoint="ipc:///nowhere", cwd="/", goal="",
        directory=str(Home(world.directory).attempt(task, 1)),
        shared=str(world.directory / "s"), text="", reads=(), output="", worker=worker,
    )  # fmt: skip


@pytest.mark.process
@pytest.mark.parametrize("body", [real_guardian_socket, simulated_guardian_socket])
def test_both_guardians_start_end_remember_and_retire_alike(body: Any, home: Path) -> None:
    with ExitStack() as stack:
        world: GuardianSocketWorld = stack.enter_context(body(home / "h"))
        assert world.port.connect(lambda: None) is False
        world.port.start_guardian()
        world.attach()
        assert world.wait(hp.Attached).workers == 0
        world.say(hp.Query(task="r_1/a", epoch=1, number=7))
        assert world.wait(hp.Gone) == hp.Gone(task="r_1/a", epoch=1, number=7, unborn=True)
        world.say(hp.End(task="r_1/a", epoch=1, grace_seconds=0, term_seconds=0))
        assert world.wait(hp.Gone) == hp.Gone(task="r_1/a", epoch=1, number=None, unborn=True)
        world.say(hp.Spawn(bootstrap=bootstrap(world, "r_1/a")))
        started = world.wait(hp.Started, "r_1/a")
        assert started.epoch == 1 and started.pid > 1 and not started.adopted
        world.say(hp.Spawn(bootstrap=bootstrap(world, "r_1/a")))
        assert world.wait(hp.Started, "r_1/a").pid == started.pid, "a birth that is asked for again happens once"
        world.port.close()
        world.attach()
        assert world.wait(hp.Started, "r_1/a").pid == started.pid, "what lives is told to whoever attaches"
        assert world.wait(hp.Attached).workers == 1
        world.say(hp.End(task="r_1/a", epoch=1, grace_seconds=0, term_seconds=0.05))
        exited = world.wait(hp.Exited, "r_1/a")
        assert exited.cause == "ended" and exited.survivors == ()
        world.say(hp.Spawn(bootstrap=bootstrap(world, "r_1/a")))
        assert world.wait(hp.Exited, "r_1/a") == exited, "who has ended is not born again"
        world.port.close()
        world.attach()
        assert world.wait(hp.Exited, "r_1/a") == exited, "an exit is told until it is confirmed"
        world.say(hp.Confirm(task="r_1/a", epoch=1))
        world.say(hp.Query(task="r_1/a", epoch=1, number=8))
        assert world.wait(hp.Gone) == hp.Gone(task="r_1/a", epoch=1, number=8), "there was one"
        world.say(hp.Retire())
        wait_for(lambda: world.over, world.listen)


# -- dispatcher and clock -------------------------------------------------------------------------------------------


class Noting(Actor[Any]):
    def __init__(self, log: list[Any]) -> None:
        super().__init__()
        self.log = log

    def on_start(self) -> None:
        for seconds in (0.03, 0.01, 0.02):
            self.context.after(seconds, seconds)

    def receive(self, message: Any) -> None:
        self.log.append(message)


def on_the_brain(log: list[Any]) -> None:
    poller, clock = ZmqPoller(), SystemClock()
    brain = BrainDispatcher(poller, clock)

    def report(name: str, incarnation: int, reason: ExitReason) -> None:
        raise AssertionError(f"{name}#{incarnation} ended: {reason}")

    system = ActorSystem(clock, SystemChance(), brain, wake=poller.wake, reporter=report)
    ref: Ref[Any] = system.spawn(ChildSpec("n", lambda: Noting(log)), None)
    ref.tell("data")
    ref.tell("control", lane=Lane.CONTROL)

    class Ender(Actor[Any]):
        def on_start(self) -> None:
            self.context.after(0.1, "end")

        def receive(self, message: Any) -> None:
            system.stop(ref, SHUTDOWN)
            self.context.after(0.0, "stop")
            brain.stop()

    system.spawn(ChildSpec("ender", Ender), None)
    brain.run(system.timers)
    poller.close()


def on_the_scheduler(log: list[Any]) -> None:
    scheduler = Scheduler()
    ref = scheduler.system.spawn(ChildSpec("n", lambda: Noting(log)), None)
    ref.tell("data")
    ref.tell("control", lane=Lane.CONTROL)
    scheduler.advance(1.0)


@pytest.mark.parametrize("body", [on_the_brain, on_the_scheduler])
def test_both_dispatchers_take_control_first_and_fire_timers_in_order(body: Callable[[list[Any]], None]) -> None:
    log: list[Any] = []
    body(log)
    assert log == ["control", "data", 0.01, 0.02, 0.03]
