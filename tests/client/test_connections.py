"""What becomes of calls and watches when crewd goes, a client is closed or dropped, or a run is opened again."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from crewd.client import aio
from crewd.client.blocking import Crew, RunHandle
from crewd.client.shapes import exec_workflow
from crewd.model.errors import DaemonUnreachable, DeadlineExceeded, UsageError
from crewd.model.events import RunEnded
from crewd.protocol import requests as rq
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

pytestmark = pytest.mark.process
GHOST = rq.StartRun(workflow=exec_workflow(["true"]), cwd="/", name="ghost")
SOON = 1.0


def names(daemon: Daemon) -> list[str]:
    """Of all runs, after one more that was certainly asked for later."""
    with daemon.connect() as crew:
        crew.exec(["true"], cwd="/", name="again").wait(timeout=120)
        return sorted(run.name for run in crew.runs(all=True).runs)


def test_what_nobody_heard_is_not_done_later(daemon: Daemon) -> None:
    with daemon.connect() as crew:
        daemon.kill()
        with pytest.raises(DaemonUnreachable):
            crew._connection.request(GHOST, 60.0, SOON)
        daemon.start()
        crew.exec(["true"], cwd="/", name="mine").wait(timeout=120)
        assert names(daemon) == ["again", "mine"]


def test_what_nobody_heard_of_an_async_client_is_not_done_later(daemon: Daemon) -> None:
    async def story() -> None:
        async with aio.connect(str(daemon.home.root), start=False) as crew:
            daemon.kill()
            with pytest.raises(DaemonUnreachable):
                await crew._ask(GHOST, 60.0, SOON)
            await asyncio.to_thread(daemon.start)
            run = await crew.exec(["true"], cwd="/", name="mine")
            await run.wait(timeout=120)

    asyncio.run(story())
    assert names(daemon) == ["again", "mine"]


def test_a_closed_client_tells_the_thread_that_waits(daemon: Daemon) -> None:
    crew = daemon.connect()
    run = crew.exec(["sleep", "1000"], cwd="/")
    told: list[BaseException] = []

    def wait() -> None:
        try:
            run.wait(timeout=120)
        except UsageError as error:
            told.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: crew._connection.talk.open, "the thread to wait")
    crew.close()
    thread.join(60)
    assert [str(error) for error in told] == ["this client is closed (connect another one)"]


def test_a_closed_async_client_tells_whoever_waits_and_watches(daemon: Daemon) -> None:
    async def story() -> list[object]:
        async with aio.connect(str(daemon.home.root), start=False) as crew:
            run = await crew.exec(["sleep", "1000"], cwd="/")

            async def watch() -> None:
                async for _ in run.watch():
                    watches.set()

            watches = asyncio.Event()
            waits = [asyncio.create_task(run.wait(timeout=600)), asyncio.create_task(watch())]
            await watches.wait()
        return list(await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 60))

    assert [str(error) for error in asyncio.run(story())] == ["this client is closed (connect another one)"] * 2


BLOCKING = "crew = crewd.connect(sys.argv[1], start=False)\nerror = ValueError(crew)\nerror.me = error\ndel crew, error\n"
ASYNC = (
    "async def main():\n    crew = await crewd.aio.connect(sys.argv[1], start=False)\n    await crew.runs()\n"
    "asyncio.run(main())\n"
)


@pytest.mark.parametrize("code", [BLOCKING, ASYNC], ids=["blocking", "async"])
def test_a_client_that_was_dropped_holds_up_nothing(daemon: Daemon, code: str) -> None:
    program = f"import asyncio, gc, sys, crewd, crewd.aio\n{code}gc.collect()\nprint('over')\n"
    command = [sys.executable, "-c", program, str(daemon.home.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")
    gc.collect()


def in_order(look: Callable[[RunHandle], int], run: RunHandle, crew: Crew) -> None:
    """Each way of watching ends after the same number of events, and none at an end that was taken back."""
    assert look(run) == len(list(crew.events(run.id)))


def watched(run: RunHandle) -> int:
    return len(list(run.watch(progress=False)))


def followed(run: RunHandle) -> int:
    return len(list(run.events(follow=True)))


@pytest.mark.parametrize("look", [watched, followed])
def test_a_run_that_was_opened_again_is_watched_to_its_last_end(
    crew: Crew, tmp_path: Path, look: Callable[[RunHandle], int]
) -> None:
    flag, go = tmp_path / "flag", tmp_path / "go"
    script = f"test -e {flag} && while ! test -e {go}; do sleep 0.1; done; touch {flag}; exit 3"
    run = crew.exec(["sh", "-c", script], cwd="/")
    run.wait(timeout=120)
    in_order(look, run, crew)
    crew.retry(run.id)
    seen = 0
    for event in run.watch(progress=False):
        seen += 1
        if isinstance(event.body, RunEnded):  # type: ignore[union-attr]  # there are no samples
            go.touch()  # the first end is an old one
    assert seen == len(list(crew.events(run.id)))
    in_order(look, run, crew)


def test_nothing_follows_the_end_of_a_run(crew: Crew) -> None:
    run = crew.exec(["true"], cwd="/")
    run.wait(timeout=120)
    (end,) = crew.events(run.id, types=("run.ended",))
    for after in (end.seq, end.seq + 1, run.show().seq, 1 << 40):
        assert list(run.watch(after=after)) == []
        assert list(crew.watch(f"{run.id}/true", after=after)) == []
    assert next(run.events(after=end.seq - 1, follow=True)).seq == end.seq
    with pytest.raises(UsageError, match="labels choose among all runs"):
        list(crew.watch(run.id, labels={"a": "b"}))


def test_what_is_no_message_is_refused_before_it_is_kept(crew: Crew) -> None:
    for request in ("x", None):
        with pytest.raises(UsageError, match="is no message"), crew.send_once(request):  # type: ignore[arg-type]
            pass
    with pytest.raises(UsageError, match="is not UTF-8"), crew.send_once(rq.Send("r", "steer", text="\ud800")):
        pass
    assert crew.outbox.left() == []


def test_an_error_about_a_message_has_its_receipt(crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:listen", cwd=jobs_dir)
    with pytest.raises(DeadlineExceeded) as late:
        run.follow_up("later", wait="settled", timeout=0.2)
    assert late.value.receipt is not None
    assert late.value.receipt.settled_at is None
    run.cancel(mode="now")
