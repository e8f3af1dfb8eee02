"""`make bench`: what users feel, as ratios against floors measured in the same run. Absolute times mean little elsewhere."""

from __future__ import annotations

import multiprocessing
import os
import queue
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import zmq

from bench.agents import agents
from bench.disturbed import disturbed
from bench.jobs import echo
from bench.lifecycle import idle, lifecycle
from bench.load import load
from bench.matrix import matrix
from bench.resources import resources
from bench.store import store
from crewd.actors import Actor, ActorSystem, BrainDispatcher, ChildSpec, ExitReason, Lane
from crewd.client.blocking import Crew, RunHandle
from crewd.clock import SystemChance, SystemClock
from crewd.model import events as ev
from crewd.supervisor.poller import ZmqPoller
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

ROOT = str(Path(__file__).resolve().parent.parent)
N = 300


def row(name: str, samples: list[float], floor: float | None = None, aim: str = "") -> float:
    """Print p50 and p99 in milliseconds and the ratio of p50 to its floor."""
    samples.sort()
    p50, p99 = statistics.median(samples) * 1e3, samples[int(len(samples) * 0.99) - 1] * 1e3
    ratio = f"{p50 / floor:6.2f} x floor" if floor else ""
    print(f"{name:<44} p50 {p50:8.2f} ms  p99 {p99:8.2f} ms  {ratio:<16} {aim}", flush=True)
    return p50


def timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def floor_echo_and_commit(folder: Path) -> list[float]:
    """One ROUTER/DEALER round trip between processes, and one SQLite commit with synchronous=FULL."""
    endpoint = f"ipc://{folder}/echo"
    process = multiprocessing.get_context("spawn").Process(target=echo, args=(endpoint,))
    process.start()
    socket: zmq.Socket[bytes] = zmq.Context().socket(zmq.DEALER)
    socket.connect(endpoint)
    sql = sqlite3.connect(folder / "floor.db", isolation_level=None)
    sql.execute("PRAGMA journal_mode=WAL")
    sql.execute("PRAGMA synchronous=FULL")
    sql.execute("CREATE TABLE t (a TEXT)")
    socket.send_multipart([b"x"])
    socket.recv_multipart()

    def once() -> None:
        socket.send_multipart([b"x" * 200])
        socket.recv_multipart()
        sql.execute("INSERT INTO t VALUES ('x')")

    samples = [timed(once) for _ in range(N)]
    socket.send_multipart([b"end"])
    socket.recv_multipart()
    process.join()
    socket.close(0)
    sql.close()
    return samples


def floor_fork() -> list[float]:
    """Fork a warm process (what a worker needs is imported) and hear one byte of the child."""
    import crewd.worker.host

    assert crewd.worker.host

    def once() -> None:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writing, b"!")
            os._exit(0)
        os.read(reading, 1)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)

    return [timed(once) for _ in range(50)]


def ready(crew: Crew, run: RunHandle) -> None:
    for event in crew.events(run.id, follow=True):
        if isinstance(event.body, ev.AttemptReady):
            return


def spawn(crew: Crew, job: str) -> RunHandle:
    run = crew.call(f"bench.jobs:{job}", cwd=ROOT)
    ready(crew, run)
    return run


def cancels(crew: Crew, daemon: Daemon, job: str, processes: int, count: int) -> tuple[list[float], int]:
    samples, survivors = [], 0
    for _ in range(count):
        run = spawn(crew, job)
        wait_until(lambda: len(daemon.marked()) >= processes, "the tree to stand")
        samples.append(timed(lambda run=run: run.cancel(mode="now")))  # type: ignore[misc]
        survivors += len(daemon.marked())
    return samples, survivors


