"""The bench of many workers: a crowd, a storm of failing services, a flood of output, and births from the warm pool."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import psutil
import zmq

from crewd import aio
from crewd.client.blocking import Crew, RunHandle
from crewd.model.policy import Restarts
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

ROOT = str(Path(__file__).resolve().parent.parent)
CONTROLS = 200
FLOOD_WORKERS = 100
FLOOD_SECONDS = 8.0
CROWD = 1_000
SETTLE_SECONDS = 10.0
IDLE_SECONDS = 20.0
AT_ONCE = 64
"""Steers that one client has on the way when it steers a crowd."""


def p50_p99(samples: list[float]) -> tuple[float, float]:
    """In milliseconds."""
    samples = sorted(samples)
    return statistics.median(samples) * 1e3, samples[max(0, int(len(samples) * 0.99) - 1)] * 1e3


def listener(crew: Crew) -> RunHandle:
    run = crew.call("bench.jobs:listen", cwd=ROOT)
    wait_until(lambda: run.show().attempts[-1:] and run.show().attempts[-1].ready_at, "the listener")
    return run


def control(run: RunHandle, count: int = CONTROLS, seconds: float = 0.0) -> list[float]:
    """Steers to `accepted`, one after the other, at least `count` and for `seconds`."""
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < count or time.perf_counter() < end:
        begin = time.perf_counter()
        run.steer("x", wait="accepted")
        samples.append(time.perf_counter() - begin)
        time.sleep(0.01)
    return samples


def said(label: str, samples: list[float], aim: str = "") -> float:
    p50, p99 = p50_p99(samples)
    print(f"  control (steer accepted) {label:<34} p50 {p50:7.2f} ms  p99 {p99:7.2f} ms  {aim}", flush=True)
    return p99


def bare_births(count: int = 40) -> float:
    """A fork of a process as large as the one that workers are forked from; the child loads the function and says hello."""
    from crewd.worker import call, host  # noqa: F401 (what a worker has imported)

    with tempfile.TemporaryDirectory(prefix="crewd-") as name:
        endpoint = f"ipc://{name}/s"
        parent = os.fork()
        if parent == 0:  # a process with nothing else in it
            context = zmq.Context()
            router = context.socket(zmq.ROUTER)
            router.bind(endpoint)
            samples = []
            for _ in range(count):
                time.sleep(0.1)
                begin = time.perf_counter()
                child = os.fork()
                if child == 0:
                    call.load("bench.jobs:idle")
                    dealer = zmq.Context().socket(zmq.DEALER)
                    dealer.connect(endpoint)
                    dealer.send(b"hello")
                    time.sleep(3600)
                router.recv_multipart()
                samples.append(time.perf_counter() - begin)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            Path(name, "p50").write_text(str(statistics.median(samples)))
            os._exit(0)
        os.waitpid(parent, 0)
        p50 = float(Path(name, "p50").read_text()) * 1e3
    print(f"bare fork -> hello heard{'':<23} p50 {p50:7.2f} ms", flush=True)
    return p50


def births(warm: int, bare: float, *, preload: bool = False, count: int = 40) -> None:
    """From `attempt.starting` (or `run.created`) to `attempt.ready` in the log: the guardian, the process, the worker's hello.

    The order leaves some tenths of a millisecond before `attempt.starting` is stamped. Cold means an empty pool: the process is
    forked while the run and its attempt become durable. Without `preload` the worker imports the module of its function, as
    the bare fork does.
    """
    with tempfile.TemporaryDirectory(prefix="crewd-") as name:
        daemon = Daemon(Path(name) / "h")
        daemon.home.config.write_text(f"warm = {warm}\n" + ('preload = ["bench.jobs"]\n' if preload else ""))
        samples, whole = [], []
        with daemon, daemon.connect() as crew:
            for _ in range(count):
                time.sleep(0.15)  # the pool is filled again between births
                run = crew.call("bench.jobs:idle", cwd=ROOT)
                at = {}
                for event in crew.events(run.id, follow=True):
                    at[event.type] = event.at
                    if event.type == "attempt.ready":
                        break
                samples.append(at["attempt.ready"] - at["attempt.starting"])
                whole.append(at["attempt.ready"] - at["run.created"])
                run.cancel(mode="now")
    p50, p99 = p50_p99(samples)
    print(
        f"order -> worker ready, {'from the warm pool' if warm else 'cold':<18} {'preloaded' if preload else '':<9} "
        f"p50 {p50:7.2f} ms  p99 {p99:7.2f} ms  {p50 / bare:.2f} x bare; since the run was created {p50_p99(whole)[0]:.2f}",
        flush=True,
    )


def flood(crew: Crew, _: Daemon) -> None:
    """100 workers that each write 1 MB/s, and control beside them."""
    run = listener(crew)
    alone = said("alone", control(run))
    script = "import os,time\nwhile True:\n    os.write(1, b'x' * 100_000)\n    time.sleep(0.1)"
    spec = WorkerSpec(argv=("python3", "-c", script))
    steps = tuple(Step(f"w{n}", worker=spec) for n in range(FLOOD_WORKERS))
    writers = crew.run(Workflow("flood", steps, max_concurrency=FLOOD_WORKERS, unbounded=True), cwd="/")
    wait_until(
        lambda: all(a.ready_at for a in writers.show().attempts) and len(writers.show().attempts) == len(steps), "all", 90
    )
    size = sum(each.output_bytes for each in writers.show().usage)
    during = said(f"while {FLOOD_WORKERS} workers write 1 MB/s each", control(run, seconds=FLOOD_SECONDS))
    grown = sum(each.output_bytes for each in writers.show().usage) - size
    writers.cancel(mode="now", timeout=120)
    run.cancel(mode="now")
    print(f"  p99 is {during / alone:.1f} x that alone; {grown / FLOOD_SECONDS / 1e6:.0f} MB/s were written", flush=True)


def storm(crew: Crew, daemon: Daemon, count: int = CROWD) -> None:
    """Services that fail at once, every time: until all are parked, and control meanwhile."""
    run = listener(crew)
    worker = WorkerSpec(argv=("false",), restart=Restarts(policy="transient", restarts_max=1, backoff_seconds=0.05))
    steps = tuple(Step(f"w{n}", worker=worker) for n in range(count))
    begin, before = time.perf_counter(), psutil.Process(daemon.pid).cpu_times()
    failing = crew.run(Workflow("storm", steps, max_concurrency=count, unbounded=True), cwd="/")

    samples: list[float] = []
    parked = seq = 0
    while parked < count:
        samples += control(run, 50)
        for event in crew.events(failing.id, after=seq):
            parked, seq = parked + (event.type == "task.parked"), event.seq
    seconds, after = time.perf_counter() - begin, psutil.Process(daemon.pid).cpu_times()
    said(f"while {count} services fail", samples, "aim p99 20 ms")
    used = after.user + after.system - before.user - before.system
    print(
        f"  all {count} are parked after {seconds:.1f} s and {2 * count} births; crewd used {used:.1f} s of processor",
        flush=True,
    )
    begin = time.perf_counter()
    failing.cancel(mode="now", timeout=120)
    print(f"  cancelled in {time.perf_counter() - begin:.2f} s", flush=True)
    run.cancel(mode="now")


def idle(daemon: Daemon) -> str:
    """What crewd and its guardian use when the workers have done nothing for a while."""
    time.sleep(SETTLE_SECONDS)
    both = [psutil.Process(daemon.pid), psutil.Process(daemon.guardian_pid())]
    before, begin = [sum(each.cpu_times()[:2]) for each in both], time.perf_counter()
    time.sleep(IDLE_SECONDS)
    elapsed = time.perf_counter() - begin
    crewd, guardian = ((sum(each.cpu_times()[:2]) - used) / elapsed * 100 for each, used in zip(both, before, strict=True))
    return f"idle: crewd {crewd:.1f} % of a core, guardian {guardian:.1f} %"


def thousand(crew: Crew, daemon: Daemon, count: int = CROWD) -> None:
    """Start them, steer them all, cancel them all. Nothing is asked meanwhile: the events are followed."""
    steps = tuple(Step(f"w{n}", worker=WorkerSpec(call="bench.jobs:listen")) for n in range(count))
    begin = time.perf_counter()
    run = crew.run(Workflow("crowd", steps, max_concurrency=count, unbounded=True), cwd=ROOT)
    seen = islice(run.events(follow=True, types=["attempt.ready"]), count)
    last = [event.seq for event in seen][-1]
    ready = time.perf_counter() - begin
    process = psutil.Process(daemon.pid)
    rss, threads = process.memory_info().rss >> 20, process.num_threads()
    print(f"{count} workers at once: all ready in {ready:.1f} s; crewd {rss} MB, {threads} threads", flush=True)
    accepted, applied = asyncio.run(steer_all(daemon, run, [step.id for step in steps], last))
    p50, p99 = p50_p99(applied)
    print(f"  all steered: accepted in {accepted:.2f} s, applied p50 {p50:.0f} ms p99 {p99:.0f} ms after the first", flush=True)
    if count == CROWD:  # a test has no time for it
        print(f"  {idle(daemon)} (aim 6 together)", flush=True)
    begin = time.perf_counter()
    reply = run.cancel(mode="now", timeout=300)
    verified = reply is not None and reply.verified
    print(
        f"  all cancelled in {time.perf_counter() - begin:.2f} s, verified: {verified}, {len(daemon.marked())} survivors",
        flush=True,
    )


async def steer_all(daemon: Daemon, run: RunHandle, steps: list[str], after: int) -> tuple[float, list[float]]:
    """Steer each of these steps, from one client, `AT_ONCE` on the way.

    The seconds until all were accepted, and those until each was applied.
    """
    waiting = list(reversed(steps))
    bodies = ("message.applied", "message.settled")
    began = time.time()
    async with aio.connect(str(daemon.home.root), start=False) as crew:
        same = await crew.get(run.id)

        async def steer() -> None:
            while waiting:
                await same.steer("all", step=waiting.pop(), wait="accepted")

        await asyncio.gather(*(steer() for _ in range(AT_ONCE)))
    accepted = time.time() - began
    # A worker that says at once that a message is settled says with it that it was applied.
    each = (event for event in run.events(after=after, follow=True, types=bodies) if getattr(event.body, "applied", True))
    return accepted, [max(0.0, event.at - began) for event in islice(each, len(steps))]


def lifecycle() -> None:
    """Everything of this file."""
    for _ in range(3):  # a machine changes its speed: each row has its own floor beside it
        bare = bare_births()
        births(0, bare)
        births(8, bare)
        births(8, bare, preload=True)
    for part in (flood, storm, thousand):  # each with a crewd of its own: the flood's output is looked through for secrets
        with tempfile.TemporaryDirectory(prefix="crewd-") as name, Daemon(Path(name) / "h") as daemon, daemon.connect() as crew:
            part(crew, daemon)


if __name__ == "__main__":
    lifecycle()
