"""The simulated world itself: it can be repeated, it finds planted mistakes, and what it found once stays found."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crewd.model.events import AttemptSignalled, RunHookRan
from crewd.model.hooks import HookRun
from crewd.model.ids import MESSAGE
from crewd.model.rows import AttemptRow, MessageRow, RunRow
from crewd.model.statuses import AttemptStatus, RunStatus
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.supervisor.directory import FRONT
from crewd.testing.world import FLAKY, NONE, Faults, LawBroken, Plan, World
from crewd.testing.world.client import SimClient
from crewd.testing.world.faults import DAYS
from crewd.testing.world.hunt import BrokenLaw, shrink, try_out
from crewd.testing.world.play import Move, draw, play
from tests.waits import go_until


def digest(seed: int) -> str:
    return hashlib.sha256(play(seed, draw(seed), FLAKY).log_bytes()).hexdigest()


@pytest.mark.parametrize("seed", [3, 11])
def test_the_same_seed_gives_the_same_log_byte_for_byte(seed: int) -> None:
    assert digest(seed) == digest(seed)


@pytest.mark.long
@pytest.mark.process
def test_also_in_another_process_with_another_hash_seed() -> None:
    code = (
        "import hashlib; from crewd.testing.world import FLAKY; from crewd.testing.world.play import draw, play;"
        "print(hashlib.sha256(play(7, draw(7), FLAKY).log_bytes()).hexdigest())"
    )
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert shown.stdout.strip() == digest(7)


def test_another_seed_gives_another_order() -> None:
    traces = {play(seed, draw(0), NONE).trace for seed in range(5)}
    assert len(traces) == 5


def test_time_jumps_and_a_run_ends() -> None:
    world = World()
    client = world.client("ann")
    key = world.start(client, "long", {"a": (Plan(steps=3, step_seconds=3600.0), ()), "b": (Plan(), ("a",))})
    world.go(20_000)
    assert isinstance(client.answers[key], rl.RunReply)
    (run,) = world.disk.now[RunRow].values()
    assert run.status is RunStatus.COMPLETED
    assert world.clock.now > 10_000
    world.rest()


def test_a_fault_has_a_rate_and_a_wrong_one_is_refused() -> None:
    with pytest.raises(ValueError, match="lose"):
        Faults(lose=1.5)
    worlds = [play(seed, draw(seed), Faults(duplicate=1.0)) for seed in range(3)]
    assert sum(world.injected["duplicate"] for world in worlds) > 10


def test_a_law_that_is_broken_stops_the_world_where_it_is() -> None:
    world = World()
    client = world.client("ann")
    world.start(client, "one", {"a": (Plan(), ())})
    while not world.disk.now[RunRow]:
        world.go(1)
    row = next(iter(world.disk.now[RunRow].values()))
    world.laws._ended.add(row.id)
    with pytest.raises(LawBroken, match="nothing after it"):
        world.go(1_000)


def test_what_is_asked_again_is_done_once() -> None:
    world = World()
    client = world.client("ann")
    world.start(client, "one", {"a": (Plan(steps=100, step_seconds=5.0), ())})
    while not (rows := world.disk.now[AttemptRow]) or next(iter(rows.values())).status is not AttemptStatus.RUNNING:
        world.go(1)
    (run,) = world.disk.now[RunRow]
    told = rq.TellHooks(target=run, hooks=(HookRun("guard", "before_cancel", "allow"),), id=world.ids.next(MESSAGE))
    hooks, signal = client.ask(told), client.ask(rq.Signal(target=run, number=1))
    for _ in range(2):  # before it is answered, and after
        for key in (hooks, signal):
            assert client.link.send(codec.requests.encode(key, client.asked[key]))
        world.go(200)
    assert client.answers[hooks] == client.answers[signal] == rl.Done()
    world.kill_crewd()
    world.start_crewd()
    again = client.ask(told)
    world.go(400)
    assert client.answers[again] == rl.Done()
    happened = [type(event.body) for event in world.disk.events]
    assert (happened.count(RunHookRan), happened.count(AttemptSignalled)) == (1, 1)


def test_a_stop_that_is_taken_back_is_no_stop_at_whatever_moment() -> None:
    answered = set()
    idle, busy = [(0, steps) for steps in range(12)], [(1, steps) for steps in range(0, 400, 8)]
    for runs, steps in (*idle, *busy):  # a run ends meanwhile, and then crewd does
        world = World()
        world.asked_to_stop = True
        client = world.client("ann")
        world.go(200)
        if runs:
            world.start(client, "one", {"a": (Plan(steps=1), ())})
        while len(world.disk.now[AttemptRow]) < runs:
            world.go(1)
        client.ask(rq.StopDaemon(grace_seconds=1.0, mode="drain"))
        world.go(steps)
        resume = client.ask(rq.ResumeDaemon())
        world.go(1_500)
        taken_back = client.answers.get(resume) == rl.Done()
        answered.add(taken_back)
        lives = world.crewd is not None and world.crewd.services.directory.find(FRONT) is not None
        assert lives is taken_back, f"after {steps} steps"
    assert answered == {True, False}


def test_a_story_is_shrunk_to_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    from crewd.worker.desk import Desk

    monkeypatch.setattr(Desk, "next_follow_up", lambda desk: desk._follow_ups.pop() if desk._follow_ups else None)
    beside = [Move("show"), Move("news"), Move("subscribe")]
    messages = [Move("follow_up", {"text": text}) for text in "abc"]
    moves = [*beside, start("long"), *beside, *messages, *beside, go(2_000), *beside]
    broken = try_out(1, moves, NONE)
    assert broken is not None
    story = shrink(BrokenLaw(1, NONE, tuple(moves), broken))
    assert story.broken.law == "applied in order"
    assert len(story.moves) <= len(moves) // 2
    assert [move.verb for move in story.moves if move.verb in {"start", "follow_up"}][:3] == ["start", "follow_up", "follow_up"]


# -- what simulation found in crewd, each as the shortest story that showed it ----------------------------------------

kill, back = Move("kill_crewd"), Move("start_crewd")


def go(steps: int) -> Move:
    return Move("go", {"steps": steps})


def start(*plans: str, shape: str = "one") -> Move:
    return Move("start", {"shape": shape, "plans": plans})


STORIES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "stories.json").read_text())
"""Each: what was wrong, the seed, and the moves. They are kept as moves, because what a seed draws changes with the drawing."""


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story["wrong"].replace(" ", "_"))
def test_what_was_found_once_stays_found(story: dict[str, Any]) -> None:
    moves = [Move(verb, given) for verb, given in story["moves"]]
    play(story["seed"], moves, DAYS[story["faults"]])


def test_a_message_that_waits_for_its_run_reaches_the_worker_after_every_part_was_killed() -> None:
    moves: list[Any] = [start("longer", "slow_start", shape="chain"), go(80)]
    moves += [Move("steer", {"step": 1}), go(20), kill, back, Move("kill_guardian"), go(30), kill, back, go(3_000)]
    world = play(5, moves)
    (message,) = [row for row in world.disk.now[MessageRow].values() if row.receipt.kind != "group_join"]
    applied = [deliver.id for taken in world.witness.applied.values() for deliver in taken]
    assert message.receipt.settled
    assert (message.receipt.id in applied) is (message.receipt.applied_at is not None)


def test_the_worlds_code_is_the_daemons_own() -> None:
    """What runs in the world is imported from crewd's rooms, not written again: the tree, the session, the conversation."""
    source = "".join(path.read_text() for path in Path(crewd_world()).glob("*.py"))
    for name in (
        "root(self.services, ports",
        "Session(hello",
        "Conversation(name, key_of",
        "guard.looked(",
        "StreamCodec(",
    ):
        assert name in source


