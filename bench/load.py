"""The bench of load: many clients that steer many workers at once, and one of them that is greedy."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sqlite3
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import zmq

from crewd.clock import SystemChance, SystemClock
from crewd.model.ids import MESSAGE, IdSource
from crewd.model.receipts import Level
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

ROOT = str(Path(__file__).resolve().parent.parent)
CLIENTS = 32
STEERS = 240
"""Of each client: a worker's mailbox holds them all."""
WINDOW = 4
"""Steers of one client that are not answered yet."""
GREED = 2_000
"""The same, of a greedy one."""
BUSY_SECONDS = 0.5
"""After this it sends again what was too much."""
CALLS = 2_000
CONFIG_ARGS = str(sysconfig.get_config_var("CONFIG_ARGS"))


class Measured(NamedTuple):
    """What the clients saw: seconds for all, each client's latencies, its `Busy` answers, and their own processor seconds."""

    seconds: float
    samples: list[list[float]]
    busy: list[int]
    processor: float

    @property
    def rate(self) -> float:
        return sum(map(len, self.samples)) / self.seconds

    def of(self, clients: range) -> str:
        every = sorted(sample for client in clients for sample in self.samples[client])
        return f"p50 {statistics.median(every) * 1e3:6.1f} ms  p99 {every[int(len(every) * 0.99)] * 1e3:6.1f} ms"


def _steer(endpoint: str, targets: list[str], windows: list[int], counts: list[int], wait: Level, answers: Any) -> None:
    """In a process of its own: a DEALER for each client, all in one loop."""
    ids = IdSource(SystemClock(), SystemChance())
    context, poller = zmq.Context(), zmq.Poller()
    sockets: dict[zmq.Socket[bytes], int] = {}
    for number in range(len(targets)):
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.connect(endpoint)
        socket.send_multipart(codec.requests.encode("hello", rq.Hello(owner=f"load{number}", key=f"{number:032d}")))
        socket.recv_multipart()
        sockets[socket] = number
        poller.register(socket, zmq.POLLIN)
    todo = [deque(ids.next(MESSAGE) for _ in range(count)) for count in counts]
    samples: list[list[float]] = [[] for _ in targets]
    busy = [0 for _ in targets]
    sent: dict[str, float] = {}

    def send(socket: zmq.Socket[bytes], key: str) -> None:
        body = rq.Send(id=key, kind="steer", target=targets[sockets[socket]], text="look at the other file first", wait=wait)
        sent.setdefault(key, time.perf_counter())
        socket.send_multipart(codec.requests.encode(key, body))

    begin, used = time.perf_counter(), time.process_time()
    for socket, number in sockets.items():
        for _ in range(min(windows[number], counts[number])):
            send(socket, todo[number].popleft())
    again: deque[tuple[float, zmq.Socket[bytes], str]] = deque()
    while any(len(samples[number]) < counts[number] for number in range(len(targets))) and not answers.poll():
        while again and again[0][0] < time.perf_counter():
            send(*again.popleft()[1:])
        for socket, _ in poller.poll(10 if again else 100):
            number = sockets[socket]
            while socket.poll(0):
                reply = codec.replies.decode(socket.recv_multipart())
                if isinstance(reply.body, rl.ErrorReply):
                    assert reply.body.error.code == "busy", reply.body
                    busy[number] += 1
                    again.append((time.perf_counter() + BUSY_SECONDS, socket, reply.id))
                    continue
                samples[number].append(time.perf_counter() - sent[reply.id])
                if todo[number]:
                    send(socket, todo[number].popleft())
    answers.send(Measured(time.perf_counter() - begin, samples, busy, time.process_time() - used))


def processor(daemon: Daemon) -> tuple[float, float]:
    """Processor seconds so far: of crewd, and of its guardian with all workers."""
    guardian = psutil.Process(daemon.guardian_pid())
    below = [guardian, *guardian.children(recursive=True)]
    used = [sum(process.cpu_times()[:2]) for process in (psutil.Process(daemon.pid), *below)]
    return used[0], sum(used[1:])


