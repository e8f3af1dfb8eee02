"""A command that speaks crewd's protocol itself: it takes the place of the Python worker in this very process.

Tests: tests/worker/test_stdio.py.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from crewd.model import variables
from crewd.worker.hosting import begin_session
from crewd.worker.program_start import argv_of, not_started

if TYPE_CHECKING:
    from crewd.protocol.reports import Outcome
    from crewd.worker.hosting import Hosting


def run(host: Hosting) -> Outcome:
    """Become the command. Returns only if that cannot be done, with the reason.

    The variable `CREWD_BOOTSTRAP` names the file with the bootstrap (MessagePack), which the command reads and removes: it
    holds its token.
    """
    argv = argv_of(host.bootstrap)
    path = Path(host.bootstrap.directory) / "bootstrap"
    try:
        path.touch(0o600)
        path.write_bytes(host.raw)
        while host.lines:
            host.lines.pop().close()
        begin_session()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # Python ignores them
        os.environ[variables.BOOTSTRAP] = str(path)
        os.execvp(argv[0], argv)  # noqa: S606 (its purpose)
    except (OSError, ValueError) as error:
        path.unlink(missing_ok=True)
        return host.end(not_started(argv, error), host.connect(()))