def test_a_whole_mailbox_fits_into_the_queue_of_a_worker() -> None:
    """Else a worker would be forgotten as too slow after every hello, for ever: the world found it with a small queue."""
    from crewd.model.limits import MAILBOX_MAX
    from crewd.supervisor.gateway.wire import HIGH_WATER_MARK

    assert HIGH_WATER_MARK > 3 * MAILBOX_MAX  # the messages, what is recalled of them, and their acks


def test_every_law_stands_in_the_docs() -> None:
    from crewd.testing.world.hunt import Count, hunt

    count = Count()
    assert hunt(0, lambda number: number < 20, count) is None
    written = (Path(__file__).parents[3] / "docs" / "laws.md").read_text()
    assert len(count.laws) > 30
    assert [law for law in count.laws if law not in written] == []
    assert set(count.injected) <= set(Faults.__struct_fields__)


def crewd_world() -> str:
    import crewd.testing.world

    return str(Path(crewd.testing.world.__file__).parent)


@pytest.mark.parametrize("seed", range(24, 32))
def test_a_new_run_takes_no_place_of_a_worker_that_lived_when_crewd_ended(seed: int) -> None:
    """A run that is asked for as soon as crewd is back was faster than those that were recalled (seed 403893)."""
    moves = (
        Move("start", {"shape": "fan", "plans": ("hanger",)}), Move("start", {"shape": "fan", "plans": ("hanger",)}),
        Move("go", {"steps": 60 + 2 * seed}), Move("stop", {"mode": "keep"}) if seed % 2 else Move("kill_crewd"),
        Move("start", {"shape": "fan", "plans": ("hanger",)}), Move("start_crewd"), Move("go", {"steps": 200}),
    )  # fmt: skip
    assert play(seed, moves).laws.checked["no more workers than places"] > 0


