"""Peers that would be somebody else: by an identity, a name, a parent, or without saying who they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewd.client.blocking import Crew, RunHandle, connect
from crewd.client.shapes import one_step
from crewd.model.errors import Forbidden, UsageError
from crewd.model.ids import marker
from crewd.model.rights import Role
from crewd.model.terms import Terms
from crewd.model.workflow import WorkerSpec
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.protocol import reports as rp
from crewd.protocol import requests as rq
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.hostile.wire import Speaker

pytestmark = pytest.mark.process
KEY = "k" * 64


def test_the_identity_of_one_that_has_gone_opens_nothing(daemon: Daemon) -> None:
    with Speaker(daemon.home.clients_endpoint, b"chosen") as speaker:
        speaker.say("hello", "1", {"owner": "me", "key": KEY})
        refused = speaker.replies("1")
        assert isinstance(refused, rl.ErrorReply)
        assert (refused.error.code, "identity" in refused.error.message) == ("malformed", True)
    with Speaker(daemon.home.workers_endpoint, b"chosen") as speaker:
        speaker.say("hello", "", {"task": "x", "epoch": 1, "token": "x", "pid": 1})
        answer = codec.to_worker.decode(speaker.hear()).body
        assert isinstance(answer, rp.WorkerError)
        assert answer.error.code == "malformed"
    for _ in range(3):  # each connection is nobody until it has said hello
        with Speaker(daemon.home.clients_endpoint) as speaker:
            speaker.say("inbox", "2", {})
            nobody = speaker.replies("2")
            assert isinstance(nobody, rl.ErrorReply)
            assert nobody.error.code == "unavailable"
            speaker.say("hello", "1", {"owner": "me", "key": KEY})
            assert isinstance(speaker.replies("1"), rl.Welcome)


def token_of(run: RunHandle) -> str:
    """What the worker's own process has in its environment."""
    found: list[str] = []

    def look() -> bool:
        environment = Path(f"/proc/{run.show().attempts[-1].pid}/environ").read_text().split("\0")
        found.extend(each.partition("=")[2] for each in environment if each.startswith("CREWD_PARENT_TOKEN="))
        return bool(found)

    wait_until(look, "its environment")
    return found[0]


def test_a_worker_is_named_as_parent_by_its_owner_and_by_its_own_processes(
    daemon: Daemon, crew: Crew, jobs_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = crew.exec(["sh", "-c", "echo token=$CREWD_PARENT_TOKEN; exec sleep 1000"], cwd="/")
    wait_until(lambda: run.show().attempts and run.show().attempts[-1].pid, "the worker")
    with connect(str(daemon.home.root), start=False, name="other") as other:
        monkeypatch.setenv("CREWD_WORKER", marker(daemon.home.key, f"{run.id}/sh", 1))
        for token in ("", "guess", "é"):
            monkeypatch.setenv("CREWD_PARENT_TOKEN", token)
            with pytest.raises(Forbidden, match="belongs to"):
                other.exec(["true"], cwd="/")
        monkeypatch.setenv("CREWD_PARENT_TOKEN", token_of(run))
        child = other.exec(["sleep", "1000"], cwd="/")
        assert child.show().run.parent == f"{run.id}/sh#1"
    monkeypatch.delenv("CREWD_PARENT_TOKEN")
    assert crew.exec(["true"], cwd="/").show().run.parent == f"{run.id}/sh#1"
    monkeypatch.delenv("CREWD_WORKER")
    run.cancel(mode="now")
    wait_until(lambda: crew.show(child.id).run.status == "cancelled", "the child to end with its parent")


def test_a_worker_of_another_s_is_started_again_by_force_only(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:listen", cwd=jobs_dir)
    run.steer("stop")
    run.wait(timeout=120)
    start = Terms(on_idle="start")
    with connect(str(daemon.home.root), start=False, name="other") as other:
        with pytest.raises(Forbidden, match="belongs to"):
            other.send("follow_up", run.id, "again", terms=start)
        with pytest.raises(UsageError, match="say why"):
            other.send("follow_up", run.id, "again", terms=start, force=True)
        assert len(run.show().attempts) == 1
        other.send("follow_up", run.id, "again", terms=start, force=True, intent="its owner is away")
    wait_until(lambda: len(run.show().attempts) == 2, "another attempt")
    run.cancel(mode="now")


@pytest.mark.usefixtures("daemon")
def test_no_run_is_called_like_the_id_of_another(crew: Crew) -> None:
    run = crew.exec(["true"], cwd="/")
    for name in (run.id, run.id[:10], run.id.upper(), "m_0123", "q_01m8b8g8n2e00ayawxr9ja8mcp"):
        with pytest.raises(UsageError, match="looks like an id"):
            crew.run(one_step("s", WorkerSpec(argv=("true",))), cwd="/", name=name)
    assert crew.run(one_step("s", WorkerSpec(argv=("true",))), cwd="/", name="r_squared").show().run.name == "r_squared"


def test_who_only_looks_writes_nothing(daemon: Daemon, crew: Crew) -> None:
    wait_until(lambda: crew.doctor().counts["events"], "crewd to have recorded its start")
    before = crew.doctor().counts["events"]
    with Speaker(daemon.home.clients_endpoint) as speaker:
        speaker.say("hello", "1", {"owner": "nobody"})
        speaker.replies("1")
        for number, (kind, request) in enumerate(rq.REQUESTS.items(), 2):
            if request.role > Role.OBSERVE:
                speaker.say(kind, str(number), {})
                refused = speaker.replies(str(number))
                assert isinstance(refused, rl.ErrorReply)
                assert refused.error.code in {"forbidden", "malformed"}, kind
        speaker.say("seen", "99", {"upto": 3})
        seen = speaker.replies("99")
        assert isinstance(seen, rl.ErrorReply)
        assert seen.error.code == "forbidden"
    assert crew.doctor().counts["events"] == before
