"""`crew inbox --answer` in a terminal: one key for a question where a key is enough."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from crewd.client.blocking import RunHandle
from crewd.client.cli.answer import keys_of
from crewd.model.errors import DeadlineExceeded
from crewd.model.rows import AskRow
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.shell import MAIN

QUESTIONS: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"kind": "text"}, "as I say\r", "as I say"),
    ({"kind": "confirm"}, "y", "yes"),
    ({"kind": "choose", "choices": ["red", "blue"]}, "2", "blue"),
    ({"kind": "permission"}, "d", "deny"),
)


def succeeds(pressed: Callable[[], bool]) -> bool:
    try:
        return pressed()
    except DeadlineExceeded:
        return False


@pytest.mark.process
def test_every_question_is_answered_with_a_key_or_a_line(daemon: Daemon, jobs_dir: str) -> None:
    with daemon.connect() as crew:
        runs = []
        for number, (given, _, _) in enumerate(QUESTIONS):
            runs.append(crew.call("jobs:question", args=given, cwd=jobs_dir))
            wait_until(lambda number=number: len(crew.inbox()) == number + 1, "the question")  # type: ignore[misc]
        ours, theirs = pty.openpty()
        command = [sys.executable, "-c", MAIN, "--home", str(daemon.home.root)]
        process = subprocess.Popen([*command, "inbox", "--answer"], stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        seen = b""
        try:
            for (_, keys, heard), run in zip(QUESTIONS, runs, strict=True):
                while not seen.endswith((b"[q] quit\r\n", b"skip): ")):
                    seen += os.read(ours, 4096)
                seen += b"|"

                def pressed(keys: str = keys, run: RunHandle = run) -> bool:
                    os.write(ours, keys.encode())  # what is pressed before the terminal is ready is dropped
                    return run.wait(timeout=1.0).run.status == "completed"

                wait_until(lambda: succeeds(pressed), "the answer")
                assert run.result() == heard
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
            os.close(ours)
        assert b"[1] red  [2] blue" in seen


def test_a_long_choice_is_typed() -> None:
    few = AskRow("q", "r", "t", 1, "?", kind="choose", choices=("a", "b"))
    many = AskRow("q", "r", "t", 1, "?", kind="choose", choices=tuple("abcdefghijk"))
    assert keys_of(few) == {"1": "a", "2": "b"}
    assert keys_of(many) == keys_of(AskRow("q", "r", "t", 1, "?", kind="json")) == {}
