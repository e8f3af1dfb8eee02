from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from crewd.testing.agents.script import plan_of


def test_words_decide() -> None:
    plan = plan_of("ASK TOOL 1.5 NOISE BIG 10 DIE 3")
    assert (plan.asks, plan.tool_seconds, plan.noise, plan.tool_bytes, plan.dies) == (True, 1.5, True, 10, 3)
    assert plan_of("hello").words == ("echo: hello",)
    assert plan_of("EMPTY").words == ()
    assert (plan_of("ERR429").error, plan_of("FLAKY").flaky, plan_of("HANG").hangs) == (429, True, True)
    assert len(plan_of("STREAM 7").words) == 7
    assert (len(plan_of("FLOW 200 3").words), plan_of("FLOW 200 3").word_seconds) == (600, 0.005)
    assert (plan_of("TOOL 1").rounds, plan_of("ROUNDS 7 TOOL 1").rounds) == (1, 7)


@pytest.mark.process
def test_a_stand_in_is_a_program_that_ends_with_its_input() -> None:
    lines = [{"id": "s", "type": "get_state"}, {"id": "p", "type": "prompt", "message": "hello"}, {"type": "nonsense"}]
    command = [sys.executable, "-m", "crewd.testing.agents", "pi", "--mode", "rpc"]
    told = subprocess.run(
        command, input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0
    first, *_ = map(json.loads, told.stdout.splitlines())
    assert (first["id"], first["data"]["sessionId"]) == ("s", "scripted-session")
    assert subprocess.run([*command[:3], "--version"], capture_output=True, text=True, check=False).stdout.startswith("1.2.3")
    assert subprocess.run(command[:3], capture_output=True, check=False).returncode == 2


@pytest.mark.process
@pytest.mark.parametrize("name", ["pi", "claude", "codex", "acp"])
def test_its_input_may_be_a_file(name: str, tmp_path: Path) -> None:
    given = tmp_path / "input"
    given.write_bytes(b"")
    with given.open("rb") as file:
        command = [sys.executable, "-m", "crewd.testing.agents", name]
        assert subprocess.run(command, stdin=file, capture_output=True, check=False, timeout=60).returncode == 0


def test_a_word_in_another_word_means_nothing() -> None:
    plan = plan_of("End with APPROVE or CHANGES. A TASK, and what was ASKED: FLAKYNESS, NOISES, MYPLAN a")
    assert (plan.hangs, plan.asks, plan.flaky, plan.noise, plan.words[0][:5]) == (False, False, False, False, "echo:")
