"""A worker that speaks the protocol itself and means harm: others' tokens, bodies that explode, reports that cannot be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from crewd.client.blocking import Crew, RunHandle
from crewd.model.errors import CrewdError
from crewd.model.statuses import RunStatus
from crewd.protocol import codec
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.hostile.wire import Speaker

pytestmark = pytest.mark.process


def papers(crew: Crew, path: Path) -> tuple[RunHandle, dict[str, Any]]:
    """A worker whose papers somebody else has: it does nothing itself."""
    command = f'cp "$CREWD_BOOTSTRAP" {path}.part; mv {path}.part {path}; exec sleep 30'
    run = crew.exec(["sh", "-c", command], cwd="/", protocol="crewd")
    wait_until(path.exists, "the papers")
    return run, msgspec.msgpack.decode(path.read_bytes())


@pytest.fixture
def speaker(daemon: Daemon) -> Iterator[Speaker]:
    with Speaker(daemon.home.workers_endpoint) as made:
        yield made


def hello(of: dict[str, Any], **other: object) -> dict[str, object]:
    return {
        "task": of["task"],
        "epoch": of["epoch"],
        "token": of["token"],
        "pid": 1,
        "capabilities": [],
        "software": "x",
        **other,
    }


def heard(speaker: Speaker, kind: str) -> Any:
    """The body of the next message of this kind."""
    while True:
        frames = speaker.hear()
        if frames[1].decode() == kind:
            return msgspec.msgpack.decode(frames[3])


@pytest.mark.usefixtures("daemon")
def test_a_token_opens_its_own_door_only(crew: Crew, speaker: Speaker, tmp_path: Path) -> None:
    first, mine = papers(crew, tmp_path / "a")
    second, theirs = papers(crew, tmp_path / "b")
    wrong = [
        hello(mine, token=theirs["token"]), hello(theirs, token=mine["token"]), hello(mine, epoch=2), hello(mine, epoch=0),
        hello(mine, token=""), hello(mine, task="../../x"), hello(mine, task="*"), hello(mine, token=mine["token"] + "x"),
    ]  # fmt: skip
    for body in wrong:
        speaker.say("hello", "", body)
        assert heard(speaker, "error")["error"]["code"] in {"not_permitted", "not_found", "malformed", "usage"}
    speaker.say("reports", "r", {"reports": [{"number": 1, "body": {"type": "outcome", "outcome": "completed", "result": 1}}]})
    assert heard(speaker, "error")["error"]["code"] in {"unavailable", "not_permitted"}
    assert first.show().run.ended_at is None
    assert second.show().run.ended_at is None
    first.cancel(mode="now")
    second.cancel(mode="now")


@pytest.mark.usefixtures("daemon")
def test_bodies_that_explode_are_refused_and_the_worker_can_go_on(crew: Crew, speaker: Speaker, tmp_path: Path) -> None:
    run, mine = papers(crew, tmp_path / "a")
    speaker.say("hello", "", hello(mine))
    heard(speaker, "welcome")
    ends = b"\x81\xa7reports\x91\x82\xa6number\x01\xa4body\x82\xa4type\xa7outcome\xa6result"
    bombs = [
        b"\x91" * 900_000, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc7\x01\x05\x00", b"",
        b"\xc1", ends + b"\x91" * 500_000 + b"\xc0", ends + b"\x81\x91\x01\x01", ends + b"\xd6\x01\x00\x00\x00\x00",
        ends + b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\x82\xa7reports\x90\xa7reports\xc0",
    ]  # fmt: skip
    for body in bombs:
        speaker.socket.send_multipart([codec.HEADER, b"reports", b"b", body])
        assert heard(speaker, "error")["error"]["code"] == "malformed"
    speaker.say("reports", "1", {"reports": [{"number": 1, "body": {"type": "outcome", "outcome": "completed", "result": 42}}]})
    assert heard(speaker, "ack")["upto"] == 1
    run.wait(timeout=120)
    assert run.result(timeout=120) == 42


@pytest.mark.usefixtures("daemon")
def test_reports_of_what_never_was_and_replays_change_nothing(crew: Crew, speaker: Speaker, tmp_path: Path) -> None:
    run, mine = papers(crew, tmp_path / "a")
    other = crew.exec(["cat"], cwd="/", stdin="lines")
    receipt = other.steer("theirs", wait="accepted")
    speaker.say("hello", "", hello(mine))
    heard(speaker, "welcome")
    never = "m_" + "0" * 26
    bodies: list[dict[str, object]] = [
        {"type": kind, "id": each, **more}
        for each in (never, receipt.id)
        for kind, more in (
            ("delivered", {}), ("applied", {}), ("settled", {"outcome": "refused"}), ("returned", {"outcome": "withdrawn"}),
            ("read", {}),
            ("op_closed", {"outcome": "done"}), ("ask_over", {"outcome": "answered", "answered_by": each}),
        )
    ]  # fmt: skip
    for number, body in enumerate(bodies, 1):
        speaker.say("reports", str(number), {"reports": [{"number": number, "body": body}]})
    while heard(speaker, "ack")["upto"] < len(bodies):
        pass
    for _ in range(200):
        speaker.say("reports", "again", {"reports": [{"number": 1, "body": {"type": "outcome", "outcome": "failed"}}]})
        speaker.say("reports", "hole", {"reports": [{"number": 1 << 62, "body": {"type": "outcome", "outcome": "failed"}}]})
    assert heard(speaker, "ack")["upto"] == len(bodies)
    assert run.show().run.status is RunStatus.RUNNING
    assert crew.receipt(receipt.id).outcome != "refused"
    other.cancel(mode="now")
    assert run.cancel(mode="now").verified


@pytest.mark.parametrize(
    "words",
    [b"\x91" * 900_000, b"\xc1", b"\xdd\xff\xff\xff\xff",
     b"\x91\x82\xa6number\x01\xa4body\x82\xa4type\xa7outcome\xa6result" + b"\x91" * 900_000]
)  # fmt: skip
def test_unsent_reports_that_are_none_are_passed_over(daemon: Daemon, crew: Crew, words: bytes) -> None:
    run = crew.exec(["sh", "-c", "sleep 30 & wait"], cwd="/")
    wait_until(lambda: any(each.ready_at for each in run.show().attempts), "the worker")
    directory = Path(run.show().attempts[-1].directory)
    (directory / "unsent_reports").write_bytes(words)
    psutil.Process(run.show().attempts[-1].pid).kill()
    run.wait(timeout=120)
    assert run.show().run.status is RunStatus.FAILED
    assert crew.exec(["echo", "fine"], cwd="/").result(timeout=120) == "fine"


@pytest.mark.usefixtures("daemon")
def test_a_result_that_lies_elsewhere_is_not_shown(crew: Crew, speaker: Speaker, tmp_path: Path) -> None:
    precious = tmp_path / "precious.json"
    precious.write_text('"what nobody may see"')
    for number, said in enumerate([str(precious), "/etc/hostname", "../../../../../etc/hostname", "result.json"]):
        run, mine = papers(crew, tmp_path / f"papers{number}")
        path = said
        if said == "result.json":
            path = mine["directory"] + "/result.json"
            Path(path).symlink_to(precious)
        speaker.say("hello", "", hello(mine))
        heard(speaker, "welcome")
        body = {"type": "outcome", "outcome": "completed", "result_path": path}
        speaker.say("reports", "1", {"reports": [{"number": 1, "body": body}]})
        while speaker.socket.poll(3_000):
            if speaker.hear()[1] in {b"ack", b"error"}:
                break
        with contextlib.suppress(CrewdError):
            run.cancel(mode="now", timeout=120)
        with contextlib.suppress(CrewdError):
            assert "nobody may see" not in str(run.result(timeout=120)), path
        assert "nobody may see" not in str(run.show())
