"""The bench of agents: many stand-ins that stream, one that is steered beside them, one that says a gigabyte."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from crewd.client.blocking import Crew, RunHandle
from crewd.client.shapes import agent_workflow
from crewd.model.agent import Agent, AgentRuntime
from crewd.testing import Daemon
from crewd.testing.agents import pi
from crewd.testing.daemon import wait_until

ROOT = str(Path(__file__).resolve().parent.parent)
AGENTS = 50
RATE, STEERED_RATE = 200, 50
"""Pieces a second of each agent: where what they cost is measured, and beside a steer, so that they do not fill the machine."""
SECONDS = 20
FLOW_SECONDS = 36_000
STEERS = 150
STEER_SECONDS = 0.1
"""Between two steers."""
FIRST_WORDS = 20
LOOK_SECONDS = 0.005
"""Between two looks for a first word: each look is work for crewd, which shares the processors with the agent that starts."""
ROUNDS, ROUND_BYTES = 256, 4_000_000
RUNTIMES: tuple[AgentRuntime, ...] = ("pi", "claude", "codex", "acp")


def start(crew: Crew, goal: str, runtime: AgentRuntime, *command: str) -> RunHandle:
    """A run of one stand-in, or of another program that speaks as it does."""
    argv = command or (sys.executable, "-m", "crewd.testing.agents", runtime)
    return crew.run(agent_workflow(Agent(runtime=runtime, command=argv, name=runtime)), goal, cwd=ROOT)


def _acts(crew: Crew, run: RunHandle, kind: str) -> bool:
    return f'"type": "{kind}"'.encode() in crew.log(run.id, stream="acts").data


def _percent(samples: list[float]) -> str:
    samples.sort()
    return f"p50 {statistics.median(samples) * 1e3:6.1f} ms  p99 {samples[int(len(samples) * 0.99) - 1] * 1e3:6.1f} ms"


def _floor_of_a_first_word() -> float:
    """The stand-in by itself: from its start to the first piece of its answer."""
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "crewd.testing.agents", "pi"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"id": "1", "type": "prompt", "message": "hello"}\n')
        process.stdin.flush()
        while b"text_delta" not in process.stdout.readline():
            pass
        seconds = time.perf_counter() - begin
        process.communicate()
    return seconds


def _first_words(crew: Crew) -> None:
    floors = [_floor_of_a_first_word() for _ in range(FIRST_WORDS)]
    samples: list[float] = []
    for _ in range(FIRST_WORDS):
        run = start(crew, "hello", "pi")
        begin = time.perf_counter()
        while not _acts(crew, run, "text"):
            time.sleep(LOOK_SECONDS)
        samples.append(time.perf_counter() - begin)
        run.wait(timeout=60)
    print(f"  first word of an agent after run() returned   {_percent(samples)}")
    print(f"  the stand-in by itself, from its start        {_percent(floors)}  (aim: 50 ms more)", flush=True)


def _times(path: Path) -> dict[str, float]:
    """When the timed stand-in has read each message."""
    return {text: int(at) / 1e9 for at, _, text in (line.partition(" ") for line in path.read_text().splitlines())}


def _flows(crew: Crew, rate: int) -> list[RunHandle]:
    """Agents that stream until they are ended, once all of them do."""
    flows = [start(crew, f"FLOW {rate} {FLOW_SECONDS}", RUNTIMES[number % len(RUNTIMES)]) for number in range(AGENTS)]
    for run in flows:
        wait_until(lambda run=run: run.show().attempts[-1].ready_at, "the agents to be ready", 120)  # type: ignore[misc]
    return flows


def end(runs: list[RunHandle]) -> None:
    """Cancel them all, and wait."""
    for run in runs:
        run.begin_cancel(mode="now")
    for run in runs:
        run.wait(timeout=120)


def _costs(daemon: Daemon, crew: Crew) -> None:
    """What agents that stream cost crewd, the guardian and the processes that host them."""
    print(f"agents: {AGENTS} stand-ins say {RATE} pieces a second each")
    flows = _flows(crew, RATE)
    hosts = [psutil.Process(run.show().attempts[-1].host_pid) for run in flows]
    watched = {"crewd": psutil.Process(daemon.pid), "guardian": psutil.Process(daemon.guardian_pid())}
    used = {name: sum(process.cpu_times()[:2]) for name, process in watched.items()}
    of_hosts = [sum(host.cpu_times()[:2]) for host in hosts]
    memory = {name: process.memory_info().rss for name, process in watched.items()}
    begin = time.perf_counter()
    time.sleep(SECONDS)
    lasted = time.perf_counter() - begin
    for name, process in watched.items():
        part = (sum(process.cpu_times()[:2]) - used[name]) / lasted
        grown = (process.memory_info().rss - memory[name]) / 2**20
        print(f"  {name:<9} {part:6.1%} of a core, memory {grown:+.1f} MiB" + (" (aim: 20 %)" if name == "crewd" else ""))
    parts = sorted((sum(host.cpu_times()[:2]) - before) / lasted for host, before in zip(hosts, of_hosts, strict=True))
    print(f"  hosts     p50 {statistics.median(parts):5.1%}  most {parts[-1]:5.1%} of a core each (aim: 3 %)", flush=True)
    print(f"  all       {psutil.cpu_percent(2) / 100:5.1%} of the machine", flush=True)
    end(flows)


def _steers(crew: Crew, folder: Path) -> None:
    """How long a steer takes to the agent's input beside agents that stream."""
    read = folder / "read"
    steered = start(crew, "TOOL 3600", "pi", sys.executable, "-m", "bench.agents", str(read))
    flows = _flows(crew, STEERED_RATE)
    wait_until(lambda: _acts(crew, steered, "tool"), "the tool to run")
    sent: dict[str, float] = {}
    psutil.cpu_percent()
    for number in range(STEERS):
        sent[f"steer {number}"] = time.perf_counter()
        steered.steer(f"steer {number}", wait="accepted")
        time.sleep(STEER_SECONDS)
    busy = psutil.cpu_percent() / 100
    wait_until(lambda: sent.keys() <= _times(read).keys(), "all steers to be read")
    came = _times(read)
    samples = [came[key] - at for key, at in sent.items()]
    print(f"  beside {AGENTS} that say {STEERED_RATE} pieces a second each, a steer takes to the bytes on the agent's input")
    print(f"    {_percent(samples)}  (aim: p99 10 ms); {busy:.0%} of the machine is used", flush=True)
    end([steered, *flows])