def overtaking(queued: int, count: int) -> list[float]:
    """A cancel put behind `queued` data messages of a real actor on a real brain: from the telling to the handling."""
    seen: queue.SimpleQueue[float] = queue.SimpleQueue()
    full = threading.Event()

    class Flooded(Actor[Any]):
        data_max = queued

        def receive(self, message: Any) -> None:
            if message == "hold":
                full.wait()
            if message == "cancel":
                seen.put(time.perf_counter())

    clock, poller = SystemClock(), ZmqPoller()
    brain = BrainDispatcher(poller, clock)

    def report(name: str, incarnation: int, reason: ExitReason) -> None:
        raise AssertionError(f"{name}#{incarnation} ended: {reason}")

    system = ActorSystem(clock, SystemChance(), brain, wake=poller.wake, reporter=report)
    ref = system.spawn(ChildSpec("flooded", Flooded), None)
    thread = threading.Thread(target=brain.run, args=(system.timers,))
    thread.start()
    samples = []
    for _ in range(count):
        full.clear()
        ref.tell("hold", lane=Lane.CONTROL)
        while ref.offer("data"):
            pass
        full.set()
        begin = time.perf_counter()
        ref.tell("cancel", lane=Lane.CONTROL)
        samples.append(seen.get() - begin)
    brain.stop()
    thread.join()
    poller.close()
    return samples


def crowd(crew: Crew, daemon: Daemon, count: int) -> None:
    process = psutil.Process(daemon.pid)
    before = process.memory_info().rss
    begin = time.perf_counter()
    runs = [crew.call("bench.jobs:idle", cwd=ROOT) for _ in range(count)]
    wait_until(lambda: crew.doctor().counts["workers_connected"] == count, f"{count} workers", 120.0)
    seconds = time.perf_counter() - begin
    grown = (process.memory_info().rss - before) / count / 1e6
    print(f"{count} workers at once: all ready in {seconds:.2f} s ({seconds / count * 1e3:.1f} ms each)")
    print(f"  crewd grew by {grown:.3f} MB a worker (aim 0.1); {idle(daemon)} (aim 1.5 together)", flush=True)
    begin = time.perf_counter()
    for run in runs:
        run.begin_cancel(mode="now")
    for run in runs:
        run.wait()
    print(f"  all cancelled and verified in {time.perf_counter() - begin:.2f} s, {len(daemon.marked())} survivors")


def main() -> None:
    """Everything, one after the other."""
    print(f"python {sys.version.split()[0]}, {os.cpu_count()} cores; times are of this machine, compare only ratios\n")
    with tempfile.TemporaryDirectory(prefix="crewd-bench-") as name:
        folder = Path(name)
        floor = row("floor: ROUTER/DEALER echo + FULL commit", floor_echo_and_commit(folder))
        warm = row("floor: bare fork from a warm process", floor_fork())
        with Daemon(folder / "h") as daemon, daemon.connect() as crew:
            run = spawn(crew, "listen")
            row("steer -> accepted", [timed(lambda: run.steer("x", wait="accepted")) for _ in range(N)], floor, "aim 2 x")
            wait_until(lambda: all(m.receipt.settled for m in run.messages()), "the steers to settle")
            row("steer -> applied", [timed(lambda: run.steer("x", wait="applied")) for _ in range(N)], floor, "aim 3 x")
            run.cancel(mode="now")
            row(
                "spawn -> ready (with the client's start request)",
                [timed(lambda: spawn(crew, "idle")) for _ in range(30)],
                warm,
                "aim 1.5 x",
            )
            for each in crew.runs().runs:
                crew.cancel(each.id, mode="now")
            for job, processes, label in (
                ("idle", 1, "cooperative"),
                ("deaf", 1, "ignores TERM"),
                ("tree", 5, "tree with setsid"),
            ):
                samples, survivors = cancels(crew, daemon, job, processes, 10)
                row(f"cancel now -> verified, {label}", samples, aim=f"aim 200 ms; {survivors} survivors (aim 0)")
            crowd(crew, daemon, 200)
        row("cancel overtakes 100,000 queued data messages", overtaking(100_000, 100), aim="aim p99 20 ms")
    store()
    load()
    disturbed()
    agents()
    lifecycle()
    resources()
    matrix()


if __name__ == "__main__":
    main()
