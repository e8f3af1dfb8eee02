"""`crew` as people and scripts use it: exit codes, JSON on stdout, errors on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crewd.testing import Daemon
from tests.shell import Shell

pytestmark = pytest.mark.process


@pytest.fixture
def shell(daemon: Daemon, jobs_dir: str) -> Shell:
    return Shell(str(daemon.home.root), Path(jobs_dir))


def test_a_worker_s_life_in_the_shell(shell: Shell) -> None:
    started = shell.json("call", "jobs:listen", "--name", "mine")
    assert started["name"] == "mine"
    receipt = shell.json("steer", "mine", "hello", "--wait", "applied")
    assert receipt["level"] in {"applied", "settled"}
    assert shell.json("receipt", receipt["id"])["id"] == receipt["id"]
    assert "applied" in shell.ok("receipt", receipt["id"])
    assert "mine" in shell.ok("ps")
    shell.ok("follow-up", "mine", "later")
    shell.ok("steer", "mine", "stop")
    assert json.loads(shell.ok("result", "mine")) == ["hello", "stop", "follow_up:later"]
    shell.ok("wait", "mine")
    assert len(shell.ok("messages", "mine").splitlines()) == 4
    assert "later" in shell.ok("show", "mine")
    assert "worker_ended" in shell.prints(5, "steer", "mine", "late")
    lines = [json.loads(line) for line in shell.ok("--json", "events", "mine", "--type", "run.ended").splitlines()]
    assert [line["type"] for line in lines] == ["run.ended"]
    assert "healthy" in shell.ok("doctor", "--rebuild")
    assert "Gateway" in shell.ok("doctor", "--actors")
    measured = {each["name"]: each for each in shell.json("doctor", "--actors")["actors"]}
    assert measured["Gateway"]["messages"] > 0 and measured["Controller"]["made"] == 1
    assert shell.json("daemon", "status")["running"] is True


def test_exit_codes_say_what_happened(shell: Shell) -> None:
    error = json.loads(shell.fails(4, "--json", "show", "nobody"))["error"]
    assert (error["code"], bool(error["hint"])) == ("not_found", True)
    shell.fails(2, "events", "--type", "dance")
    shell.fails(2, "call", "nonsense")
    shell.ok("exec", "--name", "bad", "--", "sh", "-c", "exit 7")
    assert "exit code 7" in shell.fails(1, "result", "bad")
    shell.ok("exec", "--name", "long", "--", "sleep", "100")
    assert "verified" in shell.ok("cancel", "long", "--now", "--reason", "leader_interrupted", "--intent", "enough")
    assert "cancelled" in shell.fails(3, "result", "long")
    shell.fails(1, "exec", "--follow", "--", "sh", "-c", "exit 1")


def test_a_question_in_the_shell(shell: Shell) -> None:
    shell.ok("call", "jobs:ask", "--name", "asking")
    shell.ok("wait", "asking/ask", "--for", "waiting")
    assert shell.ok("show", "asking").startswith("asking  waiting for "), "as crew ps says"
    (question,) = shell.json("inbox")["asks"]
    shell.ok("respond", question["id"], "blue")
    assert shell.ok("result", "asking").strip() == "blue"
    shell.fails(5, "respond", question["id"], "red")


def test_logs_are_followed_to_the_end(shell: Shell) -> None:
    shell.ok("exec", "--name", "chatty", "--", "sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.1; done; echo oops >&2")
    assert shell.ok("logs", "-f", "chatty") == "line 1\nline 2\nline 3\n"
    assert shell.ok("logs", "--tail", "1", "chatty") == "line 3\n"
    assert shell.ok("logs", "--stderr", "chatty") == "oops\n"


def test_no_daemon_is_an_error_and_not_a_start(home: object, jobs_dir: str) -> None:
    quiet = Shell(f"{home}/none", Path(jobs_dir))
    assert "crew daemon start" in quiet.fails(69, "ps")
    assert "crew daemon start" in quiet.fails(69, "--no-start", "call", "jobs:add")
    assert not Path(f"{home}/none").exists()
