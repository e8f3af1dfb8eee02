"""Numbers of clients and workers: whatever they are, nothing breaks, and nothing is kept that cannot be read again."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import msgspec
import msgspec.inspect as mi
import pytest

from crewd.client import keeping
from crewd.client.blocking import Crew
from crewd.client.shapes import one_step
from crewd.model.errors import UsageError
from crewd.model.workflow import WorkerSpec
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.protocol import reports as rp
from crewd.protocol import requests as rq
from crewd.protocol.bootstrap import Bootstrap
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.hostile.wire import Place, Speaker, least, numbers, put

pytestmark = pytest.mark.process
EXTREMES = (math.nan, math.inf, -math.inf, 1e308, -1e308, 2**64 - 1, 2**63, -(2**63), 2**53 + 1, -1, 0)
UNTRIED = frozenset({"hello", "stop_daemon", "resume_daemon", "doctor"})


def numbers_of(body: type) -> Iterator[tuple[Place, mi.Type]]:
    yield from dict(numbers(mi.type_info(body))).items()


def still_sound(crew: Crew, folder: Path) -> None:
    """What was kept can be folded, read and backed up."""
    wait_until(lambda: crew.doctor().findings == (), "everything that was started to be dealt with", seconds=180.0)
    assert crew.doctor(rebuild=True).findings == ()
    for run in crew.runs(all=True).runs:
        crew.show(run.id)
        list(crew.events(run.id))
    keeping.backup(crew, folder / "backup")


def test_no_number_of_a_client_breaks_anything(daemon: Daemon, crew: Crew, tmp_path: Path) -> None:
    run = crew.exec(["sleep", "1000"], cwd="/")
    given = {
        "target": run.id, "task": f"{run.id}/sleep", "id": "m_" + "0" * 26, "token": "t" * 32, "cwd": "/", "text": "x",
        "workflow": msgspec.to_builtins(one_step("s", WorkerSpec(argv=("true",)))),
    }  # fmt: skip
    codes = set()
    with Speaker(daemon.home.clients_endpoint) as speaker:
        speaker.say("hello", "hello", {"owner": "attacker", "key": "k" * 64})
        speaker.hear()
        count = 0
        for kind, body in rq.REQUESTS.items():
            info = mi.type_info(body)
            for place, _ in numbers_of(body) if kind not in UNTRIED else ():
                for value in EXTREMES:
                    count += 1
                    speaker.say(kind, str(count), put(least(info, given), place, value, info, given))
                    reply = speaker.replies(str(count))
                    codes.add(reply.error.code if isinstance(reply, rl.ErrorReply) else "")
                    assert "internal" not in codes, (kind, place, value, reply)
    assert count > 300
    run.cancel(mode="now", force=True, intent="the test is over")
    for each in crew.runs().runs:
        crew.cancel(each.id, mode="now", force=True, intent="the test is over")
    still_sound(crew, tmp_path)


def test_no_number_of_a_worker_breaks_anything(daemon: Daemon, crew: Crew, tmp_path: Path) -> None:
    spec = WorkerSpec(argv=("sleep", "1000"), protocol="crewd")
    run = crew.run(one_step("evil", spec), cwd="/")
    wait_until(lambda: [each for each in run.show().attempts if each.pid], "the worker")
    bootstrap = None

    def read() -> Bootstrap | None:
        nonlocal bootstrap
        for each in daemon.home.root.rglob("bootstrap*"):
            with contextlib.suppress(msgspec.DecodeError, FileNotFoundError):  # it is being written
                bootstrap = msgspec.msgpack.decode(each.read_bytes(), type=Bootstrap)
        return bootstrap

    wait_until(read, "its bootstrap")
    assert bootstrap is not None
    taken, refused = 0, list[str]()
    with Speaker(bootstrap.endpoint) as speaker:
        hello = rp.WorkerHello(task=bootstrap.task, epoch=bootstrap.epoch, token=bootstrap.token, pid=1)
        speaker.say("hello", "", hello)
        speaker.hear()
        given = {"id": "q_" + "0" * 26, "outcome": "done"}
        for body in rp.ReportBody.__args__:
            info = mi.type_info(body)
            for place, _ in numbers_of(body) if body is not rp.Outcome else ():
                for value in EXTREMES:
                    said = put(least(info, given), place, value, info, given)
                    speaker.say("reports", "", {"reports": [{"number": taken + 1, "body": said}]})
                    answer = codec.to_worker.decode(speaker.hear()).body
                    taken += isinstance(answer, rp.Ack)
                    refused += [answer.error.message] if isinstance(answer, rp.WorkerError) else []
                    assert isinstance(answer, rp.Ack | rp.WorkerError), (body, place, value, answer)
        for value in EXTREMES:
            speaker.say("heartbeat", "", {"beats": value})
            speaker.say("progress", "", {"done": value, "total": value})
        assert min(taken, len(refused)) > 10, set(refused)
        outcome = {"type": "outcome", "outcome": "completed", "result": {"deep": [math.nan]}}
        speaker.say("reports", "", {"reports": [{"number": taken + 1, "body": outcome}]})
        heard = codec.to_worker.decode(speaker.hear()).body
        while not isinstance(heard, rp.WorkerError) or "holds a number" not in heard.error.message:
            heard = codec.to_worker.decode(speaker.hear()).body
        crew.doctor()
    run.cancel(mode="now", force=True, intent="the test is over")
    still_sound(crew, tmp_path)


def test_who_sends_what_is_no_number_hears_so_in_the_own_line(crew: Crew) -> None:
    with pytest.raises(UsageError, match="NaN"):
        crew.call("jobs:add", {"a": math.nan, "b": 1})
    run = crew.exec(["sleep", "1000"], cwd="/")
    for wrong in (math.nan, math.inf, 1e300, -1.0):
        with pytest.raises(UsageError):
            run.steer("x", deadline=wrong)
    with pytest.raises(UsageError):
        crew.wait("x" * 70_000, timeout=1)
    run.cancel(mode="now")