def written(daemon: Daemon) -> int:
    """Bytes that crewd has given to the disk so far."""
    return int(psutil.Process(daemon.pid).io_counters().write_bytes)


def ps_seconds(daemon: Daemon) -> float:
    """Processor seconds of one `crew ps`."""
    before = os.times()
    command = [str(Path(sys.executable).parent / "crew"), "ps"]
    environment = {**os.environ, "CREWD_HOME": str(daemon.home.root)}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True, timeout=60)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


class Clients:
    """A process with one client per target. Each steer is answered when it has reached the level `wait`."""

    def __init__(self, endpoint: str, targets: list[str], window: int, count: int, wait: Level = Level.ACCEPTED) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._ours, theirs = spawn.Pipe()
        windows, counts = [window] * len(targets), [count] * len(targets)
        self._process = spawn.Process(target=_steer, args=(endpoint, targets, windows, counts, wait, theirs))
        self._process.start()

    def done(self, *, now: bool = False) -> Measured:
        """When all is accepted; or what was accepted until now."""
        if now:
            self._ours.send("stop")
        measured: Measured = self._ours.recv()
        self._process.join()
        return measured


def bare(folder: Path) -> float:
    """Receive, commit what came together, answer: what a ROUTER with a synced database does at most, with the same clients."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    endpoint = f"ipc://{folder}/bare"
    router.bind(endpoint)
    ended = threading.Event()

    def serve() -> None:
        sql = sqlite3.connect(folder / "bare.db", isolation_level=None)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE t (id TEXT, doc BLOB)"):
            sql.execute(statement).fetchall()
        receipt = rl.Done()
        while not ended.is_set():
            if not router.poll(100):
                continue
            taken: list[list[bytes]] = []
            while len(taken) < 1_000 and router.poll(0):
                taken.append(router.recv_multipart())
            sql.execute("BEGIN")
            sql.executemany("INSERT INTO t VALUES (?, ?)", [(frames[3], frames[4]) for frames in taken])
            sql.execute("COMMIT")
            for frames in taken:
                router.send_multipart([frames[0], *codec.replies.encode(frames[3].decode(), receipt)])
        sql.close()

    thread = threading.Thread(target=serve)
    thread.start()
    measured = Clients(endpoint, ["r/x"] * CLIENTS, WINDOW, STEERS).done()
    ended.set()
    thread.join()
    router.close()
    context.term()
    print(
        f"  bare ROUTER, commit, answer          {measured.rate:9,.0f} /s           {measured.of(range(CLIENTS))}", flush=True
    )
    return measured.rate


def ray_calls() -> None:
    """Calls of Ray actors, if Ray is installed: not durable, and nothing is confirmed but the answer."""
    if importlib.util.find_spec("ray") is None:
        print("  Ray actor calls                        not installed here (pip install ray)")
        return
    script = (
        "import ray, time\n"
        "ray.init(num_cpus=2, include_dashboard=False, logging_level='ERROR', log_to_driver=False)\n"
        "@ray.remote(num_cpus=0)\n"
        "class A:\n"
        "    def steer(self, text): return text\n"
        f"actors = [A.remote() for _ in range({CLIENTS})]\n"
        "ray.get([a.steer.remote('x') for a in actors])\n"
        "b = time.perf_counter()\n"
        f"ray.get([actors[n % {CLIENTS}].steer.remote('x') for n in range({CALLS})])\n"
        f"print({CALLS} / (time.perf_counter() - b))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    said = [line for line in done.stdout.splitlines() if line.replace(".", "", 1).isdigit()]
    print(f"  Ray actor calls (not durable)        {float(said[-1] if said else 0):9,.0f} /s")


def circus_commands(folder: Path) -> None:
    """Commands to circus's arbiter, if it is installed: the nearest thing that it has to a control message."""
    if importlib.util.find_spec("circus") is None:
        print("  circus commands                        not installed here (pip install circus)")
        return
    endpoint = f"ipc://{folder}/circus"
    ini = folder / "circus.ini"
    ini.write_text(
        f"[circus]\nendpoint = {endpoint}\npubsub_endpoint = ipc://{folder}/pub\nstats_endpoint = ipc://{folder}/stats\n"
        "[watcher:w]\ncmd = sleep 1000\nnumprocesses = 1\n"
    )
    arbiter = subprocess.Popen([sys.executable, "-m", "circus.circusd", str(ini)], stdout=-3, stderr=-3)
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(endpoint)
    call = b'{"id": "1", "command": "status", "properties": {"name": "w"}}'
    try:
        dealer.send(call)
        if not dealer.poll(20_000):
            print("  circus commands                        no answer")
            return
        dealer.recv()
        begin = time.perf_counter()
        for _ in range(16):
            dealer.send(call)
        for number in range(500):
            dealer.recv()
            if number < 500 - 16:
                dealer.send(call)
        print(f"  circus commands (not durable)        {500 / (time.perf_counter() - begin):9,.0f} /s")
    finally:
        arbiter.terminate()
        arbiter.wait()
        context.destroy(0)


