"""The end of `crew`, which skips the interpreter's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys, threading, time
from crewd.client.cli.entry import main
atexit.register(print, "registered", file=sys.stderr)
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
sys.argv = ["crew", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(("words", "code", "said"), [("version", 0, "crew"), ("--help", 0, "Usage"), ("no-such-verb", 2, "")])
def test_it_ends_as_a_program_in_python_does(words: str, code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert done.stdout.endswith("thread\n"), "threads are waited for, and what is written last is there"
    assert said in done.stdout
    assert done.stderr.endswith("registered\n")
