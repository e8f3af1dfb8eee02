"""The bench of the store: durable events per second beside what else one could do, bytes written, a long run, a big home."""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crewd.actors import Actor, ActorSystem, BrainDispatcher, ChildSpec, ExitReason
from crewd.clock import SystemChance, SystemClock
from crewd.model import events as ev
from crewd.model.events import Draft
from crewd.model.redact import redact
from crewd.model.statuses import RunStatus
from crewd.model.workflow import Step, WorkerSpec, Workflow
from crewd.protocol import requests as rq
from crewd.store.actor import StoreActor
from crewd.store.database import Database
from crewd.store.messages import Append, Committed
from crewd.store.overlay import Overlay
from crewd.store.ports import Where
from crewd.store.reader import Reader
from crewd.store.readonly import ReadOnly
from crewd.supervisor.poller import ZmqPoller
from crewd.testing import Daemon, Scheduler
from crewd.worker.sampler import Sampler

SECONDS = 2.0
"""Of each measurement."""
WRITERS = (1, 8, 64, 512)
LONG_RUN = 1_000_000
BIG_HOME_BYTES = 1 << 30
FLOW = Workflow(name="w", steps=(Step(id="s", worker=WorkerSpec(call="a:b")),))
RECORD = {"seq": 1, "run": "r_1", "task": "r_1/s", "type": "operation.opened", "id": "0", "kind": "tool", "name": "x" * 60}


class Writers(Actor[Any]):
    """So many writers, each with a run and one event on the way at a time: an operation opened, then closed."""

    def __init__(self, store: Any, count: int, over: threading.Event, samples: list[float], base: int) -> None:
        super().__init__()
        self._store, self._count, self._over, self._samples, self._base = store, count, over, samples, base
        self._sent: dict[int, float] = {}
        self._made: dict[int, int] = {}

    def on_start(self) -> None:
        for writer in range(self._base, self._base + self._count):
            run = f"r_{writer}"
            drafts = (
                Draft(ev.RunCreated(name=run, goal="", cwd="/", workflow=FLOW), run),
                Draft(ev.AttemptReserved(directory="/"), run, f"{run}/s", 1),
            )
            self._store.tell(Append(drafts, self.ref, writer))
        self._until = time.perf_counter() + SECONDS

    def receive(self, message: Any) -> None:
        if not isinstance(message, Committed):
            return
        now, writer = time.perf_counter(), message.token
        if writer in self._sent:
            self._samples.append(now - self._sent[writer])
        if now > self._until:
            self._over.set()
            return
        number = self._made[writer] = self._made.get(writer, -1) + 1
        key, run = f"{writer}:{number // 2}", f"r_{writer}"
        body: ev.Body
        if number % 2:
            body = ev.OperationClosed(id=key, outcome="done", report=number + 1)
        else:
            body = ev.OperationOpened(id=key, kind="tool", name="x" * 60, report=number + 1)
        self._sent[writer] = now
        self._store.tell(Append((Draft(body, run, f"{run}/s", 1, f"report:{number}", "worker"),), self.ref, writer))


def _report(name: str, incarnation: int, reason: ExitReason) -> None:
    print(f"actor {name}#{incarnation} ended: {reason}")


def answers(folder: Path, count: int) -> list[float]:
    """Seconds from each append to its `Committed`, of so many writers at once."""
    clock, poller, samples, over = SystemClock(), ZmqPoller(), list[float](), threading.Event()
    brain = BrainDispatcher(poller, clock)
    system = ActorSystem(
        clock,
        SystemChance(),
        brain,
        wake=poller.wake,
        reporter=_report,
    )
    path = folder / f"{count}.db"
    store = system.spawn(
        ChildSpec(
            "store", lambda: StoreActor(lambda: Database(path, "s"), lambda: ReadOnly(path), clock, Overlay(), lambda: None),
            pinned=True,
        ),
        None,
    )  # fmt: skip
    system.spawn(ChildSpec("writers", lambda: Writers(store, count, over, samples, 0)), None)

    def stop() -> None:
        over.wait(60)
        brain.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    brain.run(system.timers)
    stopper.join()  # it wakes the poller
    poller.close()
    return samples


