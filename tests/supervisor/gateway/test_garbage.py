"""Whatever arrives at the two sockets: a typed error, nothing changed, and everybody else is served."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
import zmq

from crewd.client.blocking import Crew
from crewd.clock import SystemChance, SystemClock
from crewd.model.ids import IdSource
from crewd.model.rights import Role
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.protocol import reports as rp
from crewd.protocol import requests as rq
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until

pytestmark = pytest.mark.process


class Raw:
    def __init__(self, endpoint: str, identity: bytes = b"") -> None:  # a peer that chooses its identity is refused
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        if identity:
            self.socket.setsockopt(zmq.IDENTITY, identity)
        self.socket.connect(endpoint)

    def ask(self, *frames: bytes) -> list[bytes]:
        self.socket.send_multipart(frames)
        assert self.socket.poll(10_000), "no answer"
        return self.socket.recv_multipart()

    def error(self, *frames: bytes) -> str:
        reply = codec.replies.decode(self.ask(*frames)).body
        assert isinstance(reply, rl.ErrorReply)
        return reply.error.code

    def close(self) -> None:
        self.socket.close(0)
        self.context.term()


def test_clients_that_break_the_rules_hear_which(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    wait_until(lambda: crew.doctor().counts["events"], "the start to be recorded")
    before = crew.doctor().counts["events"]
    raw = Raw(daemon.home.clients_endpoint)
    header = codec.HEADER
    assert raw.error(b"nonsense") == "malformed"
    assert raw.error(header, b"inbox", b"1", b"\x80") == "unavailable"
    assert raw.error(header, b"inbox", b"", b"\x80") == "malformed"
    raw.ask(*codec.requests.encode("hello", rq.Hello(owner="me", key="k" * 64)))
    assert raw.error(b"CREWD\x09", b"inbox", b"1", b"\x80") == "unsupported_version"
    assert raw.error(header, b"dance", b"1", b"\x80") == "unknown_kind"
    assert raw.error(header, b"send", b"1", b"\xff") == "malformed"
    assert raw.error(*codec.requests.encode("1", rq.Send(id="x", kind="steer"))) == "usage"
    assert raw.error(*codec.requests.encode("1", rq.Cancel(target="nobody"))) == "not_found"
    assert raw.error(*codec.requests.encode("1", rq.Cancel(target="nobody", grace_seconds=-1))) == "usage"
    assert raw.error(*codec.requests.encode("1", rq.Cancel(target="nobody", reason="mood"))) == "usage"
    for _ in range(200):
        raw.socket.send_multipart([os.urandom(20) for _ in range(4)])
    raw.close()
    big = Raw(daemon.home.clients_endpoint)
    big.socket.send_multipart([header, b"inbox", b"1", b"x" * (2 << 20)])  # libzmq drops the peer
    assert crew.doctor().counts["events"] == before
    assert crew.call("jobs:add", {"a": 1, "b": 1}, cwd=jobs_dir).result(timeout=120) == 2
    big.close()


def test_nobody_speaks_for_a_worker_without_its_token(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:listen", cwd=jobs_dir)
    run.steer("hello", wait="applied")
    task = f"{run.id}/listen"
    raw = Raw(daemon.home.workers_endpoint)
    hello = rp.WorkerHello(task=task, epoch=1, token="guess", pid=1)
    for frames, code in (
        (codec.from_worker.encode("", hello), "not_permitted"),
        (codec.from_worker.encode("", msgspec.structs.replace(hello, token="é")), "not_permitted"),
        (codec.from_worker.encode("", rp.Reports((rp.Report(number=1, body=rp.Outcome(outcome="completed")),))), "unavailable"),
        ([b"nonsense"], "malformed"),
    ):
        reply = codec.to_worker.decode(raw.ask(*frames)).body
        assert isinstance(reply, rp.WorkerError)
        assert reply.error.code == code
    raw.close()
    run.steer("stop")
    assert run.result(timeout=120) == ["hello", "stop"]


def test_a_role_that_is_not_enough_is_refused(daemon: Daemon) -> None:
    raw = Raw(daemon.home.clients_endpoint)
    raw.ask(*codec.requests.encode("hello", rq.Hello(owner="dashboard", wish=Role.OBSERVE, key="k" * 64)))
    assert isinstance(codec.replies.decode(raw.ask(*codec.requests.encode("1", rq.Inbox()))).body, rl.InboxReply)
    assert raw.error(*codec.requests.encode("2", rq.Cancel(target="x"))) == "forbidden"
    assert raw.error(*codec.requests.encode("3", rq.StopDaemon())) == "forbidden"
    raw.close()


def test_who_does_not_say_who_it_is_only_looks(daemon: Daemon) -> None:
    raw = Raw(daemon.home.clients_endpoint)
    welcome = codec.replies.decode(raw.ask(*codec.requests.encode("hello", rq.Hello(owner="somebody")))).body
    assert isinstance(welcome, rl.Welcome)
    assert (welcome.role, welcome.owner) == (Role.OBSERVE, "somebody:")
    assert isinstance(codec.replies.decode(raw.ask(*codec.requests.encode("1", rq.Inbox()))).body, rl.InboxReply)
    assert raw.error(*codec.requests.encode("2", rq.Send(id="m_x", kind="steer", target="x"))) == "forbidden"
    assert raw.error(*codec.requests.encode("hello", rq.Hello(owner="somebody", key="short"))) == "usage"
    raw.close()


def test_what_is_preloaded_is_there_when_a_worker_begins(home: Path, jobs_dir: str) -> None:
    root = home / "preloading"
    root.mkdir(mode=0o700)
    (root / "crewd.toml").write_text('preload = ["wave", "no_such_module"]\nenv_pass = ["CREWD_TEST_SECRET"]\n')
    with Daemon(root) as running, running.connect() as client:
        loaded = client.call("jobs:loaded", {"module": "wave"}, cwd=jobs_dir).result(timeout=120)
        assert loaded == {"loaded": True, "passed": None}
        assert client.call("jobs:loaded", {"module": "chunk_x"}, cwd=jobs_dir).result(timeout=120) != loaded


def test_a_greedy_client_is_told_so_and_nobody_else_waits_for_it(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    greedy_run, run = crew.call("jobs:listen", cwd=jobs_dir), crew.call("jobs:listen", cwd=jobs_dir)
    run.steer("first", wait="applied")
    raw = Raw(daemon.home.clients_endpoint)
    raw.ask(*codec.requests.encode("hello", rq.Hello(owner="greedy", key="k" * 64)))
    ids = IdSource(SystemClock(), SystemChance())
    keys = [ids.next("m") for _ in range(1_000)]
    for key in keys:
        body = rq.Send(id=key, kind="steer", target=greedy_run.id, text="x")
        raw.socket.send_multipart(codec.requests.encode(key, body))
    assert run.steer("second", wait="applied").applied_at
    replies: dict[str, rl.Reply] = {}
    while len(replies) < len(keys):
        assert raw.socket.poll(20_000), "every message is answered"
        parcel = codec.replies.decode(raw.socket.recv_multipart())
        replies[parcel.id] = parcel.body
    accepted = [key for key in keys if isinstance(replies[key], rl.ReceiptReply)]
    refused = {body.error.code for body in replies.values() if isinstance(body, rl.ErrorReply)}
    assert refused == {"busy"}
    assert accepted[:8] == keys[:8]
    wait_until(lambda: all(m.receipt.applied_at for m in greedy_run.messages()), "the steers to be taken")
    assert {message.receipt.id for message in greedy_run.messages()} <= set(accepted)
    raw.close()
