"""A command that speaks crewd's protocol itself: it takes the place of the Python worker in this very process."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from crewd.model import variables
from crewd.worker.command import argv_of, not_started

if TYPE_CHECKING:
    from crewd.protocol.bootstrap import Bootstrap
    from crewd.protocol.reports import Outcome
    from crewd.worker.link import Line

"""Names the file with the bootstrap (MessagePack), which the command reads and removes: it holds its token."""


def take_over(bootstrap: Bootstrap, raw: bytes, lines: list[Line]) -> Outcome:
    """Become the command. Returns only if that cannot be done, with the reason."""
    argv = argv_of(bootstrap)
    path = Path(bootstrap.directory) / "bootstrap"
    try:
        path.touch(0o600)
        path.write_bytes(raw)
        while lines:
            lines.pop().close()
        if os.getsid(0) != os.getpid():
            os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # Python ignores them
        os.environ[variables.BOOTSTRAP] = str(path)
        os.execvp(argv[0], argv)  # noqa: S606 (its purpose)
    except (OSError, ValueError) as error:
        path.unlink(missing_ok=True)
        return not_started(argv, error)
