"""A message that is sent by a process that may be killed: once, however often it is sent again."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from crewd.client.keys import keys_directory
from crewd.client.outbox import KEPT_SECONDS, Outbox
from crewd.clock import SystemChance, SystemClock
from crewd.model.ids import IdSource
from crewd.protocol.requests import Send
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.shell import MAIN, Shell

SEND = Send(id="", kind="steer", target="run", text="x", timeout_seconds=0.0)


def outbox(wall: float = 1_000.0) -> Outbox:
    return Outbox(keys_directory(), "ann", "home", IdSource(SystemClock(), SystemChance()), wall)


def entries() -> list[Path]:
    return sorted((keys_directory() / ".outbox" / "ann" / "home").iterdir())


def test_what_was_answered_is_forgotten_and_the_next_is_another() -> None:
    with outbox().keep(SEND) as first:
        assert len(entries()) == 1
    assert entries() == []
    with outbox().keep(SEND) as second:
        assert second != first


def test_a_process_that_died_leaves_its_id_to_whoever_sends_the_same_again() -> None:
    held = outbox()._take(SEND)
    dead = held.path.read_bytes().replace(f'"pid":{psutil.Process().pid}'.encode(), b'"pid":4194303')
    held.path.write_bytes(dead)
    with outbox().keep(Send(id="", kind="steer", target="run", text="y")) as other:
        assert other != held.id, "another text is another message"
    with outbox().keep(SEND) as again:
        assert again == held.id
    held.path.write_bytes(dead)
    with outbox(1_000.0 + KEPT_SECONDS + 1).keep(SEND) as late:
        assert late != held.id, "after a day it is meant anew"
    held.path.write_bytes(b"{")
    with outbox().keep(SEND):
        pass
    assert entries() == [], "also what was half written is tidied away"


def test_two_that_live_send_two() -> None:
    script = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as other:
        held = outbox()._take(SEND)
        process = psutil.Process(other.pid)
        text = held.path.read_text().replace(f'"pid":{psutil.Process().pid}', f'"pid":{other.pid}')
        mine = psutil.Process().create_time()
        held.path.write_text(text.replace(f'"started":{mine}', f'"started":{process.create_time()}'))
        elsewhere = held.path.with_name(f"{held.path.name.partition('-')[0]}-{other.pid}")
        held.path.rename(elsewhere)
        with outbox().keep(SEND) as key:
            assert key != held.id
        assert elsewhere.exists()
        other.communicate()


@pytest.mark.process
def test_what_nobody_answered_is_kept_and_sent_once_when_crewd_is_back(daemon: Daemon, jobs_dir: str) -> None:
    shell = Shell(str(daemon.home.root), Path(jobs_dir), real=True)
    with daemon.connect() as crew:
        run = crew.call("jobs:listen", cwd=jobs_dir)
        wait_until(lambda: run.show().attempts[-1:] and run.show().attempts[-1].ready_at, "the worker")
        daemon.kill()
        daemon.home.clients_socket.unlink()  # so that nobody waits for an answer
        for text in ("one", "two", "never mind"):
            assert "crew outbox --send" in shell.fails(69, "steer", run.id, text)
        shell.fails(69, "steer", run.id, "one")  # typed again: the same message
        daemon.start()
        left = shell.json("outbox")
        assert [entry["send"]["text"] for entry in left] == ["two", "never mind", "one"]
        shell.ok("outbox", "--forget", left[1]["id"])
        shell.fails(4, "steer", "nobody", "x")
        assert shell.ok("outbox", "--send").count("accepted") == 2
        assert shell.json("outbox") == []
        shell.ok("outbox", "--send")
        run.steer("stop")
        assert run.result(timeout=120) == ["two", "one", "stop"]


@pytest.mark.long
@pytest.mark.process
def test_a_steer_whose_command_is_killed_at_any_instant_and_repeated_is_one_message(daemon: Daemon, jobs_dir: str) -> None:
    chance = random.Random(7)
    command = [sys.executable, "-c", MAIN, "--home", str(daemon.home.root)]
    with daemon.connect() as crew:
        run = crew.call("jobs:toil", cwd=jobs_dir)
        wait_until(lambda: run.show().operations, "the worker")
        clock = SystemClock()
        for number in range(4):
            steer = [*command, "steer", run.id, f"text {number}", "--wait", "accepted"]
            began = clock.monotonic()
            assert subprocess.run([*steer[:-3], "measure", "--wait", "accepted"], check=False).returncode == 0
            usual = clock.monotonic() - began
            shown, tries = b"", 0
            while not shown.endswith(b"\n"):
                tries += 1  # each gets a little more time: the machine may be slower by now
                process = subprocess.Popen(steer, stdout=subprocess.PIPE)
                try:
                    shown, _ = process.communicate(timeout=usual * chance.uniform(0.5, 1.0 + tries / 10))
                except subprocess.TimeoutExpired:
                    process.kill()
                    shown, _ = process.communicate()
        texts = [message.text for message in run.messages() if message.text != "measure"]
        assert texts == [f"text {number}" for number in range(4)]
        run.cancel(mode="now")