def written() -> int:
    """Bytes that this process has given to the file system."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def alone(action: Callable[[int], None]) -> tuple[list[float], float]:
    """Seconds of each call, and bytes written by each."""
    samples: list[float] = []
    before, until = written(), time.perf_counter() + SECONDS
    while (begin := time.perf_counter()) < until:
        action(len(samples))
        samples.append(time.perf_counter() - begin)
    return samples, (written() - before) / len(samples)


def fsync_each(folder: Path) -> Callable[[int], None]:
    file = (folder / "log.jsonl").open("ab", buffering=0)

    def once(number: int) -> None:
        file.write(json.dumps({**RECORD, "seq": number}).encode() + b"\n")
        os.fdatasync(file.fileno())

    return once


def append_only(folder: Path) -> Callable[[int], None]:
    file = (folder / "fast.jsonl").open("ab", buffering=0)

    def once(number: int) -> None:
        file.write(json.dumps({**RECORD, "seq": number}).encode() + b"\n")

    return once


def rewrite_all(folder: Path) -> Callable[[int], None]:
    """A thousand records in one file that is written anew for each change: temporary file, fsync, rename."""
    state = [{**RECORD, "seq": number} for number in range(1_000)]

    def once(number: int) -> None:
        state[number % 1_000]["seq"] = number
        temporary = folder / "state.tmp"
        with temporary.open("w") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / "state.json")

    return once


def bare_commit(folder: Path) -> Callable[[int], None]:
    sql = sqlite3.connect(folder / "bare.db", isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000"):
        sql.execute(f"PRAGMA {pragma}").fetchall()
    sql.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, run TEXT, task TEXT, body TEXT)")
    body = json.dumps(RECORD)

    def once(number: int) -> None:
        sql.execute("INSERT INTO events VALUES (?, 'r_1', 'r_1/s', ?)", (number + 1, body))

    return once


def line(name: str, samples: list[float], rate: float, rest: str = "") -> None:
    samples.sort()
    p50, p99 = statistics.median(samples) * 1e3, samples[int(len(samples) * 0.99) - 1] * 1e3
    print(f"  {name:<44} {rate:>9,.0f} /s   p50 {p50:7.2f} ms  p99 {p99:7.2f} ms  {rest}", flush=True)


def rates(folder: Path) -> None:
    """Point by point: what one event costs, and what many writers get."""
    print("durable events, each answered when it is on disk")
    floors = {}
    for name, make in (
        ("JSONL, one fsync each", fsync_each),
        ("JSONL, no fsync (a crash of the machine loses it)", append_only),
        ("a JSON file of 1,000 records, written anew", rewrite_all),
        ("SQLite, one commit each", bare_commit),
    ):
        samples, size = alone(make(folder))
        floors[name] = statistics.median(samples)
        line(name, samples, len(samples) / sum(samples), f"{size:9,.0f} bytes written each")
    bare = floors["SQLite, one commit each"]
    for count in WRITERS:
        before = written()
        samples = answers(folder, count)
        size = (written() - before) / len(samples)
        ratio = f"{size:9,.0f} bytes written each"
        if count == 1:
            ratio += f", {statistics.median(samples) / bare:.1f} x a bare commit (aim 1.2)"
        elif count >= 64:
            ratio += " (aim 50,000 /s)"
        line(f"crewd, {count} writers, folded into rows", samples, len(samples) / SECONDS, ratio)


def drafts_of(start: int, count: int, name: str) -> list[Draft]:
    """Operations of one run, opened and closed."""
    return [
        Draft(
            ev.OperationClosed(id=str(number // 2), outcome="done", report=number + 1) if number % 2
            else ev.OperationOpened(id=str(number // 2), kind="tool", name=name, report=number + 1),
            "r_1", "r_1/s", 1, f"report:{number}", "worker",
        )
        for number in range(start, start + count)
    ]  # fmt: skip


class Ear(Actor[Any]):
    """Hears answers, and wants no others than `Committed`."""

    def receive(self, message: Any) -> None:
        """What was refused would make the figures of the rest worthless."""
        if not isinstance(message, Committed):
            raise TypeError(f"the store refused: {message}")


class Direct:
    """The store's actor without its thread: what is told to it has happened when the call returns."""

    def __init__(self, path: Path) -> None:
        self._scheduler = Scheduler()
        self.path = path
        self._database = Database(path, "s")
        spec = ChildSpec(
            "store",
            lambda: StoreActor(lambda: self._database, lambda: ReadOnly(path), SystemClock(), Overlay(), lambda: None),
        )
        self._ref = self._scheduler.system.spawn(spec, None)
        self._ear = self._scheduler.system.spawn(ChildSpec("ear", Ear), None)
        self._scheduler.settle()

    def write(self, *drafts: Draft) -> None:
        self._ref.tell(Append(drafts, self._ear, 0))
        self._scheduler.settle()

    def flush(self) -> None:
        self._scheduler.advance(1.0)

    def close(self) -> None:
        self._scheduler.system.kill(self._ref)
        self._database.close()


