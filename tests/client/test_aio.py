from __future__ import annotations

import asyncio
import time

import pytest

import crewd
from crewd import aio
from crewd.client.calls import SILENCE_SECONDS
from crewd.model.errors import DaemonUnreachable
from crewd.model.events import RunEnded
from crewd.model.rows import Progress
from crewd.testing import Daemon

pytestmark = pytest.mark.process


def test_the_async_client_does_the_same_and_waits_for_several_things_at_once(daemon: Daemon, jobs_dir: str) -> None:
    async def story() -> None:
        async with await aio.connect(str(daemon.home.root), start=False) as crew:
            run = await crew.call("jobs:listen", cwd=jobs_dir)
            waiting = asyncio.create_task(run.result(timeout=120))

            async def watch() -> list[str]:
                return [item.type async for item in crew.watch(run.id) if not isinstance(item, Progress)]

            watching = asyncio.create_task(watch())
            assert (await run.steer("one", wait="applied")).applied_at
            await run.follow_up("later")
            await run.steer("stop")
            assert await waiting == ["one", "stop", "follow_up:later"]
            types = await asyncio.wait_for(watching, 30)
            assert types[0] == "run.created"
            assert types[-1] == str(RunEnded.__struct_config__.tag)
            other = await crew.exec(["sleep", "100"])
            reply = await other.cancel(mode="now")
            assert reply is not None
            assert reply.verified

    asyncio.run(story())


def test_who_waits_briefly_waits_briefly_for_a_crewd_that_is_gone(daemon: Daemon) -> None:
    async def seconds(crew: crewd.Crew, other: aio.Crew, run: str) -> float:
        begun = time.monotonic()
        for wait in (asyncio.to_thread(crew.wait, run, timeout=0.5), other.wait(run, timeout=0.5)):
            with pytest.raises(DaemonUnreachable):
                await wait
        return time.monotonic() - begun

    async def both() -> float:
        async with aio.connect(daemon.home.root, start=False) as other:
            with daemon.connect() as crew:
                run = crew.exec(["sleep", "60"])
                daemon.kill()
                return await seconds(crew, other, run.id)

    assert asyncio.run(both()) < 2 * SILENCE_SECONDS  # so long as both would wait in all


def test_nobody_there_is_an_error(home: object) -> None:
    async def story() -> None:
        with pytest.raises(DaemonUnreachable):
            await aio.connect(f"{home}/none", start=False)

    asyncio.run(story())
