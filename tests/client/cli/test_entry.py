"""The end of `crew`, which skips the interpreter's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys, threading
from crewd.client.cli.entry import main

class Stream:
    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        said.set()
        return self.stream.write(text)

    def __getattr__(self, name):
        return getattr(self.stream, name)

said, stdout = threading.Event(), sys.stdout
atexit.register(print, "registered", file=sys.stderr)
threading.Thread(target=lambda: (said.wait(), print("thread", file=stdout))).start()
sys.stdout, sys.stderr, sys.argv = Stream(sys.stdout), Stream(sys.stderr), ["crew", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(("words", "code", "said"), [("version", 0, "crew"), ("--help", 0, "Usage"), ("no-such-verb", 2, "")])
def test_it_ends_as_a_program_in_python_does(words: str, code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert "thread\n" in done.stdout, "threads are waited for, and what is written last is there"
    assert said in done.stdout
    assert done.stderr.endswith("registered\n")