@pytest.mark.parametrize("seed", [7, 21, 30, 33, 34])
def test_news_that_were_seen_do_not_come_again_though_crewd_has_just_begun(seed: int) -> None:
    """What a client has seen was bounded by what a new crewd knew of, which is nothing at first (seed 410669)."""
    moves = (
        Move("start", {"shape": "one", "plans": ("plain",), "gate": "block"}), Move("start_crewd"), Move("go", {"steps": 150}),
        Move("news"), Move("go", {"steps": seed % 12}), Move("kill_crewd"), Move("start_crewd"), Move("go", {"steps": 60}),
        Move("news"), Move("go", {"steps": 60}),
    )  # fmt: skip
    assert play(seed, moves).laws.checked["news come until they were seen, and then not again"] > 0


@pytest.mark.parametrize("steps", [0, 5, 10, 20, 40])
def test_a_worker_may_start_runs_as_soon_as_crewd_is_back(steps: int) -> None:
    """Until its run was read again, crewd took a worker that lived for one that had ended, and refused its run for ever."""
    world = World()
    client = world.client("ann")
    world.start(client, "above", {"a": (Plan(steps=3, step_seconds=36_000.0), ())})
    go_until(world, lambda: any(worker.runnable() or worker.speaks() for worker in world.workers))
    world.go(50)
    task, epoch = world.workers[0].key
    world.kill_crewd()
    world.start_crewd()
    world.go(steps)
    world.start(client, "below", {"a": (Plan(steps=1), ())}, parent=f"{task}#{epoch}")
    go_until(world, lambda: not client.waiting())
    assert world.laws.checked["a worker that lives may start runs"] == 1
    assert {type(reply) for reply in client.answers.values()} == {rl.RunReply}


@pytest.mark.parametrize("seed", [0, 3, 7, 25])
def test_what_runs_below_use_counts_though_crewd_is_killed(seed: int) -> None:
    nest = Move("nest", {"which": 0, "plan": "spender"})
    moves = (
        Move("start", {"shape": "one", "plans": ("longer",), "gate": "shared_budget"}), go(80),
        nest, go(60), kill, back, go(20), nest, go(15 * (seed % 6)), kill, back, nest, go(400),
    )  # fmt: skip
    laws = play(seed, moves, FLAKY if seed % 2 else NONE).laws
    assert laws.checked["what is below a run counts"] > 0


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Messages of the errors that clients hear, also of those after which they ask again by themselves."""
    found: list[str] = []

    def heard(self: SimClient, frames: list[bytes]) -> None:
        body = codec.replies.decode(frames).body
        found.extend([body.error.message] if isinstance(body, rl.ErrorReply) else [])
        usual(self, frames)

    usual = SimClient.heard
    monkeypatch.setattr(SimClient, "heard", heard)
    return found


def test_what_comes_before_the_actor_of_a_new_run_waits_for_it(errors: list[str]) -> None:
    for seed in range(40):
        world = World(seed, NONE)
        client = world.client("ann")
        world.start(client, "one", {"a": (Plan(), ())})
        while not world.disk.now[RunRow]:
            world.go(1)
        run = next(iter(world.disk.now[RunRow]))
        for _ in range(8):
            world.send(client, "steer", f"{run}/a", "left")
            world.go(3)
        while client.waiting():
            world.go(1)
        world.rest()
    assert errors == []
