"""The bench of files of agents, of a prompt, and of hooks: what stands between `crew run` and an agent's first word."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.lifecycle import p50_p99
from crewd.agents.prompt import prompt_of
from crewd.client.agents import agents
from crewd.client.blocking import Crew
from crewd.model.agent import Agent, GivenSkill
from crewd.model.hooks import Hook
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.testing import Daemon

ROOT = str(Path(__file__).resolve().parent.parent)
FILES = 1_000
HOOKS = 16
LIST = """
import time
begin = time.perf_counter()
from crewd.client.agents import agents
read = time.perf_counter()
agents()
print(read - begin, time.perf_counter() - read)
"""


def timed(work: Callable[[], object], times: int = 5) -> list[float]:
    samples = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        samples.append(time.perf_counter() - begin)
    return samples


def files() -> None:
    """So many agents of a project: listed by a process that begins, and again by one that goes on."""
    with tempfile.TemporaryDirectory(prefix="crewd-") as name, contextlib.chdir(name):
        folder = Path(".crew/agents")
        folder.mkdir(parents=True)
        for number in range(FILES):
            head = f"---\ndescription: agent {number}\nruntime: pi\ntools: read, grep\n---\n"
            (folder / f"agent-{number}.md").write_text(f"{head}You are number {number}. {'word ' * 200}")
        environment = {**os.environ, "PYTHONPATH": ROOT}
        listing = [sys.executable, "-c", LIST]
        said = [subprocess.run(listing, capture_output=True, text=True, check=True, env=environment) for _ in range(5)]
        code, cold = zip(*(map(float, each.stdout.split()) for each in said), strict=True)
        assert len(agents()) > FILES
        warm = timed(agents)
    own, first, again = p50_p99(list(code))[0], p50_p99(list(cold))[0], p50_p99(warm)[0]
    print(f"{FILES} files of agents, listed          p50 {first:6.0f} ms (aim 300), again {again:.0f} ms (aim 30)")
    print(f"  before the first, for crewd's own code    {own:6.0f} ms", flush=True)


def prompt() -> None:
    """A prompt of 100 kB."""
    skills = tuple(GivenSkill(f"skill{number}", "word " * 300) for number in range(8))
    agent = Agent("pi", ("pi",), system_prompt="You work. " * 1_000, skills=skills)
    made = prompt_of(agent, text="do " * 27_000, goal="it", reads=())
    size = sum(len(part.text.encode()) for part in (*made.system, *made.first))
    samples = timed(lambda: prompt_of(agent, text="do " * 27_000, goal="it", reads=()), 50)
    print(f"a prompt of {size / 1e3:.0f} kB                     p50 {p50_p99(samples)[0]:6.2f} ms (aim 5)")


def hooks(crew: Crew) -> None:
    """What crewd adds to the time of a hook's own command."""

    def life(count: int) -> float:
        asked = tuple(Hook(f"h{number}", "before_task_start", "true") for number in range(count))
        step = Step("a", worker=WorkerSpec(call="bench.jobs:nothing", hooks=asked))
        begin = time.perf_counter()
        crew.run(Workflow("hooked", (step,)), cwd=ROOT).wait()
        return time.perf_counter() - begin

    without, with_all = (p50_p99([life(count) for _ in range(20)])[0] for count in (0, HOOKS))
    shell = p50_p99(timed(lambda: subprocess.run(["/bin/sh", "-c", "true"], check=True), 50))[0]
    each = (with_all - without) / HOOKS
    own = f"its command {shell:.2f} ms, crewd {each - shell:.2f} ms (aim 3)"
    print(f"a hook                                  p50 {each:6.2f} ms: {own}", flush=True)


def resources() -> None:
    """All of them."""
    files()
    prompt()
    with tempfile.TemporaryDirectory(prefix="crewd-") as name, Daemon(Path(name) / "h") as daemon, daemon.connect() as crew:
        hooks(crew)


if __name__ == "__main__":
    resources()