def timed(action: Callable[[], object], times: int = 20) -> float:
    """The median of some calls, in milliseconds."""
    samples = []
    for _ in range(times):
        begin = time.perf_counter()
        action()
        samples.append(time.perf_counter() - begin)
    return statistics.median(samples) * 1e3


def looks_at(reader: Reader, connection: ReadOnly, done: int) -> dict[str, Callable[[], object]]:
    """What people and programs ask of a long run."""
    run, attempt = Where(run="r_1"), Where(run="r_1", task="r_1/s", epoch=1)
    lately = Where(run="r_1", since=time.time() - 1)
    return {
        "ps": lambda: reader.answer(rq.ListRuns()),
        "show": lambda: reader.answer(rq.Show(target="r_1")),
        "the last 100": lambda: reader.answer(rq.ListEvents(target="r_1", before=1 << 62, limit=100)),
        "100 from the middle": lambda: connection.events(after=done // 2, limit=100, where=run),
        "of an attempt": lambda: connection.events(limit=100, where=attempt),
        "of a type": lambda: connection.events(limit=100, where=Where(run="r_1", types=frozenset({"operation.closed"}))),
        "of a time": lambda: connection.events(limit=100, where=lately),
    }


def long_run(folder: Path, events: int = LONG_RUN) -> None:
    """A run that grows and grows: what it costs to append to it, and to look at it."""
    print(f"a run of {events:,} events")
    path, done, batch = folder / "long.db", 0, 1_000
    direct = Direct(path)
    direct.write(
        Draft(ev.RunCreated(name="long", goal="", cwd="/", workflow=FLOW), "r_1"),
        Draft(ev.AttemptReserved(directory="/"), "r_1", "r_1/s", 1),
    )
    reader = Reader(lambda: ReadOnly(path), Overlay(), lambda: None, lambda: ([], {}))
    reader.on_start()
    for upto in (events // 100, events // 10, events // 2, events):
        slow, begin, here = 0.0, time.perf_counter(), done
        while done < upto:
            at = time.perf_counter()
            direct.write(*drafts_of(done, batch, "x" * 60))
            slow = max(slow, time.perf_counter() - at)
            done += batch
        rate = (done - here) / (time.perf_counter() - begin)
        connection = ReadOnly(path)
        texts = ", ".join(f"{name} {timed(look):.2f}" for name, look in looks_at(reader, connection, done).items())
        connection.close()
        print(
            f"  {done:>9,}: {rate:>7,.0f} appended/s, the slowest {batch:,} in {slow * 1e3:.0f} ms; in ms: {texts}", flush=True
        )
    reader.on_stop()
    direct.close()
    print(f"  {path.stat().st_size >> 20} MiB on disk", flush=True)


def big_home(folder: Path, size: int = BIG_HOME_BYTES) -> None:
    """A home of so many bytes whose crewd was killed: how long until the next one answers."""
    home = folder / "big"
    home.mkdir(mode=0o700)
    direct, run = Direct(home / "crewd.db"), 0
    while sum(path.stat().st_size for path in home.glob("crewd.db*")) < size:
        run += 1
        key = f"r_{run}"
        direct.write(
            Draft(ev.RunCreated(name=key, goal="", cwd="/", workflow=FLOW), key),
            Draft(ev.AttemptReserved(directory="/"), key, f"{key}/s", 1),
            *(
                Draft(ev.OperationOpened(id=f"{run}:{number}", kind="tool", name="x" * 1_000), key, f"{key}/s", 1)
                for number in range(1_000)
            ),
            Draft(ev.RunStarted(), key),
            Draft(ev.RunEnded(status=RunStatus.COMPLETED), key),
        )
    direct.close()
    with Daemon(home) as daemon:
        with daemon.connect() as crew:
            crew.call("bench.jobs:idle", cwd=str(Path(__file__).resolve().parent.parent))
        daemon.kill()
        begin = time.perf_counter()
        daemon.start()
        seconds = time.perf_counter() - begin
        mib = sum(path.stat().st_size for path in home.glob("crewd.db*")) >> 20
        print(f"a home of {mib:,} MiB, {run:,} runs: crewd answers {seconds:.2f} s after a kill -9", flush=True)


def progress(folder: Path) -> None:
    """What a thousand signs of progress of one worker cost: all of them as events, and sampled and coalesced."""
    print("1,000 signs of progress of one worker, one after the other")
    for name, sampled in (("each an event, committed by itself", False), ("crewd: sampled and coalesced", True)):
        direct, sampler = Direct(folder / f"progress-{sampled}.db"), Sampler()
        direct.write(
            Draft(ev.RunCreated(name="p", goal="", cwd="/", workflow=FLOW), "r_1"),
            Draft(ev.AttemptReserved(directory="/"), "r_1", "r_1/s", 1),
        )
        before, events = written(), 0
        for number in range(1_000):
            sample, _ = sampler.take(number, 1_000, "note", "")
            if not sampled or sample is not None:
                body = ev.ProgressSampled(count=number + 1, done=number, total=1_000, note="note", report=number + 1)
                direct.write(Draft(body, "r_1", "r_1/s", 1, "", "worker"))
                if not sampled:
                    direct.flush()
                events += 1
        direct.flush()
        print(f"  {name:<40} {events:>5} events, {written() - before:>10,} bytes written", flush=True)
        direct.close()


def masking() -> None:
    """How fast secrets are looked for."""
    print("redaction")
    for name, text in (
        ("ordinary output", "a plain line of some output without much in it\n" * 20_000),
        (
            "a name of a secret in each 50th line",
            ("a plain line of some output without much in it\n" * 49 + "token=abc123def\n") * 400,
        ),
        ("words like token in each line", "the author wrote 512 tokens, and the key is patience\n" * 15_000),
    ):
        seconds = timed(lambda text=text: redact(text), 3) / 1e3  # type: ignore[misc]
        print(f"  {name:<40} {len(text) / seconds / 1e6:>6.1f} MB/s", flush=True)


def store(*, quick: bool = False) -> None:
    """All of it."""
    with tempfile.TemporaryDirectory(prefix="crewd-bench-") as name:
        folder = Path(name)
        rates(folder)
        progress(folder)
        masking()
        long_run(folder, LONG_RUN // 10 if quick else LONG_RUN)
        big_home(folder, BIG_HOME_BYTES // 10 if quick else BIG_HOME_BYTES)


if __name__ == "__main__":
    import sys

    store(quick="--quick" in sys.argv)
