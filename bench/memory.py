"""The bench of memory: stand-ins that stream for long, and what crewd, its guardian and the agents' hosts hold meanwhile.

`python -m bench.memory --minutes 60` is an hour, which `make bench` does not take.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from bench.agents import RATE, ROOT, RUNTIMES, end, start
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

LINES = 12
"""Samples that are printed, besides the first one."""


def memory(minutes: float, agents: int, rate: int) -> None:
    """Print how much memory each holds, at the beginning and at equal distances until the end."""
    print(f"memory: {agents} stand-ins say {rate} pieces a second each for {minutes:g} minutes")
    with (
        tempfile.TemporaryDirectory() as folder,
        Daemon(Path(folder, "home"), python_path=(ROOT,)) as daemon,
        daemon.connect() as crew,
    ):
        goal = f"FLOW {rate} {int(minutes * 60) + 120}"
        runs = [start(crew, goal, RUNTIMES[number % len(RUNTIMES)]) for number in range(agents)]
        for run in runs:
            wait_until(lambda run=run: run.show().attempts[-1].ready_at, "the agents to be ready", 120)  # type: ignore[misc]
        hosts = [psutil.Process(run.show().attempts[-1].host_pid) for run in runs]
        watched = {"crewd": psutil.Process(daemon.pid), "guardian": psutil.Process(daemon.guardian_pid())}
        begin = time.monotonic()
        for number in range(LINES + 1):
            time.sleep(max(0.0, begin + number * minutes * 60 / LINES - time.monotonic()))
            held = {name: process.memory_info().rss / 2**20 for name, process in watched.items()}
            of_hosts = [host.memory_info().rss / 2**20 for host in hosts]
            stored = sum(path.stat().st_size for path in crew.home.root.glob("*.db*")) / 2**20
            print(
                f"  {(time.monotonic() - begin) / 60:5.1f} min"
                + "".join(f"  {name} {mib:6.1f} MiB" for name, mib in held.items())
                + f"  hosts p50 {statistics.median(of_hosts):5.1f} most {max(of_hosts):5.1f} MiB  store {stored:5.1f} MiB",
                flush=True,
            )
        end(runs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--agents", type=int, default=10)
    parser.add_argument("--rate", type=int, default=RATE)
    given = parser.parse_args()
    memory(given.minutes, given.agents, given.rate)
