"""`make stress REAL=1`: the rules of the simulated world over a real daemon, guardian and workers, with real signals.

Histories follow each other on one home, so that what one leaves behind is seen: threads, descriptors, zombies and memory of
crewd and its guardian must come back to where they were.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from crewd.client.blocking import Crew, RunHandle
from crewd.clock import SystemClock
from crewd.model.errors import CrewdError
from crewd.model.statuses import ATTEMPT_TERMINAL, RUN_TERMINAL
from crewd.testing import Daemon
from crewd.testing.daemon import children_of, wait_until

MINUTES = float(os.environ.get("CREWD_STRESS_MINUTES", "0"))
SEED = int(os.environ.get("CREWD_STRESS_SEED", "0"))
REAL = bool(os.environ.get("CREWD_STRESS_REAL"))
GRACE = 0.2
HOSTILE_PART = 0.4
"""Of the workers."""
JOBS = ("jobs:listen", "jobs:listen", "jobs:listen", "jobs:ask", "jobs:stubborn")
HOSTILE: tuple[tuple[str, Mapping[str, object]], ...] = (
    *(("hostile.deeds:plays_with_its_files", {"what": what}) for what in ("pipe", "folder", "link", "hole")),
    ("hostile.deeds:storms", {"seconds": 1.0}), ("hostile.deeds:stops_its_guardian", {"seconds": 0.5}),
    ("hostile.deeds:bears_a_strange_name", {}), ("hostile.deeds:a_subreaper_of_its_own", {}),
    ("hostile.deeds:bears", {"text": "0:r_x/y#1"}), ("hostile.deeds:stray_with_no_text", {}),
    ("trees:agent", {"seconds": 90}), ("trees:cleaned_agent", {"seconds": 90}), ("trees:hop_apart", {"seconds": 2.0}),
    ("trees:bomb", {"limit": 40}),
)  # fmt: skip
"""Workers that do what they can to hold up, mislead or outlive who looks after them, and what they are told."""

pytestmark = [pytest.mark.process, pytest.mark.skipif(not (REAL and MINUTES), reason="run it with `make stress REAL=1`")]


@dataclass
class Baseline:
    """What a process uses when nothing runs."""

    pid: int
    threads: int
    descriptors: int
    memory: int

    @classmethod
    def of(cls, pid: int) -> Baseline:
        process = psutil.Process(pid)
        return cls(pid, process.num_threads(), process.num_fds(), process.memory_info().rss)

    def exceeded(self) -> str:
        """What is above the baseline; empty if nothing is."""
        now = Baseline.of(self.pid)
        zombies = [each.pid for each, _, status in children_of(psutil.Process(self.pid)) if status == psutil.STATUS_ZOMBIE]
        found = [f"zombies {zombies}"] if zombies else []
        if now.threads > self.threads:
            found.append(f"threads {self.threads} -> {now.threads}")
        if now.descriptors > self.descriptors + 4:  # a guardian that it started itself, and not found, costs it three
            found.append(f"descriptors {self.descriptors} -> {now.descriptors}")
        if now.memory > 1.5 * self.memory + (32 << 20):
            found.append(f"memory {self.memory >> 20} -> {now.memory >> 20} MiB")
        return ", ".join(found)


class History:
    """One history on a running daemon."""

    def __init__(self, daemon: Daemon, jobs: str, chance: random.Random, count: Counter[str]) -> None:
        self.daemon, self.jobs, self.chance, self.count = daemon, jobs, chance, count
        self.runs: list[tuple[str, str]] = []
        self.accepted: dict[str, set[str]] = {}
        self.stopped: list[int] = []

    def play(self, moves: int) -> None:
        weighted: list[tuple[int, Callable[[], None]]] = [
            (2, self.start), (10, self.steer), (2, self.follow_up), (2, self.respond), (2, self.withdraw), (3, self.cancel),
            (2, self.query), (1, self.kill_crewd), (1, self.kill_guardian), (1, self.kill_worker), (1, self.pause),
        ]  # fmt: skip
        self.start()
        for _ in range(moves):
            (act,) = self.chance.choices([act for _, act in weighted], [weight for weight, _ in weighted])
            self.count[act.__name__] += 1
            with contextlib.suppress(CrewdError):  # a refusal is an answer
                act()
        self.resume()

    # -- rules --------------------------------------------------------------------------------------------------

    def crew(self) -> contextlib.AbstractContextManager[Crew]:
        return self.daemon.connect()

    def some(self) -> str:
        return self.chance.choice(self.runs)[0]

    def start(self) -> None:
        job, told = self.chance.choice(HOSTILE) if self.chance.random() < HOSTILE_PART else (self.chance.choice(JOBS), {})
        self.count[job] += 1
        with self.crew() as crew:
            run: RunHandle = crew.call(job, dict(told), cwd=self.jobs)
        self.runs.append((run.id, job))

    def steer(self) -> None:
        run, text = self.some(), f"s{self.chance.randrange(10**9)}"
        with self.crew() as crew:
            receipt = crew.send("steer", run, text, wait=self.chance.choice(["accepted", "delivered"]), timeout=0.3)
        if not receipt.settled or receipt.outcome == "done":
            self.accepted.setdefault(run, set()).add(text)

    def follow_up(self) -> None:
        with self.crew() as crew:
            crew.send("follow_up", self.some(), "later")

    def respond(self) -> None:
        with self.crew() as crew:
            for ask in crew.inbox():
                crew.respond(ask.id, "blue")

    def withdraw(self) -> None:
        with self.crew() as crew:
            receipt = crew.send(
                "steer", self.some(), f"w{self.chance.randrange(10**9)}", deadline=self.chance.choice([0.1, 5.0])
            )
            if not self.stopped:
                crew.withdraw(receipt.id)

    def cancel(self) -> None:
        run = self.some()
        with self.crew() as crew:
            for _ in range(self.chance.choice([1, 1, 2])):
                wait = not self.stopped and self.chance.random() < 0.5  # who is stopped does not end before he goes on
                (crew.cancel if wait else crew.begin_cancel)(run, mode=self.chance.choice(["now", "graceful"]), grace=GRACE)

    def query(self) -> None:
        with self.crew() as crew:
            shown = crew.show(self.some())
            for message in shown.messages[-1:]:
                crew.receipt(message.receipt.id)

    def kill_crewd(self) -> None:
        if self.chance.random() < 0.3:
            self.kill_guardian()
        self.resume()
        self.daemon.kill()
        self.daemon.start()

    def kill_guardian(self) -> None:
        self.daemon.kill_guardian()

    def workers(self) -> list[int]:
        with self.crew() as crew:
            shown = [crew.show(run) for run, _ in self.runs]
        live = [a.pid for show in shown for a in show.attempts if a.pid and a.status not in ATTEMPT_TERMINAL]
        marked = set(self.daemon.marked())
        return [pid for pid in live if pid in marked]

    def kill_worker(self) -> None:
        for pid in self.workers()[:1]:
            os.kill(pid, signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP, and SIGCONT later; a worker, the guardian or crewd itself."""
        who = self.chance.choice(["worker", "guardian", "crewd"])
        pids = self.workers()[:1] if who == "worker" else [self.daemon.pid if who == "crewd" else self.daemon.guardian_pid()]
        for pid in filter(None, pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                if who == "crewd":
                    SystemClock().sleep(0.05)
                    os.kill(pid, signal.SIGCONT)
                else:
                    self.stopped.append(pid)

    def resume(self) -> None:
        for pid in self.stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.stopped.clear()

    # -- laws ---------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Everything is asked to stop, then cancelled; every law is looked at."""
        with self.crew() as crew:
            for run, job in self.runs:
                with contextlib.suppress(CrewdError):
                    if job == "jobs:listen":
                        crew.send("steer", run, "stop")
                    else:
                        crew.cancel(run, mode="now")
            for run, _ in self.runs:
                crew.wait(run, timeout=120)
            for run, job in self.runs:
                shown = crew.show(run)
                assert shown.run.status in RUN_TERMINAL
                assert all(message.receipt.settled for message in shown.messages)
                assert all(ask.closed_at is not None for ask in shown.asks)
                assert not any(attempt.survivors for attempt in shown.attempts)
                if job == "jobs:listen":
                    self.diary(run, [(m.text, m.receipt.outcome) for m in shown.messages])
            report = crew.doctor(rebuild=True)
            assert report.counts["differences"] == 0, report.findings
        wait_until(lambda: not self.daemon.marked(), "every worker to be gone")

    def diary(self, run: str, messages: list[tuple[str, object]]) -> None:
        path = self.daemon.home.attempt(f"{run}/listen", 1) / "heard"
        taken = path.read_text().split() if path.exists() else []
        assert len(taken) == len(set(taken)), "a steer was applied twice"
        assert taken == [text for text, _ in messages if text in taken], "steers were applied out of order"
        for text, outcome in messages:
            if text != "later":
                assert outcome != "done" or text in taken, "a success receipt for what the worker never took"
                assert outcome in {"done", "unknown"} or text not in taken, f"{outcome}, and the worker took it"
        lost = self.accepted.get(run, set()) - {text for text, _ in messages}
        assert not lost, "accepted, and nobody knows of it"


def test_random_histories(home: Path, jobs_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", jobs_dir)
    clock, chance, count = SystemClock(), random.Random(SEED), Counter[str]()
    end, histories, baselines = clock.monotonic() + MINUTES * 60, 0, dict[int, Baseline]()
    with Daemon(home / "h") as daemon:
        while clock.monotonic() < end:
            seed = chance.randrange(1 << 30)
            one = History(daemon, jobs_dir, random.Random(seed), count)
            try:
                one.play(chance.randint(4, 12))
                one.end()
                for pid in filter(None, (daemon.pid, daemon.guardian_pid())):
                    base = baselines.setdefault(pid, Baseline.of(pid))
                    wait_until(lambda base=base: not base.exceeded(), f"process {pid} at its baseline: {base.exceeded()}")  # type: ignore[misc]
            except (AssertionError, CrewdError) as error:
                one.resume()
                error.add_note(f"history {histories} of seed {SEED}, its own seed is {seed}; runs {one.runs}")
                raise
            histories += 1
    print(f"\nreal processes: {histories} histories from seed {SEED}: {dict(count)}")  # noqa: T201 (what a stress run is for)
    assert histories
