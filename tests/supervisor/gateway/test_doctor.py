"""A doctor is answered, and a cancel carried out, also while the reader hangs."""

from __future__ import annotations

import pytest

from crewd.actors import Actor, AnyActor, ChildSpec
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.store.reader import Reader
from crewd.supervisor.gateway.doctor import crashing
from crewd.testing import Scheduler
from crewd.testing.world import Plan, World
from crewd.testing.world.incarnation import WorldScheduler
from tests.waits import go_until


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """One whose readers do nothing any more once a worker is at work."""
    world, schedule = World(), WorldScheduler.schedule
    world.client("ben")
    world.start(world.client("ann"), "long", {"a": (Plan(steps=3, step_seconds=36_000.0), ())})
    go_until(world, lambda: any(worker.runnable() or worker.speaks() for worker in world.workers))
    world.go(50)

    def without_readers(scheduler: WorldScheduler, actor: AnyActor) -> None:
        if not isinstance(actor, Reader):
            schedule(scheduler, actor)

    monkeypatch.setattr(WorldScheduler, "schedule", without_readers)
    return world


def test_the_doctor_says_that_the_reader_hangs(world: World) -> None:
    client = world.clients[0]
    asked_at, key = world.clock.now, client.ask(rq.Doctor())
    go_until(world, lambda: key in client.answers)
    reply = client.answers[key]
    assert isinstance(reply, rl.DoctorReply)
    assert not reply.healthy
    assert any("the reader has not answered" in finding for finding in reply.findings)
    assert world.clock.now - asked_at < 6.0


class Breaks(Actor[str]):
    def receive(self, message: str) -> None:
        raise ValueError(message)


def test_an_actor_that_crashes_again_and_again_is_told_of() -> None:
    scheduler, told = Scheduler(), list[list[str]]()
    for incarnation in range(4):
        ref = scheduler.system.spawn(ChildSpec("r_1", Breaks), None, incarnation)
        ref.offer("password=Lq8ZrTe4bNc1XwYd7Kf2")
        scheduler.settle()
        told.append(crashing(scheduler.system))
    assert [len(each) for each in told] == [0, 0, 1, 1], "once is nothing: it has begun again"
    assert "actor r_1 has crashed 4 times in 60 s" in told[3][0]
    assert "ValueError" in told[3][0]
    assert "Lq8Z" not in told[3][0]
    scheduler.clock.now += 61.0
    assert crashing(scheduler.system) == []


def test_a_cancel_by_name_ends_the_worker(world: World) -> None:
    world.clients[1].ask(rq.Cancel(target="long", mode="now", wait=False))
    go_until(world, lambda: not any(not process.dead for process in world.processes.table.values()))
