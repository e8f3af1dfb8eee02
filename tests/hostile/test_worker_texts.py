"""Whatever a worker says: nothing of it steers the terminal of who reads it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from crewd.client.blocking import Crew
from crewd.testing import Daemon

pytestmark = pytest.mark.process
HERE = str(Path(__file__).parent.parent)
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
VERBS = [
    ["ps", "--all"], ["show", "evil"], ["logs", "evil"], ["events"], ["news"], ["history", "evil"], ["inbox"], ["dead"],
    ["messages", "evil"], ["wait", "evil"], ["result", "evil"], ["show", "evil", "--json"], ["history", "evil", "--json"],
    ["doctor"], ["decisions", "evil"],
]  # fmt: skip


def test_no_verb_shows_what_steers_a_terminal(daemon: Daemon, crew: Crew) -> None:
    run = crew.call("hostile.deeds:writes_on_the_screen", cwd=HERE, name="evil")
    run.wait(timeout=120)
    environment = {**os.environ, "CREWD_HOME": str(daemon.home.root), "PYTHONPATH": os.pathsep.join(sys.path)}
    code = "import sys; from crewd.client.cli.main import main; sys.exit(main())"
    said = ""
    for verb in VERBS:
        done = subprocess.run(
            [sys.executable, "-c", code, *verb], capture_output=True, env=environment, check=False, timeout=120
        )
        text = (done.stdout + done.stderr).decode()
        assert "Traceback" not in text, verb
        assert not STEERS.search(text), (verb, STEERS.search(text))
        assert done.returncode != 2, (verb, text)
        said += text
    assert "mred" in said or "red" in said, "the texts themselves were shown"
