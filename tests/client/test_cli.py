"""`crew` as people and scripts use it: exit codes, JSON on stdout, errors on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crewd.testing import Daemon

pytestmark = pytest.mark.process


class Shell:
    def __init__(self, home: str, cwd: str) -> None:
        self.home, self.cwd = home, cwd

    def __call__(self, *words: str, code: int = 0) -> str:
        command = [sys.executable, "-c", "from crewd.client.cli.main import main; main()", "--home", self.home, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=self.cwd, check=False)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout if code == 0 else done.stderr or done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self("--json", *words))


@pytest.fixture
def shell(daemon: Daemon, jobs_dir: str) -> Shell:
    return Shell(str(daemon.home.root), jobs_dir)


def test_a_worker_s_life_in_the_shell(shell: Shell) -> None:
    started = shell.json("call", "jobs:listen", "--name", "mine")
    assert started["name"] == "mine"
    receipt = shell.json("steer", "mine", "hello", "--wait", "applied")
    assert receipt["level"] in {"applied", "settled"}
    assert shell.json("receipt", receipt["id"])["id"] == receipt["id"]
    assert "applied" in shell("receipt", receipt["id"])
    assert "mine" in shell("ps")
    shell("follow-up", "mine", "later")
    shell("steer", "mine", "stop")
    assert json.loads(shell("result", "mine")) == ["hello", "stop", "follow_up:later"]
    shell("wait", "mine")
    assert len(shell("messages", "mine").splitlines()) == 4
    assert "later" in shell("show", "mine")
    assert "worker_ended" in shell("steer", "mine", "late", code=5)
    lines = [json.loads(line) for line in shell("--json", "events", "mine", "--type", "run.ended").splitlines()]
    assert [line["type"] for line in lines] == ["run.ended"]
    assert "healthy" in shell("doctor", "--rebuild")
    assert "Gateway" in shell("doctor", "--actors")
    measured = {each["name"]: each for each in shell.json("doctor", "--actors")["actors"]}
    assert measured["Gateway"]["messages"] > 0 and measured["Controller"]["made"] == 1
    assert shell.json("daemon", "status")["running"] is True


def test_exit_codes_say_what_happened(shell: Shell) -> None:
    error = json.loads(shell("--json", "show", "nobody", code=4))["error"]
    assert (error["code"], bool(error["hint"])) == ("not_found", True)
    shell("events", "--type", "dance", code=2)
    shell("call", "nonsense", code=2)
    shell("exec", "--name", "bad", "--", "sh", "-c", "exit 7")
    assert "exit code 7" in shell("result", "bad", code=1)
    shell("exec", "--name", "long", "--", "sleep", "100")
    assert "verified" in shell("cancel", "long", "--now", "--reason", "leader_interrupted", "--intent", "enough")
    assert "cancelled" in shell("result", "long", code=3)
    shell("exec", "--follow", "--", "sh", "-c", "exit 1", code=1)


def test_a_question_in_the_shell(shell: Shell) -> None:
    shell("call", "jobs:ask", "--name", "asking")
    shell("wait", "asking/ask", "--for", "waiting")
    (question,) = shell.json("inbox")["asks"]
    shell("respond", question["id"], "blue")
    assert shell("result", "asking").strip() == "blue"
    shell("respond", question["id"], "red", code=5)


def test_logs_are_followed_to_the_end(shell: Shell) -> None:
    shell("exec", "--name", "chatty", "--", "sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.1; done; echo oops >&2")
    assert shell("logs", "-f", "chatty") == "line 1\nline 2\nline 3\n"
    assert shell("logs", "--tail", "1", "chatty") == "line 3\n"
    assert shell("logs", "--stderr", "chatty") == "oops\n"


def test_no_daemon_is_an_error_and_not_a_start(home: object, jobs_dir: str) -> None:
    quiet = Shell(f"{home}/none", jobs_dir)
    assert "crew daemon start" in quiet("ps", code=69)
    assert "crew daemon start" in quiet("--no-start", "call", "jobs:add", code=69)
    assert not Path(f"{home}/none").exists()
