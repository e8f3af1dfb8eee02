"""What somebody does to the files of a home behind crewd's back, and with messages that are far too large."""

from __future__ import annotations

import psutil
import pytest
import zmq

from crewd.client.blocking import Crew
from crewd.protocol import codec
from crewd.protocol import replies as rl
from crewd.testing import Daemon
from tests.hostile.wire import Speaker

pytestmark = pytest.mark.process
MIB = 1 << 20


def test_a_blob_that_somebody_has_changed_is_found(daemon: Daemon, crew: Crew, jobs_dir: str) -> None:
    run = crew.call("jobs:leave_files", {"size": 300_000}, cwd=jobs_dir)
    run.wait(timeout=120)
    assert crew.doctor(check=True).findings == ()
    (large,) = [each for each in run.show().artifacts if each.name == "large.bin"]
    (blob,) = daemon.home.blobs.glob(f"sha256/*/{large.sha256}")
    blob.chmod(0o600)
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    (finding,) = crew.doctor(check=True).findings
    assert "large.bin" in finding
    assert "changed" in finding
    blob.unlink()
    (finding,) = crew.doctor(check=True).findings
    assert "is gone" in finding


def test_a_message_of_hundreds_of_megabytes_does_not_stay(daemon: Daemon, crew: Crew) -> None:
    process = psutil.Process(daemon.pid)
    crew.runs()
    before = process.memory_info().rss
    with Speaker(daemon.home.clients_endpoint) as speaker:
        speaker.socket.setsockopt(zmq.LINGER, 60_000)
        speaker.say("hello", "hello", {"owner": "attacker", "key": "k" * 64})
        speaker.hear()
        for _ in range(199):
            speaker.socket.send(bytes(MIB), zmq.SNDMORE)
        speaker.socket.send(bytes(MIB))
        refused = codec.replies.decode(speaker.hear()).body
        assert isinstance(refused, rl.ErrorReply)
        assert refused.error.code == "malformed"
    crew.runs()
    assert process.memory_info().rss - before < 100 * MIB
