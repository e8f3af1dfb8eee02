"""`crew` as people and scripts type it, for tests: words in, exit code, stdout and stderr out, and never a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from crewd.client.cli.main import main

MAIN = "from crewd.client.cli.main import main; main()"


@dataclass(frozen=True)
class Shell:
    """`crew` with a home, in a directory.

    A verb runs in this process: starting another takes longer than most verbs. It runs in a process of its own if the shell
    is `real`, if a stream or an input is given, or off the main thread (of which the streams are).
    """

    home: str
    cwd: Path
    real: bool = False

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-c", MAIN, "--home", self.home, *words]

    def run(self, *words: str, env: Mapping[str, str] | None = None, **given: Any) -> subprocess.CompletedProcess[str]:
        if self.real or given or threading.current_thread() is not threading.main_thread():
            streams = {"stdin": subprocess.DEVNULL, "capture_output": True, **given}
            command = self.command(*words)
            done = subprocess.run(command, text=True, timeout=120, cwd=self.cwd, check=False, env=env, **streams)
        else:
            done = self._run_here(words, os.environ if env is None else env)
        assert "Traceback" not in (done.stderr or ""), done.stderr
        return done

    def _run_here(self, words: tuple[str, ...], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        kept = {name: env.get(name) for name in ("CREWD_AS", "COLUMNS", *os.environ, *env)}  # a verb may set the first two
        with contextlib.chdir(self.cwd):
            done = CliRunner(env=kept).invoke(main, ["--home", self.home, *words], prog_name="crew")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)

    def ok(self, *words: str, **given: Any) -> str:
        """What it prints when all is well."""
        done = self.run(*words, **given)
        assert done.returncode == 0, (words, done)
        return done.stdout

    def fails(self, code: int, *words: str, **given: Any) -> str:
        """What it says on stderr when it exits with this code."""
        done = self.run(*words, **given)
        assert done.returncode == code, (words, done)
        return done.stderr

    def prints(self, code: int, *words: str) -> str:
        """What it prints on stdout when it exits with this code: a finding, and no error."""
        done = self.run(*words)
        assert (done.returncode, done.stderr) == (code, ""), (words, done)
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.ok("--json", *words))