def load() -> None:
    """32 clients, 32 workers; then the same beside a client that has 2,000 steers on the way."""
    build = f"{sys.implementation.name} {sys.version.split()[0]}{'' if '--enable-optimizations' in CONFIG_ARGS else ', no PGO'}"
    print(f"\n{build}: {CLIENTS} clients steer {CLIENTS} workers, {WINDOW} steers on the way each")
    with tempfile.TemporaryDirectory(prefix="crewd-") as name:
        folder = Path(name)
        floor = bare(folder)
        with Daemon(folder / "h") as daemon, daemon.connect() as crew:
            runs = [crew.call("bench.jobs:listen", cwd=ROOT) for _ in range(CLIENTS + 1)]
            wait_until(lambda: crew.doctor().counts["workers_connected"] == CLIENTS + 1, "the workers", 60)
            targets = [run.id for run in runs]
            endpoint, all_of_them = daemon.home.clients_endpoint, range(CLIENTS)

            measured = Clients(endpoint, targets[:-1], WINDOW, STEERS).done()
            print(
                f"  crewd: accepted                      {measured.rate:9,.0f} /s  {measured.rate / floor:4.2f} x bare"
                f" {measured.of(all_of_them)}  (aim 2,800 /s, 60 ms)",
                flush=True,
            )
            before, size = processor(daemon), written(daemon)
            applied = Clients(endpoint, targets[:-1], WINDOW, STEERS, Level.APPLIED).done()
            after, steers = processor(daemon), CLIENTS * STEERS
            crewd, workers = ((now - then) / steers * 1e6 for now, then in zip(after, before, strict=True))
            print(
                f"  crewd: applied                       {applied.rate:9,.0f} /s           {applied.of(all_of_them)}\n"
                f"  processor time per steer             crewd {crewd:.0f} us (aim 230), workers and guardian {workers:.0f} us "
                f"(aim 180), clients {applied.processor / steers * 1e6:.0f} us\n"
                f"  written per steer                    {(written(daemon) - size) / steers / 1e3:.1f} kB (aim 5)\n"
                f"  crew ps                              {ps_seconds(daemon):.2f} s of processor time (aim 0.15)",
                flush=True,
            )
            assert all(each.receipt.settled for run in runs for each in run.messages())
            alone = Clients(endpoint, targets[:-1], 1, STEERS // 4).done()
            greedy = Clients(endpoint, targets[-1:], GREED, 100_000)
            wait_until(lambda: any(backlog.steers for backlog in crew.runs().backlogs), "the greedy client", 60)
            beside = Clients(endpoint, targets[:-1], 1, STEERS // 4).done()
            taken = greedy.done(now=True)
            print(f"  one steer at a time, alone           {alone.of(all_of_them)}")
            print(
                f"  the same beside a greedy client      {beside.of(all_of_them)}  "
                f"the greedy one heard Busy {taken.busy[0]} times, and was accepted {len(taken.samples[0])} times",
                flush=True,
            )
        circus_commands(folder)
    ray_calls()


if __name__ == "__main__":
    load()
