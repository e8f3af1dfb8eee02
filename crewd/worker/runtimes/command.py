"""A command, in a process of its own that this one waits for.

Tests: tests/worker/test_command.py.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from crewd.model.runtimes import RUNTIMES
from crewd.worker.call import hear_term
from crewd.worker.command import CommandProcess
from crewd.worker.hosting import begin_session

if TYPE_CHECKING:
    from crewd.protocol.reports import Outcome
    from crewd.worker.hosting import Hosting


def run(host: Hosting) -> Outcome:
    """Start it, and wait for its end."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a command that closes its input is no reason to die
    hear_term(host.desk.token, interrupt=False)
    begin_session()
    command = CommandProcess(host.bootstrap, host.desk)
    command.start()  # before the first word, which names its process
    takes = RUNTIMES["exec"].capabilities
    link = host.connect(takes(host.bootstrap.worker) if takes is not None else (), command.pid)
    return host.end(command.wait(), link)