def _gigabyte(crew: Crew) -> None:
    def size() -> int:
        """What the database holds. Its files say less: SQLite's log has room for what will be written over again."""
        with contextlib.closing(sqlite3.connect(f"file:{crew.home.database}?mode=ro", uri=True)) as database:
            pages, free, page = (
                database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * page)

    before, begin = size(), time.perf_counter()
    run = start(crew, f"ROUNDS {ROUNDS} BIG {ROUND_BYTES}", "pi")
    run.wait(timeout=600)
    kept = sum(path.stat().st_size for path in Path(run.show().attempts[-1].directory).iterdir())
    print(
        f"  an agent that said {ROUNDS * ROUND_BYTES / 1e9:.1f} GB in {time.perf_counter() - begin:.0f} s:"
        f" the log grew by {(size() - before) / 1e6:.2f} MB (aim: 1), its own files are {kept / 1e6:.1f} MB",
        flush=True,
    )


def agents() -> None:
    """Print all of it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Daemon(Path(folder, "home"), python_path=(ROOT,)) as daemon,
        daemon.connect() as crew,
    ):
        _first_words(crew)
        _costs(daemon, crew)
        _steers(crew, Path(folder))
        _gigabyte(crew)


def _timed_agent(path: str) -> None:
    """A stand-in that writes down when it has read each message."""
    agent = pi.make("pi", [])
    hear: Callable[[Mapping[str, Any]], None] = agent.heard
    with Path(path).open("a", encoding="utf-8", buffering=1) as file:

        def heard(record: Mapping[str, Any]) -> None:
            if record.get("type") in {"prompt", "steer", "follow_up"}:
                file.write(f"{time.perf_counter_ns()} {record.get('message')}\n")
            hear(record)

        agent.heard = heard  # type: ignore[method-assign]
        sys.exit(asyncio.run(agent.serve()))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _timed_agent(sys.argv[1])
    agents()
