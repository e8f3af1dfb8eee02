"""The README as a newcomer copies it: every block, in order, in an empty directory with an empty home."""

from __future__ import annotations

import doctest
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.process
ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"(?:Save this as `([^`]+)`:\n\n)?```(\w+)\n(.*?)```", re.DOTALL)
NOT_FOUND = 4
WAIT_SECONDS = 120.0
SETS_UP = ("make run", "make test")
"""They need a checkout, and set up what this test runs in."""


def steps() -> Iterator[tuple[str, str]]:
    """("file NAME" or a command, its text or the output that is shown)."""
    for name, language, text in BLOCK.findall((ROOT / "README.md").read_text()):
        if name:
            yield f"file {name}", text
        elif language == "console":
            for part in text.split("$ ")[1:]:
                command, _, output = part.partition("\n")
                if not command.startswith(SETS_UP):
                    yield command, output
        else:
            raise AssertionError(f"a reader does not know what to do with this: {text[:60]}")


def test_every_block_of_the_readme_works_in_the_order_in_which_it_stands() -> None:
    with tempfile.TemporaryDirectory(prefix="crewd-") as name:
        home, work = Path(name) / "home", Path(name) / "work"
        home.mkdir()
        work.mkdir()
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("CREWD", "XDG", "PYTHON", "COVERAGE"))
        }
        bin_ = str(Path(sys.executable).parent)
        environment |= {
            "HOME": str(home),
            "PATH": f"{bin_}:{os.environ['PATH']}",
            "COLUMNS": "80",
            "CREWD_KEYS": f"{name}/keys",
        }
        try:
            for step, text in steps():
                if step.startswith("file "):
                    (work / step.removeprefix("file ")).write_text(text)
                else:
                    _run(step, text, work, environment)
        finally:
            _end(Path(name))


def _run(command: str, expected: str, cwd: Path, environment: dict[str, str]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while (done := _typed(command, cwd, environment)).returncode == NOT_FOUND and command.startswith("crew respond"):
        assert time.monotonic() < deadline, "a person answers when the question is there"
    said = f"$ {command}\n{done.stdout}"
    assert done.returncode == 0, said
    if expected:
        want = re.sub(r"\s*…\s*", "...", expected)
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(want, done.stdout, flags), f"{said}\nshown:\n{expected}"


def _typed(command: str, cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command], cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )  # fmt: skip


def _end(folder: Path) -> None:
    """Whatever happened, nothing that the README started lives on."""
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join(process.environ().values()) and process.pid != os.getpid():
                process.send_signal(signal.SIGKILL)
        except psutil.Error:
            continue
