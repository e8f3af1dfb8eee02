"""`make stress MINUTES=n`: real processes, random kills, one law list. Not part of `make test` (it takes minutes)."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from crewd.clock import SystemClock
from crewd.protocol.errors import CrewdError, Unavailable
from crewd.protocol.statuses import RUN_TERMINAL
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

MINUTES = float(os.environ.get("CREWD_STRESS_MINUTES", "0"))
SEED = int(os.environ.get("CREWD_STRESS_SEED", "0")) or random.SystemRandom().randrange(1 << 30)
HISTORIES_MAX = 10_000

pytestmark = [pytest.mark.process, pytest.mark.skipif(MINUTES <= 0, reason="run it with `make stress`")]


def history(root: Path, chance: random.Random, jobs: str) -> dict[str, int]:
    """One life of a daemon with steers, kills and cancels; the laws at its end."""
    done = {"steers": 0, "kills of crewd": 0, "kills of the guardian": 0, "cancels": 0}
    with Daemon(root) as daemon:
        with daemon.connect() as crew:
            runs = [crew.call("jobs:listen", cwd=jobs) for _ in range(chance.randint(1, 4))]
        sent: dict[str, list[str]] = {run.id: [] for run in runs}
        for number in range(chance.randint(5, 25)):
            run = chance.choice(runs).id
            dice = chance.random()
            if dice < 0.08:
                if chance.random() < 0.3:
                    daemon.kill_guardian()
                    done["kills of the guardian"] += 1
                daemon.kill()
                daemon.start()
                done["kills of crewd"] += 1
            elif dice < 0.16:
                daemon.kill_guardian()
                done["kills of the guardian"] += 1
            elif dice < 0.2:
                with daemon.connect() as crew:
                    crew.cancel(run, mode=chance.choice(["now", "graceful"]), grace=0.2, wait=False)
                done["cancels"] += 1
            else:
                with daemon.connect() as crew:
                    try:
                        receipt = crew.send(
                            "steer", run, f"s{number}", wait=chance.choice(["accepted", "delivered"]), timeout=5
                        )
                    except Unavailable:
                        continue
                if not receipt.settled or receipt.outcome == "done":
                    sent[run].append(f"s{number}")
                    done["steers"] += 1
        with daemon.connect() as crew:
            for handle in runs:
                crew.send("steer", handle.id, "stop")
            for handle in runs:
                crew.wait(handle.id, timeout=60)
            for handle in runs:
                shown = crew.show(handle.id)
                assert shown.run.status in RUN_TERMINAL
                path = daemon.home.attempt(f"{handle.id}/listen", 1) / "heard"
                diary = path.read_text().split() if path.exists() else []
                assert len(diary) == len(set(diary)), "a steer was applied twice"
                texts = [message.text for message in shown.messages if message.text in diary]
                assert diary == texts, "steers were applied out of order"
                assert all(message.receipt.settled for message in shown.messages)
                for message in shown.messages:
                    if message.receipt.outcome == "done":
                        assert message.text in diary, "a success receipt for what the worker never took"
                if shown.run.status == "completed":
                    assert set(sent[handle.id]) <= set(diary), "an accepted steer was lost"
            report = crew.doctor(rebuild=True)
            assert report.counts["differences"] == 0, report.findings
        wait_until(lambda: not daemon.marked(), "every worker to be gone")
    return done


def test_random_histories(tmp_path_factory: pytest.TempPathFactory, jobs_dir: str) -> None:
    clock = SystemClock()
    end = clock.monotonic() + MINUTES * 60
    chance = random.Random(SEED)
    total: dict[str, int] = {}
    count = 0
    print(f"seed {SEED}")  # noqa: T201 (what a stress run is for)
    while clock.monotonic() < end and count < HISTORIES_MAX:
        seed = chance.randrange(1 << 30)
        root = tmp_path_factory.mktemp("s") / "h"
        try:
            done = history(root, random.Random(seed), jobs_dir)
        except (AssertionError, CrewdError) as error:
            error.add_note(f"history {count} of seed {SEED}, its own seed is {seed}")
            raise
        count += 1
        for key, value in done.items():
            total[key] = total.get(key, 0) + value
    print(f"{count} histories: {total}")  # noqa: T201
    assert count
