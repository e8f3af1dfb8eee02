"""The bench of neighbours: what a steer, a cancel and `ps` cost beside subscribers that never read, and beside fork storms."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from crewd.client.blocking import Crew
from crewd.clock import SystemChance, SystemClock
from crewd.model.ids import IdSource
from crewd.protocol import codec
from crewd.protocol import requests as rq
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

ROOT = str(Path(__file__).resolve().parent.parent)
STEERS = 400
CANCELS = 20
SILENT = (100, 1_000)
"""Subscribers to everything that never read what they are sent."""
STORMS = 2
STORM = "while :; do (true &) ; done"


def _subscribe(endpoint: str, count: int, pipe: Any) -> None:
    """In a process of its own: so many clients that subscribe, and then read nothing any more."""
    ids = IdSource(SystemClock(), SystemChance())
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 4_096)
    sockets = []
    for number in range(count):
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.RCVHWM, 1)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        socket.send_multipart(codec.requests.encode("hello", rq.Hello(owner=f"silent{number}", key=f"{number:032d}")))
        socket.recv_multipart()
        key = ids.next("x")
        socket.send_multipart(codec.requests.encode(key, rq.Subscribe()))
        socket.recv_multipart()
        sockets.append(socket)
    pipe.send(len(sockets))
    pipe.recv()
    context.destroy(0)


def _row(name: str, samples: list[float], quiet: tuple[float, float] | None = None) -> tuple[float, float]:
    samples.sort()
    p50, p99 = statistics.median(samples) * 1e3, samples[int(len(samples) * 0.99) - 1] * 1e3
    ratio = "" if quiet is None else f"p50 {p50 / quiet[0]:5.2f} x  p99 {p99 / quiet[1]:5.2f} x quiet"
    print(f"{name:<44} p50 {p50:8.2f} ms  p99 {p99:8.2f} ms  {ratio}", flush=True)
    return p50, p99


def _timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _steers(crew: Crew) -> list[float]:
    run = crew.call("bench.jobs:listen", cwd=ROOT)
    wait_until(lambda: run.show().attempts and run.show().attempts[-1].ready_at, "the worker")
    samples = [_timed(lambda: run.steer("look at the other file", wait="accepted")) for _ in range(STEERS)]
    run.cancel(mode="now")
    return samples


def _cancels(crew: Crew) -> list[float]:
    samples = []
    for _ in range(CANCELS):
        run = crew.exec(["sleep", "1000"], cwd="/")
        wait_until(lambda: run.show().attempts and run.show().attempts[-1].pid, "the worker")  # noqa: B023 (awaited here)
        samples.append(_timed(lambda: run.cancel(mode="now")))  # noqa: B023 (as above)
    return samples


def disturbed() -> None:
    """Print each measure, and its ratio to that of the same crewd before anybody disturbed it."""
    with (
        tempfile.TemporaryDirectory(prefix="crewd-") as name,
        Daemon(Path(name) / "h", [ROOT]) as daemon,
        daemon.connect() as crew,
    ):
        steer = _row("steer accepted", _steers(crew))
        cancel = _row("cancel verified", _cancels(crew))
        listed = _row("ps", [_timed(crew.runs) for _ in range(STEERS)])
        for count in SILENT:
            ours, theirs = multiprocessing.get_context("spawn").Pipe()
            target = multiprocessing.get_context("spawn").Process(
                target=_subscribe, args=(daemon.home.clients_endpoint, count, theirs)
            )
            target.start()
            ours.recv()
            _row(f"steer, {count} subscribers fill up", _steers(crew), steer)
            _row(f"steer, {count} silent subscribers", _steers(crew), steer)
            _row(f"cancel, {count} silent subscribers", _cancels(crew), cancel)
            _row(f"ps, {count} silent subscribers", [_timed(crew.runs) for _ in range(STEERS)], listed)
            ours.send("end")
            target.join()
        storms = [crew.exec(["sh", "-c", STORM], cwd="/") for _ in range(STORMS)]
        time.sleep(1.0)
        _row(f"steer, {STORMS} fork storms", _steers(crew), steer)
        _row(f"cancel, {STORMS} fork storms", _cancels(crew), cancel)
        for storm in storms:
            storm.cancel(mode="now")


if __name__ == "__main__":
    disturbed()
