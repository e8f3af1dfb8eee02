"""The end of `crew`, which skips the interpreter's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import crewd

ROOT = str(Path(crewd.__file__).parent.parent)

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
threading.Thread(target=lambda: (said.wait(), stdout.write("thread\\n"))).start()
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


@pytest.mark.parametrize(
    ("locale", "said"), [({"LC_ALL": "C"}, "é€😀"), ({"PYTHONIOENCODING": "latin-1"}, "é\\u20ac\\ud83d\\ude00")]
)
def test_any_text_is_written_in_any_locale(locale: dict[str, str], said: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": ROOT, **locale}
    code = "import sys; from crewd.client.cli.entry import main; sys.argv[1:] = ['--json', 'check', 'a.md']; main()"
    (tmp_path / "a.md").write_text("---\nname: a\n---\n## a\nrun: echo é€😀\n", encoding="utf-8")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done
    printed = done.stdout.decode("latin-1" if "PYTHONIOENCODING" in locale else "utf-8")
    assert f"echo {said}" in printed
    json.loads(printed)
